"""What can be wrong with labels: the table of all rules; the checks of records and skeletons."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple, TypeGuard

from mspn.json_files import is_number, shown

_LARGEST = 2**31  # pixels on a side, and far above what any decoder reads
_SLACK = 1.0  # COCO's own boxes and keypoints reach out of the image by up to a pixel
_SIDE = re.compile(r'left|right|(?<![a-z])[lr](?![a-z])', re.IGNORECASE)
_OTHER = dict(left='right', right='left', l='r', r='l')
_MPII = ('image', 'center', 'scale', 'joints', 'joints_vis')

Size = tuple[float, float]  # width and height, infinite if unknown
UNKNOWN: Size = (math.inf, math.inf)
Found = tuple[str, str]

# Kinds of problems that no run begins with, and their meaning.
STOPS = {
    'image-record': 'image records with unusable values',
    'annotation-record': 'annotations with unusable values',
    'category-record': 'unusable category records',
    'bad-box': 'boxes that are no 4 finite numbers',
    'keypoint-count': 'keypoint lists of the wrong length',
    'bad-keypoints': 'keypoints that are no finite numbers',
    'visibility': 'visibility flags other than 0, 1 and 2',
    'no-labels': 'files without a single labelled keypoint',
}

# These and what breaks a run, or makes it learn something else than the labels.
ERRORS = STOPS | {
    'duplicate-image-id': 'image ids that were used before',
    'duplicate-annotation-id': 'annotation ids that were used before',
    'unknown-image': 'annotations that name no image of the file',
    'unknown-category': 'annotations that name no category of the file',
    'lost-person': 'labelled people whose box is empty or outside the image; they are left out',
    'hidden-person': 'people that num_keypoints and the keypoints contradict each other about',
    'category': 'categories that are absent, doubled or without a name',
    'keypoint-order': 'keypoints in another order than the skeleton has them',
    'skeleton': 'faults of the skeleton',
    'missing-image': 'images that are not there',
    'unreadable-image': 'images that cannot be decoded',
    'damaged-image': 'images that decode, with pixels that are damaged or end early',
    'image-size': 'images of another size than recorded',
}

# What a run survives, and may be meant.
WARNINGS = {
    'duplicate-file-name': 'file names that were used before',
    'no-person-label': 'boxes that are empty or outside the image, of people without keypoints',
    'box-outside': 'boxes that reach out of the image by more than a pixel; they are cut off there',
    'keypoint-outside': 'people with labelled keypoints outside the image',
    'num-keypoints': 'people whose num_keypoints is not the number of labelled keypoints',
    'evaluation-fields': 'annotations without area or iscrowd, which the evaluation needs',
    'other-category': 'annotations of other categories than the first',
    'keypoint-names': 'names of keypoints that are not those of the skeleton',
    'skeleton-suspicion': 'oddities of the skeleton',
    'image-decoder': 'images about which the decoder complains',
    'nothing-labelled': 'images without a labelled person',
    'unused-file': 'images in the folder that the file does not list',
}


class Problem(NamedTuple):
    """One thing that is wrong, of a kind in the table; name and text make a sentence."""

    kind: str
    name: str  # such as 'annotation 7'
    text: str

    def __str__(self) -> str:
        return f'{self.name} {self.text}'


class Tally(list[Problem]):
    """Problems, to be counted and named by kind, in the order of the table."""

    def count_of(self, kinds: Container[str]) -> int:
        """How many problems of some kinds, such as `ERRORS`, there are."""
        return sum(problem.kind in kinds for problem in self)

    def lines(self, count: int = 5) -> Iterator[str]:
        """A summary: each kind that occurs, with the first `count` problems of it."""
        for label, kinds in self.record().items():
            for kind in kinds.values():
                yield f'{label[:-1]:8} {kind["count"]:7,}  {kind["meaning"]}'
                yield from (f'{"":18}{p["name"]} {p["text"]}' for p in kind['found'][:count])
                if kind['count'] > count:
                    yield f'{"":18}and {kind["count"] - count:,} more'

    def record(self) -> dict[str, Any]:
        """All of it for a JSON report."""
        record: dict[str, Any] = dict(errors={}, warnings={})
        for kind, meaning in (ERRORS | WARNINGS).items():
            if found := [dict(name=p.name, text=p.text) for p in self if p.kind == kind]:
                part = record['errors' if kind in ERRORS else 'warnings']
                part[kind] = dict(meaning=meaning, count=len(found), found=found)
        return record


def id_of(record: Any, key: str = 'id') -> int | None:
    """An id as COCO's tools take it: an integer of 64 bits, and no bool; ``None`` for others."""
    value = record.get(key) if isinstance(record, dict) else None
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def size_of(image: Any) -> Size:
    """The size in an image record, if that has no problems."""
    return UNKNOWN if any(image_problems(image)) else (image['width'], image['height'])


def is_labelled(person: Any) -> bool:
    """Whether a record has a keypoint with a visibility other than 0."""
    keypoints = person.get('keypoints') if isinstance(person, dict) else None
    return isinstance(keypoints, list) and any(keypoints[2::3])


def _value(record: dict[str, Any], key: str) -> str:
    return f'has the {key} {shown(record[key])}' if key in record else f'lacks {key}'


def _is_point(value: Any, length: int = 2) -> TypeGuard[list[float]]:
    return type(value) is list and len(value) == length and all(map(is_number, value))


def file_name_problem(name: Any) -> str | None:
    """Why a file name of an annotation file cannot be used, or ``None``.

    Outside the image folder it would let a stranger's file choose what is read on this machine.
    """
    found = f'has the file name {shown(name)}'
    if not isinstance(name, str) or not name or '\0' in name:
        return f'{found}; expected the name of an image'
    if any('\ud800' <= character <= '\udfff' for character in name):
        return f'{found}, which is no Unicode text'
    paths = PurePosixPath(name), PureWindowsPath(name)
    if any(path.is_absolute() or '..' in path.parts for path in paths):
        return f'{found}, which leaves the image folder; expected one in it'
    return None


def name_problems(theirs: list[Any], ours: list[str]) -> Iterator[Found]:
    """What is wrong with the names of a category's keypoints, if there are some to compare with."""
    a, b = ([str(n).lower().replace(' ', '_').replace('-', '_') for n in g] for g in (theirs, ours))
    if ours and a != b:
        kind = 'keypoint-order' if sorted(a) == sorted(b) else 'keypoint-names'
        yield kind, f'has the keypoints {shown(theirs, 200)}; the skeleton has {shown(ours, 200)}'


def image_problems(image: Any) -> Iterator[Found]:
    """What is wrong with an image record by itself."""
    kind = 'image-record'
    if not isinstance(image, dict):
        yield kind, f'is {shown(image)}; expected an object with id, file_name, width and height'
        return
    if id_of(image) is None:
        yield kind, f'{_value(image, "id")}; expected an integer'
    if text := file_name_problem(image.get('file_name')):
        yield kind, text
    for key in ('width', 'height'):
        value: Any = image.get(key)
        if type(value) not in (int, float) or not 0 < value < _LARGEST or value % 1:
            yield kind, f'{_value(image, key)}; expected pixels'


def person_problems(person: Any, sizes: Mapping[Any, Size], num_keypoints: int) -> Iterator[Found]:
    """What is wrong with an annotation by itself and in its image, whose size is in `sizes`."""
    if not isinstance(person, dict):
        wanted = 'an object with id, image_id, category_id, bbox, keypoints'
        yield 'annotation-record', f'is {shown(person)}; expected {wanted}'
        return
    for key in ('id', 'image_id', 'category_id'):
        if id_of(person, key) is None:
            yield 'annotation-record', f'{_value(person, key)}; expected an integer'
    image = id_of(person, 'image_id')
    if image is not None and image not in sizes:
        yield 'unknown-image', f'names the image {image}'
    if missing := [key for key in ('area', 'iscrowd') if key not in person]:
        yield 'evaluation-fields', f'has no {" and no ".join(missing)}'
    size = sizes.get(image, UNKNOWN)
    yield from _keypoint_problems(person, size, num_keypoints)
    box, text = person.get('bbox'), _value(person, 'bbox')
    if not _is_point(box, 4):
        yield 'bad-box', f'{text}; expected 4 finite numbers'
        return
    x, y, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
    lost = 'lost-person' if is_labelled(person) else 'no-person-label'
    if box[2] <= 0 or box[3] <= 0:
        yield lost, f'{text}, which is empty'
    # MMPose cuts a box at the last pixel and drops what is left without width or height.
    elif x >= size[0] - 1 or y >= size[1] - 1 or right <= 0 or bottom <= 0:
        yield lost, f'{text}, which is outside the {size[0]}x{size[1]} image'
    elif not (_is_in(x, y, size) and _is_in(right, bottom, size)):
        yield 'box-outside', f'{text} in an image of {size[0]}x{size[1]}'


def _is_in(x: float, y: float, size: Size) -> bool:
    return -_SLACK <= x <= size[0] + _SLACK and -_SLACK <= y <= size[1] + _SLACK


def _keypoint_problems(person: dict[str, Any], size: Size, num_keypoints: int) -> Iterator[Found]:
    values, wanted = person.get('keypoints'), f'{3 * num_keypoints}: x, y, visibility'
    if type(values) is not list:
        usual = 'COCO has them in person_keypoints_*.json, not in instances_*.json'
        yield 'keypoint-count', f'has no keypoints; expected {wanted} ({usual})'
        return
    if (count := len(values)) != 3 * num_keypoints:
        yield 'keypoint-count', f'has {count} keypoint values; expected {wanted} of {num_keypoints}'
        return
    if odd := [i for i, value in enumerate(values) if not is_number(value)]:
        text = f'has {shown(values[odd[0]])} in keypoint {odd[0] // 3}'
        yield 'bad-keypoints', f'{text}; expected a finite number'
        return
    flags = values[2::3]
    if odd := [i for i, flag in enumerate(flags) if flag not in (0, 1, 2)]:
        text = f'has the visibility {shown(flags[odd[0]])} at keypoint {odd[0]}'
        yield 'visibility', f'{text}; expected 0, 1 or 2'
    labelled = {i: values[3 * i : 3 * i + 2] for i, flag in enumerate(flags) if flag > 0}
    # Some exporters write null.
    count = len(labelled) if person.get('num_keypoints') is None else person['num_keypoints']
    if type(count) not in (int, float) or not count >= 0 or count % 1:
        yield 'annotation-record', f'has num_keypoints {shown(count)}; expected a number from 0 on'
    elif count != len(labelled):
        # num_keypoints 0 makes the evaluation leave the person out.
        kind = 'num-keypoints' if count and labelled else 'hidden-person'
        yield kind, f'has num_keypoints {count}, but {len(labelled)} labelled keypoints'
    if outside := [i for i, (x, y) in labelled.items() if not _is_in(x, y, size)]:
        text = f'has {len(outside)} keypoints outside the image of {size[0]}x{size[1]}, the first '
        yield 'keypoint-outside', f'{text}is number {outside[0]} at {shown(labelled[outside[0]])}'


def mpii_problem(person: Any, num_keypoints: int) -> str | None:
    """What is wrong with a person of MPII, as MMPose's JSON files list them, or ``None``."""
    if missing := [key for key in _MPII if not isinstance(person, dict) or key not in person]:
        text = f'lacks {", ".join(missing)} (it reads {shown(person, 80)})'
        return f'{text}; expected an object with {", ".join(_MPII)}'
    image, center, scale, joints, flags = (person[key] for key in _MPII)
    if not isinstance(joints, list) or not isinstance(flags, list):
        return 'has joints or joints_vis that are no lists'
    if not len(joints) == len(flags) == num_keypoints:
        text = f'has {len(joints)} joints and {len(flags)} joints_vis; the model predicts'
        return f"{text} {num_keypoints} keypoints (its head's num_keypoints); expected as many"
    if found := file_name_problem(image):
        return found
    if not image.split('.')[0].isdecimal():
        return f'has the image {shown(image)}; expected a number, as 015601864.jpg'
    if not is_number(scale) or scale <= 0:
        return f'has the scale {shown(scale)}; expected a positive number'
    for point in (center, *joints):
        if not _is_point(point):
            return f'has the center or joint {shown(point)}; expected x and y'
    if not all(flag in (0, 1) for flag in flags):
        return f'has joints_vis {shown(flags)}; expected 0 or 1 for each joint'
    return None


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
        mirrored = next((other for other in partners if _is_mirrored(name, other)), None)
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
    return _SIDE.sub(lambda side: _OTHER[side[0].lower()], name).lower() == other.lower() != name


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
