"""ImageNet weights: a torchvision ResNet -> the stem and every stage's downsample path."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mspn.errors import InputError, listed

from .architecture import differences
from .files import read_state_dict
from .names import RESNET, rename

_COUNTER = 'num_batches_tracked'  # what a normalisation counts is no weight


def resnet_to_backbone(state_dict: Mapping[str, Tensor], num_stages: int) -> dict[str, Tensor]:
    """Renames a torchvision ResNet's weights, once for the stem and once for every stage.

    Later stages start from the stem's number of channels as the first does, so all of the weights
    fit all of them, as in the published training.
    """
    targets = {
        name: rename(name, RESNET)
        for name in state_dict
        if not name.startswith('fc.') and not name.endswith(_COUNTER)
    }
    foreign = [name for name, target in targets.items() if target is None]
    if foreign or not targets:
        raise InputError(
            f'these weights are not those of a torchvision ResNet: {len(foreign)} foreign keys '
            f'({listed(foreign) or "no ResNet key at all"}); '
            "give a ResNet such as 'torchvision://resnet50' in the backbone's init_cfg"
        )
    return {
        target.removeprefix('backbone.').replace('stages.0', f'stages.{stage}'): state_dict[name]
        for name, target in targets.items()
        if target is not None
        for stage in range(num_stages)
    }


def load_resnet_into(backbone: nn.Module, checkpoint: str, *, num_stages: int) -> None:
    """Copies a ResNet into an `MSPNBackbone`; every weight of it must find its place.

    Args:
        backbone: The backbone.
        checkpoint: ``torchvision://<name>``, a local file or a URL.
        num_stages: Number of stages of the backbone.

    Raises:
        InputError: The file does not fit the backbone.
    """
    own = backbone.state_dict()
    wanted = {
        name: own[name].shape
        for name in own
        if (name.startswith('stem.') or '.down.' in name) and not name.endswith(_COUNTER)
    }
    try:
        weights = resnet_to_backbone(read_state_dict(checkpoint), num_stages)
        if problems := differences({name: weights[name].shape for name in weights}, wanted):
            raise InputError(
                f'{checkpoint} does not fit this backbone: {problems}; use the ResNet that has the '
                "backbone's num_blocks and widths"
            )
    except InputError as error:
        raise InputError(
            f"the backbone's init_cfg: {error}; to start from random weights instead, set "
            'model.backbone.init_cfg=None'
        ) from error
    backbone.load_state_dict(weights, strict=False)
