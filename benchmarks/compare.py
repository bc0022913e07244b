"""Whether both sides give the same: without that no time is taken.

Shapes: B batch, K keypoints, H and W heatmap size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mspn.errors import InputError

PIXELS = 0.05
"""Largest difference of a keypoint, in pixels of the network's input."""

_HEATMAPS = 2e-3  # of the range: a random network multiplies the rounding of another order of sums
_CLEAR = 3 * _HEATMAPS  # by how much a peak must stand out for such differences not to move it


class CheckFailed(InputError):
    """The two sides disagree; the message says where and by how much."""


def same_numbers(what: str, stock: Any, ours: Any, *, tolerance: float) -> None:
    """Compares two arrays.

    Args:
        what: Their name, for the message.
        stock: What MMPose gives: an array, a tensor or a number.
        ours: What this package gives.
        tolerance: Largest difference, as a share of the range of ``stock``.

    Raises:
        CheckFailed: They differ in shape or by more.
    """
    wanted, found = (np.asarray(_plain(value), np.float64) for value in (stock, ours))
    if wanted.shape != found.shape:
        raise CheckFailed(
            f'{what}: MMPose gives the shape {wanted.shape}, this package {found.shape}; nothing '
            'was timed'
        )
    scale = max(float(np.ptp(wanted)), float(np.abs(wanted).max()), 1e-12)
    difference = float(np.abs(wanted - found).max()) / scale
    if not difference <= tolerance:  # NaN fails too
        raise CheckFailed(
            f'{what}: MMPose and this package differ by {difference:.2g} of the range, expected '
            f'at most {tolerance:.2g}; nothing was timed'
        )


def same_heatmaps(what: str, stock: Tensor, ours: Tensor) -> None:
    """Compares heatmaps ``(B, K, H, W)`` of a network; raises `CheckFailed`."""
    same_numbers(what, stock, ours, tolerance=_HEATMAPS)


def same_keypoints(what: str, stock: np.ndarray, ours: np.ndarray, comparable: np.ndarray) -> int:
    """Compares keypoints.

    Args:
        what: Their name, for the message.
        stock: ``(B, K, 2)`` of MMPose, in pixels of the network's input.
        ours: ``(B, K, 2)`` of this package.
        comparable: ``(B, K)``, which of them must be the same: those of `clear_peaks`.

    Returns:
        How many were compared.

    Raises:
        CheckFailed: One differs by more than `PIXELS`, or there is none to compare.
    """
    if not comparable.any():
        raise CheckFailed(f'{what}: no heatmap has a clear peak, so nothing can be compared')
    distance = np.abs(stock - ours).max(axis=-1)[comparable]
    if not distance.max() <= PIXELS:
        raise CheckFailed(
            f'{what}: {int((distance > PIXELS).sum())} of {distance.size} keypoints differ, by up '
            f'to {distance.max():.3g} pixels, expected at most {PIXELS}; nothing was timed'
        )
    return int(distance.size)


def clear_peaks(blurred: Tensor) -> np.ndarray:
    """Which heatmaps have a peak that rounding cannot move, and that MMPose decodes correctly.

    MMPose adds the half cell to inner peaks only. Where two cells are as good as the same, the
    order of additions decides which is higher, and a random network's heatmaps have many of those.

    Args:
        blurred: ``(B, K, H, W)`` after the blur with which they are decoded.

    Returns:
        ``(B, K)`` of bool.
    """
    height, width = blurred.shape[-2:]
    flat = blurred.flatten(2)
    noise = _CLEAR * float(flat.max() - flat.min())
    first, second = flat.topk(2, dim=2).values.unbind(-1)
    index = flat.argmax(dim=2)
    x, y = index % width, index.div(width, rounding_mode='floor')
    inner = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    centre = torch.where(inner, index, width + 1)

    def value(offset: int) -> Tensor:
        return flat.gather(2, (centre + offset)[..., None])[..., 0]

    sloped = ((value(1) - value(-1)).abs() > noise) & ((value(width) - value(-width)).abs() > noise)
    return (inner & (first - second > noise) & sloped).cpu().numpy()


def _plain(value: Any) -> Any:
    return value.detach().float().cpu().numpy() if isinstance(value, Tensor) else value
