"""A scene: people in a place, things in front of them, and labels true of the final picture.

Everything is drawn at twice the size of the picture (in subpixels) and then averaged, which smooths
all edges. All quadrangles of the scene are numbered, and one map holds the number that each
subpixel shows. Colours and labels are looked up by it, so a joint is visible exactly where the
picture shows the part that it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .background import Picture, muted, paint_background, smooth_noise
from .figure import JOINT_PARTS, dress, sample_outfit
from .mesh import Mesh, blob, tube
from .pose import FloatArray, Frame, pose_body, sample_build, sample_pose, turn

#: Subpixels per pixel, along each axis.
SUPERSAMPLING = 2
#: Subpixels around a joint within which its part has to show.
REACH = 2
#: Who stays in the scene has this many joints in view, and this share of them visible.
MIN_JOINTS, MIN_VISIBLE = 8, 0.5
FACE_JOINTS = 5  # nose, eyes and ears are COCO's first keypoints


@dataclass(frozen=True)
class Person:
    """The labels of one person, in image pixels; pixel centres have whole coordinates."""

    # (17, 3) x, y and visibility: 2 visible, 1 covered, 0 (with x = y = 0) outside of the image or,
    # for a joint of the face, on the far side of the head.
    keypoints: FloatArray
    mask: NDArray[np.bool_]  # (h, w), the pixels that show the person


@dataclass(frozen=True)
class Scene:
    """A finished picture with its labels."""

    image: Picture  # (h, w, 3) RGB
    people: tuple[Person, ...]  # from far to near
    owners: NDArray[np.uint8]  # (2h, 2w) subpixels: 0 nobody, i + 1 person i
    parts: NDArray[np.uint8]  # (2h, 2w) subpixels: which of `figure.PARTS` is seen


class _Thing(NamedTuple):
    """A person or an object whose ground point is at the subpixel (x, y)."""

    mesh: Mesh
    x: int
    y: int
    size: float  # subpixels per body height
    joints: FloatArray | None = None  # (17, 2) of a person, in subpixels


def make_scene(rng: np.random.Generator) -> Scene:
    """Draw a random scene with at least one person."""
    width, height = int(rng.integers(320, 401)), int(rng.integers(240, 301))
    shape = (height * SUPERSAMPLING, width * SUPERSAMPLING)
    horizon = int(shape[0] * rng.uniform(0.28, 0.5))
    things = _arrange(rng, shape, horizon)
    while True:
        ids, owners, parts = _compose(things, shape)
        bodies = [thing for thing in things if thing.joints is not None]
        people = [_label(b.joints, n, owners, parts) for n, b in enumerate(bodies, start=1)]
        unclear = [b for b, p in zip(bodies, people, strict=True) if not _recognisable(p)]
        if people and not unclear:
            break
        if unclear:  # One goes at a time: others may be seen without it.
            things = [thing for thing in things if thing is not unclear[0]]
        else:
            things = _arrange(rng, shape, horizon)
    canvas = paint_background(rng, shape[1], shape[0], horizon)
    shade = np.full(shape, 255, np.uint8)
    for thing in things:
        axes = (int(0.05 * thing.size), int(0.014 * thing.size))
        cv2.ellipse(shade, (thing.x, thing.y), axes, 0, 0, 360, 145, -1)
    soft = cv2.cvtColor(cv2.blur(shade, (27, 19)), cv2.COLOR_GRAY2BGR)
    canvas = cv2.multiply(canvas, soft, scale=1 / 255)
    drawn = ids > 0
    canvas[drawn] = np.concatenate([thing.mesh.colors for thing in things])[ids[drawn] - 1]
    return Scene(_photograph(rng, canvas), tuple(people), owners, parts)


def _arrange(rng: np.random.Generator, shape: tuple[int, int], horizon: int) -> list[_Thing]:
    """Place people and objects on the ground, sorted from far to near."""
    count = int(rng.choice([1, 2, 3, 4], p=[0.13, 0.32, 0.34, 0.21]))
    camera = turn('z', rng.normal(0, 2)) @ turn('x', rng.uniform(0, 9))
    light = np.array([rng.choice((-1, 1)) * rng.uniform(0.2, 0.8), *rng.uniform(0.4, 0.9, 2)])
    light, strength = light / np.linalg.norm(light), rng.uniform(0.4, 0.68)
    eye_level = (shape[0] - horizon) * rng.uniform(0.92, 1.12) / 440
    sizes = np.exp(rng.uniform(np.log(170), np.log(450), count))
    slots = rng.permutation(count) + rng.uniform(-0.15, 1.15, count)
    things = []
    for size, slot in zip(sizes.tolist(), slots.tolist(), strict=True):
        body = pose_body(sample_pose(rng), sample_build(rng), camera=camera)
        mesh = dress(body, sample_outfit(rng)).finish(light, strength)
        x, y = int(shape[1] * (0.04 + 0.92 * slot / count)), int(horizon + eye_level * size)
        joints = body.keypoints[:, :2] * (size, -size) + (x, y)
        things.append(_Thing(mesh, x, y, size, joints))
        if rng.random() < 0.28:
            mesh = _occluder(rng, camera).finish(light, strength)
            x, near = x + int(rng.normal(0, 0.16) * size), size * rng.uniform(1.02, 1.12)
            things.append(_Thing(mesh, x, int(horizon + eye_level * near), near))
    return sorted(things, key=lambda thing: thing.y)


def _occluder(rng: np.random.Generator, camera: FloatArray) -> Mesh:
    """Something that stands in front of people: a crate, a post or a bush."""
    mesh, color = Mesh(), muted(rng, 60, 220) / 255
    frame = Frame(camera @ turn('y', rng.uniform(-40, 40)), np.zeros(3))
    kind = rng.choice(['crate', 'post', 'bush'], p=[0.45, 0.2, 0.35])
    if kind == 'crate':
        w, h = rng.uniform(0.14, 0.32), rng.uniform(0.16, 0.4)
        planks = tube([(h, 0, 0), (h, w, 0.14), (0, w, 0.14)])
        mesh.add(frame, planks, lambda p: color * (1 - 0.2 * (p[:, 1:2] % 0.1 < 0.05)), 1, sides=4)
    elif kind == 'post':
        r = rng.uniform(0.018, 0.035)
        mesh.add(frame, tube([(rng.uniform(0.7, 1.2), r, r), (0, r, r)]), color, 1)
    else:
        green = np.array([0.3, 0.5, 0.25]) * rng.uniform(0.7, 1.3)
        for _ in range(10):
            leaves = blob(rng.uniform((-0.1, 0.08, -0.05), (0.1, 0.35, 0.05)), (0.08, 0.08, 0.08))
            mesh.add(frame, leaves, lambda p: green * rng.uniform(0.6, 1.3, (len(p), 1)), 1)
    return mesh


def _compose(
    things: list[_Thing], shape: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Three maps (2h, 2w): numbers of the quadrangles, 0 where there is none; owners and parts."""
    ids, parts, owners, number = np.zeros(shape, np.int32), [np.zeros(1)], [np.zeros(1)], 0
    for thing in things:
        thing.mesh.draw(ids, sum(map(len, parts)), (thing.x, thing.y), thing.size)
        number += thing.joints is not None
        parts.append(thing.mesh.parts)
        # The label of objects, and of what a person sits on, is 1.
        owners.append(number * (thing.mesh.parts > 1))
    owner, part = (np.concatenate(table).astype(np.uint8).take(ids) for table in (owners, parts))
    return ids, owner, part


def _label(
    joints: FloatArray, number: int, owners: NDArray[np.uint8], parts: NDArray[np.uint8]
) -> Person:
    """Flags, positions and mask of a person whose joints lie at these subpixels (17, 2)."""
    limits = np.array(owners.shape[::-1])
    keypoints = np.zeros((len(joints), 3))
    # The centre of the first image pixel lies between the first subpixels.
    pixels = (joints - 0.5 * (SUPERSAMPLING - 1)) / SUPERSAMPLING
    keypoints[:, :2] = np.round(np.clip(pixels, 0, limits // SUPERSAMPLING - 1), 1)
    for joint, (x, y) in enumerate(np.rint(joints).astype(int).tolist()):
        if 0 <= x < limits[0] and 0 <= y < limits[1]:
            near = np.s_[max(y - REACH, 0) : y + REACH + 1, max(x - REACH, 0) : x + REACH + 1]
            shown = set(parts[near][owners[near] == number].tolist())
            if not shown.isdisjoint(JOINT_PARTS[joint]):
                keypoints[joint, 2] = 2
            # Joints of the face on the far side of their own head stay 0: as in COCO, where
            # nobody can tell where they are.
            elif joint >= FACE_JOINTS or owners[y, x] != number:
                keypoints[joint, 2] = 1
    keypoints[keypoints[:, 2] == 0] = 0
    mine = cv2.compare(owners, number, cv2.CMP_EQ)
    small = cv2.resize(mine, limits // SUPERSAMPLING, interpolation=cv2.INTER_AREA)
    return Person(keypoints, small >= 128)


def _recognisable(person: Person) -> bool:
    """Whether so much of a person shows that the labels are no guess."""
    inside, seen = (np.count_nonzero(person.keypoints[:, 2] >= flag) for flag in (1, 2))
    return bool(inside >= MIN_JOINTS and seen >= MIN_VISIBLE * inside)


def _photograph(rng: np.random.Generator, canvas: Picture) -> Picture:
    """Turn the canvas into a photo: average subpixels, uneven light, a little blur and noise."""
    height, width = (n // SUPERSAMPLING for n in canvas.shape[:2])
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    sigma = rng.uniform(0, 0.85)
    if sigma > 0.3:
        small = cv2.GaussianBlur(small, (0, 0), sigma)
    across = np.linspace(-1, 1, width) * rng.normal(0, 0.07)
    down = np.linspace(-1, 1, height)[:, None] * rng.normal(0, 0.06)
    light = (rng.uniform(0.82, 1.12) + across + down).astype(np.float32)
    light *= 1 + 0.03 * smooth_noise(rng, (height, width), 4)
    image = np.asarray(small, np.float32) * light[..., None]
    image = 128 + (image - 128) * np.float32(rng.uniform(0.85, 1.1))
    image *= (1 + rng.normal(0, 0.025, 3)).astype(np.float32)
    image += rng.standard_normal((height, width, 1), np.float32) * np.float32(rng.uniform(0.5, 5))
    return np.clip(image, 0, 255).astype(np.uint8)
