"""Keypoints -> target heatmaps, on the device, for a whole batch and any level.

Shapes: B batch, K keypoints, H and W heatmap size, L levels.

The published recipe (megvii MSPN, JointsDataset) sets one pixel to 1, blurs the map with OpenCV's
Gaussian of the level's kernel size (sigma 0: OpenCV derives it, and mirrors at the border), and
scales the map so that its maximum is 255. A blurred single pixel is the outer product of a blurred
row and a blurred column, so the values of every possible map lie in two small tables per level:
the row profile of each of W columns and the column profile of each of H rows. Rendering is then
two look-ups and one product. Exact targets are the same product of Gaussians around the keypoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn

PEAK = 255.0
"""Value of the highest cell of a target heatmap."""


def _profiles(length: int, kernel_size: int) -> Tensor:
    """What a cell lit at ``c`` looks like after the blur, as row ``c`` of ``(length, length)``."""
    # OpenCV itself makes them, so they hold its kernel tables and its mirrored border. Divided by
    # the maximum, which near a border is not the lit cell, row times column peaks at exactly 1.
    lit = np.eye(length, dtype=np.float64)
    blurred = cv2.GaussianBlur(lit, (kernel_size, 1), 0)
    return torch.from_numpy(blurred / blurred.max(axis=1, keepdims=True)).float()


class HeatmapRenderer(nn.Module):
    """Renders target heatmaps of one level at a time.

    Args:
        heatmap_size: ``(W, H)`` in cells.
        kernel_sizes: Blur kernel size of every level, coarse to fine, in cells; odd.
        exact: As of a `MultiLevelHeatmap`.
    """

    def __init__(
        self,
        heatmap_size: tuple[int, int],
        kernel_sizes: Sequence[int],
        *,
        exact: bool = False,
    ) -> None:
        super().__init__()
        self.heatmap_size = width, height = heatmap_size
        self._sigmas = [0.15 * size + 0.35 for size in kernel_sizes] if exact else []  # OpenCV's
        # Not persistent: they follow from the config, and checkpoints stay free of them.
        for level, kernel_size in enumerate(kernel_sizes):
            self.register_buffer(f'_rows{level}', _profiles(width, kernel_size), persistent=False)
            self.register_buffer(f'_cols{level}', _profiles(height, kernel_size), persistent=False)

    def forward(self, cells: Tensor, labelled: Tensor, level: int) -> Tensor:
        """Renders the maps of one level.

        Args:
            cells: ``(B, K, 2)`` x and y in heatmap cells; cut to whole cells, as the recipe does,
                unless targets are to be exact.
            labelled: ``(B, K)``; where it is 0 the map is all zero, whatever the position.
            level: Index into the kernel sizes.

        Returns:
            ``(B, K, H, W)`` float32, between 0 and 255.
        """
        width, height = self.heatmap_size
        peaks = (labelled.reshape(-1, 1, 1) > 0) * PEAK
        if self._sigmas:
            factor = -0.5 / self._sigmas[level] ** 2
            x, y = cells.reshape(-1, 2, 1).unbind(1)
            rows, cols = (
                torch.exp((torch.arange(size, device=at.device) + 0.5 - at).square() * factor)
                for at, size in ((x, width), (y, height))
            )
            rows, cols = rows[:, None, :], cols[:, :, None]
        else:
            x, y = cells.reshape(-1, 2).long().unbind(1)
            rows = self.get_buffer(f'_rows{level}')[x.clamp(0, width - 1), None, :]
            cols = self.get_buffer(f'_cols{level}')[y.clamp(0, height - 1), :, None]
        return (cols * peaks * rows).view(*labelled.shape, height, width)
