"""The module that ``import mmcv._ext`` yields where compiled mmcv is absent.

It has what person detectors and MMPose's top-down models call. Names, argument names and in-place
outputs are those of mmcv 2.1.0 (`ops/csrc/pytorch/pybind.cpp`). Every other name is a function that
raises NotImplementedError: ``mmcv.ops`` checks about a hundred names on import, and a detector that
uses none of the rest must not be kept from loading.

Shapes: N boxes ``(x1, y1, x2, y2)`` and R regions ``(image index, x1, y1, x2, y2)`` in pixels;
B images, C channels or classes, h and w the feature map, PH and PW the pooled size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
import torchvision
from torch import Tensor
from torchvision import ops

# mmcv-lite and mmcv own the same folder: installed over each other, removing one breaks both.
_INSTALL = 'pip uninstall -y mmcv-lite && mim install "mmcv>=2.0.1,<2.2.0"'
_NAIVE, _LINEAR, _GAUSSIAN = 0, 1, 2  # how Soft-NMS lowers a score
_SMALLEST = torch.finfo(torch.float32).tiny  # mmcv takes no logarithm of less: C's FLT_MIN


def get_compiler_version() -> str:
    """Returns what MMEngine's environment report prints as 'MMCV Compiler'."""
    return f'none (torchvision {torchvision.__version__} through mspn_plugin)'


def get_compiling_cuda_version() -> str:
    """Returns mmcv's words for a build without CUDA, whatever torchvision was built with."""
    return 'not available'


@functools.cache
def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(
            f'mmcv._ext.{name} exists only in compiled mmcv, and mmcv-lite is installed; '
            f'mspn_plugin does not supply it. To get it: {_INSTALL} (without a wheel for this '
            'torch, that compiles for about half an hour and needs a C++ compiler; with CUDA, the '
            'CUDA toolkit)'
        )

    missing.__name__ = missing.__qualname__ = name
    return missing


# --- suppression of boxes; `offset` 1 is for coordinates that name whole pixels, else 0


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Keeps the best box (N, 4) of every group that overlaps by more than the threshold.

    Returns:
        Indices (M,) of the boxes kept, best first, int64.
    """
    boxes = _widen(boxes)
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    if boxes.dtype == torch.float32:
        # mmcv compares in float32; 0.6 as float64 is less than an overlap of 0.6 as float32.
        iou_threshold = float(np.float32(iou_threshold))
    return ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lowers the scores of overlapping boxes instead of dropping the boxes (Soft-NMS).

    Ties are broken as mmcv does it, by where its swaps have put the boxes.

    Args:
        boxes: (N, 4), on the CPU, where mmcv brings all arguments.
        scores: (N,).
        dets: (N, 5), filled in place: the first M rows become the boxes and new scores, best first.
        iou_threshold: Where the methods 0 and 1 begin to act.
        sigma: Width of method 2.
        min_score: Boxes whose new score is lower are dropped.
        method: 0 sets scores to 0, 1 multiplies them by 1 - overlap, 2 by exp(-overlap^2 / sigma).
        offset: See above.

    Returns:
        Indices (M,) of the boxes kept, int64.
    """
    if method not in (_NAIVE, _LINEAR, _GAUSSIAN):
        raise ValueError(f'method must be 0 (naive), 1 (linear) or 2 (gaussian), got {method}')
    boxes = _widen(boxes)
    # numpy: several times faster than torch on arrays this small
    rest = torch.cat((boxes, scores.to(boxes.dtype)[:, None]), 1).detach().numpy()
    index = np.arange(len(rest))
    i = 0
    while i < len(rest):
        best = i + int(rest[i:, 4].argmax())
        rest[[i, best]], index[[i, best]] = rest[[best, i]], index[[best, i]]
        tail = rest[i + 1 :]
        overlap = _overlaps(rest[i], tail, offset)
        if method == _GAUSSIAN:
            tail[:, 4] *= np.exp(-(overlap**2) / sigma)
        else:
            weight = 1 - overlap if method == _LINEAR else 0
            tail[:, 4] *= np.where(overlap >= np.float32(iou_threshold), weight, 1)
        low = tail[:, 4] < min_score
        if low.any():
            # The last box that stays fills the first hole, and so on.
            order, count = np.arange(len(tail)), int((~low).sum())
            order[np.flatnonzero(low[:count])] = count + np.flatnonzero(~low[count:])[::-1]
            order = np.concatenate((np.arange(i + 1), i + 1 + order[:count]))
            rest, index = rest[order], index[order]
        i += 1
    dets[: len(rest)] = torch.from_numpy(rest).to(dets.dtype)
    return torch.from_numpy(index)


def _overlaps(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    """Returns intersection over union (N,) of one box and N others; 0 for two empty boxes."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:4], others[:, 2:4])
    shared = np.maximum(high - low + offset, 0).prod(1)
    area, areas = (np.prod(b[..., 2:4] - b[..., :2] + offset, -1) for b in (box, others))
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.nan_to_num(shared / (area + areas - shared), nan=0.0)


# --- RoIAlign: the average of every bin


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **options: Any
) -> None:
    """Fills `output` (R, C, PH, PW) with the average of the samples of each bin; see `_roi_align`.

    `input` is (B, C, h, w); the two `argmax` are for the maximum, which is not supplied.
    """
    output.copy_(_roi_align(_widen(input), rois, **options))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    **options: Any,
) -> None:
    """Adds the gradient to `grad_input` (B, C, h, w), which mmcv hands over filled with zeros.

    It replays the forward pass: torchvision's own backward operator is private. The average is
    linear in the features, so the features themselves do not matter.
    """
    gradient = _widen(grad_output)
    with torch.enable_grad():
        features = torch.zeros_like(grad_input, dtype=gradient.dtype, requires_grad=True)
        output = _roi_align(features, rois, **options)
        grad_input.add_(torch.autograd.grad(output, features, gradient)[0])


def _roi_align(
    features: Tensor,
    rois: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,  # cells of the feature map per image pixel
    sampling_ratio: int,  # samples per bin and direction; 0: about one per cell
    pool_mode: int,  # 1, the average; 0 would be the maximum
    aligned: bool,  # the centre of cell 0 lies at 0.5; else at 0, no region is below one cell
) -> Tensor:
    if pool_mode != 1:
        __getattr__('roi_align_forward with pool_mode "max"')()
    pooled, rois = (aligned_height, aligned_width), rois.to(features.dtype)
    return ops.roi_align(features, rois, pooled, spatial_scale, sampling_ratio, aligned)


# --- sigmoid focal loss (Lin et al., 2017). A target of C is background, every class negative.
# `weight` is one factor per class, looked up by the target of the sample, or empty. Background has
# the factor 1; compiled mmcv reads beyond the end of the tensor there.


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fills `output` (N, C) with the loss of the logits `input` (N, C) for `target` (N,), int64.

    `gamma` says how strongly easy samples are played down, `alpha` weighs the positive ones.
    """
    if target.numel() and int(target.max()) > input.size(1):
        raise ValueError(
            f'targets must be at most the number of classes, {input.size(1)} (which means '
            f'background), got {int(target.max())}'
        )
    p = _widen(input).sigmoid()
    positive = -alpha * (1 - p).pow(gamma) * p.clamp(min=_SMALLEST).log()
    negative = -(1 - alpha) * p.pow(gamma) * (1 - p).clamp(min=_SMALLEST).log()
    output.copy_(_chosen(positive, negative, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fills `grad_input` (N, C) with the derivative of each loss by its own logit."""
    p = _widen(input).sigmoid()
    q, log_p, log_q = 1 - p, p.clamp(min=_SMALLEST).log(), (1 - p).clamp(min=_SMALLEST).log()
    positive = -alpha * q.pow(gamma) * (q - gamma * p * log_p)
    negative = -(1 - alpha) * p.pow(gamma) * (gamma * q * log_q - p)
    grad_input.copy_(_chosen(positive, negative, target, weight))


def _chosen(positive: Tensor, negative: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Returns (N, C), positive where the class is the target, times the weight of the target."""
    classes = torch.arange(positive.size(1), device=target.device)
    chosen = torch.where(target[:, None] == classes, positive, negative)
    if weight.numel() == 0:
        return chosen
    factors = torch.cat((weight.to(chosen.dtype), chosen.new_ones(1)))  # the last: background
    return chosen * factors[target.clamp(max=len(weight))][:, None]


def _widen(tensor: Tensor) -> Tensor:
    """Returns half precision as float32: pixels beyond 1024 are off by up to half a pixel in it."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
