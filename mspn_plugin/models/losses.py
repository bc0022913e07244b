"""Heatmap losses: squared error per keypoint, its weighted mean, and its hardest keypoints.

Shapes: B batch, K keypoints, H and W heatmap size.
"""

from __future__ import annotations

from typing import Any

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _MeanSquares(torch.autograd.Function):
    """Mean squared difference of every heatmap, whose gradient is one product.

    Autograd's own chain of square and mean keeps and fills three times the memory.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, target: Tensor) -> Tensor:
        difference = output.float() - target
        ctx.save_for_backward(difference)
        ctx.dtype = output.dtype
        return torch.linalg.vector_norm(difference, dim=(2, 3)).square_() / difference[0, 0].numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        factors = gradient * (2 / difference[0, 0].numel())
        return (difference * factors[..., None, None]).to(ctx.dtype), None


def keypoint_errors(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of every heatmap.

    Always in float32: squares of heatmaps that reach 255 leave the range of half precision.

    Args:
        output: Predicted heatmaps ``(B, K, H, W)``.
        target: Target heatmaps ``(B, K, H, W)``, which get no gradient.

    Returns:
        ``(B, K)``.
    """
    return _MeanSquares.apply(output, target)


@MODELS.register_module()
class OHKMMSELoss(nn.Module):
    """Online hard keypoint mining: the mean of each sample's ``topk`` largest errors.

    Unlabelled keypoints count as zero, so a sample with fewer labels than ``topk`` still divides
    by ``topk``, as the original does (megvii MSPN, lib/utils/loss.py).

    Args:
        topk: Number of keypoints that count per sample; if there are fewer, all of them.
        binary_weights: Whether every labelled keypoint counts alike, whatever its weight.
        loss_weight: Factor of the result.

    Raises:
        ValueError: ``topk`` is not positive.
    """

    def __init__(
        self, topk: int = 8, *, binary_weights: bool = False, loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        if topk < 1:
            raise ValueError(f'topk is {topk}, expected at least 1')
        self.topk = topk
        self.binary_weights = binary_weights
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Computes the loss of a batch.

        Args:
            output: Predicted heatmaps ``(B, K, H, W)``.
            target: Target heatmaps ``(B, K, H, W)``.
            weights: ``(B, K)``, 0 where there is no label. All count if absent.

        Returns:
            A scalar.
        """
        errors = keypoint_errors(output, target)
        if weights is not None:
            errors = errors * (weights > 0 if self.binary_weights else weights)
        hardest = errors.topk(min(self.topk, errors.shape[1]), dim=1, sorted=False).values
        return hardest.mean() * self.loss_weight


class MeanMSELoss(nn.Module):
    """Mean squared error over all keypoints, unlabelled ones counting as zero.

    Args:
        loss_weight: Factor of the result.
    """

    def __init__(self, *, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Computes the loss of a batch; shapes as in `OHKMMSELoss`."""
        return (keypoint_errors(output, target) * weights).mean() * self.loss_weight


class VisibleMSELoss(MeanMSELoss):
    """Mean squared error over all keypoints, where only the visible ones have a target.

    An occluded keypoint costs as much as an unlabelled one if it is drawn, as in the original
    (megvii MSPN, lib/utils/loss.py, without OHKM). So the coarse units learn what can be seen, and
    the last unit of a stage, which learns from every label, infers the rest.
    """

    def forward(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Computes the loss of a batch.

        Args:
            output: Predicted heatmaps ``(B, K, H, W)``.
            target: Target heatmaps ``(B, K, H, W)`` of all labelled keypoints.
            weights: ``(B, K)``, the visibility: 0 unlabelled, 1 occluded, 2 visible.

        Returns:
            A scalar.
        """
        drawn = target * (weights > 1)[..., None, None]
        return keypoint_errors(output, drawn).mean() * self.loss_weight
