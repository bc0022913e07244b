"""ImageNet weights: a torchvision ResNet -> the stem and every stage's downsample path."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mspn.errors import InputError, listed

from .architecture import differences, shapes
from .files import read_state_dict
from .names import RESNET, rename

_COUNTER = 'num_batches_tracked'  # what a normalisation counts is no weight


def resnet_to_backbone(state_dict: Mapping[str, Tensor], num_stages: int) -> dict[str, Tensor]:
    """Renames a torchvision ResNet's weights, once for the stem and once for every stage.

    Later stages start from the stem's number of channels as the first does, so all of the weights
    fit all of them, as in the published training.
    """
    renamed: dict[str, Tensor] = {}
    foreign: list[str] = []
    for name, value in state_dict.items():
        if name.startswith('fc.') or name.endswith(_COUNTER):
            continue
        if (target := rename(name, RESNET)) is None:
            foreign.append(name)
            continue
        for stage in range(num_stages):
            own = target.removeprefix('backbone.').replace('stages.0', f'stages.{stage}')
            renamed[own] = value
    if foreign or not renamed:
        raise InputError(
            f'these weights are not those of a torchvision ResNet: {len(foreign)} foreign keys '
            f'({listed(foreign) or "no ResNet key at all"}); '
            "give a ResNet such as 'torchvision://resnet50' in the backbone's init_cfg"
        )
    return renamed


def load_resnet_into(backbone: nn.Module, checkpoint: str, *, num_stages: int) -> None:
    """Copies a ResNet (a file, a URL, ``torchvision://<name>``) into an `MSPNBackbone`.

    Raises:
        InputError: Not every weight of it finds its place, or one of the backbone gets none.
    """
    wanted = {
        name: shape
        for name, shape in shapes(backbone.state_dict()).items()
        if (name.startswith('stem.') or '.down.' in name) and not name.endswith(_COUNTER)
    }
    try:
        weights = resnet_to_backbone(read_state_dict(checkpoint), num_stages)
        if problems := differences(shapes(weights), wanted):
            need = "use the ResNet that has the backbone's num_blocks and widths"
            raise InputError(f'{checkpoint} does not fit this backbone: {problems}; {need}')
    except InputError as error:
        random = 'to start from random weights instead, set model.backbone.init_cfg=None'
        raise InputError(f"the backbone's init_cfg: {error}; {random}") from error
    backbone.load_state_dict(weights, strict=False)
