"""The peak of the machine: operations a second in a product of large matrices, measured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .timing import clock

KINDS = ('fp32', 'tf32', 'bf16', 'fp16')
"""Kinds of numbers; TF32 is there on a GPU only."""

_TYPES = dict(fp32=torch.float32, tf32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)


@contextlib.contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def matrix_peak(
    device: torch.device, kind: str = 'fp32', *, size: int | None = None, repeats: int = 5
) -> float:
    """Measures a square matrix product, and takes the best of several.

    Args:
        device: Where to compute.
        kind: One of `KINDS`.
        size: Side of the matrices; by default one that is large for the device.
        repeats: Measurements.

    Returns:
        Floating-point operations per second; a multiplication and an addition are two.
    """
    size = size or (8192 if device.type == 'cuda' else 2048)
    a, b = (torch.randn(size, size, device=device).to(_TYPES[kind]) for _ in range(2))
    best = float('inf')
    with _tf32(kind == 'tf32'):
        for _ in range(repeats + 1):  # the first one warms up, and is hardly the best
            start = clock(device)
            torch.mm(a, b)
            best = min(best, clock(device) - start)
    return 2 * size**3 / best


def operations(work: Callable[[], Any]) -> int:
    """Floating-point operations of the convolutions and matrix products that some work does."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def operations_per_person(model: nn.Module, input_size: tuple[int, int]) -> int:
    """Operations that the heatmaps of one image need: one forward pass, the last unit predicted.

    Args:
        model: This package's, in evaluation mode.
        input_size: ``(w, h)``.
    """
    width, height = input_size
    parameter = next(model.parameters())
    image = torch.zeros(1, 3, height, width, device=parameter.device, dtype=parameter.dtype)

    def forward() -> None:
        with torch.no_grad():
            model(image, None)

    return operations(forward)
