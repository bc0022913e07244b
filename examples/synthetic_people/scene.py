"""A scene: people in a place, things in front of them, and labels true of the final picture.

Everything is composed at twice the size of the image (in subpixels) and then averaged, which
smooths all edges. Labels come from the composed maps, so a joint is visible exactly where the
picture shows the part that it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import FloatArray, pose_body, sample_build
from .background import paint_background
from .body import JOINT_PARTS, PARTS
from .layers import SUPERSAMPLING, Layer, cast_shadow, paste, photograph
from .occluders import sample_occluder
from .outfit import sample_outfit
from .painting import Picture
from .pose import sample_pose
from .render import Light, render_person

#: Subpixels around a joint within which its part has to show.
REACH = 2
#: A person stays in the scene with this share of the body and this many joints in view, this share
#: of them visible.
MIN_VIEW, MIN_JOINTS, MIN_VISIBLE = 0.4, 8, 0.5
FACE_JOINTS = 5  # nose, eyes and ears are COCO's first keypoints


@dataclass(frozen=True)
class Person:
    """The labels of one person, in image pixels; pixel centres have whole coordinates.

    Attributes:
        keypoints: (17, 3) x, y and visibility: 2 visible, 1 covered, 0 (with x = y = 0) outside of
            the image or, for a joint of the face, on the far side of the head.
        mask: (h, w) bool, the pixels that show the person.
    """

    keypoints: FloatArray
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """A finished picture with its labels.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        people: The people, from far to near.
        owners: (2h, 2w) uint8 subpixels: 0 nobody, i + 1 person i.
        parts: (2h, 2w) uint8 subpixels: which part of its owner (`body.PARTS`) is seen.
    """

    image: Picture
    people: tuple[Person, ...]
    owners: NDArray[np.uint8]
    parts: NDArray[np.uint8]


def make_scene(rng: np.random.Generator) -> Scene:
    """Draw a random scene with at least one person."""
    width, height = int(rng.integers(320, 401)), int(rng.integers(240, 301))
    shape = (height * SUPERSAMPLING, width * SUPERSAMPLING)
    horizon = int(shape[0] * rng.uniform(0.28, 0.5))
    light = _sample_light(rng)
    layers: list[Layer] = []
    while not any(layer.is_person for layer in layers):
        layers = _keep_recognisable(_arrange(rng, shape, horizon, light), shape)
    canvas = paint_background(rng, shape[1], shape[0], horizon)
    for layer in layers:
        cast_shadow(canvas, layer, light)
        paste(canvas, layer)
    owners, parts = _label_maps(layers, shape)
    image = photograph(rng, canvas)
    people = [layer for layer in layers if layer.is_person]
    labels = tuple(_label(layer, i + 1, owners, parts) for i, layer in enumerate(people))
    return Scene(image, labels, owners, parts)


def _sample_light(rng: np.random.Generator) -> Light:
    direction = np.array(
        [
            rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 0.8),
            rng.uniform(0.4, 0.9),
            rng.uniform(0.4, 0.9),
        ]
    )
    direction /= np.linalg.norm(direction)
    warmth, strength = rng.uniform(-0.06, 0.08), rng.uniform(0.4, 0.68)
    ambient = 1.12 - strength
    return Light(
        tuple(direction.tolist()),
        (strength * (1 + warmth), strength, strength * (1 - warmth)),
        (ambient * (1 - 0.5 * warmth), ambient, ambient * (1 + 0.5 * warmth)),
    )


def _arrange(
    rng: np.random.Generator, shape: tuple[int, int], horizon: int, light: Light
) -> list[Layer]:
    """Place people and objects on the ground, sorted from far to near."""
    count = int(rng.choice([1, 2, 3, 4], p=[0.13, 0.32, 0.34, 0.21]))
    pitch, roll = rng.uniform(0, 9), rng.normal(0, 2)
    eye_level = (shape[0] - horizon) * rng.uniform(0.92, 1.12) / 440
    sizes = np.sort(np.exp(rng.uniform(np.log(170), np.log(450), count)))
    slots = rng.permutation(count) + rng.uniform(-0.15, 1.15, count)
    layers = []
    for size, slot in zip(sizes, slots, strict=True):
        body = pose_body(sample_pose(rng), sample_build(rng), camera_pitch=pitch, camera_roll=roll)
        figure = render_person(body, sample_outfit(rng), float(size), light)
        x = int(shape[1] * (0.04 + 0.92 * slot / count))
        layers.append(Layer(figure, x, int(horizon + eye_level * size), True))
        if rng.random() < 0.28:
            thing = sample_occluder(rng, float(size))
            offset = int(rng.normal(0, 0.16) * size)
            nearer = float(size) * rng.uniform(1.02, 1.12)
            layers.append(Layer(thing, x + offset, int(horizon + eye_level * nearer), False))
    return sorted(layers, key=lambda layer: layer.y)


def _label_maps(
    layers: list[Layer], shape: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    owners, parts = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    number = 0
    for layer in layers:
        number += layer.is_person
        windows = layer.windows(shape)
        if windows is None:
            continue
        there, here = windows
        labels = layer.figure.parts[here]
        owner = np.where(labels == PARTS['prop'], 0, number if layer.is_person else 0).astype(
            np.uint8
        )
        np.copyto(owners[there], owner, where=labels > 0)
        np.copyto(parts[there], labels, where=labels > 0)
    return owners, parts


def _keep_recognisable(layers: list[Layer], shape: tuple[int, int]) -> list[Layer]:
    """Drop people of whom too little is in view, one by one, so that no label is a guess."""
    while True:
        owners, parts = _label_maps(layers, shape)
        number = 0
        for layer in layers:
            number += layer.is_person
            if layer.is_person and not _recognisable(layer, number, owners, parts):
                layers = [other for other in layers if other is not layer]
                break
        else:
            return layers


def _recognisable(
    layer: Layer, number: int, owners: NDArray[np.uint8], parts: NDArray[np.uint8]
) -> bool:
    body = np.count_nonzero(layer.figure.parts > PARTS['prop'])
    visibility = _visibility(layer, number, owners, parts)
    inside, seen = np.count_nonzero(visibility), np.count_nonzero(visibility == 2)
    view = np.count_nonzero(owners == number) / body
    return bool(view >= MIN_VIEW and inside >= MIN_JOINTS and seen >= MIN_VISIBLE * inside)


def _visibility(
    layer: Layer, number: int, owners: NDArray[np.uint8], parts: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """COCO's flags (17,): 2 if the joint's part shows within `REACH`, 1 if not, 0 if outside.

    Eyes, ears and noses on the far side of their own head are 0 too: as in COCO, where nobody can
    tell where they are.
    """
    height, width = owners.shape
    flags = np.zeros(len(JOINT_PARTS), np.int64)
    for joint, (x, y) in enumerate(np.round(layer.joints()).astype(int)):
        if not (0 <= x < width and 0 <= y < height):
            continue
        rows, cols = (
            slice(max(y - REACH, 0), y + REACH + 1),
            slice(max(x - REACH, 0), x + REACH + 1),
        )
        shown = set(parts[rows, cols][owners[rows, cols] == number].tolist())
        if not shown.isdisjoint(JOINT_PARTS[joint]):
            flags[joint] = 2
        elif joint >= FACE_JOINTS or owners[y, x] != number:
            flags[joint] = 1
    return flags


def _label(
    layer: Layer, number: int, owners: NDArray[np.uint8], parts: NDArray[np.uint8]
) -> Person:
    visibility = _visibility(layer, number, owners, parts)
    # The centre of the first image pixel lies between the first subpixels.
    joints = (layer.joints() - 0.5 * (SUPERSAMPLING - 1)) / SUPERSAMPLING
    height, width = (n // SUPERSAMPLING for n in owners.shape)
    pixels = np.round(np.clip(joints, 0, (width - 1, height - 1)), 1)
    keypoints = np.concatenate([pixels, visibility[:, None]], axis=1) * (visibility > 0)[:, None]
    mine = (owners == number).astype(np.float32)
    mask = cv2.resize(mine, (width, height), interpolation=cv2.INTER_AREA) >= 0.5
    return Person(keypoints, mask)
