"""Foreign weights -> this package's names, with nothing missing and nothing left over."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mspn.errors import InputError, listed

from . import names
from .architecture import differences, shapes, shapes_of, sizes_of
from .resnet import resnet_to_backbone
from .sources import Source, recognise


def convert_state_dict(
    state_dict: Mapping[str, Tensor], *, num_stages: int = 1
) -> tuple[dict[str, Tensor], Source]:
    """Brings the weights of any known source under this package's names.

    Biases of convolutions, which the original has and this network has not, go into the running
    mean of the normalisation that follows each: a normalisation subtracts a constant anyway. Names
    may have the prefixes of wrappers, and counters (``num_batches_tracked``) may be missing.

    Args:
        state_dict: Weights of MMPose's MSPN (1.x, or 0.x with its ``keypoint_head``), the original
            (Megvii), the MindSpore version, a torchvision ResNet, or this package.
        num_stages: Only for a ResNet: how many stages to fill; the others tell it themselves.

    Returns:
        The weights by their names here, and whose they are. A ResNet fills ``backbone.stem`` and
        the stages' downsample paths; the others are complete.

    Raises:
        InputError: The source is unknown, or weights are missing, left over or of a wrong shape.
    """
    weights = names.unwrapped(state_dict)
    source = recognise(weights)
    if source is None:
        raise InputError(
            f'these {len(weights)} weights ({listed(list(weights), 3)}) are of no network that is '
            "known here; expected those of mspn_plugin, of MMPose's, Megvii's or MindSpore's MSPN, "
            'or of a torchvision ResNet'
        )
    if source is Source.TORCHVISION:
        backbone = resnet_to_backbone(weights, num_stages)
        return {f'backbone.{name}': value for name, value in backbone.items()}, source
    converted, left_over = _renamed(weights, source)
    for name in [name for name in converted if name.endswith('.conv.bias')]:
        mean = name.removesuffix('conv.bias') + 'bn.running_mean'
        if mean in converted and converted[mean].shape == converted[name].shape:
            converted[mean] = converted[mean] - converted.pop(name)
    for name in [name for name in converted if name.endswith('.running_var')]:
        counter = name.removesuffix('running_var') + 'num_batches_tracked'
        converted.setdefault(counter, torch.tensor(0))
    if source is not Source.MSPN_PLUGIN:  # the model that loads those knows their shapes
        sizes = sizes_of(converted)
        some = listed(list(left_over or converted))
        problems = f'the stem, the first stage or the first predictor is missing among {some}'
        if sizes:
            problems = differences(shapes({**converted, **left_over}), shapes_of(sizes))
        if problems:
            of_sizes = f' of the sizes {sizes}' if sizes else ''
            raise InputError(
                f'these weights of {source.description} are not a whole network{of_sizes}: '
                f'{problems}; give the complete file'
            )
    return converted, source


def _renamed(
    weights: Mapping[str, Tensor], source: Source
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights under the names here, and those that no rule knows under their own."""
    converted, left_over = dict[str, Tensor](), dict[str, Tensor]()
    if source is Source.MSPN_PLUGIN:
        return dict(weights), left_over
    rules = names.MMPOSE if source is Source.MMPOSE else names.MEGVII
    units = names.units_per_stage(weights) if source is Source.MMPOSE else 1
    for name, value in weights.items():
        if source is Source.MINDSPORE:
            if not name.startswith(('top.', 'stage')):  # the state of an optimizer
                continue
            owner, _, last = name.rpartition('.')
            name = f'{owner}.{names.MINDSPORE_PARAMETERS.get(last, last)}'
        target = names.rename(name, rules, units)
        if target is None or target in converted:
            left_over[name] = value
        else:
            converted[target] = value
    return converted, left_over
