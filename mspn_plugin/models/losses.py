"""What a unit's heatmaps are judged by: losses, and an accuracy to watch.

Any registered loss can stand in a `MultiStageHead`: ``loss(output, target, weights)`` takes
heatmaps ``(B, K, H, W)``, their targets, and the keypoints' weights ``(B, K)``, 0 where there is
no label, and gives a scalar.

Shapes: B batch, K keypoints, H and W heatmap size.
"""

from __future__ import annotations

import warnings
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
        # In float32: squares of heatmaps that reach 255 leave the range of half precision.
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


keypoint_errors = _MeanSquares.apply
"""Mean squared error ``(B, K)`` of every heatmap; the target gets no gradient."""


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
        """Computes the loss of a batch; without weights all keypoints count."""
        errors = keypoint_errors(output, target)
        if weights is not None:
            errors = errors * (weights > 0 if self.binary_weights else weights)
        hardest = errors.topk(min(self.topk, errors.shape[1]), dim=1, sorted=False).values
        return hardest.mean() * self.loss_weight


@MODELS.register_module()
class KeypointMeanMSELoss(nn.Module):
    """Mean squared error over all keypoints, unlabelled ones as zero, times ``loss_weight``."""

    def __init__(self, *, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Computes the loss of a batch."""
        return (keypoint_errors(output, target) * weights).mean() * self.loss_weight


@MODELS.register_module()
class VisibleKeypointMSELoss(KeypointMeanMSELoss):
    """Mean squared error over all keypoints, where only the visible ones have a target.

    An occluded keypoint costs as much as an unlabelled one if it is drawn, as in the original
    (megvii MSPN, lib/utils/loss.py, without OHKM). So the coarse units learn what can be seen, and
    the last unit of a stage, which learns from every label, infers the rest. The weights must be
    the raw visibility: 0 unlabelled, 1 occluded, 2 visible; MMPose's own data sets clip it at 1
    (the transform `RawAnnotation` restores it).
    """

    def forward(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Computes the loss of a batch."""
        drawn = target * (weights > 1)[..., None, None]
        return keypoint_errors(output, drawn).mean() * self.loss_weight


def losses_of_old_settings(
    coarse_loss: dict[str, Any], final_loss: dict[str, Any], old: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both losses of a head with the settings in them that stood in their place before."""
    settings = dict(
        ohkm=final_loss['type'] == 'OHKMMSELoss',
        topk=final_loss.get('topk', 8),
        coarse_weight=coarse_loss.get('loss_weight', 1.0),
        coarse_targets='visible' if coarse_loss['type'].startswith('Visible') else 'labelled',
    )
    if unknown := ', '.join(old.keys() - settings):
        raise TypeError(f'MultiStageHead() got an unexpected keyword argument: {unknown}')
    settings |= {name: value for name, value in old.items() if value is not None}
    ohkm, topk, weight, targets = settings.values()
    means = dict(labelled='KeypointMeanMSELoss', visible='VisibleKeypointMSELoss')
    if targets not in means:
        raise ValueError(f'coarse_targets is {targets!r}, expected one of labelled, visible')
    hardest = dict(type='OHKMMSELoss', topk=topk, binary_weights=targets == 'visible')
    coarse_loss = dict(type=means[targets], loss_weight=weight)
    final_loss = hardest if ohkm else dict(type=means[targets])
    warnings.warn(
        'ohkm, topk, coarse_weight and coarse_targets of the MultiStageHead will go in the next '
        f'version; write instead: coarse_loss={coarse_loss}, final_loss={final_loss}',
        FutureWarning,
        stacklevel=3,
    )
    return coarse_loss, final_loss


def pck_accuracy(
    output: Tensor, target: Tensor, weights: Tensor, *, threshold: float = 0.05
) -> Tensor:
    """Share of labelled keypoints whose peak is near the target's peak, averaged over keypoints.

    The same number as ``mmpose.evaluation.functional.pose_pck_accuracy`` (whose distance divides
    x by the height and y by the width), without leaving the device: a number to watch, read only
    when it is logged. Shapes as for a loss; the ``threshold`` is a share of the heatmap.
    """
    height, width = output.shape[-2:]
    # By two Python numbers: a tensor of them would be a copy that waits for the GPU.
    dx, dy = (_peaks(output) - _peaks(target)).unbind(dim=-1)
    distance = torch.hypot(dx / height, dy / width)
    labelled = weights > 0
    count = labelled.sum(dim=0)
    share = ((distance < threshold) & labelled).sum(dim=0) / count.clamp(min=1)
    return share.sum() / (count > 0).sum().clamp(min=1)


def _peaks(heatmaps: Tensor) -> Tensor:
    """Position of the highest cell ``(B, K, 2)``; (-1, -1) where nothing is above zero."""
    value, index = heatmaps.flatten(2).max(dim=2)
    width = heatmaps.shape[-1]
    position = torch.stack([index % width, index // width], dim=-1)
    return torch.where(value[..., None] > 0, position, -1).float()
