"""What annotation files must hold, checked record by record, so that a fault has a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mspn.errors import InputError
from mspn.json_files import is_number, read_json, shown

from .image_records import file_name_problem, image_problems, is_id
from .person_records import person_problems
from .problems import Problem

_STOPPING = ('annotation-record', 'bad-box', 'keypoint-count', 'bad-keypoints', 'visibility')

REMEDY = 'give the folder that holds annotations/ and the images with --data-root FOLDER'


def _check_fields(record: Any, fields: tuple[str, ...], what: str) -> None:
    missing = [name for name in fields if name not in record] if isinstance(record, dict) else ['{']
    if missing:
        raise InputError(
            f'{what} lacks {", ".join(missing)} (it reads {shown(record, 80)}); '
            f'expected an object with {", ".join(fields)}; correct the file'
        )


def check_annotations(path: Path, num_keypoints: int, *, remedy: str = REMEDY) -> dict[str, Any]:
    """Checks that a file holds person keypoints in COCO's format.

    Args:
        path: The annotation file.
        num_keypoints: Keypoints per person that the model predicts.
        remedy: What the user can do if there is no such file.

    Returns:
        Its content.

    Raises:
        InputError: The file is absent or is something else.
    """
    content = read_json(path, 'the annotation file', expected='a COCO keypoint file', remedy=remedy)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ('images', 'annotations', 'categories')
    ):
        raise InputError(
            f'{path} is not a COCO annotation file; expected an object with the lists images, '
            'annotations and categories'
        )
    if not content['images']:
        raise InputError(f'{path} lists no images; give an annotation file that does')
    for image in content['images']:
        _check_fields(image, ('id', 'file_name', 'width', 'height'), f'an image record in {path}')
    people = 0
    for annotation in content['annotations']:
        _check_fields(annotation, ('id', 'image_id', 'category_id', 'bbox'), f'a person in {path}')
        name = f'annotation {shown(annotation["id"])} in {path}'
        keypoints = annotation.get('keypoints')
        if not isinstance(keypoints, list):
            raise InputError(
                f'{name} has no keypoints; expected a person keypoint file '
                '(COCO calls it person_keypoints_*.json, not instances_*.json)'
            )
        if len(keypoints) != 3 * num_keypoints:
            raise InputError(
                f'{name} has {len(keypoints)} keypoint values; the model predicts {num_keypoints} '
                f'keypoints, so expected {3 * num_keypoints} values x, y, visibility; correct the '
                "file or set the head's num_keypoints"
            )
        people += any(keypoints[2::3])
    if not people:
        raise InputError(f'{path} has no person with a labelled keypoint; give a file that does')
    for problem in _stopping(content, num_keypoints):
        raise InputError(
            f'{path}: {problem}; correct the file (tools/check_dataset.py lists all of its faults)'
        )
    return content


def _stopping(content: dict[str, Any], num_keypoints: int) -> Iterator[Problem]:
    """Values that a run would stumble over, or learn from as if they were labels."""
    for index, category in enumerate(content['categories']):
        if not isinstance(category, dict) or not is_id(category.get('id')):
            text = f'is {shown(category)}; expected an object with id and name'
            yield Problem('category', f'category record {index}', text)
    for index, image in enumerate(content['images']):
        yield from image_problems(image, index)
    # Where a box or a keypoint lies in its image is no reason to stop: COCO's own reach out of it.
    sizes = {image['id']: None for image in content['images']}
    for index, person in enumerate(content['annotations']):
        for problem in person_problems(person, index, sizes, num_keypoints):
            if problem.kind in _STOPPING:
                yield problem


def check_mpii_annotations(
    path: Path, num_keypoints: int, *, remedy: str = REMEDY
) -> list[dict[str, Any]]:
    """Checks that a file holds people of MPII as MMPose's annotation files list them.

    Args:
        path: The annotation file.
        num_keypoints: Keypoints per person that the model predicts.
        remedy: What the user can do if there is no such file.

    Returns:
        Its content.

    Raises:
        InputError: The file is absent or is something else.
    """
    content = read_json(
        path, 'the annotation file', expected="MMPose's JSON file of MPII", remedy=remedy
    )
    if not isinstance(content, list) or not content:
        raise InputError(
            f'{path} is no annotation file of MPII; expected a list with an object for each person'
        )
    for index, person in enumerate(content):
        name = f'person {index} in {path}'
        _check_fields(person, ('image', 'center', 'scale', 'joints', 'joints_vis'), name)
        joints, visible = person['joints'], person['joints_vis']
        if not isinstance(joints, list) or not isinstance(visible, list):
            raise InputError(f'{name} has joints or joints_vis that are no lists; correct the file')
        if not len(joints) == len(visible) == num_keypoints:
            raise InputError(
                f'{name} has {len(joints)} joints and {len(visible)} joints_vis; the model '
                f'predicts {num_keypoints} keypoints, so expected as many of both; correct the '
                "file or set the head's num_keypoints"
            )
        if text := _mpii_problem(person):
            raise InputError(f'{name} {text}; correct the file')
    return content


def _mpii_problem(person: dict[str, Any]) -> str | None:
    """What is wrong with the values of a person of MPII, or ``None``."""
    if text := file_name_problem(person['image']):
        return text
    if not person['image'].split('.')[0].isdecimal():
        return f'has the image {shown(person["image"])}; expected a number, as 015601864.jpg'
    if not is_number(person['scale']) or person['scale'] <= 0:
        return f'has the scale {shown(person["scale"])}; expected a positive number'
    for key, points in (('center', [person['center']]), ('joints', person['joints'])):
        for point in points:
            if type(point) is not list or len(point) != 2 or not all(map(is_number, point)):
                return f'has {shown(point)} in {key}; expected x and y'
    flags = person['joints_vis']
    if not all(flag in (0, 1) for flag in flags):
        return f'has joints_vis {shown(flags)}; expected 0 or 1 for each joint'
    return None


def check_detections(path: Path) -> None:
    """Checks that a file holds detected boxes that MMPose's readers do not stumble over.

    What such a box means is theirs to judge: they leave out other categories and low scores.

    Args:
        path: The file.

    Raises:
        InputError: It is something else.
    """
    expected = 'a JSON list of objects with image_id, category_id, bbox (x, y, w, h) and score'
    content = read_json(path, 'the file of detected boxes', expected=expected)
    if not isinstance(content, list):
        raise InputError(f'{path} holds no list of detected boxes; expected {expected}')
    for index, entry in enumerate(content):
        good = (
            isinstance(entry, dict)
            and all(is_id(entry.get(key)) for key in ('image_id', 'category_id'))
            and is_number(entry.get('score'))
            and type(entry.get('bbox')) is list
            and len(entry['bbox']) == 4
            and all(map(is_number, entry['bbox']))
        )
        if not good:
            raise InputError(
                f'entry {index} of {path}, counted from 0, is {shown(entry)}; expected {expected}'
            )
