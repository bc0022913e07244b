"""Heatmaps -> keypoints and scores, for a whole batch, on the device.

Shapes: B batch, K keypoints, H and W heatmap size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .peaks import find_peaks

REFINEMENTS = ('second_peak', 'gradient_sign')
"""How a peak is moved within its cell: as in the original code, and as in MMPose."""

_SHIFT = 0.25  # cells towards the higher neighbourhood, in both published decoders

Position = tuple[Tensor, Tensor, Tensor]
"""Positions ``(N, 2)`` in cells, unscaled scores ``(N,)``, and maxima of the maps ``(N,)``."""


def _second_peak(heatmaps: Tensor, kernel_size: int) -> Position:
    """Megvii's decoder: a quarter cell from the highest cell towards the second highest one.

    Follows ``get_results`` in megvii MSPN ``exps/mspn.2xstg.coco/test.py``: the search covers the
    blurred map and the zeros around it, and the result is clamped to the map. The score is the map
    before the blur at the position rounded to whole cells.
    """
    height, width = heatmaps.shape[-2:]
    # What the blur spills over the border, and one ring of zeros around it.
    margin = kernel_size // 2 + 1
    top, peaks = find_peaks(heatmaps, kernel_size, margin=margin, second=True)
    peak = torch.stack([peaks.x, peaks.y], dim=1)
    step = torch.stack([peaks.right, peaks.down], dim=1).to(heatmaps.dtype)
    length = step.norm(dim=1, keepdim=True)
    position = peak + torch.where(length > 0, _SHIFT * step / length.clamp(min=1), 0.0)
    limit = position.new_tensor([width - 1, height - 1])
    position = torch.minimum(position.clamp(min=0), limit)
    cell = position.round().long()
    score = heatmaps.flatten(1).gather(1, (cell[:, 1] * width + cell[:, 0])[:, None])
    return position, score[:, 0], top


def _gradient_sign(heatmaps: Tensor, kernel_size: int) -> Position:
    """MMPose's decoder: a quarter cell towards the higher neighbour, in x and in y.

    Follows ``mmpose.codecs.MegviiHeatmap`` (1.3.2) in which peaks move and in the score, the
    maximum of the map before the blur. Two of its defects are mended: the half cell is added to
    border peaks too, and an all-zero map gives a result.
    """
    height, width = heatmaps.shape[-2:]
    top, (x, y, right, down) = find_peaks(heatmaps, kernel_size)
    moves = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    # The sign of NaN, of two infinite neighbours, is zero.
    direction = torch.stack([right, down], dim=1).sign() * moves[:, None]
    position = torch.stack([x, y], dim=1) + _SHIFT * direction
    return position, top, top


def decode_heatmaps(
    heatmaps: Tensor, kernel_size: int, *, refine: str = 'second_peak'
) -> tuple[Tensor, Tensor]:
    """Finds the keypoint in every heatmap.

    Args:
        heatmaps: ``(B, K, H, W)`` as the network gives them, 255 for a perfect peak.
        kernel_size: Size of the Gaussian blur before the search, in cells; odd.
        refine: One of `REFINEMENTS`.

    Returns:
        Positions ``(B, K, 2)`` in heatmap cells, the centre of the first cell at 0.5; and scores
        ``(B, K)``, 0.5 for an empty map and 1.5 for a perfect peak. A map with a NaN or plus
        infinity in it gives the first cell and the score 0, and so does one whose score would be of
        minus infinity, which else counts as the lowest number.

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
        position, score, top = find(heatmaps.float().flatten(0, 1), kernel_size)
        finite = top.isfinite() & score.isfinite()
        position = torch.where(finite[:, None], position, 0.0)
        score = torch.where(finite, score / 255 + 0.5, 0.0)
    return (
        (position + 0.5).view(batch, num_keypoints, 2),
        score.view(batch, num_keypoints),
    )
