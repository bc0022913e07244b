"""Does a checkpoint fit? Answered before a run starts, and whenever a model loads weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from operator import index

import numpy as np
from mmengine.logging import print_log
from torch import Tensor, nn

from mspn.errors import InputError

from .architecture import differences, shapes, sizes_of
from .convert import convert_state_dict
from .sources import Source

_PREDICTION = re.compile(r'head\.stages\.\d+\.\d+\..*')
_COLUMNS = dict(flip_indices=1, sigmas=1, dataset_keypoint_weights=1, keypoint_colors=3)
"""How many numbers each keypoint has in a description of a data set."""


def fit_weights(
    weights: Mapping[str, Tensor], model: nn.Module, *, strict: bool = True
) -> tuple[dict[str, Tensor], Source]:
    """Brings weights of any source into the form that a model loads, and tells the source.

    MMEngine's own loading only warns of a mismatch and goes on with random weights. With
    ``strict=False`` the number of keypoints may differ: the prediction layers, and nothing else,
    then keep the values that the model gave them, and a warning says so.

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
    wanted, found = shapes(own), shapes(converted)
    predictions = list(filter(is_prediction, wanted))
    if not strict and any(found.get(name) != wanted[name] for name in predictions):
        for name in predictions:
            converted[name], found[name] = own[name], wanted[name]
        print_log(
            f'the {len(predictions)} weights of the prediction layers start anew: those loaded are '
            'for another number of keypoints, and strict=False allows it',
            logger='current',
            level=logging.WARNING,
        )
    if problems := differences(found, wanted):
        theirs, ours = sizes_of(converted) or {}, sizes_of(own) or {}
        other = {size: value for size, value in theirs.items() if value != ours.get(size)}
        named = ''.join(f'{size}={v} instead of {ours.get(size)}, ' for size, v in other.items())
        hint = '; to start with another number of keypoints, set model.strict=False'
        hint *= 'num_keypoints' in other
        raise InputError(f'the weights are not those of this model: {named}{problems}{hint}')
    return converted, source


def is_prediction(name: str) -> bool:
    """Whether a weight is of a prediction layer, which has as many rows as there are keypoints."""
    return _PREDICTION.fullmatch(name) is not None


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


def check_beside_weights(loaded: object, checkpoint: str) -> None:
    """Checks the description of the data set and the versions of modules that a checkpoint holds.

    Raises:
        InputError: A value there is not what its readers take for granted.
    """
    content = loaded if isinstance(loaded, Mapping) else {}
    part = 'meta'
    try:
        data = dict(dict(content.get('meta', {})).get('dataset_meta', {}))
        count = index(data.get('num_keypoints') or 0)
        for part, columns in _COLUMNS.items():
            if count and data.get(part) is not None:
                values = np.array(data[part], float).reshape(count, columns)
                if not np.isfinite(values).all():
                    raise ValueError
        for part in ('flip_indices', 'flip_pairs', 'skeleton_links') if count else ():
            if not set(np.ravel(data.get(part, []))) <= set(range(min(count, 10_000))):
                raise ValueError
        part = 'state_dict._metadata'
        versions = getattr(content.get('state_dict', loaded), '_metadata', None)
        for name, entry in {}.items() if versions is None else versions.items():
            if not isinstance(name, str) or index(entry.get('version') or 1) < 0:
                raise ValueError
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f'{checkpoint} cannot be used: its {part} is not what MMEngine writes; keep only its '
            'weights with tools/convert_checkpoint.py, or take another file'
        ) from error
