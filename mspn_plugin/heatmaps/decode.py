"""Heatmaps -> keypoints and scores, for a whole batch, on the device.

Shapes: B batch, K keypoints, H and W heatmap size.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

REFINEMENTS = ('second_peak', 'gradient_sign')
"""How a peak is moved within its cell: as in the original code, and as in MMPose."""

_PARTS = 32
_SHIFT = 0.25  # cells towards the higher neighbourhood, in both published decoders


def _blur(heatmaps: Tensor, kernel_size: int, margin: int = 0) -> Tensor:
    """OpenCV's Gaussian blur of ``kernel_size``, with zeros beyond the border.

    Args:
        heatmaps: ``(N, H, W)``.
        kernel_size: Odd, in cells.
        margin: Cells beyond each border to give as well.

    Returns:
        ``(N, H + 2 * margin, W + 2 * margin)``.
    """
    taps = cv2.getGaussianKernel(kernel_size, 0).ravel()
    if heatmaps.device.type == 'cpu':
        return _blur_by_products(heatmaps, taps, margin)
    # Sums of shifted copies: a GPU's matrix products may be of lower precision (TF32).
    blurred = torch.nn.functional.pad(heatmaps, [margin + kernel_size // 2] * 4)
    for dim in (2, 1):
        size = blurred.shape[dim] - kernel_size + 1
        total = blurred.narrow(dim, 0, size) * taps[0]
        for offset, tap in enumerate(taps[1:].tolist(), start=1):
            total.add_(blurred.narrow(dim, offset, size), alpha=tap)
        blurred = total
    return blurred


def _blur_by_products(heatmaps: Tensor, taps: np.ndarray, margin: int) -> Tensor:
    """The same as two matrix products, which on a CPU take half the time of the sums."""
    height, width = heatmaps.shape[-2:]
    with torch.autocast('cpu', enabled=False):
        rows = heatmaps @ _band(width, taps, margin)
        return _band(height, taps, margin).T @ rows


def _band(length: int, taps: np.ndarray, margin: int) -> Tensor:
    """``(length, length + 2 * margin)``: row ``i`` holds the taps around column ``i + margin``."""
    distance = np.arange(-margin, length + margin)[None] - np.arange(length)[:, None]
    reach = len(taps) // 2
    values = np.where(abs(distance) <= reach, taps[np.clip(distance + reach, 0, 2 * reach)], 0)
    return torch.from_numpy(values.astype(np.float32))


def _peak(flat: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Index, x and y of the first maximum of each row of ``(N, H * W)``.

    A maximum alone is found several times as fast as its place is, so it is sought in parts: first
    the part that has it, then the place in the part.
    """
    count, size = flat.shape
    parts = next(parts for parts in range(_PARTS, 0, -1) if size % parts == 0)
    flat = flat.view(count, parts, size // parts)
    part = flat.amax(dim=2).argmax(dim=1)
    inside = flat[torch.arange(count, device=flat.device), part].argmax(dim=1)
    index = part * (size // parts) + inside
    return index, index % width, index.div(width, rounding_mode='floor')


def _second_peak(heatmaps: Tensor, kernel_size: int) -> tuple[Tensor, Tensor]:
    """Megvii's decoder: a quarter cell from the highest cell towards the second highest one.

    Follows ``get_results`` in megvii MSPN ``exps/mspn.2xstg.coco/test.py``: the search covers the
    blurred map and the zeros around it, and the result is clamped to the map.

    Args:
        heatmaps: ``(N, H, W)``.
        kernel_size: Blur before the search, in cells.

    Returns:
        Position ``(N, 2)`` in cells, and score ``(N,)``: the map before the blur at the position
        rounded to whole cells, divided by 255, plus 0.5.
    """
    height, width = heatmaps.shape[-2:]
    # What the blur spills over the border, and one ring of zeros around it.
    margin = kernel_size // 2 + 1
    blurred = _blur(heatmaps, kernel_size, margin)
    wide = blurred.shape[-1]
    flat = blurred.flatten(1)
    index, x, y = _peak(flat, wide)
    # The original takes a cell out of the search by setting it to zero.
    _, x2, y2 = _peak(flat.scatter_(1, index[:, None], 0.0), wide)
    peak = torch.stack([x, y], dim=1).to(heatmaps.dtype)
    step = torch.stack([x2 - x, y2 - y], dim=1).to(heatmaps.dtype)
    length = step.norm(dim=1, keepdim=True)
    shift = torch.where(length > 1e-3, _SHIFT * step / length.clamp(min=1e-3), 0.0)
    position = peak - margin + shift
    limit = position.new_tensor([width - 1, height - 1])
    position = torch.minimum(position.clamp(min=0), limit)
    cell = position.round().long()
    score = heatmaps.flatten(1).gather(1, (cell[:, 1] * width + cell[:, 0])[:, None])
    return position, score[:, 0] / 255 + 0.5


def _gradient_sign(heatmaps: Tensor, kernel_size: int) -> tuple[Tensor, Tensor]:
    """MMPose's decoder: a quarter cell towards the higher neighbour, in x and in y.

    Follows ``mmpose.codecs.MegviiHeatmap`` (1.3.2) in which peaks move and in the score, the
    maximum of the map before the blur, divided by 255, plus 0.5. Two of its defects are mended:
    the half cell is added to border peaks too, and an all-zero map gives a result.

    Args:
        heatmaps: ``(N, H, W)``.
        kernel_size: Blur before the search, in cells.

    Returns:
        Position ``(N, 2)`` in cells, and score ``(N,)``.
    """
    height, width = heatmaps.shape[-2:]
    blurred = _blur(heatmaps, kernel_size)
    flat = blurred.flatten(1)
    index, x, y = _peak(flat, width)
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    centre = torch.where(inside, index, width + 1)[:, None]

    def neighbour(offset: int) -> Tensor:
        return flat.gather(1, centre + offset)[:, 0]

    slope = torch.stack([neighbour(1) - neighbour(-1), neighbour(width) - neighbour(-width)], dim=1)
    peak = torch.stack([x, y], dim=1).to(heatmaps.dtype)
    position = peak + _SHIFT * slope.sign() * inside[:, None]
    return position, heatmaps.flatten(1).amax(dim=1) / 255 + 0.5


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
        ``(B, K)``, 0.5 for an empty map and 1.5 for a perfect peak. A map with a NaN or an infinity
        in it gives the first cell and the score 0, which no other map gives but one of -127.5 or
        less everywhere.

    Raises:
        ValueError: ``refine`` is unknown.
    """
    if refine not in REFINEMENTS:
        raise ValueError(f'refine is {refine!r}, expected one of {", ".join(REFINEMENTS)}')
    find = _second_peak if refine == 'second_peak' else _gradient_sign
    batch, num_keypoints = heatmaps.shape[:2]
    maps = heatmaps.float().flatten(0, 1)
    position, score = find(maps, kernel_size)
    finite = maps.sum((1, 2)).isfinite()
    position = torch.where(finite[:, None], position, 0.0)
    score = torch.where(finite, score, 0.0)
    return (
        (position + 0.5).view(batch, num_keypoints, 2),
        score.view(batch, num_keypoints),
    )
