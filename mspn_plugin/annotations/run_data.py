"""The data sets of a run, checked before anything is built, trained or written."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mmpose
from mmengine.config import Config
from mmpose.registry import DATASETS

from mspn.detections import read_detections
from mspn.errors import InputError

from ..datasets.body import image_path
from .keypoint_file import REMEDY, check_annotations, check_mpii_annotations

_REMEDY_14 = 'give the folder that holds gt_json/, train2014/ and val2014/ with --data-root FOLDER'
_REMEDY_14 += '; tools/make_coco2014_split.py makes gt_json/'
_HEADS = "put mpii_gt_val.mat there (MMPose links it beside MPII's annotation files)"


def plain_datasets(config: Any) -> Iterator[dict[str, Any]]:
    """The plain data sets inside a data set config, which may wrap or combine others."""
    if 'datasets' not in config and 'dataset' not in config:
        yield config
    for inner in config.get('datasets') or filter(None, [config.get('dataset')]):
        yield from plain_datasets(inner)


def skeleton_of_file(path: Path) -> dict[str, Any]:
    """The ``dataset_info`` of a metainfo file such as MMPose's ``_base_/datasets/coco.py``.

    The file is a program and runs. Raises an `InputError` if there is none, or nothing in it.
    """
    if not path.is_file():
        expected = "a Python file with dataset_info, as MMPose's configs/_base_/datasets/coco.py"
        raise InputError(f'the metainfo file {path} does not exist; expected {expected}')
    try:
        info = Config.fromfile(path).get('dataset_info')
    except Exception as error:  # it is a program, so anything can happen in it
        raise InputError(f'{path} cannot be read as a metainfo file: {error}') from error
    if not isinstance(info, Mapping):
        raise InputError(f'{path} defines no dataset_info; expected one with keypoint_info')
    return dict(info)


def skeleton_of_config(cfg: Config) -> dict[str, Any]:
    """The skeleton that a run uses, ``metainfo``; an `InputError` if its config has none."""
    loaders = [cfg.get(f'{part}_dataloader') or {} for part in ('train', 'val', 'test')]
    for dataset in [d for loader in loaders for d in plain_datasets(loader.get('dataset', {}))]:
        kind = DATASETS.get(str(dataset.get('type')))
        metainfo = dict(dataset.get('metainfo') or getattr(kind, 'METAINFO', None) or {})
        if 'from_file' in metainfo:  # a file, or MMPose's own one of that name
            path = Path(str(metainfo['from_file']))
            own = Path(mmpose.__file__).parent / '.mim/configs/_base_/datasets' / path.name
            try:
                return skeleton_of_file(path if path.is_file() or not own.is_file() else own)
            except InputError as error:
                raise InputError(f'the metainfo of {cfg.filename}: {error}') from error
        if metainfo:
            return metainfo
    raise InputError(f'{cfg.filename} has no metainfo; give the skeleton with --metainfo')


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Checks the data of the loaders that a run will use, of ``'train'``, ``'val'``, ``'test'``.

    An `InputError` says what is not as the run needs it.
    """
    # One process is enough where this is set: torchrun, which sets it, ends all if one fails.
    if os.environ.get('RANK', '0') != '0':
        return
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in plain_datasets(loader['dataset']) if loader else ():
            _check_run_dataset(dataset, cfg.model.head.get('num_keypoints', 17))
        evaluators = (loader and cfg.get(f'{split}_evaluator')) or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            if path := evaluator.get('ann_file'):
                _check_file(f'annotation file of the {split}_evaluator', path, REMEDY)


def _check_run_dataset(dataset: dict[str, Any], num_keypoints: int) -> None:
    kind = str(dataset['type']).removeprefix('mmpose.')
    if kind not in ('CocoDataset', 'CocoPersonDataset', 'Coco2014Dataset', 'MegviiMpiiDataset'):
        return
    remedy, boxes_lie = REMEDY, "MMPose links COCO's under person_detection_results"
    if is_2014 := kind == 'Coco2014Dataset':
        remedy, boxes_lie = _REMEDY_14, 'the original has it in det_json/'
    root, file = Path(dataset.get('data_root') or '.'), dataset.get('ann_file', '')
    if not root.is_dir():
        raise InputError(f'the data root {root} does not exist; {remedy}')
    if kind == 'MegviiMpiiDataset':
        names = [p['image'] for p in check_mpii_annotations(root / file, num_keypoints)]
    else:
        content = check_annotations(root / file, num_keypoints, remedy=remedy)
        names = [image['file_name'] for image in content['images']]
    images = root / dict(dataset.get('data_prefix') or {}).get('img', '')
    names = sorted(map(image_path, names) if is_2014 else names, key=os.path.dirname)
    for inner, (first, *others) in itertools.groupby(names, os.path.dirname):
        folder = images / inner
        if not folder.is_dir():
            raise InputError(f'the image folder {folder} does not exist; {remedy}')
        if not (images / first).is_file():
            text = f'the first one that {root / file} lists, does not exist'
            expected = f'expected its {1 + len(others)} images in {folder}'
            raise InputError(f'the image {images / first}, {text}; {expected}; {remedy}')
    mend = f'put it there ({boxes_lie}), or use --gt-boxes to evaluate with the annotated boxes'
    if boxes := dataset.get('bbox_file'):
        _check_file('file of detected boxes', boxes, mend)
        read_detections(boxes)
    if (heads := dataset.get('headbox_file')) and not Path(heads).is_file():
        raise InputError(f'the file of head boxes {heads} does not exist; {_HEADS}')


def _check_file(what: str, path: str, remedy: str) -> None:
    """MMEngine reads a file by its suffix; a pickle is a program, and YAML can be one."""
    if Path(path).suffix != '.json':
        raise InputError(f'the {what} {path} is not named as JSON; expected a name in .json')
    if not Path(path).is_file():
        raise InputError(f'the {what} {path} does not exist; {remedy}')
