"""Does a checkpoint fit a model? Asked before a run starts, answered with a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.runner.checkpoint import _load_checkpoint
from mmpose.registry import MODELS
from torch import Tensor

from ..errors import InputError

_LISTED = 10  # names in a message; the rest is counted


def read_state_dict(checkpoint: str) -> Mapping[str, Tensor]:
    """Reads the weights of a checkpoint, and no code.

    Args:
        checkpoint: A local file, a URL, or another address that MMEngine knows.

    Returns:
        The weights by name.

    Raises:
        InputError: The file is absent, broken, or holds something else.
    """
    try:
        loaded = _load_checkpoint(checkpoint, map_location='cpu')
    except FileNotFoundError as error:
        raise InputError(f'the checkpoint {checkpoint} does not exist; give a .pth file') from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f'{checkpoint} cannot be read as a checkpoint ({reason}); expected a file that '
            'MMEngine or torch.save wrote; if it was copied, copy it again'
        ) from error
    weights = loaded.get('state_dict', loaded) if isinstance(loaded, Mapping) else None
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f'{checkpoint} holds no weights; expected a dictionary of tensors')
    return weights


def _names(keys: list[str]) -> str:
    more = f' and {len(keys) - _LISTED} more' if len(keys) > _LISTED else ''
    return ', '.join(keys[:_LISTED]) + more


def check_weights_fit(checkpoint: str, model: ConfigDict | dict[str, Any]) -> None:
    """Compares the names and shapes of a checkpoint with those of a model.

    MMEngine's own loading only warns of a mismatch and goes on with random weights.

    Args:
        checkpoint: What ``load_from`` would name.
        model: Config of the model; only its shapes are built.

    Raises:
        InputError: The checkpoint cannot be read or does not fit.
    """
    weights = read_state_dict(checkpoint)
    with torch.device('meta'):
        wanted = MODELS.build(model).state_dict()
    # Weights saved from a wrapped model carry a prefix that MMEngine strips when it loads.
    found = {key.removeprefix('module.'): value.shape for key, value in weights.items()}
    missing = [key for key in wanted if key not in found]
    foreign = [key for key in found if key not in wanted]
    other_shape = [
        f'{key} {tuple(found[key])} instead of {tuple(wanted[key].shape)}'
        for key in wanted
        if key in found and found[key] != wanted[key].shape
    ]
    if not (missing or foreign or other_shape):
        return
    problems = [
        f'{len(keys)} {what}: {_names(keys)}'
        for what, keys in (
            ('missing', missing),
            ('not in the model', foreign),
            ('of another shape', other_shape),
        )
        if keys
    ]
    raise InputError(
        f'the checkpoint {checkpoint} is of another architecture than the config '
        f'({len(found)} parameters and buffers against {len(wanted)}; {"; ".join(problems)}); '
        'give the config it was trained with, or another checkpoint'
    )
