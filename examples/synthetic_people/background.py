"""Cluttered places for the demo's people: rooms, streets, parks and plain clutter."""

from __future__ import annotations

import cv2
import numpy as np

from .painting import (
    Picture,
    block,
    capsule,
    foliage,
    muted,
    polygon,
    rectangle,
    rgb,
    smooth_noise,
    wash,
)
from .raster import Float32Array


def _color(r: float, g: float, b: float) -> Float32Array:
    return np.array([r, g, b], np.float32)


def paint_background(rng: np.random.Generator, width: int, height: int, horizon: int) -> Picture:
    """Paint an empty scene.

    Args:
        rng: Source of randomness.
        width: Width in pixels.
        height: Height in pixels.
        horizon: Row where the ground ends (outdoors) or meets the wall (indoors).

    Returns:
        (height, width, 3) uint8 RGB.
    """
    place = [_room, _street, _park, _abstract][int(rng.choice(4, p=[0.36, 0.27, 0.29, 0.08]))]
    picture = place(rng, width, height, horizon)
    _clutter(rng, picture, horizon)
    return picture


def _stack(
    rng: np.random.Generator, upper: Picture, width: int, height: int, ground: Float32Array
) -> Picture:
    lower = wash(
        rng, height - len(upper), width, ground * np.float32(0.82), ground * np.float32(1.08)
    )
    return np.ascontiguousarray(np.concatenate([upper, lower]))


def _room(rng: np.random.Generator, width: int, height: int, horizon: int) -> Picture:
    wall, floor = muted(rng, 120, 235), muted(rng, 60, 190)
    picture = _stack(
        rng, wash(rng, horizon, width, wall, wall * np.float32(0.9)), width, height, floor
    )
    if rng.random() < 0.4:
        step = int(rng.uniform(18, 50))
        stripe = picture[:horizon].reshape(horizon, width, 3)
        for x in range(int(rng.integers(step)), width, 2 * step):
            stripe[:, x : x + step] = np.clip(stripe[:, x : x + step] * np.float32(0.93), 0, 255)
    _floor_lines(rng, picture, horizon, floor)
    skirting = int(rng.uniform(6, 16))
    rectangle(
        picture,
        (0, horizon - skirting, width, horizon),
        wall * np.float32(0.7 if rng.random() < 0.5 else 1.15),
    )
    for _ in range(int(rng.integers(1, 4))):
        _wall_object(rng, picture, horizon)
    for _ in range(int(rng.integers(0, 3))):
        _furniture(rng, picture, horizon)
    return picture


def _floor_lines(
    rng: np.random.Generator, picture: Picture, horizon: int, floor: Float32Array
) -> None:
    """Boards or tiles that run towards a vanishing point above the horizon."""
    height, width = picture.shape[:2]
    vanishing = np.array([rng.uniform(0.2, 0.8) * width, horizon - rng.uniform(60, 200)])
    tone = rgb(floor * np.float32(rng.uniform(0.7, 0.9)))
    for x in np.arange(-width, 2 * width, rng.uniform(45, 120)):
        direction = np.array([x, height]) - vanishing
        start = vanishing + direction * (horizon - vanishing[1]) / (height - vanishing[1])
        cv2.line(picture, (int(start[0]), int(start[1])), (int(x), height), tone, 2, cv2.LINE_AA)
    if rng.random() < 0.5:
        y, step = float(horizon), rng.uniform(8, 20)
        while y < height:
            cv2.line(picture, (0, int(y)), (width, int(y)), tone, 2, cv2.LINE_AA)
            y, step = y + step, step * 1.35


def _wall_object(rng: np.random.Generator, picture: Picture, horizon: int) -> None:
    width = picture.shape[1]
    w, h = rng.uniform(60, 170), rng.uniform(60, 170)
    x, y = rng.uniform(-20, width - 40), rng.uniform(-20, max(horizon - h - 30, 10))
    kind = int(rng.integers(4))
    if kind == 0:  # A picture.
        rectangle(picture, (x, y, x + w, y + h), muted(rng, 40, 120))
        rectangle(picture, (x + 8, y + 8, x + w - 8, y + h - 8), muted(rng, 90, 240))
        for _ in range(4):
            points = np.array([x, y]) + 10 + rng.random((4, 2)) * (w - 20, h - 20)
            polygon(picture, points, muted(rng))
    elif kind == 1:  # A window.
        rectangle(picture, (x - 6, y - 6, x + w + 6, y + h + 6), _color(235, 232, 225))
        rectangle(
            picture, (x, y, x + w, y + h), _color(170, 205, 235) * np.float32(rng.uniform(0.6, 1.1))
        )
        rectangle(picture, (x + w / 2 - 3, y, x + w / 2 + 3, y + h), _color(235, 232, 225))
        rectangle(picture, (x, y + h / 2 - 3, x + w, y + h / 2 + 3), _color(235, 232, 225))
    elif kind == 2:  # A door.
        wide, tall = rng.uniform(80, 120), rng.uniform(0.6, 0.9) * horizon
        rectangle(picture, (x, horizon - tall, x + wide, horizon), muted(rng, 70, 200))
        rectangle(
            picture,
            (x + 14, horizon - tall + 16, x + wide - 14, horizon - tall / 2),
            muted(rng, 70, 200),
        )
        cv2.circle(
            picture,
            (int(x + wide - 12), int(horizon - tall * 0.45)),
            5,
            (210, 190, 120),
            -1,
            cv2.LINE_AA,
        )
    else:  # Shelves with books.
        back = muted(rng, 60, 130)
        rectangle(picture, (x, y, x + w, y + h), back)
        for shelf in range(2):
            at, bottom = x + 4, y + h * (shelf + 1) / 2 - 4
            while at < x + w - 14:
                thick, tall = rng.uniform(6, 15), h * rng.uniform(0.25, 0.42)
                rectangle(picture, (at, bottom - tall, at + thick, bottom), muted(rng, 60, 220))
                at += thick + 1


def _furniture(rng: np.random.Generator, picture: Picture, horizon: int) -> None:
    height, width = picture.shape[:2]
    base = horizon + rng.uniform(4, 0.3 * (height - horizon) + 6)
    x, color = rng.uniform(-40, width - 40), muted(rng, 60, 200)
    w, h = rng.uniform(80, 220), rng.uniform(50, 130)
    if rng.random() < 0.5:
        block(picture, (x, base - h, x + w, base), rng.uniform(12, 40), color)
        for i in range(int(rng.integers(1, 4))):
            y = base - h + 8 + i * h / 3
            rectangle(picture, (x + 8, y, x + w - 8, y + h / 3 - 10), color * np.float32(0.92))
    else:  # A sofa.
        rectangle(picture, (x, base - h, x + w, base - 0.3 * h), color)
        rectangle(picture, (x - 12, base - 0.5 * h, x + w + 12, base - 8), color * np.float32(1.08))
        rectangle(picture, (x - 18, base - 0.65 * h, x, base), color * np.float32(0.9))
        rectangle(picture, (x + w, base - 0.65 * h, x + w + 18, base), color * np.float32(0.9))


def _sky(rng: np.random.Generator, width: int, horizon: int) -> Picture:
    blue = _color(120, 165, 220) if rng.random() < 0.6 else muted(rng, 150, 220)
    picture = wash(rng, horizon, width, blue, np.minimum(blue * np.float32(1.25) + 25, 245))
    clouds = smooth_noise(rng, horizon // 2 + 1, width // 2 + 1, float(rng.uniform(20, 55)))
    amount = cv2.resize(np.clip((clouds - 0.4) * 0.6, 0, 0.8), (width, horizon))[..., None]
    return np.clip(picture * (1 - amount) + 246 * amount, 0, 255).astype(np.uint8)


def _street(rng: np.random.Generator, width: int, height: int, horizon: int) -> Picture:
    ground = _color(1, 1, 1) * np.float32(rng.uniform(95, 165)) + _color(*rng.normal(0, 6, 3))
    picture = _stack(rng, _sky(rng, width, horizon), width, height, ground)
    x = -rng.uniform(0, 60)
    while x < width:
        wide, tall = rng.uniform(90, 240), horizon * rng.uniform(0.45, 1.15)
        color, glass = muted(rng, 80, 215), muted(rng, 40, 130)
        rectangle(picture, (x, horizon - tall, x + wide, horizon), color)
        columns, rows = int(rng.integers(2, 6)), int(rng.integers(2, 6))
        for i in range(columns):
            for j in range(rows):
                left, top = x + wide * (i + 0.25) / columns, horizon - tall * (j + 0.75) / rows
                lit = glass * np.float32(rng.uniform(0.8, 1.5))
                rectangle(
                    picture,
                    (left, top, left + 0.5 * wide / columns, top + 0.5 * tall / rows),
                    lit,
                    outline=0.6,
                )
        x += wide + float(rng.choice([0.0, rng.uniform(5, 60)]))
    _floor_lines(rng, picture, horizon, ground)
    for _ in range(int(rng.integers(0, 3))):
        pole, top = rng.uniform(0, width), horizon - rng.uniform(80, 260)
        capsule(
            picture,
            np.array([pole, top]),
            np.array([pole, horizon + 10]),
            rng.uniform(5, 10),
            muted(rng, 40, 110),
        )
        rectangle(picture, (pole - 20, top - 14, pole + 20, top + 10), muted(rng, 60, 220))
    return picture


def _park(rng: np.random.Generator, width: int, height: int, horizon: int) -> Picture:
    grass = _color(95, 135, 65) * np.float32(rng.uniform(0.7, 1.25)) + _color(*rng.normal(0, 10, 3))
    picture = _stack(rng, _sky(rng, width, horizon), width, height, grass)
    xs = np.linspace(0, width, 30)
    for i in range(int(rng.integers(1, 3))):
        ridge = (
            horizon
            - rng.uniform(20, 90)
            - 22 * np.sin(xs / rng.uniform(50, 200) + rng.uniform(0, 6))
        )
        hill = np.concatenate([np.stack([xs, ridge], 1), [[width, horizon], [0, horizon]]])
        polygon(picture, hill, grass * np.float32(0.75 - 0.15 * i) + 18)
    blades = rng.random((220, 2)) * (width, height - horizon) + (0, horizon)
    for x, y in blades.astype(int).tolist():
        tone = rgb(grass * np.float32(rng.uniform(0.75, 1.3)))
        cv2.line(
            picture,
            (x, y),
            (x + int(rng.integers(-4, 5)), y - 3 - (y - horizon) // 30),
            tone,
            1,
            cv2.LINE_AA,
        )
    if rng.random() < 0.5:  # A path.
        a, b = rng.uniform(0, width, 2)
        points = np.array([[a, horizon], [a + 40, horizon], [b + 320, height], [b - 120, height]])
        polygon(picture, points, _color(190, 175, 145) * np.float32(rng.uniform(0.8, 1.1)))
    for _ in range(int(rng.integers(1, 5))):
        x, base, size = rng.uniform(0, width), horizon + rng.uniform(-6, 22), rng.uniform(60, 170)
        trunk = _color(95, 70, 50) * np.float32(rng.uniform(0.7, 1.2))
        capsule(picture, np.array([x, base - size]), np.array([x, base]), size * 0.11, trunk)
        green = _color(80, 125, 60) * np.float32(rng.uniform(0.7, 1.3)) + _color(
            *rng.normal(0, 15, 3)
        )
        foliage(
            rng,
            picture,
            (x - 0.5 * size, base - 1.75 * size, x + 0.5 * size, base - 0.6 * size),
            90,
            green,
        )
    if rng.random() < 0.35:  # A fence.
        color, top = muted(rng, 90, 230), horizon - rng.uniform(14, 50)
        for x in range(0, width, int(rng.uniform(18, 44))):
            rectangle(picture, (x, top, x + 7, horizon + 8), color)
        rectangle(picture, (0, top + 8, width, top + 14), color)
    return picture


def _abstract(rng: np.random.Generator, width: int, height: int, horizon: int) -> Picture:
    picture = wash(rng, height, width, muted(rng), muted(rng))
    lumps = smooth_noise(rng, height, width, float(rng.uniform(15, 60)))
    picture[lumps > 0.7] = muted(rng)
    for _ in range(int(rng.integers(6, 16))):
        centre = rng.random(2) * (width, height)
        polygon(
            picture,
            centre + rng.normal(0, rng.uniform(15, 70), (int(rng.integers(3, 6)), 2)),
            muted(rng),
        )
    return picture


def _clutter(rng: np.random.Generator, picture: Picture, horizon: int) -> None:
    """Things that are easily mistaken for limbs and heads: bars, balls, boxes."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(1, 5))):
        # Bars lie on the ground or lean against something; far ones are small.
        x, y = rng.uniform(0, width), rng.uniform(horizon, height)
        near = 0.4 + 0.6 * (y - horizon) / (height - horizon)
        reach = (
            np.array([rng.normal(0, 70), -abs(rng.normal(0, 45 if rng.random() < 0.4 else 8))])
            * near
        )
        color = (
            _color(200, 160, 130) * np.float32(rng.uniform(0.4, 1.2))
            if rng.random() < 0.4
            else muted(rng)
        )
        capsule(
            picture, np.array([x, y]), np.array([x, y]) + reach, rng.uniform(7, 22) * near, color
        )
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(0, width), rng.uniform(horizon, height)
        color, radius = muted(rng), int(rng.uniform(7, 22))
        cv2.circle(picture, (int(x), int(y)), radius, rgb(color), -1, cv2.LINE_AA)
        shine = (int(x - radius * 0.3), int(y - radius * 0.35))
        cv2.circle(picture, shine, radius // 3, rgb(color * np.float32(1.2)), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 3))):
        x, y, w, h = (
            rng.uniform(0, width),
            rng.uniform(horizon, height),
            rng.uniform(20, 70),
            rng.uniform(20, 60),
        )
        block(picture, (x, y - h, x + w, y), rng.uniform(6, 20), muted(rng))
