"""Random poses and proportions, and the skeletons in space that they give.

Lengths are in body heights (a standing adult is 1 high), angles in degrees. Space is the camera's:
x to the right of the picture, y up, z towards the viewer, projected orthographically. A person's
own frames have x to the person's left, y up and z to the front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: The 17 joints of COCO, in its order.
KEYPOINT_NAMES = (
    *('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear'),
    *('left_shoulder', 'right_shoulder', 'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist'),
    *('left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle', 'right_ankle'),
)
SIDES = ('left', 'right')
#: The bones of an arm and a leg; each starts at a joint.
BONES = ('upper_arm', 'forearm', 'hand', 'thigh', 'shin', 'foot')

# Ranges of four angles, the same for left and right, which makes them mirror images: how far the
# limb is raised to the front, how far to its own side, its turn outwards about its own axis, and
# the bend of the elbow (forearm to the front) or of the knee (shin to the back).
_LIMBS = {
    'hang': ((-8, 10), (7, 20), (-35, 5), (6, 35)),
    'raise': ((-5, 15), (105, 160), (60, 100), (5, 70)),
    'akimbo': ((-20, -5), (40, 52), (-85, -65), (82, 100)),
    'hold': ((10, 40), (4, 16), (-35, -5), (65, 110)),
    'reach': ((60, 95), (10, 45), (-20, 10), (0, 30)),
    'spread': ((-10, 10), (50, 100), (-20, 90), (5, 60)),
    'swing back': ((-30, -14), (7, 14), (-25, 0), (12, 40)),
    'swing front': ((12, 28), (7, 14), (-25, 0), (12, 40)),
    'pump back': ((-50, -25), (10, 22), (-30, -10), (70, 105)),
    'pump front': ((20, 40), (10, 22), (-30, -10), (70, 105)),
    'stand': ((-5, 5), (1.5, 8), (3, 16), (0, 7)),
    'wide': ((0, 12), (12, 24), (8, 24), (0, 20)),
    'step': ((14, 30), (0, 4), (2, 8), (4, 16)),
    'trail': ((-21, -10), (0, 4), (2, 8), (10, 34)),
    'stride': ((35, 70), (2, 10), (4, 5), (45, 90)),
    'push': ((-30, -12), (2, 6), (4, 5), (15, 70)),
    'sit': ((78, 92), (5, 18), (0, 8), (70, 95)),
    'squat': ((82, 105), (10, 26), (8, 20), (95, 120)),
}


#: Name -> share, left and right arm (commas separate several to choose from), left and right leg,
#: and how far pelvis and spine lean forward. The shares sum to 1.
POSES = {
    'stand': (0.20, ('hang', 'hang'), ('stand', 'stand'), (-1, 2), (-3, 7)),
    'walk': (0.20, ('swing back', 'swing front'), ('step', 'trail'), (0, 4), (0, 6)),
    'akimbo': (0.10, ('akimbo', 'akimbo,hang'), ('stand', 'stand'), (-1, 2), (-3, 7)),
    'wave': (0.11, ('raise', 'raise,hang'), ('stand', 'stand'), (-1, 2), (-3, 7)),
    'hold': (0.08, ('hold', 'hold,hold,hang'), ('stand', 'stand'), (-1, 2), (-3, 7)),
    'reach': (0.06, ('reach', 'reach,hang,hang'), ('stand', 'stand'), (-1, 2), (-3, 7)),
    'run': (0.10, ('pump back', 'pump front'), ('stride', 'push'), (4, 10), (3, 12)),
    'wide': (0.08, ('spread', 'spread'), ('wide', 'wide'), (0, 0), (0, 6)),
    'sit': (0.05, ('hold,hang', 'hold,hang,raise'), ('sit', 'sit'), (-6, 4), (-2, 14)),
    'squat': (0.02, ('reach,hold', 'reach,hold'), ('squat', 'squat'), (10, 20), (12, 24)),
}

#: (share, centre, spread) of the headings: front, back, three-quarter front, side, three-quarter
#: back. As in photographs, most people face the camera.
_HEADINGS = ((0.58, 0, 16), (0.10, 180, 16), (0.22, 42, 10), (0.06, 85, 10), (0.04, 138, 10))


@dataclass(frozen=True)
class Pose:
    """A whole posture, in degrees; all angles are 0 for who stands upright with hanging arms."""

    arms: FloatArray  # (2, 4) of the left and the right one, in the order of `_LIMBS`
    legs: FloatArray  # (2, 4)
    yaw: float = 0.0  # 0 faces the camera, 90 the right edge of the picture, 180 shows the back
    lean: tuple[float, float] = (0.0, 0.0)  # of the pelvis: forward, sideways
    spine: tuple[float, float, float] = (0.0, 0.0, 0.0)  # the same, and its twist
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)  # nod, tilt, turn
    seated: bool = False


@dataclass(frozen=True)
class Build:
    """Proportions, as factors of an average adult's: head, width, length of limbs, thickness."""

    head: float = 1.0
    width: float = 1.0
    limbs: float = 1.0
    girth: float = 1.0


class Frame(NamedTuple):
    """A bone: its own axes as the columns of (3, 3), and the point (3,) where it starts."""

    rotation: FloatArray
    origin: FloatArray

    def at(self, x: float, y: float, z: float) -> FloatArray:
        """Place a point of the bone's frame in space."""
        return self.origin + self.rotation @ (x, y, z)


@dataclass(frozen=True)
class Body:
    """A posed body in camera space; the origin is the ground below the pelvis.

    Arms and legs hang along -y of their frames; pelvis, chest, neck and head rise along +y.
    """

    frames: dict[str, Frame]  # the bones, and "ground"
    keypoints: FloatArray  # (17, 3) in COCO's order
    build: Build
    seat: float  # height of the seat above the ground, 0 without one


def sample_pose(rng: np.random.Generator) -> Pose:
    """Draw a plausible posture, seen from a random side; half of them are mirrored."""
    name = str(rng.choice(list(POSES), p=[pose[0] for pose in POSES.values()]))
    _, arms, legs, lean, spine = POSES[name]

    def draw(pair: tuple[str, str]) -> FloatArray:
        limbs = [_LIMBS[str(rng.choice(choice.split(',')))] for choice in pair]
        return np.array([[rng.uniform(*bounds) for bounds in limb] for limb in limbs])

    order = rng.permutation(2)
    _, centre, spread = _HEADINGS[rng.choice(len(_HEADINGS), p=[h[0] for h in _HEADINGS])]
    nod = -15 if name == 'squat' else 0
    return Pose(
        draw(arms)[order],
        draw(legs)[order],
        yaw=rng.choice((-1, 1)) * rng.normal(centre, spread),
        lean=(rng.uniform(*lean), rng.normal(0, 2)),
        spine=(rng.uniform(*spine), rng.normal(0, 3), rng.normal(0, 6)),
        head=(rng.normal(nod, 6), rng.normal(0, 5), rng.normal(0, 14)),
        seated=name == 'sit',
    )


def sample_build(rng: np.random.Generator) -> Build:
    """Draw proportions: adults of many shapes, and some children (large head, short limbs)."""
    if rng.random() < 0.15:
        return Build(rng.uniform(1.3, 1.42), 0.94, 0.93, rng.uniform(0.98, 1.12))
    girth = float(np.clip(rng.normal(1.04, 0.11), 0.86, 1.32))
    return Build(rng.uniform(1.06, 1.22), rng.uniform(0.91, 1.12), rng.uniform(0.95, 1.05), girth)


def turn(axes: str, *degrees: float) -> FloatArray:
    """Product (3, 3) of right-handed rotations about "x", "y" or "z"."""
    result = np.eye(3)
    for axis, angle in zip(axes, degrees, strict=True):
        result = result @ cv2.Rodrigues(np.radians(angle) * np.eye(3)['xyz'.index(axis)])[0]
    return result


def pose_body(pose: Pose, build: Build, *, camera: FloatArray | None = None) -> Body:
    """Put a body into a pose, its feet on the ground; `camera` (3, 3) turns the world."""
    heading, limbs, width = turn('y', pose.yaw), build.limbs, build.width
    pelvis = Frame(heading @ turn('xz', *pose.lean), np.zeros(3))
    chest = Frame(pelvis.rotation @ turn('xzy', *pose.spine), pelvis.at(0, 0.035, 0))
    neck = Frame(chest.rotation @ turn('xzy', *pose.head), chest.at(0, 0.292, 0.004))
    head = Frame(neck.rotation, neck.at(0, 0.036 + 0.062 * build.head, 0.012))
    frames = {'pelvis': pelvis, 'chest': chest, 'neck': neck, 'head': head}
    # Legs hang from an upright pelvis, so that a forward lean does not lift the feet.
    upright = Frame(heading, pelvis.origin)
    for side, sign, arm, leg in zip(SIDES, (1, -1), pose.arms, pose.legs, strict=True):

        def swing(parent: Frame, limb: FloatArray, sign: int = sign) -> FloatArray:
            return parent.rotation @ turn('xzy', -limb[0], sign * limb[1], sign * limb[2])

        upper = Frame(swing(chest, arm), chest.at(sign * 0.112 * width, 0.262, 0))
        fore = Frame(upper.rotation @ turn('x', -arm[3]), upper.at(0, -0.168 * limbs, 0))
        hand = Frame(fore.rotation @ turn('x', -12), fore.at(0, -0.148 * limbs, 0))
        thigh = Frame(swing(upright, leg), upright.at(sign * 0.06 * width, -0.005, 0))
        shin = Frame(thigh.rotation @ turn('x', leg[3]), thigh.at(0, -0.235 * limbs, 0))
        # The foot stays flat on the ground as far as an ankle allows.
        flat = turn('x', np.clip(leg[0] - leg[3], -40, 28))
        foot = Frame(shin.rotation @ flat, shin.at(0, -0.222 * limbs, 0))
        bones = zip(BONES, (upper, fore, hand, thigh, shin, foot), strict=True)
        frames.update({f'{side}_{name}': frame for name, frame in bones})

    ground = min(frames[f'{s}_foot'].at(0, -0.042, z)[1] for s in SIDES for z in (-0.02, 0.085))
    view, lift = np.eye(3) if camera is None else camera, np.array([0, ground, 0])
    frames = {n: Frame(view @ f.rotation, view @ (f.origin - lift)) for n, f in frames.items()}
    frames['ground'] = Frame(view, np.zeros(3))
    head, k = frames['head'], build.head
    joints = [head.at(0, -0.014 * k, 0.074 * k)]
    joints += [head.at(sign * 0.0225 * k, 0.009 * k, 0.058 * k) for sign in (1, -1)]
    joints += [head.at(sign * 0.056 * k, -0.004 * k, -0.004 * k) for sign in (1, -1)]
    joints += [frames[f'{side}_{bone}'].origin for bone in BONES for side in SIDES]
    return Body(frames, np.stack(joints), build, -0.06 * build.girth - ground if pose.seated else 0)
