"""Cluttered places for people to stand in. Pictures are (h, w, 3) uint8 RGB, painted in place."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Color = NDArray[np.float64]


def paint_background(rng: np.random.Generator, width: int, height: int, horizon: int) -> Picture:
    """Paint an empty scene, indoors or outdoors, whose ground ends at the row `horizon`."""
    outdoors = rng.random() < 0.6
    upper, ground = muted(rng, 120, 235), muted(rng, 60, 190)
    ground += 0.5 * (ground.mean() - ground)
    if outdoors:
        upper = np.array([150, 185, 225]) * rng.uniform(0.6, 1.1) + rng.normal(0, 15, 3)
        if rng.random() < 0.5:
            ground = np.array([95, 135, 65]) * rng.uniform(0.7, 1.25) + rng.normal(0, 10, 3)
    picture = np.vstack(
        [_wash(rng, horizon, width, upper), _wash(rng, height - horizon, width, ground)]
    )
    for _ in range(rng.integers(2, 7)):
        w, h = rng.uniform(60, 220), rng.uniform(50, 0.95 * horizon)
        hangs = not outdoors and rng.random() < 0.6  # on the wall
        y = rng.uniform(0, horizon - h) if hangs else horizon - h
        _front(rng, picture, (rng.uniform(-40, width - 40), y, w, h))
    for _ in range(rng.integers(0, 4) if outdoors else 0):
        _tree(rng, picture, rng.uniform(0, width), horizon + rng.uniform(-6, 22))
    _floor_lines(rng, picture, horizon, 0.8 * ground)
    _clutter(rng, picture, horizon)
    return picture


def muted(rng: np.random.Generator, low: float = 50, high: float = 225) -> Color:
    """A random colour (3,), mostly of low saturation, RGB in 0..255."""
    return np.clip(rng.uniform(low, high) + rng.normal(0, rng.choice([7, 18, 32]), 3), 5, 250)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> NDArray:
    """Lumpy noise (h, w) of deviation about 1, with lumps of `cell` pixels."""
    grid = rng.standard_normal((int(shape[0] / cell) + 2, int(shape[1] / cell) + 2), np.float32)
    large = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    return large[: shape[0], : shape[1]]


def _wash(rng: np.random.Generator, height: int, width: int, color: Color) -> Picture:
    """A vertical gradient with stains."""
    shape = ((height + 1) // 2, (width + 1) // 2)  # of half the size: there are no edges to show it
    ramp = np.linspace(*rng.uniform(0.82, 1.12, 2), shape[0], dtype=np.float32)[:, None, None]
    stains = smooth_noise(rng, shape, rng.uniform(13, 45)) * np.float32(rng.uniform(2, 6))
    stains += smooth_noise(rng, shape, rng.uniform(2, 4)) * np.float32(rng.uniform(1, 3.5))
    small = np.clip(ramp * color.astype(np.float32) + stains[..., None], 0, 255).astype(np.uint8)
    return cv2.resize(small, (width, height))


def _rectangle(picture: Picture, x: float, y: float, w: float, h: float, color: Color) -> None:
    corners = (int(x), int(y)), (int(x + w), int(y + h))
    cv2.rectangle(picture, *corners, color.tolist(), -1)
    cv2.rectangle(picture, *corners, (0.72 * color).tolist(), 2)


def _front(rng: np.random.Generator, picture: Picture, box: tuple[float, ...]) -> None:
    """A house, a shelf, a window or a picture: a rectangle that is divided into smaller ones."""
    x, y, w, h = box
    _rectangle(picture, *box, muted(rng, 70, 215))
    pane, columns, rows = muted(rng, 40, 200), rng.integers(1, 6), rng.integers(1, 6)
    share, same = rng.uniform(0.4, 0.85), rng.random() < 0.6
    wide, tall = w / columns, h / rows
    for left in x + wide * (np.arange(columns) + 0.5 - share / 2):
        for top in y + tall * (np.arange(rows) + 0.5 - share / 2):
            color = np.minimum(pane * rng.uniform(0.8, 1.3), 250) if same else muted(rng)
            _rectangle(picture, left, top, share * wide, share * tall, color)


def _tree(rng: np.random.Generator, picture: Picture, x: float, base: float) -> None:
    size, trunk = rng.uniform(60, 170), np.array([95, 70, 50]) * rng.uniform(0.7, 1.2)
    _rectangle(picture, x - 0.05 * size, base - size, 0.1 * size, size, trunk)
    green = np.array([80, 125, 60]) * rng.uniform(0.6, 1.3) + rng.normal(0, 15, 3)
    axes = (int(0.12 * size), int(0.06 * size))
    for i, (dx, dy) in enumerate(rng.normal(0, 0.2, (50, 2)) * size):
        centre, tone = (int(x + dx), int(base - 1.2 * size + dy)), (green * (0.6 + 0.012 * i))
        cv2.ellipse(picture, centre, axes, rng.uniform(0, 180), 0, 360, tone.tolist(), -1)


def _floor_lines(rng: np.random.Generator, picture: Picture, horizon: int, color: Color) -> None:
    """Boards or tiles that run towards a vanishing point above the horizon."""
    height, width = picture.shape[:2]
    middle, above = rng.uniform(0.2, 0.8) * width, horizon - rng.uniform(60, 200)
    share = (horizon - above) / (height - above)
    for x in np.arange(-width, 2 * width, rng.uniform(45, 120)):
        start = (int(middle + share * (x - middle)), horizon)
        cv2.line(picture, start, (int(x), height), color.tolist(), 2)
    y, step = float(horizon), rng.uniform(8, 20) if rng.random() < 0.5 else np.inf
    while y < height:
        cv2.line(picture, (0, int(y)), (width, int(y)), color.tolist(), 2)
        y, step = y + step, step * 1.35


def _clutter(rng: np.random.Generator, picture: Picture, horizon: int) -> None:
    """Bars and balls, which are easily mistaken for limbs and heads."""
    height, width = picture.shape[:2]
    for _ in range(rng.integers(2, 8)):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(horizon, height))
        near = 0.4 + 0.6 * (y - horizon) / (height - horizon)
        color = muted(rng)
        if rng.random() < 0.3:  # as light as skin
            color = np.array([200, 160, 130]) * rng.uniform(0.4, 1.2)
        reach, thick = (near * rng.normal(0, (70, 30))).astype(int).tolist(), int(16 * near)
        if rng.random() < 0.4:
            reach, thick = (0, 0), int(rng.uniform(20, 48) * near)
        for tone, width_of_it in ((0.8, thick), (1.0, max(int(0.6 * thick), 1))):
            end = (x + reach[0], y - abs(reach[1]))
            cv2.line(picture, (x, y), end, (tone * color).tolist(), width_of_it)
