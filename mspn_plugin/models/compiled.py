"""Features of a network through `torch.compile`, for those who ask for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mspn.errors import InputError

COMPILE_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')
"""What ``test_cfg.compile`` may be; torch's names. ``'reduce-overhead'`` makes CUDA graphs."""


def compiled_features(parts: Sequence[nn.Module], inputs: Tensor, mode: str) -> Any:
    """Passes inputs through parts of a network, compiled at the first call for a size of inputs.

    Raises:
        InputError: torch cannot compile here, for example because there is no C++ compiler.
    """
    try:
        return _compiled(mode)(tuple(parts), inputs)
    except RuntimeError as error:
        # By its name: the module that has it takes seconds to import.
        if all(base.__name__ != 'BackendCompilerFailed' for base in type(error).__mro__):
            raise
        lines = [line.strip() for line in f'{error}'.splitlines() if line.strip()]
        reason = ' '.join(lines[:2])
        raise InputError(
            f'test_cfg.compile={mode}: torch cannot compile the network here ({reason}); install '
            'what is missing, or leave the setting out'
        ) from error


@cache
def _compiled(mode: str) -> Callable[[tuple[nn.Module, ...], Tensor], Any]:
    # No method of one model: what holds the compiled code would keep that model alive.
    return torch.compile(_pass_through, mode=mode)


def _pass_through(parts: tuple[nn.Module, ...], features: Any) -> Any:
    for part in parts:
        features = part(features)
    return features
