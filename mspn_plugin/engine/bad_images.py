"""Bad images are named and counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from mspn.errors import listed

from ..datasets.guarded_loading import BadImages, GuardedLoading


def _notes(dataset: Any) -> Iterator[BadImages]:
    for step in getattr(getattr(dataset, 'pipeline', None), 'transforms', ()):
        if isinstance(step, GuardedLoading):
            yield step.bad
    for inner in [*getattr(dataset, 'datasets', ()), getattr(dataset, 'dataset', None)]:
        yield from _notes(inner) if inner is not None else ()


@HOOKS.register_module()
class BadImagesHook(Hook):
    """Names and counts what the `GuardedLoading` steps of a run could not read, in any process.

    It does so after a training epoch, a validation and a test, if there is something new.
    """

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def _report(self, runner: Runner, split: str, instead: str) -> None:
        notes = list(_notes(getattr(runner, f'{split}_dataloader').dataset))
        mine = {sample.path: sample.reason for note in notes for sample in note.samples()}
        gathered = all_gather_object((mine, sum(note.meetings for note in notes)))
        times = sum(times for _, times in gathered)
        if times != self._times.setdefault(split, 0):
            self._times[split] = times
            bad = dict(pair for found, _ in gathered for pair in found.items())
            named = listed([f'{path} ({reason})' for path, reason in sorted(bad.items())], 20)
            what = f'{len(bad)} bad images; {instead} was taken {times} times'
            runner.logger.warning(f'{what}: {named}')  # the other processes' loggers are silent

    def after_train_epoch(self, runner: Runner) -> None:
        """Reports on the training so far."""
        self._report(runner, 'train', 'another person')

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Reports on the validations so far."""
        self._report(runner, 'val', 'a black image')

    def after_test_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Reports on a test."""
        self._report(runner, 'test', 'a black image')
