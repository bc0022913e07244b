"""From joint angles to a body in space: proportions and forward kinematics.

Lengths are in body heights (a standing adult is 1.0 high). Space is the camera's: x to the right of
the image, y up, z towards the viewer, projected orthographically.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .pose import Limb, Pose

FloatArray = NDArray[np.float64]

#: The 17 joints of COCO, in its order.
KEYPOINT_NAMES = (
    'nose',
    'left_eye',
    'right_eye',
    'left_ear',
    'right_ear',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hip',
    'right_hip',
    'left_knee',
    'right_knee',
    'left_ankle',
    'right_ankle',
)

SIDES = ('left', 'right')


@dataclass(frozen=True)
class Build:
    """Proportions of a person, as factors of an average adult's.

    Attributes:
        head: Size of the head.
        shoulders: Width of the shoulders.
        hips: Width of the hips.
        arms: Length of the arms.
        legs: Length of the legs.
        girth: Thickness of everything.
    """

    head: float = 1.0
    shoulders: float = 1.0
    hips: float = 1.0
    arms: float = 1.0
    legs: float = 1.0
    girth: float = 1.0


class Frame(NamedTuple):
    """A bone.

    Attributes:
        rotation: (3, 3), the axes of its own frame as columns.
        origin: (3,) point where it starts.
    """

    rotation: FloatArray
    origin: FloatArray

    def at(self, x: float, y: float, z: float) -> FloatArray:
        """Place a point of the bone's frame in space."""
        return self.origin + self.rotation @ np.array([x, y, z])


@dataclass(frozen=True)
class Body:
    """A posed body in camera space.

    Attributes:
        frames: Bone name -> frame, and "ground". Arms and legs hang along -y of their frames;
            pelvis, chest, neck and head rise along +y; x is to the person's left, z to the front.
        keypoints: (17, 3) joints in COCO's order.
        build: The proportions used.
        seat_height: Height of the seat above the ground, or None for a person who needs none.
    """

    frames: dict[str, Frame]
    keypoints: FloatArray
    build: Build
    seat_height: float | None


def sample_build(rng: np.random.Generator) -> Build:
    """Draw proportions: adults of many shapes, and some children (large head, short limbs)."""
    if rng.random() < 0.15:
        return Build(rng.uniform(1.3, 1.42), 0.93, 0.95, 0.93, 0.93, rng.uniform(0.98, 1.12))
    return Build(
        head=rng.uniform(1.06, 1.22),
        shoulders=rng.uniform(0.9, 1.12),
        hips=rng.uniform(0.92, 1.12),
        arms=rng.uniform(0.96, 1.05),
        legs=rng.uniform(0.95, 1.05),
        girth=float(np.clip(rng.normal(1.04, 0.11), 0.86, 1.32)),
    )


def rotation(axis: str, degrees: float) -> FloatArray:
    """Right-handed rotation matrix (3, 3) about the axis "x", "y" or "z"."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rows = {
        'x': ((1, 0, 0), (0, c, -s), (0, s, c)),
        'y': ((c, 0, s), (0, 1, 0), (-s, 0, c)),
        'z': ((c, -s, 0), (s, c, 0), (0, 0, 1)),
    }
    return np.array(rows[axis], dtype=np.float64)


def _limb_rotation(parent: FloatArray, limb: Limb, sign: int) -> FloatArray:
    swing = rotation('x', -limb.flex) @ rotation('z', sign * limb.abduct)
    return parent @ swing @ rotation('y', sign * limb.twist)


def _arm(chest: Frame, limb: Limb, sign: int, build: Build) -> dict[str, Frame]:
    shoulder = chest.at(sign * 0.112 * build.shoulders, 0.262, 0.0)
    upper = Frame(_limb_rotation(chest.rotation, limb, sign), shoulder)
    fore = Frame(upper.rotation @ rotation('x', -limb.bend), upper.at(0, -0.168 * build.arms, 0))
    hand = Frame(fore.rotation @ rotation('x', -12), fore.at(0, -0.148 * build.arms, 0))
    return {'upper_arm': upper, 'forearm': fore, 'hand': hand}


def _leg(pelvis: Frame, limb: Limb, sign: int, build: Build) -> dict[str, Frame]:
    thigh = Frame(
        _limb_rotation(pelvis.rotation, limb, sign), pelvis.at(sign * 0.06 * build.hips, -0.005, 0)
    )
    shin = Frame(thigh.rotation @ rotation('x', limb.bend), thigh.at(0, -0.235 * build.legs, 0))
    # The foot stays flat on the ground as far as an ankle allows.
    flat = float(np.clip(limb.flex - limb.bend, -40, 28))
    foot = Frame(shin.rotation @ rotation('x', flat), shin.at(0, -0.222 * build.legs, 0))
    return {'thigh': thigh, 'shin': shin, 'foot': foot}


def pose_body(
    pose: Pose, build: Build, *, camera_pitch: float = 0.0, camera_roll: float = 0.0
) -> Body:
    """Put a body into a pose, with its feet (or its lowest point) on the ground under the origin.

    Args:
        pose: Joint angles.
        build: Proportions.
        camera_pitch: How far the camera looks down, in degrees.
        camera_roll: How far the camera is rolled, in degrees.

    Returns:
        The body in camera space; the ground point below the pelvis is the origin.
    """
    root = rotation('y', pose.yaw) @ rotation('z', pose.lean[1]) @ rotation('x', pose.lean[0])
    pelvis = Frame(root, np.zeros(3))
    forward, sideways, twist = pose.spine
    bend = rotation('y', twist) @ rotation('z', sideways) @ rotation('x', forward)
    chest = Frame(root @ bend, pelvis.at(0, 0.035, 0))
    nod, turn, tilt = pose.head
    skull = chest.rotation @ rotation('y', turn) @ rotation('z', tilt) @ rotation('x', nod)
    neck = Frame(skull, chest.at(0, 0.292, 0.004))
    head = Frame(skull, neck.at(0, 0.036 + 0.062 * build.head, 0.012))
    # Legs hang from the upright pelvis, not from a leaning one, so that a bow does not lift the
    # feet.
    legs_root = Frame(rotation('y', pose.yaw), np.zeros(3))
    frames = {'pelvis': pelvis, 'chest': chest, 'neck': neck, 'head': head}
    for i, (side, sign) in enumerate(zip(SIDES, (1, -1), strict=True)):
        bones = {
            **_arm(chest, pose.arms[i], sign, build),
            **_leg(legs_root, pose.legs[i], sign, build),
        }
        frames.update({f'{side}_{name}': frame for name, frame in bones.items()})

    soles = [frames[f'{side}_foot'].at(0, -0.042, z)[1] for side in SIDES for z in (-0.02, 0.085)]
    ground = min(soles)
    seat = -0.058 * build.girth - ground if pose.seated else None
    camera = rotation('z', camera_roll) @ rotation('x', camera_pitch)
    lift = np.array([0.0, -ground, 0.0])
    frames = {n: Frame(camera @ f.rotation, camera @ (f.origin + lift)) for n, f in frames.items()}
    frames['ground'] = Frame(camera, np.zeros(3))
    return Body(frames, _keypoints(frames, build), build, seat)


def _keypoints(frames: dict[str, Frame], build: Build) -> FloatArray:
    head, k = frames['head'], build.head
    points = [head.at(0, -0.014 * k, 0.074 * k)]
    points += [head.at(s * 0.0225 * k, 0.009 * k, 0.053 * k) for s in (1, -1)]
    points += [head.at(s * 0.056 * k, -0.004 * k, -0.004 * k) for s in (1, -1)]
    for bone in ('upper_arm', 'forearm', 'hand', 'thigh', 'shin', 'foot'):
        points += [frames[f'{side}_{bone}'].origin for side in SIDES]
    return np.stack(points)
