"""Rows of training: a whole step, and the memory that it takes."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from .bench import SIDES, Bench
from .compare import same_numbers
from .memory import peak_memory
from .peak import operations
from .reduced import optimizer, run_hooks_before
from .rows import Group, Row, no_gpu, timed_row
from .rows_data import loader

# Name of the variant, kind of numbers, memory format.
_VARIANTS = (
    ('channels last', 'fp32', torch.channels_last),
    ('bf16', 'bf16', torch.contiguous_format),
    ('bf16, channels last', 'bf16', torch.channels_last),
    ('fp16, channels last', 'fp16', torch.channels_last),
)


class Step:
    """A model in training, a batch of its own pipeline, and an optimizer.

    Args:
        bench: The benchmark.
        side: ``'stock'`` or ``'ours'``.
        batch_size: Samples.
        kind: Kind of numbers.
        memory_format: That of the weights, if not the config's.
    """

    def __init__(
        self,
        bench: Bench,
        side: str,
        batch_size: int,
        *,
        kind: str = 'fp32',
        memory_format: torch.memory_format | None = None,
        network: Any = None,
    ) -> None:
        network = network or bench.sizes.network
        cfg = bench.config(side, network)
        self.model = bench.model(side, network)
        run_hooks_before(self.model, cfg)
        if memory_format is not None:
            self.model.to(memory_format=memory_format)
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
        data path and the losses have checks of their own.
        """
        network = self.bench.sizes.network
        inputs, _ = self.bench.batch(network, 2)
        maps = {}
        for side, model in self.bench.models(network).items():
            model.train()
            with torch.no_grad():
                maps[side] = _all_heatmaps(model, inputs)
        for unit, (stock, ours) in enumerate(zip(maps['stock'], maps['ours'], strict=True)):
            same_numbers(f'heatmaps of unit {unit} in training', stock, ours, tolerance=2e-3)
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
        steps = {side: Step(bench, side, batch_size) for side in SIDES}
        work = operations(steps['ours'])
        steps['stock']()  # both have an optimizer state now
        memory = {side: peak_memory(step, bench.device) for side, step in steps.items()}
        times = bench.alternate(steps)
        what = f'training step, {bench.sizes.network.stages} stages, B = {batch_size}'
        bar = None if bench.on_gpu else 1.15
        options: dict[str, Any] = dict(unit='images/s', per=batch_size, operations=work)
        yield timed_row(f'train-b{batch_size}', what, times, bar=bar, peak=bench.peak(), **options)
        if memory['stock'] and memory['ours']:
            name = f'memory of a training step, B = {batch_size}'
            stock, ours = (memory[side] / 1e6 for side in SIDES)  # type: ignore[operator]
            note = 'on the GPU' if bench.on_gpu else 'growth of the process'
            yield Row(f'memory-b{batch_size}', name, 'MB', stock, ours, note=note)
        del steps['ours']
        for name, kind, memory_format in _VARIANTS:
            if kind == 'fp16' and not bench.on_gpu:
                continue  # not what a CPU is good at
            gc.collect()
            steps[name] = Step(bench, 'ours', batch_size, kind=kind, memory_format=memory_format)
            used = peak_memory(steps[name], bench.device)
            times = bench.alternate({'stock': steps['stock'], name: steps[name]})
            del steps[name]
            bar = 2.5 if bench.on_gpu and batch_size == 128 and kind == 'bf16' else None
            yield timed_row(
                f'train-b{batch_size}-{name.replace(", ", "-").replace(" ", "-")}',
                f'{what}, {name} against fp32',
                times,
                ours=name,
                bar=bar,
                peak=bench.peak(kind),
                note=f'{used / 1e6:,.0f} MB' if used else '',
                **options,
            )


def _all_heatmaps(model: Any, inputs: torch.Tensor) -> list[torch.Tensor]:
    """Heatmaps of every unit in one list."""
    found = model.head(model.extract_feat(inputs))
    return [
        unit for stage in found for unit in (stage if isinstance(stage, (list, tuple)) else [stage])
    ]
