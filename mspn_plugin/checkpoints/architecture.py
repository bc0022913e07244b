"""Which MSPN some weights belong to: its sizes, read off their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

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


def shapes_of(sizes: Mapping[str, Any]) -> dict[str, torch.Size]:
    """Name and shape of every weight of a network of these sizes with batch normalisation."""
    backbone = dict(sizes)
    keypoints, units = backbone.pop('num_keypoints'), len(sizes['num_blocks'])
    wide = {name: sizes[name] for name in ('num_stages', 'unit_channels')} | dict(num_units=units)
    decoder = dict(type='MultiLevelHeatmap', input_size=(192, 256), heatmap_size=(48, 64))
    decoder['kernel_sizes'] = [3] * (units + 1)
    with torch.device('meta'):
        parts = dict(
            backbone=MODELS.build(dict(type='MSPNBackbone', **backbone)),
            neck=MODELS.build(dict(type='MSPNNeck', **wide)),
            head=MODELS.build(
                dict(type='MultiStageHead', decoder=decoder, num_keypoints=keypoints, **wide)
            ),
        )
    return shapes(nn.ModuleDict(parts).state_dict())


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
