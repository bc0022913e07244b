"""Batches whose order and random augmentation depend on where the training is, not on its past."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmpose.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

_SAMPLES = 0  # the first word of samples' seeds; those of other things begin with another


def seed_everything(*words: int) -> None:
    """Seeds Python's, numpy's and torch's CPU generators by numbers that name a place in a run."""
    state = np.random.SeedSequence(words).generate_state(4, np.uint32)
    number = int(state[0]) << 32 | int(state[1])
    random.seed(number)
    np.random.seed(state[1:])
    # Not torch.manual_seed: it looks for a GPU, which is slow and of no use in a worker.
    torch.default_generator.manual_seed(number)


class _SeededBatch(list[int]):
    """Indices of one batch; the process that iterates over them to fetch is seeded before each."""

    def __init__(self, indices: Any, words: tuple[int, ...]) -> None:
        super().__init__(indices)
        self.words = words

    def __iter__(self) -> Iterator[int]:
        for place, index in enumerate(super().__iter__()):
            seed_everything(_SAMPLES, *self.words, place)
            yield index

    def __reduce__(self) -> tuple[Any, ...]:
        return _SeededBatch, (self[:], self.words)


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(Sampler):
    """A batch sampler with which a resumed training sees what an uninterrupted one would see.

    MMEngine seeds each worker once, so what a sample's augmentation draws depends on all that its
    worker did before. Here every sample has a seed made of the run's, the process's rank, the
    epoch, and the place of the batch and of the sample. `RepeatableTrainingHook` tells it where to
    go on, also within an epoch, where MMEngine would load all the earlier batches again. The
    `sampler` is a ``DefaultSampler``, an ``InfiniteSampler`` or another with a ``seed``.
    """

    def __init__(self, sampler: Any, batch_size: int, *, drop_last: bool = False) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self._skip = 0

    def __len__(self) -> int:
        samples = len(self.sampler)
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def start_at(self, seed: int, batch: int) -> None:
        """Sets the run's seed and how many batches the next iteration, and only it, leaves out."""
        if hasattr(self.sampler, 'indices'):  # an InfiniteSampler, whose generator has no way back
            old = self.sampler
            self.sampler = type(old)(old.dataset, shuffle=old.shuffle, seed=seed)
        self.sampler.seed, self._skip = seed, batch

    def __iter__(self) -> Iterator[_SeededBatch]:
        skip, self._skip = self._skip, 0
        where = tuple(getattr(self.sampler, key, 0) for key in ('seed', 'rank', 'epoch'))
        indices = itertools.islice(self.sampler, skip * self.batch_size, None)
        for number in itertools.count(skip):
            batch = list(itertools.islice(indices, self.batch_size))
            if not batch or (self.drop_last and len(batch) < self.batch_size):
                return
            yield _SeededBatch(batch, (*where, number))
