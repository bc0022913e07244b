"""ImageNet weights: a torchvision ResNet -> the stem and every stage's downsample path."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from mspn.errors import InputError, listed

from .compare import differences
from .files import read_state_dict

_STEM = {'conv1.weight': 'stem.conv.weight'} | {
    f'bn1.{name}': f'stem.bn.{name}' for name in ('weight', 'bias', 'running_mean', 'running_var')
}
_BLOCK = re.compile(r'layer(\d+)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)')
_IGNORED = re.compile(r'fc\.|.*num_batches_tracked')  # the classifier, and BN's step counter


def resnet_to_backbone(state_dict: Mapping[str, Tensor], num_stages: int) -> dict[str, Tensor]:
    """Renames a torchvision ResNet's weights, once for the stem and once for every stage.

    The second and later stages start from the ``in_channels`` of the stem as the first does, so
    all of them fit all of the weights, as in the published training.

    Args:
        state_dict: Weights of a torchvision ResNet with bottlenecks.
        num_stages: Number of stages to fill.

    Returns:
        Weights under the names of `MSPNBackbone`.

    Raises:
        InputError: A key is not one of a torchvision ResNet.
    """
    renamed: dict[str, Tensor] = {}
    foreign = []
    for key, value in state_dict.items():
        if key in _STEM:
            renamed[_STEM[key]] = value
        elif match := _BLOCK.fullmatch(key):
            level, block, kind, number, name = match.groups()
            if kind == 'downsample.':
                layer = 'shortcut.conv' if number == '0' else 'shortcut.bn'
            else:
                layer = f'conv{number}.{kind}'
            for stage in range(num_stages):
                target = f'stages.{stage}.down.levels.{int(level) - 1}.{block}.{layer}.{name}'
                if name != 'num_batches_tracked':
                    renamed[target] = value
        elif not _IGNORED.match(key):
            foreign.append(key)
    if foreign or not renamed:
        raise InputError(
            f'these weights are not those of a torchvision ResNet: {len(foreign)} foreign keys '
            f'({listed(foreign) or "no ResNet key at all"}); '
            "give a ResNet such as 'torchvision://resnet50' in the backbone's init_cfg"
        )
    return renamed


def load_resnet_into(backbone: nn.Module, checkpoint: str, *, num_stages: int) -> None:
    """Copies a ResNet into a backbone; every weight of it must find its place.

    Args:
        backbone: An `MSPNBackbone`.
        checkpoint: ``torchvision://<name>``, a local file or a URL.
        num_stages: Number of stages of the backbone.

    Raises:
        InputError: The file does not fit the backbone.
    """
    try:
        weights = resnet_to_backbone(read_state_dict(checkpoint), num_stages)
    except InputError as error:
        raise InputError(
            f"the backbone's init_cfg: {error}; to start from random weights instead, set "
            'model.backbone.init_cfg=None'
        ) from error
    wanted = {
        name: value.shape
        for name, value in backbone.state_dict().items()
        if (name.startswith('stem.') or '.down.' in name) and not _IGNORED.match(name)
    }
    problems = differences({name: value.shape for name, value in weights.items()}, wanted)
    if problems:
        raise InputError(
            f'{checkpoint} does not fit this backbone: {problems}; use the ResNet that has the '
            "backbone's num_blocks and widths, or set its init_cfg to None"
        )
    backbone.load_state_dict(weights, strict=False)
