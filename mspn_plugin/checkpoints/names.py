"""The names of the same layer in foreign networks and in this package's.

A rule is a pattern of the foreign name and the name here. In it ``level`` and ``unit`` count from
one in the foreign code and from zero here; ``index`` counts all units of all stages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

_TAIL = r'(?P<layer>conv|bn)\.(?P<name>\w+)'
_NUMBERED = r'\.(?P<layer>conv|bn)(?P<conv>[123])\.(?P<name>\w+)'
_LEVEL = r'layer(?P<level>\d+)\.(?P<block>\d+)'
_STEM = 'backbone.stem.{layer}.{name}'
_BLOCK = 'backbone.stages.{stage}.down.levels.{level}.{block}'
_CONV = _BLOCK + '.conv{conv}.{layer}.{name}'
_SHORTCUT = _BLOCK + '.shortcut.{layer}.{name}'
_UNIT = 'backbone.stages.{stage}.up.units.{unit}.{branch}.{layer}.{name}'
_CROSS = 'backbone.stages.{stage}.up.cross.{layer}.{name}'
_NECK = 'neck.stages.{stage}.{unit}.{layer}.{name}'
_HEAD = 'head.stages.{stage}.{unit}.{layer}.{name}'
_BRANCHES = dict(in_skip='lateral', up_conv='coarser', out_skip1='skip_down', out_skip2='skip_up')
_BRANCHES |= dict(u_skip='lateral', skip1='skip_down', skip2='skip_up')

_MMPOSE = r'backbone\.multi_stage_mspn\.(?P<stage>\d+)'
_PREDICT = r'(?:keypoint_)?head\.predict_layers\.(?P<index>\d+)\.conv_layers'
_MEGVII = r'stage(?P<stage>\d+)'
_UP = r'\.upsample\.up(?P<unit>\d+)\.'

MMPOSE = (
    (r'backbone\.top\.top\.0\.' + _TAIL, _STEM),
    (_MMPOSE + r'\.downsample\.' + _LEVEL + _NUMBERED, _CONV),
    (_MMPOSE + r'\.downsample\.' + _LEVEL + r'\.downsample\.' + _TAIL, _SHORTCUT),
    (_MMPOSE + _UP + r'(?P<branch>in_skip|up_conv|out_skip1|out_skip2)\.' + _TAIL, _UNIT),
    (_MMPOSE + _UP + r'cross_conv\.' + _TAIL, _CROSS),
    (_PREDICT + r'\.0\.' + _TAIL, _NECK),
    (_PREDICT + r'\.1\.' + _TAIL, _HEAD),
)
MEGVII = (
    (r'top\.conv\.' + _TAIL, _STEM),
    (_MEGVII + r'\.downsample\.' + _LEVEL + r'\.conv_bn_relu(?P<conv>[123])\.' + _TAIL, _CONV),
    (_MEGVII + r'\.downsample\.' + _LEVEL + r'\.downsample\.' + _TAIL, _SHORTCUT),
    (_MEGVII + _UP + r'(?P<branch>u_skip|up_conv|skip1|skip2)\.' + _TAIL, _UNIT),
    (_MEGVII + _UP + r'cross_conv\.' + _TAIL, _CROSS),
    (_MEGVII + _UP + r'res_conv1\.' + _TAIL, _NECK),
    (_MEGVII + _UP + r'res_conv2\.' + _TAIL, _HEAD),
)
RESNET = (
    (r'(?P<layer>conv|bn)1\.(?P<name>\w+)', _STEM),
    (_LEVEL + _NUMBERED, _CONV),
    (_LEVEL + r'\.downsample\.(?P<layer>[01])\.(?P<name>\w+)', _SHORTCUT),
)
"""Torchvision's; the first stage stands for all."""

MINDSPORE_PARAMETERS = dict(
    gamma='weight', beta='bias', moving_mean='running_mean', moving_variance='running_var'
)
"""MindSpore's names of the parameters of a batch normalisation, and torch's."""


def unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without what wrappers put before names: DataParallel, torch.compile, Lightning.

    Where a moving average (``ema_...``) lies beside the weights themselves, those are taken.
    """
    wrapper = r'^(module\.|model\.|net\.|ema_(model\.)?)+'
    bare = {name: re.sub(wrapper, '', name.replace('_orig_mod.', '')) for name in weights}
    return {b: weights[name] for name, b in bare.items() if b == name or b not in weights}


def units_per_stage(names: Iterable[str]) -> int:
    """Counts the units of MMPose's first stage, by which its predictors are numbered."""
    unit = re.compile(r'backbone\.multi_stage_mspn\.0\.upsample\.up(\d+)\.')
    return max((int(match[1]) for match in map(unit.match, names) if match), default=1)


def rename(name: str, rules: tuple[tuple[str, str], ...], units: int = 1) -> str | None:
    """Finds the name here of a foreign weight; ``None`` if no rule knows it.

    Names that number the units of all stages need to know how many a stage has.
    """
    for pattern, target in rules:
        match = re.fullmatch(pattern, name)
        if match is None:
            continue
        parts: dict[str, Any] = {'stage': 0, **match.groupdict()}
        for counted_from_one in ('level', 'unit'):
            if counted_from_one in parts:
                parts[counted_from_one] = int(parts[counted_from_one]) - 1
        if 'index' in parts:
            parts['stage'], parts['unit'] = divmod(int(parts['index']), units)
        parts['branch'] = _BRANCHES.get(parts.get('branch', ''))
        parts['layer'] = {'0': 'conv', '1': 'bn'}.get(parts['layer'], parts['layer'])
        return target.format(**parts)
    return None
