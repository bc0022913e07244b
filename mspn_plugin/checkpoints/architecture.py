"""Which MSPN some weights belong to: its sizes, read off their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from mmpose.registry import MODELS
from torch import Tensor


@dataclass(frozen=True)
class Architecture:
    """The sizes that make an MSPN.

    Attributes:
        num_stages: Number of stages.
        num_blocks: Bottlenecks of every level, finest level first.
        stem_channels: Channels of the stem.
        base_channels: Inner channels of the first level's bottlenecks.
        unit_channels: Channels of the upsample units.
        num_keypoints: Number of keypoints.
    """

    num_stages: int
    num_blocks: tuple[int, ...]
    stem_channels: int
    base_channels: int
    unit_channels: int
    num_keypoints: int

    def __str__(self) -> str:
        return (
            f'{self.num_stages} stage{"s" * (self.num_stages > 1)} of {self.num_blocks} blocks, '
            f'{self.stem_channels}, {self.base_channels} and {self.unit_channels} channels (stem, '
            f'first level, units), {self.num_keypoints} keypoints'
        )

    def shapes(self) -> dict[str, torch.Size]:
        """Name and shape of every weight of such a network."""
        units = len(self.num_blocks)
        common = dict(num_stages=self.num_stages, unit_channels=self.unit_channels)
        # The codec has no weights; any with enough levels will do.
        codec = dict(
            type='MultiLevelHeatmap',
            input_size=(192, 256),
            heatmap_size=(48, 64),
            kernel_sizes=(5,) * (units + 1),
        )
        backbone = dict(
            type='MSPNBackbone',
            num_blocks=self.num_blocks,
            stem_channels=self.stem_channels,
            base_channels=self.base_channels,
        )
        neck = dict(type='MSPNNeck', num_units=units)
        head = dict(
            type='MultiStageHead',
            num_units=units,
            num_keypoints=self.num_keypoints,
            decoder=codec,
        )
        with torch.device('meta'):
            return {
                f'{part}.{name}': value.shape
                for part, cfg in (('backbone', backbone), ('neck', neck), ('head', head))
                for name, value in MODELS.build(dict(cfg, **common)).state_dict().items()
            }


def architecture_of(weights: Mapping[str, Tensor]) -> Architecture | None:
    """Reads the sizes off a network's weights.

    Args:
        weights: Weights by their names in this package.

    Returns:
        The sizes, or ``None`` if the weights that tell them are missing or misshapen.
    """
    blocks: dict[int, int] = {}
    stages = 0
    for name in weights:
        if match := re.match(r'backbone\.stages\.(\d+)\.', name):
            stages = max(stages, int(match[1]) + 1)
        if match := re.match(r'backbone\.stages\.0\.down\.levels\.(\d+)\.(\d+)\.', name):
            level, block = int(match[1]), int(match[2])
            blocks[level] = max(blocks.get(level, 0), block + 1)
    try:
        return Architecture(
            num_stages=stages,
            num_blocks=tuple(blocks[level] for level in range(max(2, len(blocks)))),
            stem_channels=weights['backbone.stem.conv.weight'].shape[0],
            base_channels=weights['backbone.stages.0.down.levels.0.0.conv1.conv.weight'].shape[0],
            unit_channels=weights['backbone.stages.0.up.units.0.lateral.conv.weight'].shape[0],
            num_keypoints=weights['head.stages.0.0.conv.weight'].shape[0],
        )
    except (KeyError, IndexError):
        return None
