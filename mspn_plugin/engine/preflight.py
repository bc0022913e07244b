"""Checks of a run's data before anything is built, trained or written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import InputError

_REMEDY = 'give the folder that holds annotations/ and the images with --data-root FOLDER'


def _datasets(config: Any) -> Iterator[dict[str, Any]]:
    """The plain data sets inside a data set config, which may wrap or combine others."""
    if 'datasets' in config:
        for inner in config['datasets']:
            yield from _datasets(inner)
    elif 'dataset' in config:
        yield from _datasets(config['dataset'])
    else:
        yield config


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


def check_annotations(path: Path, num_keypoints: int) -> list[dict[str, Any]]:
    """Checks that a file holds person keypoints in COCO's format.

    Args:
        path: The annotation file.
        num_keypoints: Keypoints per person that the model predicts.

    Returns:
        The records of its images.

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
    images: list[dict[str, Any]] = content['images']
    if not images:
        raise InputError(f'{path} lists no images; give an annotation file that does')
    people = 0
    for annotation in content['annotations']:
        name = f'annotation {annotation.get("id")} in {path}'
        keypoints = annotation.get('keypoints')
        if keypoints is None:
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
    return images


def _check_dataset(dataset: dict[str, Any], num_keypoints: int) -> None:
    root = Path(dataset.get('data_root') or '.')
    if not root.is_dir():
        raise InputError(f'the data root {root} does not exist; {_REMEDY}')
    annotations = root / dataset.get('ann_file', '')
    images = check_annotations(annotations, num_keypoints)
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
        for dataset in _datasets(loader['dataset']):
            wanted = {key: dataset.get(key) for key in ('data_root', 'ann_file', 'data_prefix')}
            key = json.dumps(wanted | {'bbox_file': dataset.get('bbox_file')}, default=str)
            if dataset['type'] == 'CocoDataset' and key not in seen:
                seen.add(key)
                _check_dataset(dataset, num_keypoints)
