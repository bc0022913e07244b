"""Sigmoid and softmax focal loss, forward and backward (Lin et al., Focal Loss, 2017).

Shapes: N samples, C classes. A target of C (or any other outside 0..C-1) is background: the
sigmoid loss then takes every class as negative, the softmax loss is 0. `weight` is one factor per
class, looked up by the target of the sample, or an empty tensor. Background has the factor 1;
compiled mmcv reads beyond the end of the tensor there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._tensors import widen

# mmcv clamps probabilities to C's FLT_MIN before it takes a logarithm.
_SMALLEST = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fills `output` with the loss of every sample and class.

    Args:
        input: Logits (N, C).
        target: Class of each sample (N,), int64, at most C.
        weight: (C,) or (0,).
        output: (N, C), filled in place.
        gamma: How strongly easy samples are played down.
        alpha: Share of the positive samples in the loss.
    """
    num_classes = input.size(1)
    if target.numel() and int(target.max()) > num_classes:
        raise ValueError(
            f'targets must be at most the number of classes, {num_classes} (which means '
            f'background), got {int(target.max())}'
        )
    p = widen(input).sigmoid()
    positive = -alpha * (1 - p).pow(gamma) * _log(p)
    negative = -(1 - alpha) * p.pow(gamma) * _log(1 - p)
    loss = torch.where(_one_hot(target, num_classes), positive, negative)
    output.copy_(loss * _class_factor(weight, target, loss)[:, None])


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fills `grad_input` (N, C) with the derivative of each loss by its own logit."""
    p = widen(input).sigmoid()
    positive = -alpha * (1 - p).pow(gamma) * (1 - p - gamma * p * _log(p))
    negative = -(1 - alpha) * p.pow(gamma) * (gamma * (1 - p) * _log(1 - p) - p)
    slope = torch.where(_one_hot(target, input.size(1)), positive, negative)
    grad_input.copy_(slope * _class_factor(weight, target, slope)[:, None])


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fills `output` with the loss of every sample.

    Args:
        input: Probabilities (N, C): mmcv takes the softmax before it calls this.
        target: Class of each sample (N,), int64.
        weight: (C,) or (0,).
        output: (N,), filled in place.
        gamma: How strongly easy samples are played down.
        alpha: Factor of the whole loss.
    """
    p, valid = _target_probability(input, target)
    loss = -alpha * (1 - p).pow(gamma) * _log(p)
    loss = loss * _class_factor(weight, target, loss)
    output.copy_(torch.where(valid, loss, 0))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fills `grad_input` (N, C) with the derivative by the logits, and `buff` (N,) on the way.

    `buff` is the derivative of the loss by the logarithm of the probability of the target.
    """
    p, valid = _target_probability(input, target)
    slope = -(1 - p).pow(gamma) + gamma * (1 - p).pow(gamma - 1) * p * _log(p)
    slope = alpha * slope * _class_factor(weight, target, slope)
    slope = torch.where(valid, slope, 0)
    buff.copy_(slope)
    probabilities = widen(input)
    one_hot = _one_hot(target, input.size(1)).to(probabilities.dtype)
    grad_input.copy_(slope[:, None] * (one_hot - probabilities))


def _log(p: Tensor) -> Tensor:
    return p.clamp(min=_SMALLEST).log()


def _one_hot(target: Tensor, num_classes: int) -> Tensor:
    """Returns (N, C), true where the class is the target; a row of background is all false."""
    return target[:, None] == torch.arange(num_classes, device=target.device)


def _class_factor(weight: Tensor, target: Tensor, like: Tensor) -> Tensor:
    """Returns the weight (N,) of each sample, 1 where there is none."""
    ones = like.new_ones(len(target))
    if weight.numel() == 0:
        return ones
    inside = (target >= 0) & (target < len(weight))
    return torch.where(inside, weight.to(like.dtype)[target * inside], ones)


def _target_probability(probabilities: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the probability (N,) of each target, and where the target is a class at all."""
    valid = (target >= 0) & (target < probabilities.size(1))
    chosen = widen(probabilities).gather(1, (target * valid)[:, None])[:, 0]
    return chosen, valid
