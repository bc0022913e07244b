"""One reader and one checker of annotation files, for a run's data and for `mspn check`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mmpose
from mmengine.config import Config
from mmpose.registry import DATASETS

from mspn.detections import read_detections
from mspn.errors import InputError
from mspn.json_files import read_json, shown
from mspn.media import IMAGE_SUFFIXES

from ..datasets.body import image_path
from . import problems as rules
from .image_files import ImageFile, image_file_problems
from .problems import Problem, Tally

REMEDY = 'give the folder that holds annotations/ and the images with --data-root FOLDER'
_REMEDY_14 = 'give the folder that holds gt_json/, train2014/ and val2014/ with --data-root FOLDER'
_REMEDY_14 += '; tools/make_coco2014_split.py makes gt_json/'
_HEADS = "put mpii_gt_val.mat there (MMPose links it beside MPII's annotation files)"


def read_keypoint_file(path: Path, *, remedy: str = '') -> dict[str, Any]:
    """Reads a file of COCO's, whose records may still be anything; otherwise an `InputError`."""
    expected = 'a COCO keypoint file: an object with the lists images, annotations and categories'
    content = read_json(path, 'the annotation file', expected=expected, remedy=remedy)
    parts = ('images', 'annotations', 'categories')
    if not isinstance(content, dict) or not all(isinstance(content.get(p), list) for p in parts):
        raise InputError(f'{path} is not a COCO annotation file; expected {expected}')
    if not content['images']:
        raise InputError(f'{path} lists no images; give an annotation file that does')
    return content


def check_annotations(path: Path, num_keypoints: int, *, remedy: str = REMEDY) -> dict[str, Any]:
    """Reads a COCO keypoint file for a model of so many keypoints.

    An `InputError` says what to do if there is none, or names the first problem of `STOPS`.
    """
    content = read_keypoint_file(path, remedy=remedy)
    for problem in record_problems(content, num_keypoints):
        if problem.kind in rules.STOPS:
            mend = 'correct the file (tools/check_dataset.py lists all of its faults)'
            if problem.kind == 'keypoint-count':
                mend += f", or the head's num_keypoints, which is {num_keypoints}"
            raise InputError(f'{path}: {problem}; {mend}')
    return content


def check_mpii_annotations(path: Path, num_keypoints: int) -> list[Any]:
    """Reads MPII as MMPose's JSON files list it, a record for each person, in the same way."""
    expected = "a list with an object for each person, MMPose's JSON file of MPII"
    content = read_json(path, 'the annotation file', expected=expected, remedy=REMEDY)
    if not isinstance(content, list) or not content:
        raise InputError(f'{path} is no annotation file of MPII; expected {expected}')
    for index, person in enumerate(content):
        if text := rules.mpii_problem(person, num_keypoints):
            raise InputError(f'person {index} in {path} {text}; correct the file')
    return content


def check_dataset(
    annotations: Path,
    images: Path,
    *,
    skeleton: Mapping[str, Any] | None = None,
    jobs: int = 1,
    decode: bool = True,
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[Tally, dict[str, int]]:
    """Checks a COCO keypoint data set: records, skeleton, and images in the folder of that name.

    Without a `skeleton`, MMPose's ``metainfo``, the first keypoints of the file are counted. `jobs`
    processes decode the images; without `decode` they only have to be there. `progress` is called
    with the number of images done so far.

    Returns what is wrong, and how many images, annotations, people and keypoints there are. An
    `InputError` says if file or folder cannot be used, or decoding ends a process.
    """
    content = read_keypoint_file(annotations)
    if not images.is_dir():
        mend = f'give the folder that the file names in {annotations} start from'
        raise InputError(f'the image folder {images} does not exist; {mend}')
    tally = Tally(rules.skeleton_problems(skeleton) if skeleton is not None else ())
    names = rules.keypoint_names(skeleton or {})
    # Without names, as the first category or else the first annotation with keypoints has it.
    parts = (('categories', 1), ('annotations', 3))
    records = ((r, each) for part, each in parts for r in content[part] if isinstance(r, dict))
    lists = ((r.get('keypoints'), each) for r, each in records)
    counts = (len(points) // each for points, each in lists if isinstance(points, list))
    num_keypoints = len(names) or next(filter(None, counts), 17)
    tally.extend(record_problems(content, num_keypoints, names))
    files: list[ImageFile] = []
    for index, image in enumerate(content['images']):
        if isinstance(image, dict) and not rules.file_name_problem(image.get('file_name')):
            number = shown(image['id']) if 'id' in image else f'record {index}'
            name = f'image {number} ({image["file_name"]})'
            files.append((name, images / image['file_name'], rules.size_of(image)))
    tally.extend(image_file_problems(files, jobs=jobs, decode=decode, progress=progress))
    known = {os.path.normpath(path) for _, path, _ in files}
    for folder in filter(os.path.isdir, sorted(set(map(os.path.dirname, known)))):
        for path in sorted({os.path.join(folder, name) for name in os.listdir(folder)} - known):
            stem, suffix = os.path.splitext(os.path.basename(path))
            if suffix.lower() in IMAGE_SUFFIXES and stem[0] != '.':
                tally.append(Problem('unused-file', path, 'is not in the annotation file'))
    numbers = {part: len(content[part]) for part in ('images', 'annotations')}
    people = sum(map(rules.is_labelled, content['annotations']))
    return tally, numbers | dict(people=people, keypoints=num_keypoints)


def record_problems(
    content: dict[str, Any], num_keypoints: int, names: list[str] | None = None
) -> Iterator[Problem]:
    """Checks all records of a file by themselves, against each other and the keypoints' names."""
    categories, people = list[Any](), list[Any]()
    for index, category in enumerate(content['categories']):
        found, number = list[rules.Found](), rules.id_of(category)
        if number is None or not isinstance(category.get('name'), str):
            kind = 'category-record' if number is None else 'category'
            found.append((kind, f'is {shown(category)}; expected an object with id and name'))
        if number in categories:
            found.append(('category', 'is there more than once'))
        if number is not None:
            categories.append(number)
            if isinstance(theirs := category.get('keypoints'), list) and not people:
                found.extend(rules.name_problems(theirs, names or []))
                people.append(number)  # the first one with keypoints
        yield from _named('category', category, index, found)
    if not categories:
        yield Problem('category', 'the file', 'has no usable category; expected one for people')
    sizes, seen, labelled = dict[Any, rules.Size](), set[Any](), set[str]()
    for index, image in enumerate(content['images']):
        found, number = list(rules.image_problems(image)), rules.id_of(image)
        file = image.get('file_name') if isinstance(image, dict) else None
        if number in sizes:
            text = f'is in the list again as number {index}, with the file {shown(file)}'
            found += [('duplicate-image-id', text)]
        if isinstance(file, str) and file in seen:
            found += [('duplicate-file-name', f'has the file name {shown(file)} of another image')]
        yield from _named('image', image, index, found)
        seen.add(str(file))
        if number is not None:
            sizes[number] = rules.size_of(image)
    for index, person in enumerate(content['annotations']):
        found = list(rules.person_problems(person, sizes, num_keypoints))
        number, category = rules.id_of(person), rules.id_of(person, 'category_id')
        if category not in (None, *(people or categories)[:1]):
            kind = 'other-category' if category in categories else 'unknown-category'
            found.append((kind, f'is of category {category}'))
        if number in seen:  # COCO's API keeps only one
            found.append(('duplicate-annotation-id', f'is in the list again as number {index}'))
        yield from _named('annotation', person, index, found)
        seen |= {number} - {None}
        if rules.is_labelled(person):
            labelled.add(shown(person.get('image_id')))
    if not labelled:
        yield Problem('no-labels', 'the file', 'has no person with a labelled keypoint')
    for number in (number for number in sizes if str(number) not in labelled):
        yield Problem('nothing-labelled', f'image {number}', 'has no labelled person')


def _named(what: str, record: Any, index: int, found: Iterable[rules.Found]) -> list[Problem]:
    has_id = isinstance(record, dict) and 'id' in record
    name = f'{what} {shown(record["id"])}' if has_id else f'{what} record {index}'
    return [Problem(kind, name, text) for kind, text in found]


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
