"""Colours of surfaces, from positions in the frame of a bone: cloth, faces, hair and shoes.

Letters: N surface points. Positions are (N, 3) in body heights, in the bone's frame; colours are
    (N, 3) RGB in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from .outfit import Color, Fabric, Outfit
from .raster import Float32Array

_TILE = 128


@lru_cache(maxsize=8)
def noise_tile(cells: int) -> Float32Array:
    """A seamless (128, 128) tile of noise with `cells` lumps per side, mean 0 and deviation 1."""
    grid = np.random.default_rng(cells).normal(size=(cells, cells)).astype(np.float32)
    margin = 3
    padded = np.pad(grid, margin, mode='wrap')
    size = _TILE * (cells + 2 * margin) // cells
    large = cv2.resize(padded, (size, size), interpolation=cv2.INTER_CUBIC)
    cut = margin * _TILE // cells
    tile = large[cut : cut + _TILE, cut : cut + _TILE]
    return (tile - tile.mean()) / tile.std()


def wrinkles(points: Float32Array, cells: int, scale: float) -> Float32Array:
    """Smooth noise (N,) that clings to a surface; a tile is `scale` body heights long."""
    around = np.arctan2(points[:, 0], points[:, 2]) * np.float32(_TILE / (2 * np.pi))
    along = points[:, 1] * np.float32(_TILE / scale)
    return noise_tile(cells)[
        along.astype(np.int32) & (_TILE - 1), around.astype(np.int32) & (_TILE - 1)
    ]


def _full(color: Color, count: int) -> Float32Array:
    return np.broadcast_to(np.array(color, np.float32), (count, 3)).copy()


def fabric(cloth: Fabric, points: Float32Array, *, trunk: bool) -> Float32Array:
    """Colours of a cloth; on the trunk patterns run straight across, on limbs around the bone."""
    count, period = len(points), np.float32(cloth.period)
    x = points[:, 0] if trunk else np.arctan2(points[:, 0], points[:, 2]) * np.float32(0.035)
    u, v = x / period, points[:, 1] / period
    mix: Float32Array
    if cloth.pattern == 'stripes':
        mix = ((v % 1) < 0.45).astype(np.float32)
    elif cloth.pattern == 'pinstripes':
        mix = ((u * 2 % 1) < 0.3).astype(np.float32)
    elif cloth.pattern == 'checks':
        mix = 0.5 * ((u % 1) < 0.5).astype(np.float32) + 0.5 * ((v % 1) < 0.5).astype(np.float32)
    elif cloth.pattern == 'dots':
        shift = 0.5 * (np.floor(v) % 2)
        mix = ((((u + shift) % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2) < 0.09).astype(np.float32)
    elif cloth.pattern == 'speckle':
        mix = np.clip(0.5 + 0.4 * wrinkles(points, 32, 0.25), 0, 1) * np.float32(0.8)
    elif cloth.pattern == 'blocks':
        mix = (points[:, 1] > (0.14 if trunk else -0.09)).astype(np.float32)
    elif cloth.pattern == 'side stripe' and not trunk:
        mix = (np.abs(points[:, 2]) < 0.012).astype(np.float32)
    else:
        mix = np.zeros(count, np.float32)
    main, second = np.array(cloth.main, np.float32), np.array(cloth.second, np.float32)
    return main + mix[:, None] * (second - main)


def _paint(
    colors: Float32Array, where: np.ndarray, color: Color | Float32Array, strength: float = 1.0
) -> None:
    colors[where] += np.float32(strength) * (np.asarray(color, np.float32) - colors[where])


def chest_colors(outfit: Outfit, points: Float32Array, *, detail: bool) -> Float32Array:
    """Colours of the top on the trunk; a collar and a detail tell the front from the back."""
    colors = fabric(outfit.top, points, trunk=True)
    if not detail:
        return colors
    x, y, front = np.abs(points[:, 0]), points[:, 1], points[:, 2] > 0.012
    accent = outfit.accent
    style = outfit.front
    if style == 'jacket':
        _paint(colors, front & (x < 0.03 + 0.05 * (0.2 - y)), accent)
        _paint(
            colors, front & (np.abs(x - 0.034 - 0.05 * (0.2 - y)) < 0.005), (0.08, 0.08, 0.1), 0.7
        )
    elif style == 'buttons':
        _paint(colors, front & (x < 0.012), (1, 1, 1), 0.25)
        _paint(
            colors, front & (x**2 + ((y % 0.045) - 0.022) ** 2 < 0.006**2), (0.08, 0.07, 0.07), 0.9
        )
    elif style == 'zip':
        _paint(colors, front & (x < 0.005), (0.1, 0.1, 0.12), 0.8)
    elif style == 'logo':
        _paint(colors, front & (x**2 + (y - 0.165) ** 2 < 0.04**2), accent)
        _paint(colors, front & (x < 0.022) & (np.abs(y - 0.165) < 0.008), outfit.top.main)
    elif style == 'pocket':
        _paint(
            colors,
            front & (np.abs(points[:, 0] - 0.05) < 0.023) & (np.abs(y - 0.185) < 0.025),
            accent,
            0.8,
        )
    elif style == 'tie':
        _paint(colors, front & (x < 0.009 + 0.04 * (0.25 - y)) & (y > 0.05), accent)
    elif style == 'band':
        _paint(colors, front & (np.abs(y - 0.16) < 0.022), accent)
    neckline = front & (
        x < 0.75 * (y - (0.222 if style in ('jacket', 'buttons', 'tie') else 0.245))
    )
    _paint(colors, neckline, (0.95, 0.95, 0.95) if style == 'tie' else outfit.skin)
    if outfit.backpack is not None:
        _paint(colors, front & (np.abs(x - 0.068) < 0.013) & (y > 0.1), outfit.backpack)
    return colors


def hip_colors(outfit: Outfit, points: Float32Array) -> Float32Array:
    """Colours of trousers or skirt at the pelvis: a fly, pockets behind, perhaps a belt."""
    colors = fabric(outfit.bottom, points, trunk=True)
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    if not outfit.skirt:
        _paint(colors, (z > 0) & (x < 0.003) & (y < 0.03), (0, 0, 0), 0.35)
        _paint(
            colors,
            (z < 0) & (np.abs(x - 0.045) < 0.022) & (np.abs(y + 0.012) < 0.022),
            (0, 0, 0),
            0.28,
        )
    if outfit.belt is not None:
        belt = np.abs(y - 0.036) < 0.011
        _paint(colors, belt, outfit.belt)
        _paint(colors, belt & (z > 0) & (x < 0.012), (0.85, 0.75, 0.45))
    return colors


def head_colors(outfit: Outfit, points: Float32Array, size: float) -> Float32Array:
    """Colours of the bare head: eyes, brows, mouth, cheeks, perhaps a beard or glasses."""
    colors = _full(outfit.skin, len(points))
    p = points / np.float32(size)
    x, y, front = np.abs(p[:, 0]), p[:, 1], p[:, 2] > 0.01
    cheek = np.exp(-((x - 0.03) ** 2 + (y + 0.02) ** 2) / 0.012**2)
    colors += (front * cheek)[:, None] * np.array([0.05, -0.04, -0.03], np.float32)
    dark = np.array(outfit.skin, np.float32) * np.float32(0.45)
    if outfit.beard:
        _paint(colors, (y < -0.026) & (p[:, 2] > -0.02), outfit.hair, 0.85)
    _paint(
        colors,
        front & (((x / 0.018) ** 2 + ((y + 0.042 - 14 * x**2) / 0.0045) ** 2) < 1),
        (0.62, 0.22, 0.22),
        0.9,
    )
    _paint(
        colors,
        front & (((x - 0.0225) / 0.0115) ** 2 + ((y - 0.009) / 0.0078) ** 2 < 1),
        (0.97, 0.97, 0.95),
    )
    _paint(
        colors,
        front & (((x - 0.0225) / 0.0062) ** 2 + ((y - 0.009) / 0.0074) ** 2 < 1),
        (0.1, 0.07, 0.05),
    )
    brow = (np.abs(x - 0.0235) < 0.0125) & (np.abs(y - 0.0235 + 0.15 * np.abs(x - 0.022)) < 0.0032)
    _paint(colors, front & brow, np.minimum(dark, np.array(outfit.hair, np.float32)), 0.9)
    if outfit.glasses:
        ring = ((x - 0.0225) / 0.018) ** 2 + ((y - 0.007) / 0.015) ** 2
        _paint(colors, front & (ring > 0.68) & (ring < 1.1), (0.06, 0.06, 0.08))
        _paint(colors, front & (x < 0.006) & (np.abs(y - 0.01) < 0.0025), (0.06, 0.06, 0.08))
    if outfit.hair_style == 'bald':
        _paint(colors, (0.75 * y - 0.66 * p[:, 2]) > 0.02, outfit.hair, 0.3)
    return colors


def is_eye(points: Float32Array, size: float) -> np.ndarray:
    """Which points (N,) of the bare head belong to the eyes."""
    p = points / np.float32(size)
    ring = ((np.abs(p[:, 0]) - 0.0225) / 0.0125) ** 2 + ((p[:, 1] - 0.009) / 0.0095) ** 2
    return (ring < 1) & (p[:, 2] > 0.01)


def hair_colors(outfit: Outfit, points: Float32Array) -> Float32Array:
    """Colours of hair: strands that run down the head."""
    strands = wrinkles(points * np.array([1, 0.15, 1], np.float32), 64, 0.3) * np.float32(0.13) + 1
    return _full(outfit.hair, len(points)) * strands[:, None]


#: Material -> colours of a surface, given (outfit, points, is this the trunk, size of the head).
MATERIALS: dict[str, Callable[[Outfit, Float32Array, str, float], Float32Array]] = {
    'skin': lambda o, p, bone, k: _full(o.skin, len(p)),
    'head': lambda o, p, bone, k: head_colors(o, p, k),
    'hair': lambda o, p, bone, k: hair_colors(o, p),
    'hat': lambda o, p, bone, k: _full(o.hat_color, len(p)),
    'top': lambda o, p, bone, k: (
        chest_colors(o, p, detail=True) if bone == 'trunk' else fabric(o.top, p, trunk=False)
    ),
    'bottom': lambda o, p, bone, k: (
        hip_colors(o, p) if bone == 'trunk' else fabric(o.bottom, p, trunk=False)
    ),
    'shoe': lambda o, p, bone, k: _full(o.shoes, len(p)),
    'sole': lambda o, p, bone, k: _full(o.sole, len(p)),
    'backpack': lambda o, p, bone, k: _full(o.backpack or o.accent, len(p)),
    'seat': lambda o, p, bone, k: fabric(
        Fabric('stripes', o.accent, (0.9, 0.87, 0.8), 0.12), p, trunk=False
    ),
}
