"""The decoder's Gaussian blur: OpenCV's, with zeros beyond the border.

Shapes: N maps, H and W heatmap size; M margin, cells beyond each border that are blurred as well.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

PAIR = 2
"""Rows of a map whose common maximum bounds what the blur can make of them."""

WINDOW = PAIR + 4
"""Rows around a pair that are blurred at once: two on each side of it."""

_ROUNDING = 1e-4  # relative: more than what the order of a sum of some numbers changes


def blur_maps(heatmaps: Tensor, kernel_size: int, margin: int = 0) -> Tensor:
    """Blurs whole maps, as sums of shifted copies: in full precision on every device.

    Args:
        heatmaps: ``(N, H, W)``.
        kernel_size: Odd, in cells.
        margin: M.

    Returns:
        ``(N, H + 2 M, W + 2 M)``.
    """
    taps = _taps(kernel_size).tolist()
    blurred = torch.nn.functional.pad(heatmaps, [margin + kernel_size // 2] * 4)
    for dim in (2, 1):
        size = blurred.shape[dim] - kernel_size + 1
        total = blurred.narrow(dim, 0, size) * taps[0]
        for offset, tap in enumerate(taps[1:], start=1):
            total.add_(blurred.narrow(dim, offset, size), alpha=tap)
        blurred = total
    return blurred


def products_are_exact() -> bool:
    """Whether products of float32 matrices on a CPU are of full precision, as by default.

    After ``torch.set_float32_matmul_precision('medium')`` they are of bfloat16.
    """
    products = getattr(torch.backends.mkldnn, 'matmul', None)
    if products is None:  # before torch 2.9
        return torch.get_float32_matmul_precision() != 'medium'
    return products.fp32_precision in ('none', 'ieee')


class RowBlur:
    """Blurs single rows of maps, for a search that needs few of them. For CPUs.

    Args:
        heatmaps: ``(N, H, W)``, contiguous, float32, H a multiple of `PAIR`.
        kernel_size: Odd, in cells.
        margin: M. Blurred rows are numbered from 0 to H + 2 M - 1, which must be `WINDOW` or more.
    """

    def __init__(self, heatmaps: Tensor, kernel_size: int, margin: int) -> None:
        count, height, width = heatmaps.shape
        self.heatmaps = heatmaps
        self.kernel_size = kernel_size
        self.margin = margin
        self._tables = _tables(height, width, kernel_size, margin)
        self._rows = heatmaps.view(count * height, width)
        self._first = np.arange(0, count * height, height, dtype=np.int32)

    def rows(self, maps: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Blurs rows one by one.

        Args:
            maps: Whose they are, ``(R,)``.
            rows: Numbers of blurred rows, ``(R,)``.

        Returns:
            ``(R, W + 2 M)``.
        """
        sources = self._tables.sources.take(rows, axis=0)
        sources += self._first.take(maps)[:, None]
        return self._blur(sources, self._tables.taps.take(rows, axis=0))

    def windows(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Blurs a window in each map.

        Args:
            pairs: The pair that it is around, ``(N,)``, below H / `PAIR`. Near a border the window
                is moved to have no rows beyond the margin.

        Returns:
            Number of the first blurred row ``(N,)``, and the rows ``(N, WINDOW, W + 2 M)``.
        """
        windows = self._tables.windows
        sources = windows.sources.take(pairs, axis=0)
        sources += self._first[:, None]
        blurred = self._blur(sources, windows.taps.take(pairs, axis=0))
        return windows.first.take(pairs), blurred.reshape(len(pairs), WINDOW, -1)

    def bounds(self, highest: Tensor) -> np.ndarray:
        """What no cell of a blurred row exceeds.

        The blur is a mean, so that a row lies below the mean of its window's maxima.

        Args:
            highest: The maximum of every pair of rows, ``(N, H / PAIR)``.

        Returns:
            ``(N, H + 2 M)``.
        """
        return (highest.clamp(min=0) @ self._tables.shares).numpy()

    def rest(self, highest: Tensor, pairs: Tensor) -> np.ndarray:
        """What no cell outside of the window exceeds, ``(N,)``: see `bounds` and `windows`."""
        without = self._tables.windows.without.index_select(0, pairs)
        bounds = without.addmm_(highest.clamp(min=0), self._tables.shares)
        return bounds.amax(dim=1).numpy()

    def _blur(self, sources: np.ndarray, taps: np.ndarray) -> np.ndarray:
        # Fetches the rows and adds them up in one go.
        summed = torch.nn.functional.embedding_bag(
            torch.from_numpy(sources).view(-1, self.kernel_size),
            self._rows,
            per_sample_weights=torch.from_numpy(taps).view(-1, self.kernel_size),
            mode='sum',
        )
        return (summed @ self._tables.band).numpy()


class _Windows(NamedTuple):
    """The window around every pair of rows.

    Attributes:
        first: ``(H / PAIR,)``: number of its first blurred row.
        sources: ``(H / PAIR, WINDOW * kernel)`` int32: as in `_Tables`.
        taps: The same.
        without: ``(H / PAIR, H + 2 M)``: minus infinity for its rows, zero for all others.
    """

    first: np.ndarray
    sources: np.ndarray
    taps: np.ndarray
    without: Tensor


class _Tables(NamedTuple):
    """What the blur of a size of maps consists of.

    Attributes:
        sources: ``(H + 2 M, kernel)`` int32: the rows that each blurred row is the sum of.
        taps: ``(H + 2 M, kernel)``: their weights, zero for those beyond the border.
        band: ``(W, W + 2 M)``: the blur along a row as a product.
        shares: ``(H / PAIR, H + 2 M)``: the weights of every pair of rows in each blurred row.
        windows: The same of the rows of every window, and more.
    """

    sources: np.ndarray
    taps: np.ndarray
    band: Tensor
    shares: Tensor
    windows: _Windows


@lru_cache(maxsize=16)
def _tables(height: int, width: int, kernel_size: int, margin: int) -> _Tables:
    blurred = np.arange(height + 2 * margin)
    sources = blurred[:, None] - margin + np.arange(kernel_size) - kernel_size // 2
    inside = (sources >= 0) & (sources < height)
    sources = sources.clip(0, height - 1).astype(np.int32)
    taps = np.where(inside, _taps(kernel_size), 0)
    shares = np.zeros((height // PAIR, len(blurred)))
    np.add.at(shares, (sources // PAIR, blurred[:, None]), taps)
    taps = taps.astype(np.float32)
    first = np.arange(0, height, PAIR) + margin - (WINDOW - PAIR) // 2
    first = first.clip(0, len(blurred) - WINDOW)
    windows = first[:, None] + np.arange(WINDOW)
    without = np.zeros(shares.shape, np.float32)
    np.put_along_axis(without, windows, -np.inf, axis=1)
    return _Tables(
        sources,
        taps,
        torch.from_numpy(_band(width, kernel_size, margin)).float(),
        torch.from_numpy(shares * (1 + _ROUNDING)).float(),
        _Windows(
            first,
            sources[windows].reshape(len(first), -1),
            taps[windows].reshape(len(first), -1),
            torch.from_numpy(without),
        ),
    )


def _band(length: int, kernel_size: int, margin: int) -> np.ndarray:
    """``(length, length + 2 margin)``: row ``i`` holds the taps around column ``i + margin``."""
    reach = kernel_size // 2
    distance = np.arange(-margin, length + margin)[None] - np.arange(length)[:, None]
    taps = _taps(kernel_size)[np.clip(distance + reach, 0, 2 * reach)]
    return np.where(abs(distance) <= reach, taps, 0)


def _taps(kernel_size: int) -> np.ndarray:
    taps: np.ndarray = cv2.getGaussianKernel(kernel_size, 0)[:, 0]
    return taps
