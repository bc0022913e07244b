"""Which MSPN some weights belong to: its sizes, read off their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mspn.errors import listed

Shapes = Mapping[str, Sequence[int]]

_NORM = ('weight', 'bias', 'running_mean', 'running_var')


@dataclass(frozen=True)
class Architecture:
    """The sizes that make an MSPN."""

    num_stages: int
    num_blocks: tuple[int, ...]  # bottlenecks of every level, finest level first
    stem_channels: int
    base_channels: int  # inner channels of the first level's bottlenecks
    unit_channels: int
    num_keypoints: int

    def __str__(self) -> str:
        return (
            f'{self.num_stages} stage{"s" * (self.num_stages > 1)} of {self.num_blocks} blocks, '
            f'{self.stem_channels}, {self.base_channels} and {self.unit_channels} channels (stem, '
            f'first level, units), {self.num_keypoints} keypoints'
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight of such a network with batch normalisation."""
        stem, wide = self.stem_channels, self.unit_channels
        levels = [4 * self.base_channels * 2**level for level in range(len(self.num_blocks))]
        # Of every convolution: output channels, input channels, size of the kernel.
        convs = {'backbone.stem': (stem, 3, 7)}
        for stage in range(self.num_stages):
            path, last = f'backbone.stages.{stage}', stage == self.num_stages - 1
            inputs = stem
            for level, outputs in enumerate(levels):
                for block in range(self.num_blocks[level]):
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
                if not last:
                    convs[f'{name}.skip_down'] = (channels, channels, 1)
                    convs[f'{name}.skip_up'] = (channels, wide, 1)
                convs[f'neck.stages.{stage}.{unit}'] = (wide, wide, 1)
                convs[f'head.stages.{stage}.{unit}'] = (self.num_keypoints, wide, 3)
            if not last:
                convs[f'{path}.up.cross'] = (stem, wide, 1)
        shapes: dict[str, tuple[int, ...]] = {}
        for name, (outputs, inputs, size) in convs.items():
            shapes[f'{name}.conv.weight'] = (outputs, inputs, size, size)
            shapes.update({f'{name}.bn.{part}': (outputs,) for part in _NORM})
            shapes[f'{name}.bn.num_batches_tracked'] = ()
        return shapes


def architecture_of(weights: Mapping[str, Tensor]) -> Architecture | None:
    """Reads the sizes off weights under their names here; ``None`` if they do not tell."""
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


def differences(found: Shapes, wanted: Shapes) -> str:
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
