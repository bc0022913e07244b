"""Checks of a skeleton: the names, mirror partners, sigmas, weights and limbs of the keypoints.

MMPose takes them from a data set's ``metainfo``. A wrong partner there trains left and right into
each other, and a wrong sigma changes every score, without an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mspn.errors import InputError
from mspn.json_files import shown

from ..commands.run_config import read_config
from .problems import Problem
from .run_data import plain_datasets

_SIDE = re.compile(r'left|right|(?<![a-z])[lr](?![a-z])', re.IGNORECASE)
_OTHER = dict(left='right', right='left', l='r', r='l')


def skeleton_of_config(name: str) -> dict[str, Any]:
    """The skeleton that a run with a config uses.

    Args:
        name: Path or name of the config. It is a program and runs.

    Returns:
        ``metainfo`` as MMPose's configs write it.

    Raises:
        InputError: There is no such config, or it names no skeleton.
    """
    from mmpose.registry import DATASETS

    cfg = read_config(name)
    for part in ('train', 'val', 'test'):
        loader = cfg.get(f'{part}_dataloader')
        for dataset in plain_datasets(loader['dataset']) if loader else ():
            given = dataset.get('metainfo')
            kind = DATASETS.get(str(dataset.get('type')))
            metainfo = given or getattr(kind, 'METAINFO', None)
            if metainfo:
                return _whole(dict(metainfo), name)
    raise InputError(f'{name} has no data set with a metainfo; give the skeleton with --metainfo')


def skeleton_of_file(path: Path) -> dict[str, Any]:
    """The skeleton in a metainfo file such as MMPose's ``_base_/datasets/coco.py``.

    Args:
        path: The file. It is a program and runs.

    Returns:
        Its ``dataset_info``.

    Raises:
        InputError: There is no such file, or none in it.
    """
    if not path.is_file():
        raise InputError(
            f'the metainfo file {path} does not exist; expected a Python file with dataset_info, '
            "as MMPose's configs/_base_/datasets/coco.py"
        )
    try:
        info = Config.fromfile(path).get('dataset_info')
    except Exception as error:  # it is a program, so anything can happen in it
        raise InputError(f'{path} cannot be read as a metainfo file: {error}') from error
    if not isinstance(info, Mapping):
        raise InputError(f'{path} defines no dataset_info; expected one with keypoint_info')
    return dict(info)


def _whole(metainfo: dict[str, Any], name: str) -> dict[str, Any]:
    """Follows ``from_file``, as MMPose does: to the file, or to MMPose's own one of its name."""
    if 'from_file' not in metainfo:
        return metainfo
    path = Path(str(metainfo['from_file']))
    if not path.is_file():
        import mmpose

        folder = Path(str(mmpose.__file__)).parent / '.mim/configs/_base_/datasets'
        path = folder / path.name if (folder / path.name).is_file() else path
    try:
        return skeleton_of_file(path)
    except InputError as error:
        raise InputError(f'the metainfo of {name}: {error}') from error


def keypoint_names(skeleton: Mapping[str, Any]) -> list[str]:
    """Names of the keypoints in the order of their numbers."""
    info = skeleton.get('keypoint_info')
    if not isinstance(info, Mapping):
        return []
    points = [info[number] for number in sorted(info, key=_by_number)]
    return [str(point.get('name')) if isinstance(point, Mapping) else '' for point in points]


def _by_number(key: Any) -> tuple[int, str]:
    """For sorting keys of which some may be no numbers."""
    return (key, '') if isinstance(key, int) else (2**31, str(key))


def skeleton_problems(skeleton: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with a skeleton.

    Args:
        skeleton: ``metainfo`` as MMPose's configs write it.
    """
    info = skeleton.get('keypoint_info')
    points = list(info.values()) if isinstance(info, Mapping) else []
    if not points or not all(
        isinstance(p, Mapping) and isinstance(p.get('name'), str) for p in points
    ):
        text = 'is no table of keypoints, each with a name'
        yield Problem('skeleton', 'keypoint_info', text)
        return
    if not isinstance(info, Mapping) or sorted(info, key=_by_number) != list(range(len(points))):
        text = f'has the numbers {shown(list(info or ()))}; expected 0 to {len(points) - 1}'
        yield Problem('skeleton', 'keypoint_info', text)
    names = keypoint_names(skeleton)
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem('skeleton', f'the keypoint {shown(name)}', 'is there more than once')
    yield from _partners({str(point['name']): point for point in points})
    for key in ('sigmas', 'joint_weights'):
        yield from _numbers(key, skeleton.get(key), len(points))
    yield from _limbs(skeleton.get('skeleton_info'), set(names))


def _partners(points: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    for name, point in points.items():
        what = f'the keypoint {shown(name)}'
        partner = point.get('swap') or ''
        sides = _SIDE.findall(name)
        if partner:
            back = (points.get(partner) or {}).get('swap')
            if partner not in points:
                text = f'is mirrored to {shown(partner)}, which is no keypoint'
                yield Problem('skeleton', what, text)
            elif back != name:
                text = f'is mirrored to {shown(partner)}, but that one to {shown(back)}'
                yield Problem('skeleton', what, text)
            elif partner == name or (sides and not _is_mirrored(name, partner)):
                text = f'is mirrored to {shown(partner)}; its name says otherwise'
                yield Problem('skeleton-suspicion', what, text)
        elif sides and any(_is_mirrored(name, other) for other in points):
            other = next(other for other in points if _is_mirrored(name, other))
            text = f'is mirrored to nothing, although there is {shown(other)}'
            yield Problem('skeleton-suspicion', what, text)


def _is_mirrored(name: str, other: str) -> bool:
    """Whether a name is another with left for right."""
    return _SIDE.sub(lambda side: _OTHER[side[0].lower()], name).lower() == other.lower() != name


def _numbers(key: str, values: Any, count: int) -> Iterator[Problem]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        yield Problem('skeleton', key, f'is {shown(values)}; expected {count} numbers')
        return
    if len(numbers) != count:
        text = f'has {len(numbers)} values; expected one for each of the {count} keypoints'
        yield Problem('skeleton', key, text)
    lowest_allowed = 0 if key == 'joint_weights' else 1e-6
    wrong = [i for i, value in enumerate(numbers) if not lowest_allowed <= value < 1e6]
    if wrong:
        text = f'has {numbers[wrong[0]]} for keypoint {wrong[0]}; expected a positive number'
        yield Problem('skeleton', key, text)
    elif key == 'sigmas' and max(numbers, default=0) > 1:
        text = f'has {max(numbers)}; COCO has 0.025 to 0.107, a part of the size of the person'
        yield Problem('skeleton-suspicion', key, text)


def _limbs(info: Any, names: set[str]) -> Iterator[Problem]:
    if not isinstance(info, Mapping):
        yield Problem('skeleton', 'skeleton_info', f'is {shown(info)}; expected a table of limbs')
        return
    for number, limb in info.items():
        link = limb.get('link') if isinstance(limb, Mapping) else None
        if not isinstance(link, list | tuple) or len(link) != 2 or not names >= set(map(str, link)):
            text = f'links {shown(link)}; expected the names of two keypoints'
            yield Problem('skeleton', f'limb {shown(number)}', text)
