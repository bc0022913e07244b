"""MultiLevelHeatmap: the codec that MMPose's pipelines and heads call.

Shapes: N instances (one, as everywhere in top-down data), B batch, K keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

from .decode import REFINEMENTS, decode_heatmaps
from .render import HeatmapRenderer


@KEYPOINT_CODECS.register_module()
class MultiLevelHeatmap(BaseKeypointCodec):
    """Heatmaps of several kernel sizes, one for each level of coarse-to-fine supervision.

    `encode` runs in the data loader's workers and is nothing but a scaling: 17 keypoints make a
    few hundred bytes, where five levels of heatmaps make one megabyte. The maps themselves are
    rendered by the head, on its device (`renderer`).

    Args:
        input_size: ``(w, h)`` of the network's input, in pixels.
        heatmap_size: ``(W, H)`` of the heatmaps, in cells.
        kernel_sizes: Gaussian kernel of every level in cells, coarse to fine. MSPN supervises
            early stages with all but the last level and the last stage with all but the first.
        decode_kernel_size: Gaussian blur before decoding, in cells; 5 for COCO, 9 for MPII.
        refine: How a peak is moved within its cell: ``'second_peak'`` as the original code does,
            ``'gradient_sign'`` as MMPose does, ``'parabola'`` by a fit.
        exact: Whether targets are highest at the keypoint itself. In the published recipe it is the
            middle of its cell.

    Raises:
        ValueError: A size is not positive, a kernel is even, or ``refine`` is unknown.
    """

    label_mapping_table: ClassVar[dict[str, str]] = dict(
        keypoint_cells='keypoint_cells', keypoint_weights='keypoint_weights'
    )

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        *,
        kernel_sizes: Sequence[int] = (15, 11, 9, 7, 5),
        decode_kernel_size: int = 5,
        refine: str = 'second_peak',
        exact: bool = False,
    ) -> None:
        super().__init__()
        if min(*input_size, *heatmap_size) < 2:
            raise ValueError(
                f'input_size {tuple(input_size)} and heatmap_size {tuple(heatmap_size)} must be '
                'two whole numbers each, width and height, of at least 2'
            )
        for size in (*kernel_sizes, decode_kernel_size):
            if size < 1 or size % 2 == 0:
                raise ValueError(f'Gaussian kernel sizes must be odd and positive, not {size}')
        if not kernel_sizes:
            raise ValueError('kernel_sizes is empty; give one kernel size per level')
        if refine not in REFINEMENTS:
            raise ValueError(f'refine is {refine!r}, expected one of {", ".join(REFINEMENTS)}')
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.heatmap_size = (int(heatmap_size[0]), int(heatmap_size[1]))
        self.kernel_sizes = tuple(int(size) for size in kernel_sizes)
        self.num_levels = len(self.kernel_sizes)
        self.decode_kernel_size = decode_kernel_size
        self.refine = refine
        self.exact = exact
        self.cell_size = np.asarray(self.input_size, np.float64) / self.heatmap_size
        """Width and height of a heatmap cell in input pixels."""

    def encode(
        self, keypoints: np.ndarray, keypoints_visible: np.ndarray | None = None
    ) -> dict[str, Any]:
        """Scales keypoints to heatmap cells and marks the ones to learn from.

        Args:
            keypoints: ``(N, K, 2)`` x and y in input pixels.
            keypoints_visible: ``(N, K)``, 0 where there is no label. All labelled if absent.

        Returns:
            ``keypoint_cells`` ``(N, K, 2)`` float32 in heatmap cells, and ``keypoint_weights``
            ``(N, K)`` float32: the given visibility, but 0 for a keypoint outside the input
            (beyond the centre of its border pixels, as in megvii MSPN's JointsDataset).
        """
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], np.float32)
        limit = np.asarray(self.input_size) - 1
        inside = np.all((keypoints >= 0) & (keypoints <= limit), axis=-1, keepdims=True)
        weights = np.where(inside[..., 0] & (keypoints_visible > 0), keypoints_visible, 0)
        cells = np.where(inside, keypoints / self.cell_size, 0)
        return dict(
            keypoint_cells=cells.astype(np.float32), keypoint_weights=weights.astype(np.float32)
        )

    def renderer(self) -> HeatmapRenderer:
        """A module that turns what `encode` gives into target heatmaps, for the head to own."""
        return HeatmapRenderer(self.heatmap_size, self.kernel_sizes, exact=self.exact)

    def batch_decode(self, batch_encoded: Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Decodes the heatmaps ``(B, K, H, W)`` of a batch, on any device.

        Returns:
            Per sample: keypoints ``(1, K, 2)`` in input pixels and scores ``(1, K)``.
        """
        cells, scores = decode_heatmaps(batch_encoded, self.decode_kernel_size, refine=self.refine)
        keypoints = cells.numpy() * self.cell_size.astype(np.float32)
        return list(keypoints[:, None]), list(scores.numpy()[:, None])

    def decode(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decodes the heatmaps ``(K, H, W)`` of one sample; what it gives is as in a batch."""
        keypoints, scores = self.batch_decode(torch.as_tensor(encoded)[None])
        return keypoints[0], scores[0]
