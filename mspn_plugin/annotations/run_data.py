"""Checks of a run's data before anything is built, trained or written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mspn.errors import InputError

from ..datasets.body.coco2014 import image_path
from .keypoint_files import (
    REMEDY,
    check_annotations,
    check_detections,
    check_mpii_annotations,
)

__all__ = ['check_annotations', 'check_data']

_REMEDY_2014 = (
    'give the folder that holds gt_json/, train2014/ and val2014/ with --data-root FOLDER; '
    'tools/make_coco2014_split.py makes gt_json/'
)
_PLACES = ('type', 'data_root', 'ann_file', 'data_prefix', 'bbox_file', 'headbox_file')
"""Settings of a data set that decide what there is to check."""


def plain_datasets(config: Any) -> Iterator[dict[str, Any]]:
    """The plain data sets inside a data set config, which may wrap or combine others."""
    if 'datasets' in config:
        for inner in config['datasets']:
            yield from plain_datasets(inner)
    elif 'dataset' in config:
        yield from plain_datasets(config['dataset'])
    else:
        yield config


def _data_root(dataset: dict[str, Any], remedy: str) -> Path:
    root = Path(dataset.get('data_root') or '.')
    if not root.is_dir():
        raise InputError(f'the data root {root} does not exist; {remedy}')
    return root


def _check_images(
    dataset: dict[str, Any], names: list[str], annotations: Path, remedy: str
) -> None:
    """Looks for the first image of every folder that an annotation file's images lie in."""
    prefix = dict(dataset.get('data_prefix') or {}).get('img', '')
    root = Path(dataset.get('data_root') or '.') / prefix
    folders: dict[str, list[str]] = {}
    for name in names:
        folders.setdefault(name.rpartition('/')[0], []).append(name)
    for inner, inside in folders.items():
        folder, first = root / inner, root / inside[0]
        if not folder.is_dir():
            raise InputError(f'the image folder {folder} does not exist; {remedy}')
        if not first.is_file():
            raise InputError(
                f'the image {first}, the first one that {annotations} lists, does not exist; '
                f'expected its {len(inside)} images in {folder}; {remedy}'
            )


def _check_suffix(path: str, what: str) -> None:
    """MMEngine reads a file by its suffix; a pickle is a program, and YAML can be one."""
    if Path(path).suffix != '.json':
        raise InputError(f'the {what} {path} is not named as JSON; expected a name in .json')


def _check_boxes(dataset: dict[str, Any], origin: str) -> None:
    boxes = dataset.get('bbox_file')
    if not boxes:
        return
    _check_suffix(boxes, 'file of detected boxes')
    if not Path(boxes).is_file():
        raise InputError(
            f'the file of detected boxes {boxes} does not exist; put it there ({origin}), or use '
            '--gt-boxes to evaluate with the annotated boxes'
        )
    check_detections(Path(boxes))


def _check_coco(dataset: dict[str, Any], num_keypoints: int) -> None:
    annotations = _data_root(dataset, REMEDY) / dataset.get('ann_file', '')
    images = check_annotations(annotations, num_keypoints)['images']
    _check_images(dataset, [str(image['file_name']) for image in images], annotations, REMEDY)
    _check_boxes(dataset, "MMPose links COCO's under person_detection_results")


def _check_coco2014(dataset: dict[str, Any], num_keypoints: int) -> None:
    annotations = _data_root(dataset, _REMEDY_2014) / dataset.get('ann_file', '')
    images = check_annotations(annotations, num_keypoints, remedy=_REMEDY_2014)['images']
    names = [image_path(str(image['file_name'])) for image in images]
    _check_images(dataset, names, annotations, _REMEDY_2014)
    _check_boxes(dataset, 'the original has it in det_json/')


def _check_mpii(dataset: dict[str, Any], num_keypoints: int) -> None:
    annotations = _data_root(dataset, REMEDY) / dataset.get('ann_file', '')
    people = check_mpii_annotations(annotations, num_keypoints)
    _check_images(dataset, [str(person['image']) for person in people], annotations, REMEDY)
    heads = dataset.get('headbox_file')
    if heads and not Path(heads).is_file():
        raise InputError(
            f'the file of head boxes {heads} does not exist; put mpii_gt_val.mat there (MMPose '
            'links it beside the annotation files of MPII)'
        )


_CHECKS: dict[str, Callable[[dict[str, Any], int], None]] = dict(
    CocoDataset=_check_coco,
    CocoPersonDataset=_check_coco,
    Coco2014Dataset=_check_coco2014,
    MegviiMpiiDataset=_check_mpii,
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
            check = _CHECKS.get(str(dataset['type']).removeprefix('mmpose.'))
            places = json.dumps([dataset.get(key) for key in _PLACES], default=str)
            if check is not None and places not in seen:
                seen.add(places)
                check(dataset, num_keypoints)
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            path = Path(evaluator.get('ann_file') or '.')
            if evaluator.get('ann_file'):
                _check_suffix(str(path), f'annotation file of the {split}_evaluator')
            if not path.exists():
                raise InputError(
                    f'the annotation file {path} of the {split}_evaluator does not exist; {REMEDY}'
                )
