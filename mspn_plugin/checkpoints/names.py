"""The names of the same layer in MMPose's, the original's and this package's network.

A rule is a pattern of the foreign name and the name here. In it ``level`` and ``unit`` count from
one in the foreign code and from zero here; ``index`` counts all units of all stages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_TAIL = r'(?P<layer>conv|bn)\.(?P<name>\w+)'
_BLOCK = 'backbone.stages.{stage}.down.levels.{level}.{block}'
_PATH = 'backbone.stages.{stage}.up'
_BRANCHES = {
    'in_skip': 'lateral',
    'up_conv': 'coarser',
    'out_skip1': 'skip_down',
    'out_skip2': 'skip_up',
    'u_skip': 'lateral',
    'skip1': 'skip_down',
    'skip2': 'skip_up',
}

_STAGE_MMPOSE = r'backbone\.multi_stage_mspn\.(?P<stage>\d+)'
_BLOCK_MMPOSE = _STAGE_MMPOSE + r'\.downsample\.layer(?P<level>\d+)\.(?P<block>\d+)'
_PREDICT_MMPOSE = r'(?:keypoint_)?head\.predict_layers\.(?P<index>\d+)\.conv_layers'
_BLOCK_MEGVII = r'stage(?P<stage>\d+)\.downsample\.layer(?P<level>\d+)\.(?P<block>\d+)'
_UNIT_MEGVII = r'stage(?P<stage>\d+)\.upsample\.up(?P<unit>\d+)'

_Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*pairs: tuple[str, str]) -> _Rules:
    return tuple((re.compile(pattern), target) for pattern, target in pairs)


MMPOSE = _rules(
    (r'backbone\.top\.top\.0\.' + _TAIL, 'backbone.stem.{layer}.{name}'),
    (
        _BLOCK_MMPOSE + r'\.(?P<layer>conv|bn)(?P<conv>[123])\.(?P<name>\w+)',
        _BLOCK + '.conv{conv}.{layer}.{name}',
    ),
    (_BLOCK_MMPOSE + r'\.downsample\.' + _TAIL, _BLOCK + '.shortcut.{layer}.{name}'),
    (
        _STAGE_MMPOSE
        + r'\.upsample\.up(?P<unit>\d+)\.(?P<branch>in_skip|up_conv|out_skip1|out_skip2)\.'
        + _TAIL,
        _PATH + '.units.{unit}.{branch}.{layer}.{name}',
    ),
    (
        _STAGE_MMPOSE + r'\.upsample\.up\d+\.cross_conv\.' + _TAIL,
        _PATH + '.cross.{layer}.{name}',
    ),
    (_PREDICT_MMPOSE + r'\.0\.' + _TAIL, 'neck.stages.{stage}.{unit}.{layer}.{name}'),
    (_PREDICT_MMPOSE + r'\.1\.' + _TAIL, 'head.stages.{stage}.{unit}.{layer}.{name}'),
)

MEGVII = _rules(
    (r'top\.conv\.' + _TAIL, 'backbone.stem.{layer}.{name}'),
    (
        _BLOCK_MEGVII + r'\.conv_bn_relu(?P<conv>[123])\.' + _TAIL,
        _BLOCK + '.conv{conv}.{layer}.{name}',
    ),
    (_BLOCK_MEGVII + r'\.downsample\.' + _TAIL, _BLOCK + '.shortcut.{layer}.{name}'),
    (
        _UNIT_MEGVII + r'\.(?P<branch>u_skip|up_conv|skip1|skip2)\.' + _TAIL,
        _PATH + '.units.{unit}.{branch}.{layer}.{name}',
    ),
    (_UNIT_MEGVII + r'\.cross_conv\.' + _TAIL, _PATH + '.cross.{layer}.{name}'),
    (_UNIT_MEGVII + r'\.res_conv1\.' + _TAIL, 'neck.stages.{stage}.{unit}.{layer}.{name}'),
    (_UNIT_MEGVII + r'\.res_conv2\.' + _TAIL, 'head.stages.{stage}.{unit}.{layer}.{name}'),
)

MINDSPORE_PARAMETERS = {
    'gamma': 'weight',
    'beta': 'bias',
    'moving_mean': 'running_mean',
    'moving_variance': 'running_var',
}
"""MindSpore's names of the parameters of a batch normalisation, and torch's."""


def units_per_stage(names: Iterable[str]) -> int:
    """Counts the units of MMPose's first stage, by which its predictors are numbered."""
    unit = re.compile(r'backbone\.multi_stage_mspn\.0\.upsample\.up(\d+)\..*')
    return max((int(match[1]) for match in map(unit.fullmatch, names) if match), default=1)


def rename(name: str, rules: _Rules, units: int = 1) -> str | None:
    """Finds the name here of a foreign weight.

    Args:
        name: Its name in the foreign network.
        rules: `MMPOSE` or `MEGVII`.
        units: Units per stage, for names that number all units of all stages.

    Returns:
        The name here, or ``None`` if no rule knows it.
    """
    for pattern, target in rules:
        match = pattern.fullmatch(name)
        if match is None:
            continue
        parts: dict[str, Any] = match.groupdict()
        for counted_from_one in ('level', 'unit'):
            if counted_from_one in parts:
                parts[counted_from_one] = int(parts[counted_from_one]) - 1
        if 'index' in parts:
            parts['stage'], parts['unit'] = divmod(int(parts['index']), units)
        if 'branch' in parts:
            parts['branch'] = _BRANCHES.get(parts['branch'], parts['branch'])
        return target.format(**parts)
    return None
