"""Two things that every operator here needs: enough precision, and gradients by replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Returns float32 and float64 unchanged, anything else as float32.

    Coordinates in half precision are off by up to half a pixel beyond 1024, and several CPU kernels
    know neither float16 nor bfloat16.
    """
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.float()


def replay_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], *, grad_output: Tensor
) -> tuple[Tensor, ...]:
    """Computes a forward pass again and returns the gradients of its inputs.

    mmcv's autograd functions call forward and backward separately. Replaying costs one more forward
    pass, but it needs only the public functions of torchvision, whose private backward operators
    may change between releases.

    Args:
        function: From the inputs to one output.
        inputs: Floating-point tensors; a gradient is returned for each.
        grad_output: Gradient of a loss by the output, same shape as the output.
    """
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        output = function(*leaves)
        return torch.autograd.grad(output, leaves, grad_output.to(output.dtype))
