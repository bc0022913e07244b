"""Kinds of numbers, and training and inference with them on any device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper

DTYPES: dict[str, torch.dtype | None] = dict(fp32=None, bf16=torch.bfloat16, fp16=torch.float16)
"""What autocast is asked for, by the name of the numbers."""


def autocast(device: torch.device, kind: str) -> Any:
    """A context in which a network computes with another kind of numbers.

    Args:
        device: Where it computes.
        kind: A key of `DTYPES`; with ``'fp32'`` nothing changes.
    """
    dtype = DTYPES[kind]
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


class CpuAutocastWrapper(OptimWrapper):
    """An optimizer wrapper with autocast on a CPU, where MMEngine's own refuses to work.

    Args:
        kind: A key of `DTYPES`.
        kwargs: Those of `OptimWrapper`.
    """

    def __init__(self, *, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._kind = kind

    @contextlib.contextmanager
    def optim_context(self, model: BaseModel) -> Iterator[None]:
        """Computes losses with the other kind of numbers."""
        with super().optim_context(model), autocast(torch.device('cpu'), self._kind):
            yield


def optimizer(model: Any, cfg: Any, kind: str, device: torch.device) -> OptimWrapper:
    """The optimizer of a config, as `tools/train.py` makes it with and without ``--amp``.

    Args:
        model: What it optimises.
        cfg: The whole config.
        kind: A key of `DTYPES`.
        device: Where the model is.
    """
    wrapper: OptimWrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    if kind == 'fp32':
        return wrapper
    if device.type != 'cuda':
        return CpuAutocastWrapper(kind=kind, optimizer=wrapper.optimizer)
    scale: Any = dict(enabled=False) if kind == 'bf16' else 'dynamic'
    name = dict(bf16='bfloat16', fp16='float16')[kind]
    return AmpOptimWrapper(loss_scale=scale, dtype=name, optimizer=wrapper.optimizer)
