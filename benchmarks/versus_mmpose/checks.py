"""Whether both sides give the same: without that no time is taken.

Shapes: B batch, K keypoints, H and W heatmap size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from mspn.errors import InputError

PIXELS = 0.05
"""Largest difference of a keypoint, in pixels of the network's input."""

_HEATMAPS = 2e-3  # of the range: a random network multiplies the rounding of another order of sums
_CLEAR = 3 * _HEATMAPS  # by how much a peak must stand out for such differences not to move it
_BLUR = (5, 5)  # with which both sides decode


class CheckFailed(InputError):
    """The two sides disagree; the message says where and by how much."""

    def __init__(self, message: str) -> None:
        super().__init__(f'{message}; nothing was timed')


def same_numbers(what: str, stock: Any, ours: Any, *, tolerance: float) -> None:
    """Raises `CheckFailed` if arrays differ by more than this share of the range of ``stock``."""
    wanted, found = _plain(stock), _plain(ours)
    if wanted.shape != found.shape:
        raise CheckFailed(f'{what}: MMPose gives {wanted.shape}, this package {found.shape}')
    scale = max(float(np.ptp(wanted)), float(np.abs(wanted).max()), 1e-12)
    difference = float(np.abs(wanted - found).max()) / scale
    if not difference <= tolerance:  # NaN fails too
        raise CheckFailed(
            f'{what}: MMPose and this package differ by {difference:.2g} of the range, expected '
            f'at most {tolerance:.2g}'
        )


def same_keypoints(what: str, stock: np.ndarray, ours: np.ndarray, comparable: np.ndarray) -> int:
    """Compares keypoints ``(B, K, 2)`` in input pixels where `clear_peaks` lets them; counts those.

    Raises:
        CheckFailed: One differs by more than `PIXELS`, or there is none to compare.
    """
    if not comparable.any():
        raise CheckFailed(f'{what}: no heatmap has a clear peak, so nothing can be compared')
    distance = np.abs(stock - ours).max(axis=-1)[comparable]
    if not distance.max() <= PIXELS:
        raise CheckFailed(
            f'{what}: {int((distance > PIXELS).sum())} of {distance.size} keypoints differ, by up '
            f'to {distance.max():.3g} pixels, expected at most {PIXELS}'
        )
    return int(distance.size)


def same_poses(stock: Sequence[Any], ours: Sequence[Any]) -> str:
    """Compares heatmaps and keypoints of predicted samples; says how much was compared."""
    if len(stock) != len(ours):
        raise CheckFailed(f'MMPose gives {len(stock)} people, this package {len(ours)}')
    maps, own = (torch.stack([one.pred_fields.heatmaps for one in side]) for side in (stock, ours))
    same_numbers('heatmaps with flip test', maps, own, tolerance=_HEATMAPS)
    points = [np.concatenate([_input_pixels(one) for one in side]) for side in (stock, ours)]
    count = same_keypoints('keypoints', *points, clear_peaks(maps))
    return f'heatmaps of {len(stock)} people, {count} keypoints'


def clear_peaks(heatmaps: torch.Tensor) -> np.ndarray:
    """Which heatmaps have a peak that rounding cannot move, and that MMPose decodes correctly.

    MMPose adds the half cell to inner peaks only. Where two cells are as good as the same, the
    order of additions decides which is higher, and a random network's heatmaps have many of those.
    From ``(B, K, H, W)`` it makes ``(B, K)`` of bool.
    """
    height, width = heatmaps.shape[-2:]
    maps = _plain(heatmaps).astype(np.float32).reshape(-1, height, width)
    maps = np.array([cv2.GaussianBlur(m, _BLUR, 0, borderType=cv2.BORDER_CONSTANT) for m in maps])
    noise = _CLEAR * np.ptp(maps)
    flat = maps.reshape(len(maps), -1)
    second, first = np.partition(flat, -2)[:, -2:].T
    y, x = np.divmod(flat.argmax(axis=1), width)
    inner = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    n, x, y = np.arange(len(maps)), x.clip(1, width - 2), y.clip(1, height - 2)
    slopes = maps[n, y, x + 1] - maps[n, y, x - 1], maps[n, y + 1, x] - maps[n, y - 1, x]
    clear = inner & (first - second > noise) & (np.abs(slopes) > noise).all(axis=0)
    return clear.reshape(heatmaps.shape[:2])


def _input_pixels(sample: Any) -> np.ndarray:
    size, scale = (np.asarray(getattr(sample, name)) for name in ('input_size', 'input_scale'))
    return (sample.pred_instances.keypoints - sample.input_center) * size / scale + size / 2


def _plain(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double()
    return np.asarray(value, np.float64)
