"""Deformable convolution, versions 1 and 2, on `torchvision.ops.deform_conv2d`.

Shapes: B batch, I and O channels in and out, h and w any size, H and W the size of the output, G
deform groups, P = kH * kW kernel cells. Offsets are (B, 2GP, H, W) in input cells, y before x, and
masks (B, GP, H, W): torchvision and mmcv agree on that. `columns`, `ones` and `im2col_step` concern
the memory of mmcv's kernels and mean nothing here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision import ops

from ._tensors import replay_gradients, widen


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fills `output` (B, O, H, W) from `input` (B, I, h, w); `d` is the stride."""
    geometry = _Geometry((dH, dW), (padH, padW), (dilationH, dilationW))
    output.copy_(geometry.convolve(input, offset, weight))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fills `gradInput` (B, I, h, w) and `gradOffset` (B, 2GP, H, W)."""
    geometry = _Geometry((dH, dW), (padH, padW), (dilationH, dilationW))
    by_input, by_offset = replay_gradients(
        lambda x, shift: geometry.convolve(x, shift, weight),
        (input, offset),
        grad_output=gradOutput,
    )
    gradInput.copy_(by_input)
    gradOffset.copy_(by_offset)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Adds `scale` times the gradient to `gradWeight` (O, I / groups, kH, kW)."""
    geometry = _Geometry((dH, dW), (padH, padW), (dilationH, dilationW))
    # A convolution is linear in its kernel, so the kernel itself does not matter.
    (by_weight,) = replay_gradients(
        lambda kernel: geometry.convolve(input, offset, kernel),
        (torch.zeros_like(gradWeight),),
        grad_output=gradOutput,
    )
    gradWeight.add_(by_weight, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fills `output` (B, O, H, W); `bias` (O,) counts only if `with_bias`."""
    geometry = _Geometry((stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w))
    output.copy_(geometry.convolve(input, offset, weight, mask, bias if with_bias else None))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fills the five gradients, each shaped like what it belongs to."""
    geometry = _Geometry((stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w))
    inputs = [input, offset, weight, mask]
    targets = [grad_input, grad_offset, grad_weight, grad_mask]
    if with_bias:
        inputs.append(bias)
        targets.append(grad_bias)
    for target, gradient in zip(
        targets,
        replay_gradients(geometry.convolve, inputs, grad_output=grad_output),
        strict=True,
    ):
        target.copy_(gradient)


class _Geometry:
    """How the kernel moves over the input; every pair is (vertical, horizontal)."""

    def __init__(
        self, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
    ) -> None:
        self.stride = stride
        self.padding = padding
        self.dilation = dilation

    def convolve(
        self,
        input: Tensor,
        offset: Tensor,
        weight: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Returns (B, O, H, W); both kinds of groups follow from the shapes."""
        return ops.deform_conv2d(
            widen(input),
            widen(offset),
            widen(weight),
            None if bias is None else widen(bias),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            mask=None if mask is None else widen(mask),
        )
