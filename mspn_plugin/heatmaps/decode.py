"""Heatmaps -> keypoints and scores, for a whole batch.

The device finds the peaks; the rest is little, and NumPy's.

Shapes: B batch, K keypoints, H and W heatmap size.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .peaks import find_peaks
from .render import PEAK

REFINEMENTS = ('second_peak', 'gradient_sign')
"""How a peak is moved within its cell: as in the original code, and as in MMPose."""

_SHIFT = np.float32(0.25)  # cells towards the higher neighbourhood, in both published decoders

Position = tuple[np.ndarray, np.ndarray]
"""Positions in cells ``(2, N)``, x and y; and unscaled scores ``(N,)``."""


def _second_peak(heatmaps: Tensor, kernel_size: int) -> Position:
    """Megvii's decoder: a quarter cell from the highest cell towards the second highest one.

    Follows ``get_results`` in megvii MSPN ``exps/mspn.2xstg.coco/test.py``: the search covers the
    blurred map and the zeros around it, and the result is clamped to the map. The score is the map
    before the blur at the position rounded to whole cells, which a quarter cell does not change.
    """
    # What the blur spills over the border, and one ring of zeros around it.
    margin = kernel_size // 2 + 1
    cell, step, value = find_peaks(heatmaps, kernel_size, margin=margin, second=True)
    length = np.hypot(*step).clip(min=1)  # else zero
    return (cell + _SHIFT * step / length).clip(0, _last_cell(heatmaps)), value


def _gradient_sign(heatmaps: Tensor, kernel_size: int) -> Position:
    """MMPose's decoder: a quarter cell towards the higher neighbour, in x and in y.

    Follows ``mmpose.codecs.MegviiHeatmap`` (1.3.2) in which peaks move and in the score, the
    maximum of the map before the blur. Two of its defects are mended: the half cell is added to
    border peaks too, and an all-zero map gives a result.
    """
    cell, step, value = find_peaks(heatmaps, kernel_size)
    shift = _SHIFT * ((cell > 1) & (cell < _last_cell(heatmaps))).all(axis=0)
    # NaN, of two infinite neighbours, is neither more nor less.
    return cell + shift * (step > 0) - shift * (step < 0), value


def _last_cell(heatmaps: Tensor) -> np.ndarray:
    """Column and row, ``(2, 1)``."""
    height, width = heatmaps.shape[-2:]
    return np.array([[width - 1], [height - 1]], np.float32)


def decode_heatmaps(
    heatmaps: Tensor, kernel_size: int, *, refine: str = 'second_peak'
) -> tuple[Tensor, Tensor]:
    """Finds the keypoint in every heatmap.

    Args:
        heatmaps: ``(B, K, H, W)`` as the network gives them, 255 for a perfect peak.
        kernel_size: Size of the Gaussian blur before the search, in cells; odd.
        refine: One of `REFINEMENTS`.

    Returns:
        On the CPU, positions ``(B, K, 2)`` in heatmap cells, the centre of the first cell at 0.5;
        and scores ``(B, K)``, 0.5 for an empty map and 1.5 for a perfect peak. A map with a NaN or
        plus infinity in it gives the first cell and the score 0, and so does one whose score would
        be of minus infinity, which else counts as the lowest number.

    Raises:
        ValueError: ``refine`` is unknown, or the kernel size is not odd.
    """
    if refine not in REFINEMENTS:
        raise ValueError(f'refine is {refine!r}, expected one of {", ".join(REFINEMENTS)}')
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f'kernel_size is {kernel_size}, expected an odd number of cells')
    find = _second_peak if refine == 'second_peak' else _gradient_sign
    batch, num_keypoints = heatmaps.shape[:2]
    with torch.no_grad(), torch.autocast(heatmaps.device.type, enabled=False):
        position, score = find(heatmaps.float().flatten(0, 1), kernel_size)
    finite = np.isfinite(score)
    position = np.where(finite, position, np.float32(0)) + np.float32(0.5)
    score = np.where(finite, score / np.float32(PEAK) + np.float32(0.5), np.float32(0))
    return (
        torch.from_numpy(position.T.reshape(batch, num_keypoints, 2)),
        torch.from_numpy(score.reshape(batch, num_keypoints)),
    )
