"""Training in bf16 on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CpuBf16OptimWrapper(OptimWrapper):
    """What MMEngine's `AmpOptimWrapper` is for GPUs: the network computes in bf16.

    Weights, heatmaps and losses stay in fp32. There is nothing to scale: the numbers of bf16 reach
    as far as those of fp32.
    """

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Around the forward pass of a training step."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


def cpu_has_bf16() -> bool:
    """Whether this CPU computes in bf16 itself; others only imitate it, slowly."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
