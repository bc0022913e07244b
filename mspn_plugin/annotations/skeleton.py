"""What is wrong with a skeleton: names, mirror partners, sigmas, weights and limbs.

A wrong partner trains left and right into each other, and a wrong sigma changes every score.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mspn.json_files import shown

from .problems import Problem

_SIDE = re.compile(r'left|right|(?<![a-z])[lr](?![a-z])', re.IGNORECASE)
_OTHER = dict(left='right', right='left', l='r', r='l')


def side_of(name: str) -> str | None:
    """'left' or 'right', if the name of a keypoint says so."""
    found = _SIDE.search(name)
    return {'l': 'left', 'r': 'right'}[found[0][0].lower()] if found else None


def mirror_of(name: str, names: Iterable[str]) -> str | None:
    """The one of some names that is another with left for right, if there is one."""
    return next((other for other in names if _is_mirrored(name, other)), None)


def plain(name: str) -> str:
    """A keypoint's name as it is compared: small letters, and underscores between words."""
    return name.lower().replace(' ', '_').replace('-', '_')


def keypoint_names(skeleton: Mapping[str, Any]) -> list[str]:
    """Names of the keypoints in the order of their numbers."""
    info = skeleton.get('keypoint_info')
    pairs = info.items() if isinstance(info, Mapping) else ()
    items = sorted(pairs, key=lambda item: str(item[0]).rjust(9))
    return [str(point.get('name')) if isinstance(point, Mapping) else '' for _, point in items]


def skeleton_problems(skeleton: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with a skeleton, ``metainfo`` as MMPose's configs write it."""
    info: Any = skeleton.get('keypoint_info')
    points = (list(info.values()) if isinstance(info, Mapping) else []) or [None]
    if not all(isinstance(p, Mapping) and isinstance(p.get('name'), str) for p in points):
        yield Problem('skeleton', 'keypoint_info', 'is no table of keypoints, each with a name')
        return
    if set(info) != set(range(len(points))):
        text = f'has the numbers {shown(list(info))}; expected 0 to {len(points) - 1}'
        yield Problem('skeleton', 'keypoint_info', text)
    names = keypoint_names(skeleton)
    partners = {point['name']: point.get('swap') or '' for point in points}
    for name, partner in partners.items():
        what = f'the keypoint {shown(name)}'
        if names.count(name) > 1:
            yield Problem('skeleton', what, 'is there more than once')
        if found := _partner_problem(name, partner, partners):
            yield Problem(found[0], what, f'is mirrored to {found[1]}')
    for key, lowest in (('sigmas', 1e-6), ('joint_weights', 0)):
        if found := _number_problem(skeleton.get(key), len(points), lowest):
            yield Problem(found[0], key, found[1])
    limbs = skeleton.get('skeleton_info')
    if not isinstance(limbs, Mapping):
        yield Problem('skeleton', 'skeleton_info', f'is {shown(limbs)}; expected a table of limbs')
        return
    for number, limb in limbs.items():
        link = limb.get('link') if isinstance(limb, Mapping) else None
        if not isinstance(link, list | tuple) or len(link) != 2 or set(map(str, link)) - set(names):
            text = f'links {shown(link)}; expected the names of two keypoints'
            yield Problem('skeleton', f'limb {shown(number)}', text)


def _partner_problem(name: str, partner: str, partners: dict[str, str]) -> tuple[str, str] | None:
    """The kind of what is wrong with a mirror partner, and the text after 'is mirrored to'."""
    if not partner:
        mirrored = mirror_of(name, partners)
        text = f'nothing, although there is {shown(mirrored)}'
        return ('skeleton-suspicion', text) if mirrored else None
    if partner not in partners:
        return 'skeleton', f'{shown(partner)}, which is no keypoint'
    if partners[partner] != name:
        return 'skeleton', f'{shown(partner)}, but that one to {shown(partners[partner])}'
    if partner == name or (_SIDE.search(name) and not _is_mirrored(name, partner)):
        return 'skeleton-suspicion', f'{shown(partner)}; its name says otherwise'
    return None


def _is_mirrored(name: str, other: str) -> bool:
    """Whether a name is another with left for right."""
    mirrored = _SIDE.sub(lambda side: _OTHER[side[0].lower()], name).lower()
    return mirrored == other.lower() != name.lower()


def _number_problem(values: Any, count: int, lowest: float) -> tuple[str, str] | None:
    """The kind of what is wrong with the values of all keypoints, and the text."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return 'skeleton', f'is {shown(values)}; expected {count} numbers'
    if len(numbers) != count:
        return 'skeleton', f'has {len(numbers)} values; expected one for each of {count} keypoints'
    for index, number in enumerate(numbers):
        if not lowest <= number < 1e6:
            return 'skeleton', f'has {number} for keypoint {index}; expected a positive number'
    text = f'has {max(numbers)}; COCO has 0.025 to 0.107, a part of the size of the person'
    return ('skeleton-suspicion', text) if lowest and max(numbers) > 1 else None
