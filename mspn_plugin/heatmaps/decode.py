"""Heatmaps -> keypoints and scores, for a whole batch: blur, find the highest cells, refine.

A CPU blurs with OpenCV, any other device with torch; both find the same cells.

Shapes: B batch, K keypoints, H and W heatmap size, M margin: cells searched beyond each border.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from .render import PEAK

REFINEMENTS = ('second_peak', 'gradient_sign', 'parabola')
"""How a peak is moved within its cell: as in the original code, as in MMPose, and by a fit."""

_SHIFT = 0.25  # cells towards the higher neighbourhood, in both published decoders
_LOWEST = -1e30  # what minus infinity counts as


def decode_heatmaps(
    heatmaps: Tensor, kernel_size: int, *, refine: str = 'second_peak'
) -> tuple[Tensor, Tensor]:
    """Finds the keypoint in every heatmap.

    ``'second_peak'`` follows ``get_results`` in megvii MSPN ``exps/mspn.2xstg.coco/test.py``: a
    quarter cell from the highest cell towards the second highest one. The search covers the blurred
    map and the zeros around it, and the result is clamped to the map. The score is the map before
    the blur at the position rounded to whole cells, which a quarter cell does not change.

    ``'gradient_sign'`` follows ``mmpose.codecs.MegviiHeatmap`` (1.3.2): a quarter cell towards the
    higher neighbour, in x and in y; the score is the maximum before the blur. Two of its defects
    are mended: the half cell is added to border peaks too, and an all-zero map gives a result.

    ``'parabola'`` moves the peak to the top of the parabola through its cell and the two beside it,
    in x and in y, where it has both; the score is as in MMPose.

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
    second = refine == 'second_peak'
    on_cpu = heatmaps.device.type == 'cpu' and heatmaps.numel() > 0
    search = _search_with_opencv if on_cpu else search_with_torch
    with torch.no_grad(), torch.autocast(heatmaps.device.type, enabled=False):
        maps = heatmaps.detach().float()
        index, more = search(maps, kernel_size, second=second)
        margin = margin_of(kernel_size) if second else 0
        decoded = refine_peaks(maps, index, more, refine=refine, margin=margin)
    decoded = decoded.cpu()  # one transfer for everything
    return decoded[..., :2], decoded[..., 2]


def refine_peaks(
    heatmaps: Tensor, index: Tensor, more: Tensor, *, refine: str, margin: int
) -> Tensor:
    """Makes positions and scores ``(B, K, 3)`` of what a search of ``(B, K, H, W)`` has found."""
    height, width = heatmaps.shape[-2:]
    columns = width + 2 * margin
    maps = heatmaps.flatten(2)
    x, y = index % columns - margin, index // columns - margin
    highest = score = maps.amax(dim=2)
    if refine == 'second_peak':
        right, down = more[..., 0] % columns - margin - x, more[..., 0] // columns - margin - y
        nearest = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        score = maps.gather(2, nearest[..., None])[..., 0]
        far = _SHIFT / (right * right + down * down).clamp(min=1).float().sqrt()  # zero has none
        x, y = (x + right * far).clamp(0, width - 1), (y + down * far).clamp(0, height - 1)
    elif refine == 'parabola':
        right, left, lower, upper, peak = more.clamp(min=_LOWEST).unbind(dim=2)
        x = x + ((x > 0) & (x < width - 1)).float() * _top(left, peak, right)
        y = y + ((y > 0) & (y < height - 1)).float() * _top(upper, peak, lower)
    else:
        # A border peak stays; NaN, of two infinite neighbours, is neither more nor less.
        inner = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
        shift = inner.float() * _SHIFT
        right, left, lower, upper, _ = more.unbind(dim=2)
        x = x + shift * ((right > left).float() - (right < left).float())
        y = y + shift * ((lower > upper).float() - (lower < upper).float())
    found = torch.stack([x + 0.5, y + 0.5, score / PEAK + 0.5], dim=2)
    nothing = torch.stack([torch.full_like(score, value) for value in (0.5, 0.5, 0.0)], dim=2)
    return torch.where((highest.isfinite() & score.isfinite())[..., None], found, nothing)


def _top(before: Tensor, peak: Tensor, after: Tensor) -> Tensor:
    """Where a parabola through three values is highest, in cells from the middle: at most half."""
    return (after - before) / (2 * ((peak - before) + (peak - after))).clamp(min=1e-6)


def search_with_torch(heatmaps: Tensor, kernel_size: int, *, second: bool) -> tuple[Tensor, Tensor]:
    """Blurs maps ``(B, K, H, W)`` float32, zero beyond the border, and finds the highest cells.

    If several are equal it is the first in the order of rows, as far as rounding leaves them equal.
    A map with a NaN or plus infinity gives some cell. ``second`` asks for the second highest too,
    which is the highest after the first has been set to zero, as in the original code; then cells
    of the margin count.

    Returns:
        The number of the cell in its map ``(B, K)``, which has ``W + 2 M`` columns. With ``second``
        that of the second highest cell ``(B, K, 1)``; else the blurred values to the right, left,
        below and above, if the map has all of them, and of the cell itself ``(B, K, 5)``.
    """
    margin = margin_of(kernel_size) if second else 0
    blurred = torch.nn.functional.pad(heatmaps, [margin + kernel_size // 2] * 4)
    taps = cv2.getGaussianKernel(kernel_size, 0)[:, 0].tolist()
    for dim in (3, 2):  # sums of shifted copies: in full precision, unlike a GPU's convolutions
        size = blurred.shape[dim] - kernel_size + 1
        parts = [blurred.narrow(dim, at, size) for at in range(kernel_size)]
        blurred = parts[0] * taps[0]
        for part, tap in zip(parts[1:], taps[1:], strict=True):
            blurred = blurred.add(part, alpha=tap)
    return highest_cells(blurred, second=second)


def highest_cells(blurred: Tensor, *, second: bool) -> tuple[Tensor, Tensor]:
    """What `search_with_torch` gives, of maps that are blurred, with their margin if ``second``."""
    cells = blurred.flatten(2)
    index = cells.argmax(dim=2, keepdim=True)
    if second:
        more = cells.scatter(2, index, 0.0).argmax(dim=2, keepdim=True)
    else:
        columns, last = blurred.shape[3], cells.shape[2] - 1
        beside = [(index + step).clamp(0, last) for step in (1, -1, columns, -columns, 0)]
        more = cells.gather(2, torch.cat(beside, dim=2))
    return index[..., 0], more


def _search_with_opencv(
    heatmaps: Tensor, kernel_size: int, *, second: bool
) -> tuple[Tensor, Tensor]:
    """`search_with_torch` on a CPU, in a fifth of the time."""
    _, count, height, width = heatmaps.shape
    pad = margin_of(kernel_size)
    inside = slice(pad, -pad)
    steps = np.array([[1], [-1], [width], [-width], [0]])
    numbers = np.arange(count)
    index, more = [], []
    # A person's maps side by side, as rows cost OpenCV more than columns, with room for the blur.
    canvas = np.zeros((height + 2 * pad, count, width + 2 * pad), np.float32)
    for maps in heatmaps.numpy():
        canvas[inside, :, inside] = maps.transpose(1, 0, 2)
        rows = canvas.reshape(len(canvas), -1)
        blurred = cv2.GaussianBlur(rows, (kernel_size,) * 2, 0, borderType=cv2.BORDER_CONSTANT)
        blurred = blurred.reshape(canvas.shape).transpose(1, 0, 2)
        cells = (blurred if second else blurred[:, inside, inside]).reshape(count, -1)
        best = cells.argmax(axis=1)
        index.append(best)
        if second:
            cells[numbers, best] = 0
            more.append(cells.argmax(axis=1)[None])
        else:
            more.append(cells[numbers, (best + steps).clip(0, cells.shape[1] - 1)])
    return torch.from_numpy(np.stack(index)), torch.from_numpy(np.stack(more)).transpose(1, 2)


def margin_of(kernel_size: int) -> int:
    """M: what the blur spills over the border, and one ring of zeros around it."""
    return kernel_size // 2 + 1
