"""Depthwise convolution with TensorFlow's padding, whose gradient on a CPU is not ten times slower.

Torch has fast code on CPUs for depthwise convolutions forward, and for the gradient of 3x3 kernels
with a stride of 1. `_Depthwise` puts the other gradients together from those: 5x5 kernels and
strides of 2, which in bf16 otherwise take most of a training step.

Shapes: B batch, C channels, h and w the input's size, K the kernel's size, S the stride.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LAST = torch.channels_last


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise ``nn.Conv2d`` of stride 1 or 2 and kernel 3 or 5.

    Its padding is TensorFlow's ``same``: an even size that is halved is padded more at its end.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, C, h, w)`` to ``(B, C, ceil(h / S), ceil(w / S))``."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            padding = kernel // 2
        else:
            padding, sides = 0, []
            for size in (x.shape[-1], x.shape[-2]):
                wanted = max((-(-size // stride) - 1) * stride + kernel - size, 0)
                sides += [wanted // 2, wanted - wanted // 2]
            x = F.pad(x, sides)
        weight = self.weight
        if x.device.type != 'cpu' or not (torch.is_grad_enabled() and self.training):
            return F.conv2d(x, weight, self.bias, stride, padding, groups=self.groups)
        if torch.is_autocast_enabled('cpu'):
            dtype = torch.get_autocast_dtype('cpu')
            x, weight = x.to(dtype), weight.to(dtype)
        out: Tensor = _Depthwise.apply(x, weight, stride, padding)
        return out


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution without bias; the padding is 0 for a stride of 2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=_LAST)
        inputs = weights = None
        if ctx.needs_input_grad[0]:
            if ctx.stride == 1:
                far = weight.shape[-1] - 1 - ctx.padding
                inputs = F.conv2d(grad, weight.flip(2, 3), padding=far, groups=len(weight))
            else:
                inputs = _input_gradient(grad, x, weight)
        if ctx.needs_input_grad[1]:
            small = weight.shape[-1] == 3
            weights = _small(grad, x, ctx.stride, ctx.padding) if small else _large(grad, x, ctx)
        return inputs, weights, None, None


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Of a stride of 2: even and odd rows and columns of the input meet different weights."""
    inputs = torch.zeros_like(x, memory_format=_LAST)
    for row in (0, 1):
        for column in (0, 1):
            part = weight[:, :, row::2, column::2]
            taps = weight.new_zeros(len(weight), 1, 3, 3)
            taps[:, :, : part.shape[2], : part.shape[3]] = part
            found = F.conv2d(grad, taps.flip(2, 3), padding=2, groups=len(weight))
            place = inputs[:, :, row::2, column::2]
            h, w = (min(a, b) for a, b in zip(place.shape[2:], found.shape[2:], strict=True))
            place[:, :, :h, :w] = found[:, :, :h, :w]
    return inputs


def _small(grad: Tensor, x: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of a 3x3 kernel, by torch."""
    like = x.new_empty(x.shape[1], 1, 3, 3)
    rest: Any = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(like))
    found = torch.ops.aten.convolution_backward(grad, x, like, None, *rest, [False, True, False])
    weights: Tensor = found[1]
    return weights


def _large(grad: Tensor, x: Tensor, ctx: Any) -> Tensor:
    """The gradient of a 5x5 kernel from four of 3x3: its quarters, or every other row and column.

    The first are of a stride of 1 and overlap; the others of a stride of 2, each with the pixels
    that those weights meet.
    """
    x = F.pad(x, [ctx.padding] * 4) if ctx.padding else x
    weights = x.new_empty(x.shape[1], 1, 5, 5)
    h, w = grad.shape[2] + 2, grad.shape[3] + 2
    for row in (0, 1):
        for column in (0, 1):
            if ctx.stride == 1:
                seen = x[:, :, 2 * row :, 2 * column :][:, :, :h, :w]
                place = weights[:, :, 2 * row :, 2 * column :][:, :, :3, :3]
            else:
                seen = x[:, :, row::2, column::2][:, :, :h, :w]
                seen = F.pad(seen, [0, w - seen.shape[3], 0, h - seen.shape[2]])
                place = weights[:, :, row::2, column::2]
            found = _small(grad, seen.contiguous(memory_format=_LAST), 1, 0)
            place.copy_(found[:, :, : place.shape[2], : place.shape[3]])
    return weights
