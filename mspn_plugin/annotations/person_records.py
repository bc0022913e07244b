"""Checks of the annotations of a COCO keypoint file, one by one and against the images."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Set
from typing import Any

from mspn.json_files import is_number, shown

from .image_records import is_id
from .problems import Problem

_SLACK = 1.0  # COCO's own boxes and keypoints reach out of the image by up to a pixel


def person_problems(
    person: Any, index: int, sizes: Mapping[int, tuple[int, int] | None], num_keypoints: int
) -> Iterator[Problem]:
    """What is wrong with an annotation by itself and with its place in its image.

    Args:
        person: The annotation.
        index: Its place in the list, from 0.
        sizes: Width and height of every image by its id; ``None`` where they are unusable.
        num_keypoints: Keypoints per person.
    """
    kind = 'annotation-record'
    if not isinstance(person, dict):
        text = f'is {shown(person)}; expected an object'
        yield Problem(kind, f'annotation record {index}', text)
        return
    name = f'annotation {shown(person["id"])}' if 'id' in person else f'annotation record {index}'
    for key in ('id', 'image_id', 'category_id'):
        if not is_id(person.get(key)):
            text = f'has the {key} {shown(person.get(key))}; expected an integer'
            yield Problem(kind, name, text)
    if is_id(person.get('image_id')) and person['image_id'] not in sizes:
        yield Problem('unknown-image', name, f'names the image {person["image_id"]}')
    missing = [key for key in ('area', 'iscrowd') if key not in person]
    if missing:
        yield Problem('evaluation-fields', name, f'has no {" and no ".join(missing)}')
    image: Any = person.get('image_id')
    size = sizes.get(image) if is_id(image) else None
    labelled = yield from _keypoint_problems(person, name, size, num_keypoints)
    yield from _box_problems(person, name, size, labelled)


def _box_problems(
    person: dict[str, Any], name: str, size: tuple[int, int] | None, labelled: int
) -> Iterator[Problem]:
    box = person.get('bbox')
    if type(box) is not list or len(box) != 4 or not all(map(is_number, box)):
        yield Problem('bad-box', name, f'has the bbox {shown(box)}; expected 4 finite numbers')
        return
    x, y, width, height = box
    shape = f'has the bbox {shown(box)}'
    lost = 'lost-person' if labelled else 'no-person-label'
    if width <= 0 or height <= 0:
        yield Problem(lost, name, f'{shape}, which is empty')
        return
    if size is None:
        return
    # MMPose cuts a box at the last pixel and drops what is left without width or height.
    if x >= size[0] - 1 or y >= size[1] - 1 or x + width <= 0 or y + height <= 0:
        yield Problem(lost, name, f'{shape}, which is outside the {size[0]}x{size[1]} image')
    elif min(x, y) < -_SLACK or x + width > size[0] + _SLACK or y + height > size[1] + _SLACK:
        yield Problem('box-outside', name, f'{shape} in an image of {size[0]}x{size[1]}')


def _keypoint_problems(
    person: dict[str, Any], name: str, size: tuple[int, int] | None, num_keypoints: int
) -> Generator[Problem, None, int]:
    """Yields problems; returns how many keypoints are labelled."""
    values = person.get('keypoints')
    if type(values) is not list or len(values) != 3 * num_keypoints:
        found = f'{len(values)} keypoint values' if type(values) is list else shown(values)
        text = f'has {found}; expected {3 * num_keypoints}: x, y, visibility of {num_keypoints}'
        yield Problem('keypoint-count', name, text)
        return 0
    if not all(map(is_number, values)):
        wrong = next(i for i, value in enumerate(values) if not is_number(value))
        text = f'has {shown(values[wrong])} in keypoint {wrong // 3}; expected a finite number'
        yield Problem('bad-keypoints', name, text)
        return 0
    flags = values[2::3]
    wrong_flags = [i for i, flag in enumerate(flags) if flag not in (0, 1, 2)]
    if wrong_flags:
        first = wrong_flags[0]
        text = f'has the visibility {shown(flags[first])} at keypoint {first}; expected 0, 1 or 2'
        yield Problem('visibility', name, text)
    labelled = [i for i, flag in enumerate(flags) if flag > 0]
    count = person.get('num_keypoints')
    count = len(labelled) if count is None else count  # some exporters write null
    if type(count) not in (int, float) or not count >= 0 or count % 1:
        text = f'has num_keypoints {shown(count)}; expected a number from 0 on'
        yield Problem('annotation-record', name, text)
    elif count != len(labelled):
        # num_keypoints 0 makes the evaluation leave the person out.
        kind = 'num-keypoints' if count and labelled else 'hidden-person'
        text = f'has num_keypoints {count}, but {len(labelled)} labelled keypoints'
        yield Problem(kind, name, text)
    if size is not None:
        outside = [
            i
            for i in labelled
            if not -_SLACK <= values[3 * i] <= size[0] + _SLACK
            or not -_SLACK <= values[3 * i + 1] <= size[1] + _SLACK
        ]
        if outside:
            at = shown(values[3 * outside[0] : 3 * outside[0] + 2])
            text = (
                f'has {len(outside)} keypoints outside the image of {size[0]}x{size[1]}, the first '
                f'is number {outside[0]} at {at}'
            )
            yield Problem('keypoint-outside', name, text)
    return len(labelled)


def doubled_annotations(annotations: list[Any]) -> Iterator[Problem]:
    """Names annotations whose id another one has before them; COCO's API keeps only one.

    Args:
        annotations: All records.
    """
    ids: set[Any] = set()
    for index, person in enumerate(annotations):
        number = person.get('id') if isinstance(person, dict) else None
        if is_id(number):
            if number in ids:
                text = f'is in the list again as number {index}'
                yield Problem('duplicate-annotation-id', f'annotation {number}', text)
            ids.add(number)


def foreign_categories(annotations: list[Any], known: Set[Any], first: Any) -> Iterator[Problem]:
    """Names annotations of categories that the file lacks, or that are not the people's.

    Args:
        annotations: All records.
        known: Ids of the file's categories.
        first: The id of the people's.
    """
    for person in annotations:
        category = person.get('category_id') if isinstance(person, dict) else None
        if not is_id(category) or category == first:
            continue
        kind = 'other-category' if category in known else 'unknown-category'
        yield Problem(kind, f'annotation {shown(person.get("id"))}', f'is of category {category}')
