"""Checks of a run's data before anything is built, trained or written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import InputError
from .launch import plain_datasets

_REMEDY = 'give the folder that holds annotations/ and the images with --data-root FOLDER'


def _read_json(path: Path, what: str) -> Any:
    if not path.is_file():
        raise InputError(f'{what} {path} does not exist; {_REMEDY}')
    try:
        with path.open(encoding='utf-8') as file:
            return json.load(file)
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(
            f'{what} {path} cannot be read as JSON ({error}); expected a COCO keypoint file'
        ) from error


def _check_fields(record: Any, fields: tuple[str, ...], what: str) -> None:
    missing = [name for name in fields if name not in record] if isinstance(record, dict) else ['{']
    if missing:
        text = json.dumps(record)
        raise InputError(
            f'{what} lacks {", ".join(missing)} (it reads {text[:80]}); '
            f'expected an object with {", ".join(fields)}; correct the file'
        )


def check_annotations(path: Path, num_keypoints: int) -> dict[str, Any]:
    """Checks that a file holds person keypoints in COCO's format.

    Args:
        path: The annotation file.
        num_keypoints: Keypoints per person that the model predicts.

    Returns:
        Its content.

    Raises:
        InputError: The file is absent or is something else.
    """
    content = _read_json(path, 'the annotation file')
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
        name = f'annotation {annotation["id"]} in {path}'
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


def _check_dataset(dataset: dict[str, Any], num_keypoints: int) -> None:
    root = Path(dataset.get('data_root') or '.')
    if not root.is_dir():
        raise InputError(f'the data root {root} does not exist; {_REMEDY}')
    annotations = root / dataset.get('ann_file', '')
    images = check_annotations(annotations, num_keypoints)['images']
    folder = root / dict(dataset.get('data_prefix') or {}).get('img', '')
    if not folder.is_dir():
        raise InputError(f'the image folder {folder} does not exist; {_REMEDY}')
    first = folder / str(images[0].get('file_name'))
    if not first.is_file():
        raise InputError(
            f'the image {first}, the first one that {annotations} lists, does not exist; '
            f'expected its {len(images)} images in {folder}; {_REMEDY}'
        )
    boxes = dataset.get('bbox_file')
    if boxes:
        path = Path(boxes)
        if not path.is_file():
            raise InputError(
                f'the file of detected boxes {path} does not exist; put it there (MMPose links '
                "COCO's under person_detection_results), or use --gt-boxes to evaluate with the "
                'annotated boxes'
            )


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Checks the data sets of a run.

    Args:
        cfg: The run's config.
        splits: Which loaders it will use, of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        InputError: A folder, a file or its content is not what the run needs.
    """
    num_keypoints = cfg.model.head.get('num_keypoints', 17)
    seen: set[str] = set()
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        for dataset in plain_datasets(loader['dataset']):
            wanted = {key: dataset.get(key) for key in ('data_root', 'ann_file', 'data_prefix')}
            key = json.dumps(wanted | {'bbox_file': dataset.get('bbox_file')}, default=str)
            if dataset['type'] == 'CocoDataset' and key not in seen:
                seen.add(key)
                _check_dataset(dataset, num_keypoints)
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            path = Path(evaluator.get('ann_file') or '.')
            if not path.exists():
                raise InputError(
                    f'the annotation file {path} of the {split}_evaluator does not exist; {_REMEDY}'
                )
