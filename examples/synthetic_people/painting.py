"""Brushes for places and objects. Pictures are (h, w, 3) uint8 RGB and are painted in place."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .raster import Float32Array

Picture = NDArray[np.uint8]
Box = tuple[float, float, float, float]


def muted(rng: np.random.Generator, low: float = 50, high: float = 225) -> Float32Array:
    """A random colour (3,), mostly of low saturation, RGB in 0..255."""
    grey = rng.uniform(low, high)
    return np.clip(grey + rng.normal(0, 1, 3) * rng.choice([7.0, 18.0, 32.0]), 5, 250).astype(
        np.float32
    )


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> Float32Array:
    """Lumpy noise (height, width) of deviation about 1, with lumps of `cell` pixels."""
    grid = rng.normal(size=(int(height / cell) + 4, int(width / cell) + 4)).astype(np.float32)
    large = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.float32)[:height, :width]


def wash(
    rng: np.random.Generator, height: int, width: int, top: Float32Array, bottom: Float32Array
) -> Picture:
    """A vertical gradient with stains and grain, (height, width, 3)."""
    # Painted at half the size: it has no edges that would show it.
    rows, cols = (height + 1) // 2, (width + 1) // 2
    ramp = np.linspace(0, 1, max(rows, 1), dtype=np.float32)[:, None, None]
    stains = smooth_noise(rng, rows, cols, float(rng.uniform(13, 45)))
    fine = smooth_noise(rng, rows, cols, float(rng.uniform(2, 4)))
    tone = stains * np.float32(rng.uniform(2, 8)) + fine * np.float32(rng.uniform(1, 5))
    small = np.clip(top + ramp * (bottom - top) + tone[..., None], 0, 255).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )


def rectangle(picture: Picture, box: Box, color: Float32Array, *, outline: float = 0.75) -> None:
    """Fill the box (x0, y0, x1, y1), lit from above, with a darker outline."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (round(v) for v in box)
    c0, r0, c1, r1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if c0 >= c1 or r0 >= r1:
        return
    ramp = np.linspace(1.06, 0.84, r1 - r0, dtype=np.float32)[:, None, None]
    picture[r0:r1, c0:c1] = np.clip(ramp * color, 0, 255)
    if outline < 1:
        cv2.rectangle(picture, (x0, y0), (x1, y1), rgb(color * np.float32(outline)), 2, cv2.LINE_AA)


def rgb(color: Float32Array) -> tuple[float, float, float]:
    """A colour as OpenCV wants it."""
    r, g, b = (min(max(c, 0.0), 255.0) for c in color.tolist())
    return (r, g, b)


def block(picture: Picture, box: Box, depth: float, color: Float32Array) -> None:
    """Draw a box in space: its front (x0, y0, x1, y1), a lighter top and a darker right side."""
    x0, y0, x1, y1 = box
    dx, dy = depth, -0.5 * depth
    top = np.array([[x0, y0], [x1, y0], [x1 + dx, y0 + dy], [x0 + dx, y0 + dy]])
    side = np.array([[x1, y0], [x1 + dx, y0 + dy], [x1 + dx, y1 + dy], [x1, y1]])
    polygon(picture, top, color * np.float32(1.18))
    polygon(picture, side, color * np.float32(0.68))
    rectangle(picture, box, color)


def polygon(picture: Picture, points: np.ndarray, color: Float32Array) -> None:
    """Fill a convex or concave polygon (n, 2) with smooth edges."""
    cv2.fillPoly(
        picture, [np.round(points * 16).astype(np.int32)], rgb(color), cv2.LINE_AA, shift=4
    )


def capsule(
    picture: Picture, start: np.ndarray, end: np.ndarray, width: float, color: Float32Array
) -> None:
    """Draw a limb-like bar with a highlight along it."""
    a, b = (tuple(int(v) for v in p) for p in (start, end))
    cv2.line(picture, a, b, rgb(color * np.float32(0.8)), max(int(width), 1), cv2.LINE_AA)
    cv2.line(picture, a, b, rgb(color), max(int(width * 0.6), 1), cv2.LINE_AA)
    cv2.line(picture, a, b, rgb(color * np.float32(1.12)), max(int(width * 0.2), 1), cv2.LINE_AA)


def foliage(
    rng: np.random.Generator, picture: Picture, box: Box, leaves: int, color: Float32Array
) -> None:
    """Fill a box (x0, y0, x1, y1) with leaves, dark ones behind, light ones in front."""
    x0, y0, x1, y1 = box
    size = 0.5 * (x1 - x0 + y1 - y0)
    angle, radius = rng.uniform(0, 2 * np.pi, leaves), np.sqrt(rng.random(leaves))
    xs = 0.5 * (x0 + x1) + 0.5 * (x1 - x0) * radius * np.cos(angle)
    ys = 0.5 * (y0 + y1) + 0.5 * (y1 - y0) * radius * np.sin(angle)
    axes = rng.uniform(0.05, 0.13, (leaves, 2)) * size
    for i in range(leaves):
        tone = color * np.float32(0.55 + 0.6 * i / leaves + rng.normal(0, 0.06))
        centre, axis = (int(xs[i]), int(ys[i])), (int(axes[i, 0]) + 1, int(0.5 * axes[i, 1]) + 1)
        cv2.ellipse(
            picture, centre, axis, float(rng.uniform(0, 180)), 0, 360, rgb(tone), -1, cv2.LINE_AA
        )
