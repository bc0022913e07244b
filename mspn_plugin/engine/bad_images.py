"""Bad images are named once, counted, and summed up at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from mspn.errors import listed

from ..datasets.loading import GuardedLoading


def _guards(dataset: Any) -> Iterator[GuardedLoading]:
    for step in getattr(getattr(dataset, 'pipeline', None), 'transforms', ()):
        if isinstance(step, GuardedLoading):
            yield step
    for inner in [*getattr(dataset, 'datasets', ()), getattr(dataset, 'dataset', None)]:
        yield from _guards(inner) if inner is not None else ()


@HOOKS.register_module()
class BadImagesHook(Hook):
    """Reports what the `GuardedLoading` steps of a run could not read.

    Each image is named once, when it is met (in the main process of a distributed run; those of
    the others at the end). Does nothing without such steps.
    """

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}  # how much of each step's notes was read
        self._named: set[str] = set()

    def _report(self, runner: Runner, split: str, instead: str, *, sum_up: bool = True) -> None:
        guards = list(_guards(getattr(runner, f'{split}_dataloader').dataset))
        fresh = [guard for guard in guards if guard.bad.size != self._seen.get(id(guard), 0)]
        self._seen.update({id(guard): guard.bad.size for guard in fresh})
        for sample in (sample for guard in fresh for sample in guard.bad.samples()):
            if sample.path not in self._named:
                self._named.add(sample.path)
                what = f'the image {sample.path} cannot be read ({sample.reason})'
                runner.logger.warning(f'{what}; {instead} is taken instead')
        if sum_up:
            mine = [sample.path for guard in guards for sample in guard.bad.samples()]
            gathered = all_gather_object((mine, sum(guard.bad.meetings for guard in guards)))
            paths = sorted({path for found, _ in gathered for path in found})
            what = f'{instead} was taken {sum(times for _, times in gathered)} times'
            if paths and is_main_process():
                runner.logger.warning(f'{len(paths)} bad images; {what}: {listed(paths, 20)}')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Names what is new."""
        self._report(runner, 'train', 'another person', sum_up=False)

    def after_train(self, runner: Runner) -> None:
        """Sums up the training."""
        self._report(runner, 'train', 'another person')

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Names and sums up what a validation could not read."""
        self._report(runner, 'val', 'a black image')

    def after_test_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Names and sums up what a test could not read."""
        self._report(runner, 'test', 'a black image')
