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
    """Returns indices (M,), best first: of the boxes (N, 4) that overlap too much, the best one."""
    boxes = _widen(boxes) + boxes.new_tensor([0, 0, offset, offset])
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

    The method 0 sets scores to 0, 1 multiplies them by 1 - overlap, both from the threshold on; 2
    multiplies all by exp(-overlap^2 / sigma). Boxes whose new score is below `min_score` go. Ties
    are broken as mmcv does it, by where its swaps have put the boxes. All is on the CPU, where mmcv
    brings it. Of `dets` (N, 5) the first M rows become the boxes and new scores, best first.

    Returns:
        Indices (M,) of the boxes kept, int64.
    """
    if method not in (0, 1, 2):
        raise ValueError(f'method must be 0 (naive), 1 (linear) or 2 (gaussian), got {method}')
    boxes = _widen(boxes).detach()
    # numpy: several times faster than torch on arrays this small
    new_scores = scores.to(boxes.dtype).detach().numpy().copy()
    corners = boxes.numpy() + np.array([0, 0, offset, offset], boxes.numpy().dtype)
    low, high = corners[:, :2], corners[:, 2:]
    areas, left, kept = np.prod(high - low, 1), np.arange(len(boxes)), []
    while len(left):
        i = int(new_scores[left].argmax())
        best, left[i] = left[i], left[0]
        left = left[1:]
        kept.append(best)
        sides = np.minimum(high[best], high[left]) - np.maximum(low[best], low[left])
        shared = np.prod(np.maximum(sides, 0), 1)
        with np.errstate(divide='ignore', invalid='ignore'):  # two empty boxes do not overlap
            overlap = np.nan_to_num(shared / (areas[best] + areas[left] - shared))
        if method == 2:
            new_scores[left] *= np.exp(-(overlap**2) / sigma)
        else:
            weight = 1 - overlap if method == 1 else 0
            new_scores[left] *= np.where(overlap >= np.float32(iou_threshold), weight, 1)
        stay = ~(new_scores[left] < min_score)
        # The last box that stays fills the first hole, and so on.
        count, stayed = stay.sum(), np.flatnonzero(stay)
        filled = np.arange(count)
        filled[~stay[:count]] = stayed[stayed >= count][::-1]
        left = left[filled]
    index = torch.tensor(kept, dtype=torch.long)
    dets[: len(kept), :4], dets[: len(kept), 4] = boxes[index], torch.from_numpy(new_scores)[index]
    return index


# --- RoIAlign: the average of every bin; the two `argmax` are for the maximum, never supplied


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **options: Any
) -> None:
    """Fills `output` (R, C, PH, PW) with the average of the samples of `input` (B, C, h, w)."""
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


def _roi_align(features: Tensor, rois: Tensor, *, pool_mode: int, **options: Any) -> Tensor:
    if pool_mode != 1:  # 1 is the average
        __getattr__('roi_align_forward with pool_mode "max"')()
    options['output_size'] = options.pop('aligned_height'), options.pop('aligned_width')
    # The rest is named as torchvision names it: spatial_scale, sampling_ratio and aligned.
    return ops.roi_align(features, rois.to(features.dtype), **options)


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
    _, share, right, wrong = _shares(input, target, weight, alpha)
    output.copy_(-share * wrong.pow(gamma) * right.clamp(min=_SMALLEST).log())


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fills `grad_input` (N, C) with the derivative of each loss by its own logit."""
    sign, share, right, wrong = _shares(input, target, weight, alpha)
    slope = wrong - gamma * right * right.clamp(min=_SMALLEST).log()
    grad_input.copy_(-sign * share * wrong.pow(gamma) * slope)


def _shares(input: Tensor, target: Tensor, weight: Tensor, alpha: float) -> tuple[Tensor, ...]:
    """Returns four (N, C): 1 for the target, else -1; factor; p of the right and wrong answer."""
    p = _widen(input).sigmoid()
    positive = target[:, None] == torch.arange(p.size(1), device=p.device)
    factors = torch.cat((weight.to(p.dtype), p.new_ones(1)))  # the last: background, or no weights
    share = torch.where(positive, p.new_tensor(alpha), 1 - alpha)
    share *= factors[target.clamp(max=len(weight))][:, None]
    right, wrong = torch.where(positive, p, 1 - p), torch.where(positive, 1 - p, p)
    return torch.where(positive, 1, -1), share, right, wrong


def _widen(tensor: Tensor) -> Tensor:
    """Returns half precision as float32: pixels beyond 1024 are off by up to half a pixel in it."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
