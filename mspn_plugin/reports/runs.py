"""What a training has left behind: its config, its curves, its best weights, and predictions."""

from __future__ import annotations

import contextlib
import hashlib
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
from mspn.models import newest_weights, own_model
from mspn.version import __version__

from ..annotations.run_data import (
    annotation_file,
    evaluators_of,
    image_folder,
    plain_datasets,
    skeleton_of_dataset,
)
from ..annotations.skeleton import keypoint_names
from .analysis import Skeleton

NOTES = 'notes.txt'  # in a folder of `mspn new`: what was said of the labels
_SCALARS = 1_000_000  # lines of a log that are read


@dataclass
class Run:
    """A training, or a model without one, and what it predicts for the people of its validation."""

    name: str
    config: Config
    checkpoint: str
    folder: Path  # where predictions are kept
    curves: dict[str, dict[float, float]] = field(default_factory=dict)  # values by epoch
    unit: str = 'epoch'  # or step
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
        return image_folder(self.dataset)

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
        notes = list[str]()
        if (made := self.folder.parent / NOTES).is_file():
            notes += made.read_text(encoding='utf-8', errors='replace').splitlines()
        notes += self.config.get('data_notes') or []
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
    if checkpoint and not Path(checkpoint).is_file():
        raise InputError(f'the checkpoint {checkpoint} does not exist; give the path of a file')
    is_own = (folder / 'metainfo.py').is_file() and (folder / 'config.py').is_file()
    work = folder / 'run' if is_own else folder
    dumped = sorted(work.glob('*.py'), key=lambda path: path.stat().st_mtime_ns)
    if not dumped and not is_own:
        raise InputError(f'{folder} holds no config; give the work folder of a training')
    best = checkpoint or (own_model(folder)[1] if is_own else newest_weights(work))
    if best is None:
        raise InputError(f'{work} holds no weights yet; a report needs some')
    config = folder / 'config.py' if is_own else dumped[-1]
    try:
        cfg = Config.fromfile(config)
        record = Config.fromfile(dumped[-1]) if dumped else cfg
    except Exception as error:  # a config is a program
        raise InputError(f'{config} cannot be read as a config: {error}') from error
    cfg.command, cfg.data_notes = record.get('command'), record.get('data_notes') or []
    cfg.randomness = record.get('randomness') or dict(seed=None)
    if not cfg.get('test_dataloader'):
        raise InputError(f'{config} has no test_dataloader, whose people a report is about')
    return cfg, best, work


def curves_of(folder: Path) -> tuple[dict[str, dict[float, float]], str]:
    """Every number that a training has recorded, by epoch or step, and which of the two.

    A training that was resumed goes on where it was; one that began anew replaces what was there.
    """
    rows = list[dict[str, Any]]()
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        new = list[dict[str, Any]]()
        for line in path.read_text(encoding='utf-8', errors='replace').splitlines()[:_SCALARS]:
            with contextlib.suppress(json.JSONDecodeError):  # of a run killed while it wrote
                if isinstance(record := json.loads(line), dict):
                    new.append(record)
        first, again = (next((r['iter'] for r in p if 'iter' in r), 0) for p in (rows, new))
        if again and again <= first:
            rows = []
        rows += new
    steps = [(row['iter'], row['epoch']) for row in rows if row.get('iter') and row.get('epoch')]
    length = _steps_of_an_epoch(steps)
    curves = dict[str, dict[float, float]]()
    for row in rows:
        step = row.get('step', row.get('iter'))
        if not isinstance(step, (int, float)):
            continue
        place = step / length if length and 'epoch' in row else float(step)
        for key, value in row.items():
            if key not in ('epoch', 'iter', 'step', 'time', 'data_time', 'memory'):
                if isinstance(value, (int, float)):
                    curves.setdefault(key, {})[place] = float(value)
    unit = 'epoch' if length or not steps else 'step'
    return {key: dict(sorted(values.items())) for key, values in curves.items()}, unit


def _steps_of_an_epoch(steps: list[tuple[int, int]]) -> float:
    """So many that each step lies in its epoch: (epoch - 1) n < step <= epoch n; 0 if unknown."""
    if not steps or max(epoch for _, epoch in steps) == 1:  # or all of it is one, by iterations
        return float(max((step for step, _ in steps), default=0)) if len(steps) == 1 else 0.0
    least = max(step / epoch for step, epoch in steps)
    most = min((step - 1) / (epoch - 1) for step, epoch in steps if epoch > 1)
    return float(max(least, int(most)))


def load_run(given: str, checkpoint: str | None = None) -> Run:
    """A run with its predictions, which are made now unless they are there for these weights."""
    cfg, weights, folder = find_run(given, checkpoint)
    place = Path(given).resolve()
    name = place.parent.name if place.name == 'run' else place.name
    run = Run(name, cfg, weights, folder, *curves_of(folder))
    judge: Any = next(iter(evaluators_of(cfg, 'test')), {})
    truth = judge.get('ann_file') or annotation_file(run.dataset)
    run.truth = read_json(Path(truth), 'the label file', expected='a COCO keypoint file')
    files = [weights, truth, run.dataset.get('bbox_file')]
    files += [(run.dataset.get('metainfo') or {}).get('from_file')]
    stamps = [Path(path).stat().st_mtime_ns for path in files if path and Path(path).is_file()]
    known = f'{__version__}{stamps}{cfg.test_dataloader}{cfg.test_evaluator}{cfg.model}'
    stem = f'{Path(weights).stem}-{hashlib.sha256(known.encode()).hexdigest()[:12]}'
    file = folder / 'predictions' / f'{stem}.json'
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        _predict(run, file)
    run.results = read_json(file, 'the predictions', expected='COCO results')
    return run


def _predict(run: Run, file: Path) -> None:
    """Evaluates the weights, and keeps what they predict."""
    cfg = run.config.copy()
    cfg.load_from, cfg.resume, cfg.work_dir = run.checkpoint, False, str(file.parent)
    cfg.launcher = 'none'
    for evaluator in evaluators_of(cfg, 'test'):
        if str(evaluator.get('type')).startswith('Coco'):
            evaluator.outfile_prefix = str(file.with_suffix('.partial'))
            break
    else:
        raise MissingPackage('a report needs a run that is evaluated with CocoMetric')
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = None
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.param_scheduler = None
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if hook['type'] != 'EarlyStoppingHook']
    if cfg.get('visualizer'):  # TensorBoard and others have seen the training, which has ended
        cfg.visualizer |= dict(vis_backends=[], name=file.stem)  # not the training's, by its name
    Runner.from_cfg(cfg).test()
    file.with_name(f'{file.stem}.partial.keypoints.json').replace(file)
