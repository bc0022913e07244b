"""Things that stand in front of people: crates, posts, plants, tables, bins and signs."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from .painting import (
    Picture,
    block,
    capsule,
    foliage,
    muted,
    rectangle,
    rgb,
)
from .render import Figure

#: Joints that an object has not.
_NO_JOINTS = np.zeros((0, 2))
# Objects are painted on this colour, which then becomes transparent.
_KEY = (255, 0, 255)


def sample_occluder(rng: np.random.Generator, size: float) -> Figure:
    """Paint an object for the foreground.

    Args:
        rng: Source of randomness.
        size: Pixels per body height of a person who stands beside it.

    Returns:
        The object as a figure without joints; its parts are 1 where it is opaque.
    """
    height, width = int(1.3 * size), int(1.1 * size)
    picture: Picture = np.full((height, width, 3), _KEY, np.uint8)
    kinds = list(OCCLUDERS)
    base = height - 6
    OCCLUDERS[kinds[int(rng.choice(len(kinds), p=[OCCLUDERS[k][0] for k in kinds]))]][1](
        rng, picture, size, base
    )
    # Smooth edges mix with the key colour; whatever is still close to it is dropped.
    opaque = cv2.inRange(picture, (190, 0, 190), (255, 70, 255)) == 0
    rows, cols = np.flatnonzero(opaque.any(1)), np.flatnonzero(opaque.any(0))
    inside = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
    grain = 5 * rng.standard_normal((*opaque[inside].shape, 1), np.float32)
    colors = np.clip(picture[inside] + grain, 0, 255).astype(np.uint8)
    ground = (width // 2 - int(cols[0]), base - int(rows[0]))
    return Figure(colors, opaque[inside].astype(np.uint8), ground, _NO_JOINTS)


def _crate(rng: np.random.Generator, picture: Picture, size: float, base: int) -> None:
    w, h, color = size * rng.uniform(0.2, 0.42), size * rng.uniform(0.16, 0.4), muted(rng, 70, 210)
    x = picture.shape[1] / 2 - w / 2
    block(picture, (x, base - h, x + w, base), 0.12 * size, color)
    for y in np.arange(base - h + 0.08 * size, base, 0.09 * size):
        cv2.line(
            picture,
            (int(x), int(y)),
            (int(x + w), int(y)),
            rgb(color * np.float32(0.7)),
            2,
            cv2.LINE_AA,
        )


def _post(rng: np.random.Generator, picture: Picture, size: float, base: int) -> None:
    x, color = picture.shape[1] // 2, muted(rng, 50, 220)
    top = base - size * rng.uniform(0.7, 1.2)
    thick = size * rng.uniform(0.035, 0.07)
    capsule(picture, np.array([x, top]), np.array([x, base]), thick, color)
    if rng.random() < 0.4:
        half = 0.1 * size
        rectangle(picture, (x - half, top, x + half, top + 1.3 * half), muted(rng, 90, 240))


def _plant(rng: np.random.Generator, picture: Picture, size: float, base: int) -> None:
    x, w, h = picture.shape[1] / 2, size * rng.uniform(0.2, 0.36), size * rng.uniform(0.25, 0.5)
    green = np.array([75, 130, 65], np.float32) * np.float32(rng.uniform(0.7, 1.3))
    foliage(
        rng, picture, (x - w / 2, base - 0.13 * size - h, x + w / 2, base - 0.1 * size), 60, green
    )
    pot = muted(rng, 90, 210)
    rectangle(picture, (x - 0.07 * size, base - 0.15 * size, x + 0.07 * size, base), pot)
    rectangle(
        picture, (x - 0.085 * size, base - 0.17 * size, x + 0.085 * size, base - 0.13 * size), pot
    )


def _table(rng: np.random.Generator, picture: Picture, size: float, base: int) -> None:
    x, w, h = picture.shape[1] / 2, size * rng.uniform(0.4, 0.8), size * rng.uniform(0.3, 0.42)
    color = muted(rng, 80, 220)
    for leg in (-0.44, 0.4):
        rectangle(
            picture,
            (x + leg * w, base - h, x + leg * w + 0.03 * size, base),
            color * np.float32(0.8),
        )
    block(picture, (x - w / 2, base - h, x + w / 2, base - h + 0.045 * size), 0.1 * size, color)
    if rng.random() < 0.6:
        cup = x + w * rng.uniform(-0.3, 0.3)
        rectangle(
            picture,
            (cup, base - h - 0.1 * size, cup + 0.07 * size, base - h - 0.01 * size),
            muted(rng),
        )


def _bin(rng: np.random.Generator, picture: Picture, size: float, base: int) -> None:
    x, w, h, color = (
        picture.shape[1] / 2,
        size * 0.11,
        size * rng.uniform(0.25, 0.38),
        muted(rng, 60, 190),
    )
    rectangle(picture, (x - w, base - h, x + w, base), color)
    for i in (-0.5, 0.0, 0.5):
        rectangle(
            picture,
            (x + i * w - 2, base - 0.9 * h, x + i * w + 2, base - 0.1 * h),
            color * np.float32(0.75),
        )
    rectangle(
        picture,
        (x - 1.15 * w, base - h - 0.04 * size, x + 1.15 * w, base - h),
        color * np.float32(1.2),
    )


#: Kind of object -> (its share, its painter). The shares sum to 1.
OCCLUDERS: dict[str, tuple[float, Callable[[np.random.Generator, Picture, float, int], None]]] = {
    'crate': (0.3, _crate),
    'post': (0.2, _post),
    'plant': (0.25, _plant),
    'table': (0.13, _table),
    'bin': (0.12, _bin),
}
