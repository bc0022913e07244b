"""The data sets of a run, checked before anything is built, trained or written."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mmpose
from mmengine import dist
from mmengine.config import Config
from mmpose.registry import DATASETS

from mspn.atomic_io import write_whole
from mspn.detections import read_detections
from mspn.errors import InputError
from mspn.poses import outside

from ..datasets.body import image_path
from . import records as rules
from .image_files import header_problems, oddity
from .keypoint_file import (
    REMEDY,
    category_of,
    check_mpii_annotations,
    image_files,
    read_keypoint_file,
    record_problems,
    refuse,
)
from .mend import OF_PICTURES, mended, with_category, with_pictures
from .problems import BY_OPTION, KINDS, LEFT_OUT, MENDED, Tally
from .skeleton import keypoint_names, skeleton_problems

_REMEDY_14 = 'give the folder that holds gt_json/, train2014/ and val2014/ with --data-root FOLDER'
_REMEDY_14 += '; tools/make_coco2014_split.py makes gt_json/'
_COCO = ('CocoDataset', 'CocoPersonDataset', 'Coco2014Dataset')
_SAMPLE = 64  # pictures of a data set whose headers are looked at before a run
# Kinds for which an evaluation needs a mended copy: COCO's API leaves nobody out.
_CHANGING = {name for name, kind in KINDS.items() if kind.effect in (LEFT_OUT, MENDED)}
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


def skeleton_of_dataset(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The ``metainfo`` of a data set config, or else that of its class; empty if there is none."""
    kind = DATASETS.get(str(dataset.get('type')))
    metainfo = dict(dataset.get('metainfo') or getattr(kind, 'METAINFO', None) or {})
    if 'from_file' not in metainfo:
        return metainfo
    path = Path(str(metainfo['from_file']))  # or MMPose's own one of that name
    own = Path(mmpose.__file__).parent / '.mim/configs/_base_/datasets' / path.name
    return skeleton_of_file(path if path.is_file() or not own.is_file() else own)


def skeleton_of_config(cfg: Config) -> dict[str, Any]:
    """The skeleton that a run uses, ``metainfo``; an `InputError` if its config has none."""
    loaders = [cfg.get(f'{part}_dataloader') or {} for part in ('train', 'val', 'test')]
    for dataset in [d for loader in loaders for d in plain_datasets(loader.get('dataset', {}))]:
        try:
            if metainfo := skeleton_of_dataset(dataset):
                return metainfo
        except InputError as error:
            raise InputError(f'the metainfo of {cfg.filename}: {error}') from error
    raise InputError(f'{cfg.filename} has no metainfo; give the skeleton with --metainfo')


class DataOptions(NamedTuple):
    """What the command line says about the labels of a run."""

    category: str | None = None
    mend: bool = False
    allow: Sequence[str] = ()
    folder: Path = Path('work_dirs/annotations')  # for files that are mended


def check_data(
    cfg: Config, splits: tuple[str, ...], options: DataOptions | None = None
) -> list[str]:
    """Checks the data of the loaders that a run will use, of ``'train'``, ``'val'``, ``'test'``.

    Where labels have to be left out or mended, a mended copy of the file is written and takes its
    place in the config. One process does it for all.

    Returns what a user has to know about it. An `InputError` says what is not as the run needs it.
    """
    done: list[Any] = [None]
    if dist.get_rank() == 0 and os.environ.get('RANK', '0') == '0':
        done = [_check_splits(cfg, splits, options or DataOptions())]
    if dist.is_distributed():  # torchrun ends all processes if the first one fails
        dist.broadcast_object_list(done)
    replaced, said = done[0] or ([], [])
    for split, index, key, path in replaced:
        datasets = list(plain_datasets(cfg[f'{split}_dataloader']['dataset']))
        if key == 'ann_file':
            old = os.path.realpath(annotation_file(datasets[index]))
            for evaluator in evaluators_of(cfg, split):
                if evaluator.get(key) and os.path.realpath(evaluator[key]) == old:
                    evaluator[key] = path
        datasets[index][key] = path
    return said


def evaluators_of(cfg: Config, split: str) -> list[Any]:
    """The evaluators of ``'train'``, ``'val'`` or ``'test'``, of which a config may name one."""
    evaluators = cfg.get(f'{split}_evaluator') or []
    return list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]


def annotation_file(dataset: Mapping[str, Any]) -> Path:
    """The label file of a data set config."""
    return Path(dataset.get('data_root') or '.') / dataset.get('ann_file', '')


def image_folder(dataset: Mapping[str, Any]) -> Path:
    """The folder that the file names in a data set's label file start from."""
    prefix = dict(dataset.get('data_prefix') or {}).get('img', '')
    return Path(dataset.get('data_root') or '.') / prefix


def _check_splits(cfg: Config, splits: tuple[str, ...], options: DataOptions) -> Any:
    """Which files of which loaders are replaced by mended ones, and what was said of them."""
    replaced, said, categories = [], list[str](), dict[str, str]()
    for split in splits:
        if not (loader := cfg.get(f'{split}_dataloader')):
            continue
        evaluators = evaluators_of(cfg, split)
        for evaluator in evaluators:
            if path := evaluator.get('ann_file'):
                _check_file(f'annotation file of the {split}_evaluator', path, REMEDY)
        for index, dataset in enumerate(plain_datasets(loader['dataset'])):
            count = cfg.model.head.get('num_keypoints', 17)
            run_dataset = _RunDataset(split, dataset, count, index)
            for key, path in run_dataset.check(options).items():
                replaced.append((split, index, key, str(path)))
            said += run_dataset.said
            if (name := run_dataset.category) is not None:
                categories.setdefault(str(name), f'the {split}_dataloader')
            if run_dataset.kind in _COCO:
                _check_evaluators(split, run_dataset, evaluators)
    if len(categories) > 1:
        names = ', '.join(f'{place} those of {name!r}' for name, place in categories.items())
        raise InputError(f'loaders read people of different categories: {names}; give --category')
    return replaced, list(dict.fromkeys(said))


def _check_evaluators(split: str, run_dataset: _RunDataset, evaluators: list[Any]) -> None:
    """The evaluators must know the images whose people the model is given."""
    for evaluator in evaluators:
        truth = evaluator.get('ann_file')
        place = annotation_file(run_dataset.dataset)
        if not truth or os.path.realpath(truth) == os.path.realpath(place):
            continue
        known = {rules.id_of(image) for image in read_keypoint_file(Path(truth))['images']}
        if strange := run_dataset.image_ids - known:
            raise InputError(
                f'the {split}_evaluator compares with {truth}, which lacks {len(strange):,} images '
                f'of the {split}_dataloader, in {place}; give both the same ann_file'
            )


class _RunDataset:
    """A data set of a loader, whose files are looked at one after the other."""

    def __init__(self, split: str, dataset: dict[str, Any], num_keypoints: int, index: int) -> None:
        self.split, self.dataset, self.num_keypoints = split, dataset, num_keypoints
        self.kind = str(dataset['type']).removeprefix('mmpose.')
        self.said: list[str] = []
        self.index, self.category = index, None
        self.image_ids: set[Any] = set()
        self._remedy, self._boxes_lie = REMEDY, "MMPose links COCO's under person_detection_results"
        if self.kind == 'Coco2014Dataset':
            self._remedy, self._boxes_lie = _REMEDY_14, 'the original has it in det_json/'

    def check(self, options: DataOptions) -> dict[str, Path]:
        """Checks all, and returns by their keys the files that replace those of the config."""
        if self.kind not in (*_COCO, 'MegviiMpiiDataset'):
            return {}
        root = Path(self.dataset.get('data_root') or '.')
        if not root.is_dir():
            raise InputError(f'the data root {root} does not exist; {self._remedy}')
        names = self._check_skeleton()
        place, new = annotation_file(self.dataset), dict[str, Path]()
        prefix = image_folder(self.dataset)
        if self.kind == 'MegviiMpiiDataset':
            people = check_mpii_annotations(place, self.num_keypoints)
            self._check_folders(prefix, [person['image'] for person in people], place)
        else:
            content = self._check_coco(place, prefix, names, options, new)
            if boxes := self.dataset.get('bbox_file'):
                self._check_boxes(Path(boxes), content, options, new)
        if (heads := self.dataset.get('headbox_file')) and not Path(heads).is_file():
            raise InputError(f'the file of head boxes {heads} does not exist; {_HEADS}')
        return new

    def _check_skeleton(self) -> list[str]:
        """The names of the keypoints that this loader's data have; they must fit the head."""
        what = f"the {self.split}_dataloader's metainfo"
        try:
            metainfo = skeleton_of_dataset(self.dataset)
        except InputError as error:
            raise InputError(f'{what}: {error}') from error
        place = (
            f' {source}' if (source := self.dataset.get('metainfo', {}).get('from_file')) else ''
        )
        tally = Tally(skeleton_problems(metainfo))
        if stop := tally.first_stop():
            raise InputError(f'{what}{place}: {stop[0]}; {KINDS["skeleton"].remedy}')
        self.said += [f'{what}{place}: {line}' for line in tally.said()]
        names = keypoint_names(metainfo)
        if len(names) != self.num_keypoints:
            given = f'{what}{place} has {len(names)} keypoints'
            if not self.dataset.get('metainfo'):
                given = f'the {self.split}_dataloader has no metainfo, so its people have '
                given += f'the {len(names)} keypoints of {self.kind}'
            raise InputError(
                f"{given}, but the head's num_keypoints is {self.num_keypoints}; give dataset="
                "dict(metainfo=dict(from_file='FILE')) to each loader, and model.head.num_keypoints"
            )
        return names

    def _check_folders(self, images: Path, names: Iterable[str], place: Path) -> None:
        for inner, (first, *others) in itertools.groupby(
            sorted(names, key=os.path.dirname), os.path.dirname
        ):
            folder = images / inner
            if not os.path.isdir(folder):  # its name may be too long for one
                raise InputError(f'the image folder {folder} does not exist; {self._remedy}')
            path = images / first
            if not os.path.isfile(path) and not oddity(path):
                text = f'the image {path}, the first one that {place} lists, does not exist'
                expected = f'expected its {1 + len(others)} images in {folder}'
                raise InputError(f'{text}; {expected}; {self._remedy}')

    def _check_coco(
        self,
        place: Path,
        images: Path,
        names: list[str],
        options: DataOptions,
        new: dict[str, Path],
    ) -> dict[str, Any]:
        """The content of a COCO keypoint file as the run will see it."""
        content = read_keypoint_file(place, remedy=self._remedy)
        where = image_path if self.kind == 'Coco2014Dataset' else str

        def problems(content: dict[str, Any]) -> Tally:
            files = image_files(content, images, where)
            if not options.mend:
                self._check_folders(images, (str(f.path.relative_to(images)) for f in files), place)
                files = files[:: max(1, len(files) // _SAMPLE)]
            found = record_problems(content, len(names), names, category=options.category)
            return Tally([*found, *itertools.chain.from_iterable(map(header_problems, files))])

        try:
            category = category_of(content, options.category)
        except InputError as error:
            raise InputError(f'{place}: {error}') from error
        self.category = next(
            (c.get('name') for c in content['categories'] if rules.id_of(c) == category), None
        )
        tally = left = problems(content)
        if options.mend and tally.count_of(BY_OPTION):
            pictures = tally.of(*OF_PICTURES)
            if pictures:
                content = with_pictures(content, tally, images)
                tally = Tally([*pictures, *problems(content)])
            content = mended(content, tally, category, by_option=True)
            left = problems(content)
        refuse(left, place, self.num_keypoints, options.allow)
        self.image_ids = {image['id'] for image in content['images']}
        self.said += [f'{place}: {line}' for line in tally.said(by_option=options.mend)]
        if is_new := left is not tally:
            self.said += [f'{place}: {line}' for line in left.said_of_lost()]
        if left.count_of({'other-category'} if self.split == 'train' else _CHANGING):
            content, is_new = mended(content, left, category), True
        if self.dataset.get('bbox_file') and category != 1:
            content, is_new = with_category(content, 1), True
            self.said.append(f'{place}: category {category} is called 1, as in files of boxes')
        if is_new:
            new['ann_file'] = self._write(place, content, options)
        return content

    def _check_boxes(
        self, place: Path, content: dict[str, Any], options: DataOptions, new: dict[str, Path]
    ) -> None:
        mend = f'put it there ({self._boxes_lie}), or use --gt-boxes to evaluate with the annotated'
        _check_file('file of detected boxes', str(place), f'{mend} boxes')
        sizes = {image['id']: (image['width'], image['height']) for image in content['images']}
        found, kept = read_detections(place), list[dict[str, Any]]()
        elsewhere = beside = 0
        for number, (boxes, scores) in found.by_image.items():
            if number not in sizes:
                elsewhere += len(scores)
                continue
            out = outside(boxes, sizes[number])
            beside += int(out.sum())
            for (x1, y1, x2, y2), score in zip(
                boxes[~out].tolist(), scores[~out].tolist(), strict=True
            ):
                box = [x1, y1, x2 - x1, y2 - y1]
                kept.append(dict(image_id=number, category_id=1, bbox=box, score=score))
        counts = (
            (found.other_categories, 'of other categories than 1'),
            (elsewhere, f'of images that {annotation_file(self.dataset)} does not list'),
            (beside, 'outside their images'),
        )
        left = ', '.join(f'{count:,} {what}' for count, what in counts if count)
        if not kept:
            text = f'it holds {left}' if left else 'it is empty'
            raise InputError(
                f'the file of detected boxes {place} has no box of the people: {text}; give a file '
                'with boxes of those images, or use --gt-boxes'
            )
        if left:
            self.said.append(f'{place}: {len(kept):,} boxes; left out: {left}')
            new['bbox_file'] = self._write(place, kept, options, 'boxes_')

    def _write(
        self, source: Path, content: Any, options: DataOptions, kind: str = 'people_'
    ) -> Path:
        """Writes what takes the place of a file, into the work folder."""
        number = f'_{self.index}' if self.index else ''
        path = options.folder.absolute() / f'{self.split}{number}_{kind}{source.name}'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content).encode(), remedy='give another --work-dir')
        self.said.append(f'written, for the {self.split}_dataloader: {path}')
        return path


def _check_file(what: str, path: str, remedy: str) -> None:
    """MMEngine reads a file by its suffix; a pickle is a program, and YAML can be one."""
    if Path(path).suffix != '.json':
        raise InputError(f'the {what} {path} is not named as JSON; expected a name in .json')
    if not Path(path).is_file():
        raise InputError(f'the {what} {path} does not exist; {remedy}')
