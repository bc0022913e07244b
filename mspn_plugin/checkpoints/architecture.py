"""Which MSPN some weights belong to: its sizes, read off their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mspn.errors import listed

_SIZES = dict(
    stem_channels='backbone.stem.conv.weight',
    base_channels='backbone.stages.0.down.levels.0.0.conv1.conv.weight',
    unit_channels='backbone.stages.0.up.units.0.lateral.conv.weight',
    num_keypoints='head.stages.0.0.conv.weight',
)
"""Weights whose first dimension is a size."""


def sizes_of(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Reads the sizes of an MSPN off weights under their names here, as a config names them.

    Returns:
        ``num_stages``, ``num_blocks`` (of every level, finest first), ``stem_channels``,
        ``base_channels``, ``unit_channels`` and ``num_keypoints``; ``None`` if they do not tell.
    """
    blocks: dict[int, int] = {}
    stages = 0
    for name in weights:
        if match := re.match(r'backbone\.stages\.(\d+)\.(down\.levels\.(\d+)\.(\d+)\.)?', name):
            stages = max(stages, int(match[1]) + 1)
            if match[2] and match[1] == '0':
                level = int(match[3])
                blocks[level] = max(blocks.get(level, 0), int(match[4]) + 1)
    if stages + sum(blocks.values()) > len(weights):  # a forged number in a name
        return None
    try:
        num_blocks = tuple(blocks[level] for level in range(max(2, len(blocks))))
        sizes = {size: weights[name].shape[0] for size, name in _SIZES.items()}
    except (KeyError, IndexError):
        return None
    return dict(num_stages=stages, num_blocks=num_blocks, **sizes)


def shapes_of(sizes: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a network of these sizes with batch normalisation.

    By rule, so that weights are judged without a network; a test compares it with every config's.
    """
    stem, wide, stages = sizes['stem_channels'], sizes['unit_channels'], sizes['num_stages']
    levels = [4 * sizes['base_channels'] * 2**level for level in range(len(sizes['num_blocks']))]
    convs = {'backbone.stem': (stem, 3, 7)}  # output channels, input channels, size of the kernel
    for stage in range(stages):
        path, inputs, feeds = f'backbone.stages.{stage}', stem, stage < stages - 1
        for level, outputs in enumerate(levels):
            for block in range(sizes['num_blocks'][level]):
                name, inner = f'{path}.down.levels.{level}.{block}', outputs // 4
                convs[f'{name}.conv1'] = (inner, inputs, 1)
                convs[f'{name}.conv2'] = (inner, inner, 3)
                convs[f'{name}.conv3'] = (outputs, inner, 1)
                if inputs != outputs:
                    convs[f'{name}.shortcut'] = (outputs, inputs, 1)
                inputs = outputs
        for unit, channels in enumerate(reversed(levels)):
            name = f'{path}.up.units.{unit}'
            convs[f'{name}.lateral'] = (wide, channels, 1)
            if unit:
                convs[f'{name}.coarser'] = (wide, wide, 1)
            if feeds:
                convs[f'{name}.skip_down'] = (channels, channels, 1)
                convs[f'{name}.skip_up'] = (channels, wide, 1)
            convs[f'neck.stages.{stage}.{unit}'] = (wide, wide, 1)
            convs[f'head.stages.{stage}.{unit}'] = (sizes['num_keypoints'], wide, 3)
        if feeds:
            convs[f'{path}.up.cross'] = (stem, wide, 1)
    found: dict[str, tuple[int, ...]] = {}
    for name, (outputs, inputs, size) in convs.items():
        found[f'{name}.conv.weight'] = (outputs, inputs, size, size)
        for part in ('weight', 'bias', 'running_mean', 'running_var'):
            found[f'{name}.bn.{part}'] = (outputs,)
        found[f'{name}.bn.num_batches_tracked'] = ()
    return found


def shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """The shape of every weight."""
    return {name: value.shape for name, value in weights.items()}


def differences(found: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[int]]) -> str:
    """Says what is missing, left over or of another shape; empty if nothing is."""
    groups = {
        'missing': [name for name in wanted if name not in found],
        'not in the network': [name for name in found if name not in wanted],
        'of another shape': [
            f'{name} {tuple(found[name])} instead of {tuple(shape)}'
            for name, shape in wanted.items()
            if name in found and tuple(found[name]) != tuple(shape)
        ],
    }
    return '; '.join(
        f'{len(names)} {what}: {listed(names)}' for what, names in groups.items() if names
    )
