"""Bad images are named once, counted, and summed up at the end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from mspn.errors import listed

from ..datasets.guarded_loading import GuardedLoading

BUDGET = 0.001
"""Fraction of the training samples that may have a bad image, if nobody says otherwise."""

_PERSON, _BLACK = 'another person', 'a black image'


def guard_loading(cfg: Config, *, budget: float | None = None, blank: bool = False) -> None:
    """Puts a `GuardedLoading` around every step of a config that loads an image, in place.

    Args:
        cfg: The config of a run.
        budget: Fraction of the training samples that may have a bad image; `BUDGET` if not given.
        blank: Whether evaluations take a black image for a bad one; they fail otherwise. Steps
            that are guarded already, as in the config that a run leaves in its work folder, keep
            what the arguments do not change.
    """
    for part in ('train', 'val', 'test'):
        loader = cfg.get(f'{part}_dataloader')
        if loader is None:
            continue
        how = 'replace' if part == 'train' else 'fail'
        for pipeline in _pipelines(loader['dataset']):
            for place, step in enumerate(pipeline):
                if re.search(r'Load(Person)?Image', str(step['type'])):
                    step = ConfigDict(
                        type='GuardedLoading', step=step, on_bad_image=how, budget=BUDGET
                    )
                    pipeline[place] = step
                if str(step['type']).endswith('GuardedLoading'):
                    if budget is not None:
                        step['budget'] = budget
                    if blank and part != 'train':
                        step['on_bad_image'] = 'blank'


def _pipelines(dataset: Any) -> Iterator[list[dict[str, Any]]]:
    if dataset.get('pipeline'):
        yield dataset['pipeline']
    for inner in [*dataset.get('datasets', ()), *filter(None, [dataset.get('dataset')])]:
        yield from _pipelines(inner)


def _guards(dataset: Any) -> Iterator[GuardedLoading]:
    for step in getattr(getattr(dataset, 'pipeline', None), 'transforms', ()):
        if isinstance(step, GuardedLoading):
            yield step
    for inner in [*getattr(dataset, 'datasets', ()), getattr(dataset, 'dataset', None)]:
        if inner is not None:
            yield from _guards(inner)


@HOOKS.register_module()
class BadImagesHook(Hook):
    """Reports what the `GuardedLoading` steps of a run could not read.

    Each image is named once, when it is met (in the main process of a distributed run; those of
    the others at the end). Does nothing without such steps.
    """

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}  # how much of each step's notes was read
        self._named: set[str] = set()

    def _name_new_ones(self, runner: Runner, dataset: Any, instead: str) -> None:
        for guard in _guards(dataset):
            size = guard.bad.size
            if size == self._seen.get(id(guard), 0):
                continue
            self._seen[id(guard)] = size
            for sample in guard.bad.samples():
                if sample.path not in self._named:
                    self._named.add(sample.path)
                    runner.logger.warning(
                        f'the image {sample.path} cannot be read ({sample.reason}); '
                        f'{instead} is taken instead'
                    )

    def _sum_up(self, runner: Runner, dataset: Any, instead: str) -> None:
        guards = list(_guards(dataset))
        mine = [sample.path for guard in guards for sample in guard.bad.samples()]
        gathered = all_gather_object((mine, sum(guard.bad.meetings for guard in guards)))
        paths = sorted({path for found, _ in gathered for path in found})
        if paths and is_main_process():
            runner.logger.warning(
                f'{len(paths)} bad images; {instead} was taken '
                f'{sum(times for _, times in gathered)} times: {listed(paths, 20)}'
            )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Names what is new."""
        self._name_new_ones(runner, runner.train_dataloader.dataset, _PERSON)

    def after_train(self, runner: Runner) -> None:
        """Sums up the training."""
        self._sum_up(runner, runner.train_dataloader.dataset, _PERSON)

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Names and sums up what an evaluation could not read."""
        self._name_new_ones(runner, runner.val_dataloader.dataset, _BLACK)
        self._sum_up(runner, runner.val_dataloader.dataset, _BLACK)

    def after_test_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Names and sums up what a test could not read."""
        self._name_new_ones(runner, runner.test_dataloader.dataset, _BLACK)
        self._sum_up(runner, runner.test_dataloader.dataset, _BLACK)
