"""Do weights fit a model? Answered before a run starts, and whenever a model loads weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from mspn.errors import InputError

from .architecture import architecture_of, differences
from .convert import convert_state_dict
from .sources import Source

_PREDICTION = re.compile(r'head\.stages\.\d+\.\d+\..*')


def fit_weights(
    weights: Mapping[str, Tensor], model: nn.Module, *, strict: bool = True
) -> tuple[dict[str, Tensor], Source]:
    """Brings weights of any source into the form that a model loads, and tells the source.

    MMEngine's own loading only warns of a mismatch and goes on with random weights.

    Args:
        weights: Weights under the names of their source.
        model: The model that will load them; only the names and shapes of its weights count.
        strict: ``False`` allows another number of keypoints: the prediction layers, and nothing
            else, then keep the values that the model gave them, and a warning says so.

    Raises:
        InputError: The weights do not fit.
    """
    own = model.state_dict()
    if not any(name.startswith('backbone.stages.') for name in own):
        return dict(weights), Source.MSPN_PLUGIN  # somebody else's network: not ours to judge
    converted, source = convert_state_dict(weights)
    if source is Source.TORCHVISION:
        raise InputError(
            'the weights are those of a ResNet, not of a pose network; name them in the '
            "backbone instead: init_cfg=dict(type='Pretrained', checkpoint=...)"
        )
    wanted = {name: value.shape for name, value in own.items()}
    found = {name: value.shape for name, value in converted.items()}
    predictions = [name for name in wanted if _PREDICTION.fullmatch(name)]
    if not strict and any(found.get(name) != wanted[name] for name in predictions):
        for name in predictions:
            converted[name], found[name] = own[name], wanted[name]
        print_log(
            f'the {len(predictions)} weights of the prediction layers start anew: those loaded are '
            'for another number of keypoints, and strict=False allows it',
            logger='current',
            level=logging.WARNING,
        )
    problems = differences(found, wanted)
    if problems:
        raise InputError(_misfit(converted, own, problems))
    return converted, source


def _misfit(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], problems: str) -> str:
    theirs, ours = architecture_of(weights), architecture_of(own)
    if theirs is None or ours is None or theirs == ours:
        return f'the weights are not those of this model ({problems})'
    other_keypoints = '; to start with another number of keypoints, set model.strict=False'
    return (
        f'the weights are of another network than the model: {theirs}, not {ours} ({problems})'
        + other_keypoints * (theirs.num_keypoints != ours.num_keypoints)
    )


def check_can_resume(loaded: object, checkpoint: str) -> None:
    """Raises an `InputError` if the content of a checkpoint is no state of a training."""
    if not isinstance(loaded, Mapping) or 'optimizer' not in loaded or 'meta' not in loaded:
        raise InputError(
            f'{checkpoint} holds weights but no state of a training run, so there is nothing to '
            'resume; to start a new run from its weights, use '
            f'--cfg-options load_from={checkpoint} instead of --resume'
        )
    parts = {part: loaded.get(part) for part in ('meta', 'optimizer', 'message_hub')}
    damaged = [part for part, value in parts.items() if not isinstance(value, Mapping)]
    steps = {} if damaged else {key: loaded['meta'].get(key) for key in ('epoch', 'iter')}
    damaged += [key for key, step in steps.items() if type(step) is not int or step < 0]
    if damaged:
        raise InputError(
            f'{checkpoint} cannot be resumed: its {", ".join(damaged)} is not what MMEngine '
            'writes; keep only its weights with tools/convert_checkpoint.py, or take another file'
        )
