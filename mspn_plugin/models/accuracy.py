"""Training accuracy on the device: a number to watch, read only when it is logged.

Shapes: B batch, K keypoints, H and W heatmap size.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _peaks(heatmaps: Tensor) -> Tensor:
    """Position of the highest cell ``(B, K, 2)``; (-1, -1) where nothing is above zero."""
    value, index = heatmaps.flatten(2).max(dim=2)
    width = heatmaps.shape[-1]
    position = torch.stack([index % width, index.div(width, rounding_mode='floor')], dim=-1)
    return torch.where(value[..., None] > 0, position, -1).float()


def pck_accuracy(
    output: Tensor, target: Tensor, weights: Tensor, *, threshold: float = 0.05
) -> Tensor:
    """Share of labelled keypoints whose peak is near the target's peak, averaged over keypoints.

    The same number as ``mmpose.evaluation.functional.pose_pck_accuracy`` (whose distance divides
    x by the height and y by the width), without leaving the device.

    Args:
        output: Predicted heatmaps ``(B, K, H, W)``.
        target: Target heatmaps ``(B, K, H, W)``.
        weights: ``(B, K)``, 0 where there is no label.
        threshold: Distance that counts as near, as a share of the heatmap.

    Returns:
        A scalar between 0 and 1; 0 if nothing is labelled.
    """
    height, width = output.shape[-2:]
    # By two Python numbers: a tensor of them would be a copy that waits for the GPU.
    dx, dy = (_peaks(output) - _peaks(target)).unbind(dim=-1)
    distance = torch.hypot(dx / height, dy / width)
    labelled = weights > 0
    count = labelled.sum(dim=0)
    share = ((distance < threshold) & labelled).sum(dim=0) / count.clamp(min=1)
    return share.sum() / (count > 0).sum().clamp(min=1)
