"""Rows of training: a whole step, and the memory that it takes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from .bench import Bench
from .compare import same_numbers
from .memory import memory_in_use, peak_memory
from .peak import operations
from .reduced import optimizer
from .rows import Group, Row, no_gpu, timed_row
from .rows_data import loader

_SIDES: dict[str, dict[str, Any]] = {
    'stock': {},
    'ours': {},
    'bf16': dict(kind='bf16'),
    'fp16': dict(kind='fp16'),
}
"""Both sides as their configs have them, and variants of ours."""


class Step:
    """A model in training, a batch of its own pipeline, and an optimizer.

    Args:
        bench: The benchmark.
        side: ``'stock'`` or ``'ours'``.
        batch_size: Samples.
        kind: Kind of numbers.
    """

    def __init__(
        self,
        bench: Bench,
        side: str,
        batch_size: int,
        *,
        kind: str = 'fp32',
        network: Any = None,
    ) -> None:
        network = network or bench.sizes.network
        cfg = bench.config(side, network)
        self.model = bench.model(side, network)
        self.model.train()
        self.optimizer = optimizer(self.model, cfg, kind, bench.device)
        cfg.train_dataloader.batch_size = batch_size
        torch.manual_seed(0)
        self.batch = next(_batches(cfg, batch_size))

    def __call__(self) -> Any:
        """Takes one step: preprocessing, targets, forward, backward, optimizer."""
        return self.model.train_step(self.batch, self.optimizer)


def _batches(cfg: Any, batch_size: int) -> Iterator[Any]:
    """Batches of a config's training data, which is repeated if it is not enough for one."""
    data = loader(cfg.train_dataloader)
    if len(data.dataset) < batch_size:
        plain = cfg.train_dataloader.dataset
        times = -(-batch_size // max(1, len(data.dataset)))
        cfg.train_dataloader.dataset = dict(type='RepeatDataset', dataset=plain, times=times)
        data = loader(cfg.train_dataloader)
    return iter(data)


class Training(Group):
    """Full training steps."""

    name = 'train'
    title = 'Training step'

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        sizes = bench.sizes
        self.batches = sizes.train_batches_gpu if bench.on_gpu else sizes.train_batches

    def check(self) -> str:
        """Compares the losses of one batch of images with the same weights.

        What the two sides' targets differ in, and the random augmentation, is left out here: the
        data path and the losses have checks of their own. In double precision: in training mode
        a random network makes rounding about ten times as large in every stage.
        """
        network = self.bench.sizes.network
        inputs, _ = self.bench.batch(network, 2)
        maps = {}
        for side, model in self.bench.models(network).items():
            exact = copy.deepcopy(model).double().train()
            with torch.no_grad():
                maps[side] = _all_heatmaps(exact, inputs.double())
        for unit, (stock, ours) in enumerate(zip(maps['stock'], maps['ours'], strict=True)):
            same_numbers(f'heatmaps of unit {unit} in training', stock, ours, tolerance=1e-6)
        return f'heatmaps of {len(maps["ours"])} units in training mode'

    def measure(self) -> Iterable[Row]:
        """Times steps and measures their memory, batch size by batch size."""
        for batch_size in self.batches:
            yield from self._measure(batch_size)
        if not self.bench.on_gpu:
            for batch_size in self.bench.sizes.train_batches_gpu:
                what = f'training step on a GPU, B = {batch_size}'
                bar = 2.5 if batch_size == 128 else None
                yield no_gpu(f'train-gpu-b{batch_size}', what, 'images/s', bar)

    def _measure(self, batch_size: int) -> Iterator[Row]:
        bench = self.bench
        steps: dict[str, Step] = {}
        memory: dict[str, float | None] = {}
        for side, options in _SIDES.items():
            if options.get('kind') == 'fp16' and not bench.on_gpu:
                continue  # not what a CPU is good at
            before = memory_in_use(bench.device)
            steps[side] = Step(bench, 'stock' if side == 'stock' else 'ours', batch_size, **options)
            steps[side]()  # the optimizer has a state from here on
            used = peak_memory(steps[side], bench.device)
            known = used is not None and before is not None
            memory[side] = (used - before) / 1e6 if known else None  # type: ignore[operator]
        work = operations(steps['ours'])
        times = bench.alternate(steps, warm_up=0 if not bench.on_gpu else 2, least_time=0)
        what = f'training step, {bench.sizes.network.stages} stages, B = {batch_size}'
        for side in list(steps)[1:]:
            kind = _SIDES[side].get('kind', 'fp32')
            own = side == 'ours'
            variant = '' if own else f'-{side}'
            bar = 2.5 if bench.on_gpu and batch_size == 128 and kind == 'bf16' else None
            yield timed_row(
                f'train-b{batch_size}{variant}',
                what if own else f'{what}, {side} against fp32',
                times,
                unit='images/s',
                per=batch_size,
                ours=side,
                bar=1.15 if own and not bench.on_gpu else bar,
                operations=work,
                peak=bench.peak(kind),
            )
            if memory['stock'] is not None:
                yield Row(
                    f'memory-b{batch_size}{variant}',
                    'its memory: weights, gradients, optimizer, activations',
                    'MB',
                    memory['stock'],
                    memory[side],
                )


def _all_heatmaps(model: Any, inputs: torch.Tensor) -> list[torch.Tensor]:
    """Heatmaps of every unit in one list."""
    found = model.head(model.extract_feat(inputs))
    return [
        unit for stage in found for unit in (stage if isinstance(stage, (list, tuple)) else [stage])
    ]
