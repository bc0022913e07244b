"""The highest cells of blurred heatmaps, without blurring more of them than needed.

Two ways to the same cells: `whole_peaks` blurs everything, which is what a GPU does best, and
`row_peaks` blurs, on a CPU, only rows that can hold a peak: those around the highest cell, and
whichever others the maxima of their windows do not rule out. Of a clear peak these are 6 rows.

Shapes: N maps, H and W heatmap size; M margin, cells beyond each border that are searched as well.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .blur import PAIR, WINDOW, RowBlur, blur_maps, products_are_exact

_PARTS = 32


class Peaks(NamedTuple):
    """One cell of each map, ``(N,)``; beyond the border it is below 0, or from W and H on.

    Attributes:
        x: Column of the highest cell after the blur.
        y: Its row.
        right: With a second peak, the second's column minus the first's; without, the blurred
            neighbour to the right minus the one to the left, if the map has both.
        down: The same of rows: the second's minus the first's, or below minus above.
    """

    x: Tensor
    y: Tensor
    right: Tensor
    down: Tensor


@torch.no_grad()
def find_peaks(
    heatmaps: Tensor, kernel_size: int, *, margin: int = 0, second: bool = False
) -> tuple[Tensor, Peaks]:
    """Finds the highest cells after a blur, without gradients.

    If several are equal it is the first in the order of rows, as far as rounding leaves them equal.

    Args:
        heatmaps: ``(N, H, W)`` float32. Minus infinity counts as the lowest number; a map with a
            NaN or plus infinity in it gives some cell.
        kernel_size: Of the blur, in cells.
        margin: M.
        second: Finds the second highest cell as well, which is the highest after the first has
            been set to zero, as in the original code.

    Returns:
        The maximum of each map before the blur, ``(N,)``, and the peaks.
    """
    count, height, _ = heatmaps.shape
    by_rows = heatmaps.device.type == 'cpu' and products_are_exact()
    if by_rows and height % PAIR == 0 and height + 2 * margin >= WINDOW and count > 0:
        return row_peaks(heatmaps.contiguous(), kernel_size, margin=margin, second=second)
    return heatmaps.flatten(1).amax(dim=1), whole_peaks(
        heatmaps, kernel_size, margin=margin, second=second
    )


def whole_peaks(heatmaps: Tensor, kernel_size: int, *, margin: int, second: bool) -> Peaks:
    """The peaks by a blur of everything."""
    blurred = blur_maps(heatmaps, kernel_size, margin)
    width = blurred.shape[2]
    flat = blurred.flatten(1)
    index = _first_highest(flat)
    x, y = _column_row(index, width)
    if second:
        x2, y2 = _column_row(_first_highest(flat.scatter_(1, index[:, None], 0.0)), width)
        return Peaks(x - margin, y - margin, x2 - x, y2 - y)
    return Peaks(x - margin, y - margin, *_slopes(flat, index, width))


def row_peaks(
    heatmaps: Tensor, kernel_size: int, *, margin: int, second: bool
) -> tuple[Tensor, Peaks]:
    """`find_peaks` by a blur of single rows, for contiguous maps on a CPU; see `RowBlur`."""
    count, height, width = heatmaps.shape
    blur = RowBlur(heatmaps, kernel_size, margin)
    highest = heatmaps.view(count, height // PAIR, PAIR * width).amax(dim=2)
    top, pair = highest.max(dim=1)

    # A guess: in the rows around the highest cell.
    rows, window = blur.windows(pair)
    width = window.shape[2]
    flat = window.flatten(1)
    least, index = flat.max(dim=1)
    x, line = _column_row(index, width)
    if second:
        least, index = flat.scatter_(1, index[:, None], 0.0).max(dim=1)
        x2, line2 = _column_row(index, width)
        peaks = Peaks(x - margin, rows[:, 0] + line - margin, x2 - x, line2 - line)
    else:
        peaks = Peaks(x - margin, rows[:, 0] + line - margin, *_slopes(flat, index, width))

    # The proof: no other row reaches it. A NaN proves nothing, and slopes need both neighbours.
    bounds = blur.bounds(highest)
    sure = bounds.scatter(1, rows, -torch.inf).amax(dim=1) < least
    if not second:
        sure &= (line > 0) & (line < WINDOW - 1)
    unsure = sure.logical_not_().nonzero()[:, 0]
    if len(unsure):
        possible = bounds[unsure].scatter_(1, rows[unsure], torch.inf) < least[unsure, None]
        found = _search(blur, unsure, possible.logical_not_(), second)
        for values, better in zip(peaks, found, strict=True):
            values[unsure] = better
    return top, peaks


def _search(blur: RowBlur, maps: Tensor, possible: Tensor, second: bool) -> Peaks:
    """Blurs all rows of some maps that can hold a peak.

    Args:
        blur: Of all maps.
        maps: Which to search, ``(n,)``.
        possible: The rows to search, ``(n, H + 2 M)``.
        second: As in `find_peaks`.
    """
    which, rows = possible.nonzero(as_tuple=True)
    tops = blur.heatmaps.new_full(possible.shape, -torch.inf)
    tops[which, rows] = blur.rows(maps[which], rows).amax(dim=1)
    margin = blur.margin
    y = tops.argmax(dim=1)
    last = possible.shape[1] - 1
    beside = [] if second else [(y - 1).clamp(min=0), (y + 1).clamp(max=last)]
    row, *others = [blur.rows(maps, number) for number in (y, *beside)]
    if any(values.isnan().any() for values in (tops, *others)):
        # Infinities: their products with zeros spoil whole rows, their shifted copies do not.
        return whole_peaks(blur.heatmaps[maps], blur.kernel_size, margin=margin, second=second)
    x = row.argmax(dim=1)
    if second:
        row.scatter_(1, x[:, None], 0.0)
        tops.scatter_(1, y[:, None], row.amax(dim=1, keepdim=True))
        y2 = tops.argmax(dim=1)
        x2 = torch.where((y2 == y)[:, None], row, blur.rows(maps, y2)).argmax(dim=1)
        return Peaks(x - margin, y - margin, x2 - x, y2 - y)
    width = row.shape[1]
    three = torch.cat([others[0], row, others[1]], dim=1)
    return Peaks(x - margin, y - margin, *_slopes(three, x + width, width))


def _slopes(flat: Tensor, index: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Right minus left and lower minus upper neighbour, in rows of cells ``width`` wide.

    Where a neighbour is missing the result is of other cells; of two infinities it is NaN.
    """
    steps = torch.tensor([1, -1, width, -width], device=index.device)
    cells = (index[:, None] + steps).clamp_(0, flat.shape[1] - 1)
    near = flat.gather(1, cells)
    right, down = (near[:, ::2] - near[:, 1::2]).unbind(1)
    return right, down


def _first_highest(flat: Tensor) -> Tensor:
    """Index of the first maximum of each row.

    A maximum alone is found several times as fast as its place is, so it is sought in parts: first
    the part that has it, then the place in the part.
    """
    count, size = flat.shape
    parts = next(parts for parts in range(_PARTS, 0, -1) if size % parts == 0)
    flat = flat.view(count, parts, size // parts)
    part = flat.amax(dim=2).argmax(dim=1)
    inside = flat[torch.arange(count, device=flat.device), part].argmax(dim=1)
    return part * (size // parts) + inside


def _column_row(index: Tensor, width: int) -> tuple[Tensor, Tensor]:
    row = index.div(width, rounding_mode='floor')
    return index - row * width, row
