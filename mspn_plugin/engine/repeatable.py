"""A resumed training goes on as if it had not been interrupted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor
from torch.utils.data import DataLoader

from ..datasets.resumable import ResumableBatchSampler, seed_everything

_ITERATIONS = 1  # first word of these seeds; those of samples begin with 0


@HOOKS.register_module()
class RepeatableTrainingHook(Hook):
    """Makes every random number a function of the seed and the iteration.

    Before each iteration it seeds the process, so that what the network draws (dropout, ...) does
    not depend on what was drawn before. Together with a `ResumableBatchSampler`, which it sets to
    the right place, and a checkpoint, a resumed run is the uninterrupted run.
    """

    # Before the loop asks for the first batch, after the sampler's hook has set the epoch.
    priority = 'LOW'

    def __init__(self) -> None:
        self._seed = 0

    def before_train(self, runner: Runner) -> None:
        """Sets the sampler to where the training goes on, and the optimizer's moments straight."""
        _lay_out_like_weights(runner.optim_wrapper)
        # With diff_rank_seed a process's seed is that of the run plus its rank.
        own = runner._randomness_cfg.get('diff_rank_seed', False)
        self._seed = runner.seed - (get_rank() if own else 0)
        loop = runner.train_loop
        batches = loop.dataloader.batch_sampler
        if not isinstance(batches, ResumableBatchSampler):
            return
        same_seed = getattr(batches.sampler, 'seed', self._seed) == self._seed
        if hasattr(loop, 'dataloader_iterator'):
            if loop.iter == 0 and same_seed:
                return  # its workers are at it already
            endless = hasattr(batches.sampler, 'indices')
            epoch, batch = (0, loop.iter) if endless else divmod(loop.iter, len(batches))
            batches.start_at(self._seed, batch)
            loop.dataloader_iterator = _onward(loop.dataloader, epoch, skip=loop.iter)
        else:
            batches.start_at(self._seed, self._within_epoch(runner, len(batches)))

    def _within_epoch(self, runner: Runner, batches: int) -> int:
        """Batches of the epoch that are done, if its length is what it was."""
        before = runner.message_hub.runtime_info.get('batches_per_epoch', batches)
        runner.message_hub.update_info('batches_per_epoch', batches)
        done = runner.iter - runner.epoch * batches
        if before == batches and 0 <= done < max(1, batches):
            return done
        runner.logger.warning(
            f'an epoch had {before} batches when the checkpoint was written and has {batches} now '
            f'(another batch size, data set or number of processes); epoch {runner.epoch + 1} '
            'starts from its beginning'
        )
        return 0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seeds the process for this iteration."""
        seed_everything(_ITERATIONS, self._seed, get_rank(), runner.iter)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed(torch.initial_seed())


@torch.no_grad()
def _lay_out_like_weights(wrapper: Any) -> None:
    """Lays an optimizer's moments out in memory as its weights are.

    Its fused form goes through both in the order of memory, which a checkpoint need not have kept.
    """
    if not isinstance(wrapper, OptimWrapper):
        return
    for weight, state in wrapper.optimizer.state.items():
        for name, moment in state.items():
            same_shape = isinstance(moment, Tensor) and moment.shape == weight.shape
            if same_shape and moment.stride() != weight.stride():
                state[name] = torch.empty_like(weight, dtype=moment.dtype).copy_(moment)


def _onward(dataloader: DataLoader, epoch: int, *, skip: int) -> Iterator[Any]:
    """Batches without end, from where a run counted in iterations goes on.

    MMEngine asks for all batches of the past first, to get rid of them. It gets ``None`` for each.
    """
    yield from itertools.repeat(None, skip)
    sampler: Any = getattr(dataloader.batch_sampler, 'sampler', None)
    for number in itertools.count(epoch):
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(number)
        yield from dataloader
