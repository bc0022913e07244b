"""What annotation files must hold, checked record by record, so that a fault has a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..dataset_checks.images import file_name_problem, image_problems, is_id
from ..dataset_checks.people import person_problems
from ..dataset_checks.problems import ERRORS, Problem
from ..errors import InputError
from ..json_files import is_number, read_json, shown

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
    content = read_json(
        path, 'the annotation file', expected='a COCO keypoint file', remedy=remedy
    )
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
    return content


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
    return content
