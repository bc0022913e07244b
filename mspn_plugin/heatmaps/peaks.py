"""The highest cells of blurred heatmaps, without blurring more of them than needed.

Two ways to the same cells: `whole_peaks` blurs everything, which is what a GPU does best, and
`row_peaks` blurs, on a CPU, only rows that can hold a peak: those around the highest cell, and
whichever others the maxima of their windows do not rule out. Of a clear peak these are 6 rows.

Shapes: N maps, H and W heatmap size; M margin, cells beyond each border that are searched as well.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from .blur import PAIR, WINDOW, RowBlur, blur_maps, products_are_exact

_PARTS = 32

Array = TypeVar('Array', Tensor, np.ndarray)

Found = tuple[Array, Array, Array, Array]
"""Column, row, and the steps right and down of `Peaks`, ``(N,)``."""


class Peaks(NamedTuple):
    """The highest cell of each map after the blur, in float32.

    Attributes:
        cell: ``(2, N)``: column and row; beyond the border below 0, or from W and H on.
        step: ``(2, N)``, right and down. With a second peak: from the first to the second, in
            cells. Without: the blurred neighbour on the right minus the one on the left, and the
            one below minus the one above, if the map has both.
        value: ``(N,)``, of the map before the blur. With a second peak: in that cell, or in the one
            of the map that is nearest to it. Without: the highest. Not finite if the map has a NaN
            or plus infinity in it, or if it would be of minus infinity.
    """

    cell: np.ndarray
    step: np.ndarray
    value: np.ndarray


@torch.no_grad()
def find_peaks(
    heatmaps: Tensor, kernel_size: int, *, margin: int = 0, second: bool = False
) -> Peaks:
    """Finds the highest cells after a blur, on the maps' device, and fetches them from there.

    If several are equal it is the first in the order of rows, as far as rounding leaves them equal.

    Args:
        heatmaps: ``(N, H, W)`` float32. Minus infinity counts as the lowest number; a map with a
            NaN or plus infinity in it gives some cell.
        kernel_size: Of the blur, in cells.
        margin: M.
        second: Finds the second highest cell as well, which is the highest after the first has
            been set to zero, as in the original code.
    """
    count, height, _ = heatmaps.shape
    by_rows = heatmaps.device.type == 'cpu' and products_are_exact()
    if by_rows and height % PAIR == 0 and height + 2 * margin >= WINDOW and count > 0:
        return row_peaks(heatmaps.contiguous(), kernel_size, margin=margin, second=second)
    return whole_peaks(heatmaps, kernel_size, margin=margin, second=second)


def whole_peaks(heatmaps: Tensor, kernel_size: int, *, margin: int, second: bool) -> Peaks:
    """`find_peaks` by a blur of everything."""
    found = _search_all(heatmaps, kernel_size, margin, second)
    value = heatmaps.flatten(1).amax(dim=1)
    if second:
        at = heatmaps.flatten(1).gather(1, _nearest(heatmaps, found)[:, None])[:, 0]
        value = torch.where(value.isfinite(), at, value)
    # One transfer for everything.
    numbers = torch.stack([*(values.float() for values in found), value]).cpu().numpy()
    return Peaks(numbers[:2], numbers[2:4], numbers[4])


@np.errstate(invalid='ignore')  # infinity minus infinity
def row_peaks(heatmaps: Tensor, kernel_size: int, *, margin: int, second: bool) -> Peaks:
    """`find_peaks` by a blur of single rows, for contiguous maps on a CPU; see `RowBlur`.

    In NumPy, whose calls cost less than torch's on as little as is left after the first reading.
    """
    count, height, _ = heatmaps.shape
    blur = RowBlur(heatmaps, kernel_size, margin)
    highest = heatmaps.view(count, height // PAIR, -1).amax(dim=2)
    top, pair = highest.max(dim=1)

    # A guess: in the rows around the highest cell.
    first, window = blur.windows(pair.numpy())
    width = window.shape[2]
    index = window.reshape(count, -1).argmax(axis=1)
    line, x = np.divmod(index, width)
    cells = window.reshape(-1)
    at = index + np.arange(0, len(cells), WINDOW * width)
    if second:
        cells[at] = 0
        other = window.reshape(count, -1).argmax(axis=1)
        least = cells.take(at + (other - index))
        line2, x2 = np.divmod(other, width)
        found = (x - margin, first + line - margin, x2 - x, line2 - line)
    else:
        least = cells.take(at)
        found = (x - margin, first + line - margin, *_slopes(cells, at, width))

    # The proof: no other row reaches it. A NaN proves nothing, and slopes need both neighbours.
    sure = blur.rest(highest, pair) < least
    if not second:
        sure &= (line > 0) & (line < WINDOW - 1)
    unsure = np.flatnonzero(~sure)
    if len(unsure):
        possible = ~(blur.bounds(highest[unsure]) < least[unsure, None])
        possible[np.arange(len(unsure))[:, None], first[unsure, None] + np.arange(WINDOW)] = True
        for values, better in zip(found, _search(blur, unsure, possible, second), strict=True):
            values[unsure] = better

    value = top.numpy()
    if second:
        there = heatmaps.view(count, -1).numpy()[np.arange(count), _nearest(heatmaps, found)]
        value = np.where(np.isfinite(value), there, value)
    numbers = np.array(found, np.float32)
    return Peaks(numbers[:2], numbers[2:], value)


def _search_all(heatmaps: Tensor, kernel_size: int, margin: int, second: bool) -> Found[Tensor]:
    """Blurs all rows of all maps."""
    blurred = blur_maps(heatmaps, kernel_size, margin)
    width = blurred.shape[2]
    flat = blurred.flatten(1)
    index = _first_highest(flat)
    x, y = index % width, index // width
    if second:
        other = _first_highest(flat.scatter_(1, index[:, None], 0.0))
        return x - margin, y - margin, other % width - x, other // width - y
    at = index + torch.arange(0, flat.numel(), flat.shape[1], device=flat.device)
    return x - margin, y - margin, *_slopes(flat.view(-1), at, width)


def _search(
    blur: RowBlur, maps: np.ndarray, possible: np.ndarray, second: bool
) -> Found[np.ndarray]:
    """Blurs all rows of some maps that can hold a peak.

    Args:
        blur: Of all maps.
        maps: Which to search, ``(n,)``.
        possible: The rows to search, ``(n, H + 2 M)``.
        second: As in `find_peaks`.
    """
    which, rows = possible.nonzero()
    tops = np.full(possible.shape, -np.inf, np.float32)
    tops[which, rows] = _amax(blur.rows(maps[which], rows))
    margin = blur.margin
    y = tops.argmax(axis=1)
    last = possible.shape[1] - 1
    beside = [] if second else [(y - 1).clip(min=0), (y + 1).clip(max=last)]
    row, *others = [blur.rows(maps, number) for number in (y, *beside)]
    if any(np.isnan(values).any() for values in (tops, *others)):
        # Infinities: their products with zeros spoil whole rows, their shifted copies do not.
        found = _search_all(blur.heatmaps[maps], blur.kernel_size, margin, second)
        x, y, right, down = (values.numpy() for values in found)
        return x, y, right, down
    numbers = np.arange(len(maps))
    x = row.argmax(axis=1)
    if second:
        row[numbers, x] = 0
        tops[numbers, y] = _amax(row)
        y2 = tops.argmax(axis=1)
        x2 = np.where((y2 == y)[:, None], row, blur.rows(maps, y2)).argmax(axis=1)
        return x - margin, y - margin, x2 - x, y2 - y
    width = row.shape[1]
    three = np.stack([others[0], row, others[1]], axis=1).reshape(-1)
    return x - margin, y - margin, *_slopes(three, 3 * width * numbers + width + x, width)


def _nearest(heatmaps: Tensor, found: Found[Array]) -> Array:
    """The number of the cell, or of the one of the map that is nearest to it."""
    height, width = heatmaps.shape[-2:]
    x, y = found[:2]
    return y.clip(0, height - 1) * width + x.clip(0, width - 1)


def _slopes(cells: Array, at: Array, width: int) -> tuple[Array, Array]:
    """Right minus left and lower minus upper neighbour, of two infinities NaN.

    Where a neighbour is missing the result is of other cells.

    Args:
        cells: Rows ``width`` wide of all maps, one after the other.
        at: Whose neighbours, ``(N,)``.
        width: Of a row.
    """
    last = len(cells) - 1

    def value(step: int) -> Array:
        return cells[(at + step).clip(0, last)]

    return value(1) - value(-1), value(width) - value(-width)


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


def _amax(rows: np.ndarray) -> np.ndarray:
    """Maxima of rows; torch finds them several times as fast as NumPy."""
    return torch.from_numpy(rows).amax(dim=1).numpy()
