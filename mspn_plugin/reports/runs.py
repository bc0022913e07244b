"""What a training has left behind: its config, its curves, its best weights, and predictions."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner

from mspn.errors import InputError, MissingPackage
from mspn.json_files import read_json
from mspn.models import own_model

from ..annotations.run_data import plain_datasets, skeleton_of_dataset
from ..annotations.skeleton import keypoint_names
from .analysis import Skeleton

_SCALARS = 1_000_000  # lines of a log that are read


@dataclass
class Run:
    """A training, or a model without one, and what it predicts for the people of its validation."""

    name: str
    config: Config
    checkpoint: str
    folder: Path  # where predictions are kept
    curves: dict[str, dict[float, float]] = field(default_factory=dict)  # value by epoch
    truth: dict[str, Any] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def dataset(self) -> Mapping[str, Any]:
        """The data set of the test loader."""
        found: Mapping[str, Any] = next(plain_datasets(self.config.test_dataloader.dataset))
        return found

    @property
    def images(self) -> Path:
        """The folder that file names of the labels start from."""
        prefix = dict(self.dataset.get('data_prefix') or {}).get('img', '')
        return Path(self.dataset.get('data_root') or '.') / prefix

    @property
    def skeleton(self) -> Skeleton:
        """The keypoints of the data."""
        info = skeleton_of_dataset(self.dataset)
        names = keypoint_names(info)
        points = [info['keypoint_info'][index] for index in range(len(names))]
        mirrored = [names.index(p['swap']) if p.get('swap') else i for i, p in enumerate(points)]
        return Skeleton(names, np.array(mirrored), np.array(info['sigmas'], float))

    @property
    def notes(self) -> list[str]:
        """What was said of the data, and of pictures that could not be read."""
        notes = list(self.config.get('data_notes') or [])
        for path in sorted(self.folder.glob('*/*.log')):
            text = path.read_text(encoding='utf-8', errors='replace')
            notes += re.findall(r'WARNING - (\d+ bad images;.*)', text)[-1:]
        return list(dict.fromkeys(notes))


def find_run(given: str, checkpoint: str | None = None) -> tuple[Config, str, Path]:
    """The config, the weights and the work folder of a run, by its folder or that of `mspn new`.

    Raises:
        InputError: There is no run, or it has no weights.
    """
    folder = Path(given)
    if not folder.is_dir():
        raise InputError(
            f'{given} is no folder; give the work folder of a training, or one of `mspn new`'
        )
    if (folder / 'metainfo.py').is_file() and (folder / 'config.py').is_file():
        config, best = own_model(folder)
        folder = folder / 'run'
    else:
        dumped = sorted(folder.glob('*.py'), key=lambda path: path.stat().st_mtime_ns)
        if not dumped:
            raise InputError(f'{folder} holds no config; give the work folder of a training')
        config = str(dumped[-1])
        best = ''
        for pattern in ('best_*.pth', 'epoch_*.pth', 'iter_*.pth'):
            found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)
            best = best or (str(found[-1]) if found else '')
    if not (checkpoint or best):
        raise InputError(f'{folder} holds no weights yet; a report needs some')
    dumped = sorted(folder.glob('*.py'), key=lambda path: path.stat().st_mtime_ns)
    try:
        cfg = Config.fromfile(dumped[-1] if dumped else config)
    except Exception as error:  # a config is a program
        raise InputError(f'{config} cannot be read as a config: {error}') from error
    if not cfg.get('test_dataloader'):
        raise InputError(f'{config} has no test_dataloader, whose people a report is about')
    return cfg, checkpoint or best, folder


def curves_of(folder: Path) -> dict[str, dict[float, float]]:
    """Every number that a training has recorded, by epoch; of a repeated step the later counts."""
    curves, per_epoch, rows = dict[str, dict[float, float]](), 0.0, list[dict[str, Any]]()
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8', errors='replace').splitlines()[:_SCALARS]:
            with contextlib.suppress(json.JSONDecodeError):  # of a run killed while it wrote
                if isinstance(record := json.loads(line), dict):
                    rows.append(record)
    for row in rows:
        if row.get('epoch') and row.get('iter'):
            per_epoch = max(per_epoch, row['iter'] / row['epoch'])
    for row in rows:
        is_training = 'epoch' in row
        step = row.get('step', row.get('iter'))
        if not isinstance(step, (int, float)):
            continue
        place = step / per_epoch if is_training and per_epoch else float(step)
        for key, value in row.items():
            if key not in ('epoch', 'iter', 'step', 'time', 'data_time', 'memory'):
                if isinstance(value, (int, float)):
                    curves.setdefault(key, {})[place] = float(value)
    return {key: dict(sorted(values.items())) for key, values in curves.items()}


def load_run(given: str, checkpoint: str | None = None) -> Run:
    """A run with its predictions, which are made now unless they are there for these weights."""
    cfg, weights, folder = find_run(given, checkpoint)
    place = Path(given).resolve()
    name = place.parent.name if place.name == 'run' else place.name
    run = Run(name, cfg, weights, folder, curves_of(folder))
    place = Path(run.dataset.get('data_root') or '.') / run.dataset.get('ann_file', '')
    truth = _evaluators(cfg)[0].get('ann_file') or place
    run.truth = read_json(Path(truth), 'the label file', expected='a COCO keypoint file')
    stem = f'{Path(weights).stem}-{Path(weights).stat().st_mtime_ns}'
    place = folder / 'predictions' / stem
    file = place.with_name(f'{stem}.keypoints.json')
    if not file.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        _predict(run, place)
    run.results = read_json(file, 'the predictions', expected='COCO results')
    return run


def _evaluators(cfg: Config) -> list[Any]:
    evaluators = cfg.get('test_evaluator') or {}
    return list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]


def _predict(run: Run, place: Path) -> None:
    """Evaluates the weights, and keeps what they predict."""
    cfg = run.config.copy()
    cfg.load_from, cfg.resume, cfg.work_dir = run.checkpoint, False, str(place.parent)
    cfg.launcher = 'none'
    evaluators = (
        cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    )
    for evaluator in evaluators:
        if str(evaluator.get('type')).startswith('Coco'):
            evaluator.outfile_prefix = str(place)
            break
    else:
        raise MissingPackage('a report needs a run that is evaluated with CocoMetric')
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = None
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.param_scheduler = None
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if hook['type'] != 'EarlyStoppingHook']
    Runner.from_cfg(cfg).test()
