"""What is wrong with a record of an image or a person, by itself and in its image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeGuard

from mspn.errors import is_text
from mspn.json_files import is_number, shown
from mspn.poses import BODY, LARGEST

from .skeleton import plain

_LARGEST = 2**31  # pixels on a side, and far above what any decoder reads
_SLACK = 1.0  # COCO's own boxes and keypoints reach out of the image by up to a pixel
_MPII = ('image', 'center', 'scale', 'joints', 'joints_vis')

Size = tuple[float, float]  # width and height, infinite if unknown
UNKNOWN: Size = (math.inf, math.inf)
Found = tuple[str, str]


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


def usable_box(person: Any, size: Size) -> list[float] | None:
    """x, y, width, height of a record's box, if it has one that meets an image of this size."""
    box: Any = person.get('bbox') if isinstance(person, dict) else None
    problems = {kind for kind, _ in _box_problems(box, size, person, False)}
    return None if {'bad-box', 'no-person-label'} & problems else list(box)


def count_labelled(keypoints: Sequence[float]) -> int:
    """How many keypoints of x, y, visibility are labelled."""
    return sum(flag > 0 for flag in keypoints[2::3])


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
    if not is_text(name):
        return f'{found}, which is no Unicode text'
    paths = PurePosixPath(name), PureWindowsPath(name)
    if any(path.is_absolute() or '..' in path.parts for path in paths):
        return f'{found}, which leaves the image folder; expected one in it'
    return None


def name_problems(theirs: list[Any], ours: list[str]) -> Iterator[Found]:
    """What is wrong with the names of a category's keypoints, if there are some to compare with."""
    a, b = ([plain(str(name)) for name in names] for names in (theirs, ours))
    if ours and a != b:
        kind = 'keypoint-order' if sorted(a) == sorted(b) else 'keypoint-names'
        yield kind, f'has the keypoints {shown(theirs, 200)}; the skeleton has {shown(ours, 200)}'


def unit_problem(people: list[tuple[dict[str, Any], Size]]) -> str | None:
    """Why the numbers of a whole file cannot be pixels, or its boxes no x, y, width, height.

    Args:
        people: Labelled people, whose keypoints and boxes are finite numbers, and the sizes of
            their images.
    """
    if not people:
        return None
    boxes = [person['bbox'] for person, _ in people]
    corners = [(box, size) for box, (_, size) in zip(boxes, people, strict=True)]
    points = ((p['keypoints'][0::3], p['keypoints'][1::3], p['keypoints'][2::3]) for p, _ in people)
    if all(
        max(x, y) <= 1 for xs, ys, vs in points for x, y, v in zip(xs, ys, vs, strict=True) if v
    ):
        return 'has no keypoint above 1 pixel; expected pixels, not parts of the picture'
    if all(0 < width <= 1 and 0 < height <= 1 for _, _, width, height in boxes):
        return 'has no box above 1 pixel; expected pixels, not parts of the picture'
    beyond = [b for b, s in corners if not _is_in(b[0] + b[2], b[1] + b[3], s)]
    if len(beyond) > len(boxes) / 5 and all(
        b[0] < b[2] and b[1] < b[3] and _is_in(b[2], b[3], s) for b, s in corners
    ):
        text = f'{len(beyond)} of {len(boxes)} boxes that reach out of their images, and all of'
        return f'has {text} them fit as x1, y1, x2, y2; expected x, y, width, height'
    return None


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
            yield 'no-image-size', f'{_value(image, key)}; expected pixels'


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
    size, labelled = sizes.get(image, UNKNOWN), is_labelled(person)
    yield from _keypoint_problems(person, size, num_keypoints)
    if person.get('iscrowd') not in (None, 0, 1):
        yield 'iscrowd', f'{_value(person, "iscrowd")}; expected 0 or 1'
    elif person.get('iscrowd') and labelled:
        yield 'labelled-crowd', 'has iscrowd 1, and labelled keypoints'
        labelled = False  # nobody to lose
    yield from (found := list(_box_problems(person.get('bbox'), size, person, labelled)))
    if labelled and not any(kind in ('bad-box', 'lost-person') for kind, _ in found):
        if person.get('area') is None:
            yield 'no-area', f'has {"the area null" if "area" in person else "no area"}'
        elif not is_area(person['area']):
            yield 'area', f'{_value(person, "area")}; expected pixels'


def area_of(box: Sequence[float], size: Size) -> float:
    """The area of a person as the evaluation takes it where none is given.

    It is MMPose's part of the box, of what of it lies in the image.
    """
    (x, y, width, height), (right, bottom) = box, size
    width, height = min(x + width, right) - max(x, 0), min(y + height, bottom) - max(y, 0)
    return round(max(BODY * width * height, 1.0), 2)


def is_area(value: Any) -> bool:
    """Whether an evaluation can divide by this."""
    return is_number(value) and value > 0


def _box_problems(box: Any, size: Size, person: Any, labelled: bool) -> Iterator[Found]:
    text, lost = _value(person, 'bbox'), 'lost-person' if labelled else 'no-person-label'
    if not _is_point(box, 4):
        yield 'bad-box', f'{text}; expected 4 finite numbers'
        return
    x, y, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
    if box[2] <= 0 or box[3] <= 0:
        yield lost, f'{text}, which is empty'
    elif box[2] > LARGEST * size[0] or box[3] > LARGEST * size[1]:
        yield lost, f'{text}, which dwarfs the {size[0]}x{size[1]} image'
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
        kind = 'num-keypoints' if count else 'hidden-person'
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
