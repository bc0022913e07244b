"""What both sides work on: configs, weights, models, loaders, and photographs with boxes."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmpose
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.apis import init_model
from mmpose.registry import DATASETS, KEYPOINT_CODECS, MODELS
from synthetic_people import make_synthetic_people
from torch import nn
from torch.utils.data import Subset

from mspn.errors import InputError
from mspn_plugin import get_config
from mspn_plugin.models.fused import fused

from .timing import Work, alternate

SIDES = ('stock', 'ours')
_STOCK = Path(mmpose.__file__).parent / '.mim'
_RECIPE = '8xb32-210e_coco-256x192'
_FLIP_INDICES = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
_TRAIN, _VAL = (f'annotations/person_keypoints_{part}2017.json' for part in ('train', 'val'))


@dataclass(frozen=True)
class Settings:
    """How much is measured, and where."""

    data_root: Path  # in the layout of COCO 2017
    detections: Path | None  # boxes of its validation images; the annotated ones if absent
    device: torch.device
    threads: int  # of a CPU's networks; a worker of the data path always has one
    repeats: int  # measurements of each side
    slow_repeats: int = 3  # the same at most, for rows that take minutes
    stages: int = 2
    batch_size: int = 8  # of training steps and inference
    samples: int = 256  # that a worker loads in one measurement
    losses: int = 32  # samples in a batch of heatmaps with a loss
    decoded: int = 64  # people in a batch of heatmaps to decode
    photographs: int = 8  # crowded ones, for `infer_people`
    evaluated: int = 200  # boxes
    least_time: float = 0.2  # seconds that one measurement of something short lasts

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.threads < 1:
            raise InputError('--repeats and --threads must be at least 1')
        if self.device.type == 'cuda' and not torch.cuda.is_available():
            raise InputError('--device cuda: there is no CUDA device; leave the option out')
        if self.detections is not None and not self.detections.is_file():
            raise InputError(f'--detections: the file {self.detections} does not exist')


Photograph = tuple[Path, np.ndarray]
"""An image, and the boxes ``(N, 4)`` of its people: x1, y1, x2, y2 in pixels."""


class Sides:
    """Both sides, with the same weights and the same data.

    Args:
        settings: How much is measured, and where.
        folder: For files that are not results, such as weights.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.annotations = _read(settings.data_root / _VAL)
        self.annotations['images'].sort(key=lambda image: image['id'])
        self.boxes = _read(settings.detections) if settings.detections else None

    def times(
        self, works: Mapping[str, Work], *, slow: bool = False, **options: Any
    ) -> dict[str, list[float]]:
        """Times some sides in turn; what is slow less often, and one call at a time."""
        settings = self.settings
        options.setdefault('least_time', 0.0 if slow else settings.least_time)
        repeats = min(settings.repeats, settings.slow_repeats) if slow else settings.repeats
        return alternate(works, repeats, device=settings.device, **options)

    def config(self, side: str) -> Config:
        """A side's own config, at the benchmark's data, without ResNet's weights."""
        init_default_scope('mmpose')
        stages = self.settings.stages
        path = Path(get_config(f'mspn50-{stages}stg_{_RECIPE}'))
        if side == 'stock':
            name = f'td-hm_{f"{stages}x" if stages > 1 else ""}mspn50_{_RECIPE}.py'
            path = _STOCK / 'configs/body_2d_keypoint/topdown_heatmap/coco' / name
        cfg = Config.fromfile(path)
        cfg.custom_imports = dict(imports=['mspn_plugin'], allow_failed_imports=False)
        cfg.model.backbone.init_cfg = None
        root, detections = f'{self.settings.data_root}/', self.settings.detections
        cfg.train_dataloader.dataset.update(data_root=root, ann_file=_TRAIN)
        for part in ('val', 'test'):
            boxes = detections and str(detections.resolve())
            dataset = cfg[f'{part}_dataloader'].dataset
            dataset.update(data_root=root, ann_file=_VAL, bbox_file=boxes)
            cfg[f'{part}_evaluator'].ann_file = root + _VAL
        return cfg

    def weights(self) -> Path:
        """A checkpoint with random weights of MMPose's network, which both sides load.

        Its normalisations have the statistics of some images, and its heatmaps the range of a
        trained network's: without that the numbers would be of any size.
        """
        path = self.folder / 'weights.pth'
        if path.is_file():
            return path
        torch.manual_seed(0)
        model = MODELS.build(self.config('stock').model)
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.uniform_(norm.bias, -0.5, 0.5)
                norm.momentum = 1.0  # the statistics of one batch and of nothing before
        for layer in model.head.predict_layers:
            nn.init.uniform_(layer.conv_layers[1].bn.weight, 20, 60)
        model.train()
        with torch.no_grad():
            model(**model.data_preprocessor(self.crops(4)))
        torch.save(dict(state_dict=model.state_dict(), meta={}), path)
        return path

    def model(self, side: str, **test_cfg: Any) -> Any:
        """A side's model as users of MMPose load it; a new one every time."""
        device = str(self.settings.device)
        with contextlib.redirect_stdout(io.StringIO()):  # MMEngine says what it loads
            model = init_model(self.config(side), str(self.weights()), device=device)
        model.test_cfg = dict(model.test_cfg, **test_cfg)
        return model

    def predictor(self, side: str, **test_cfg: Any) -> Any:
        """A side's model to predict with: ours is the copy that `infer_people` makes."""
        return fused(self.model(side, **test_cfg))

    def crops(self, count: int) -> dict[str, Any]:
        """A batch of people as MMPose's validation pipeline cuts them out, again if too few."""
        pipeline = Compose(self.config('stock').test_dataloader.dataset.pipeline)
        score = np.ones(1, np.float32)
        people = [
            dict(img_path=str(path), bbox=box[None], bbox_score=score, flip_indices=_FLIP_INDICES)
            for path, boxes in self.photographs(count)
            for box in boxes
        ]
        return pseudo_collate([pipeline(dict(people[i % len(people)])) for i in range(count)])

    def photographs(self, count: int, *, least_people: int = 1) -> list[Photograph]:
        """Validation images with at least so many people, or the most crowded ones there are."""
        boxes: dict[int, list[list[float]]] = {}
        for entry in self.annotations['annotations'] if self.boxes is None else self.boxes:
            x, y, width, height = entry['bbox']
            if width > 1 and height > 1:
                boxes.setdefault(entry['image_id'], []).append([x, y, x + width, y + height])
        folder = self.settings.data_root / 'val2017'
        found = [
            (folder / image['file_name'], np.array(boxes[image['id']], np.float32))
            for image in self.annotations['images']
            if image['id'] in boxes
        ]
        crowded = [one for one in found if len(one[1]) >= least_people]
        return (crowded or sorted(found, key=lambda one: -len(one[1])))[:count]

    def loader(self, side: str, *, count: int, batch_size: int = 32, workers: int = 0) -> Any:
        """Loads some of a side's training samples as its runner does, again if too few."""
        cfg = self.config(side).train_dataloader
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools says what it reads
            people = DATASETS.build(cfg.dataset)
        part = Subset(people, [i % len(people) for i in range(count)])
        options = dict(num_workers=workers, persistent_workers=workers > 0, batch_size=batch_size)
        return Runner.build_dataloader(dict(cfg, dataset=part, **options), seed=0)

    def codecs(self) -> tuple[Any, Any]:
        """MMPose's codec of the finest level, and ours of all levels."""
        stock, ours = (KEYPOINT_CODECS.build(self.config(s).model.head.decoder) for s in SIDES)
        return stock, ours

    def evaluation(self) -> dict[str, list[str]]:
        """The commands that evaluate both sides, on the first boxes."""
        commands = {}
        for side, tools in (('stock', _STOCK / 'tools'), ('ours', _own_tools())):
            cfg = self.config(side)
            cfg.test_dataloader.dataset.update(indices=self.settings.evaluated)
            path = self.folder / f'{side}.py'
            cfg.dump(path)
            words = (tools / 'test.py', path, self.weights(), '--work-dir', self.folder / side)
            commands[side] = [str(word) for word in words]
        return commands


def find_data(given: Path | None, folder: Path, *, images: int = 96) -> Path:
    """The given folder in COCO's layout, ``data/coco``, or one with synthetic people.

    Raises:
        InputError: The given folder has no annotations.
    """
    root = (given or Path('data/coco')).resolve()
    if (root / _TRAIN).is_file() and (root / _VAL).is_file():
        return root
    if given is not None:
        raise InputError(
            f'--data-root: {given} has no {_TRAIN} and {_VAL}; name a folder in the layout of '
            'COCO 2017, or leave the option out to use synthetic people'
        )
    people = make_synthetic_people(folder / 'people', num_train=images, num_val=images)
    return people.root.resolve()


def _own_tools() -> Path:
    """This package's scripts, which lie beside its configs."""
    config = Path(get_config(f'mspn50-2stg_{_RECIPE}'))
    return next(folder for folder in config.parents if folder.name == 'configs').parent / 'tools'


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding='utf-8'))
