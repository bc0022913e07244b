"""Rows of the data path: what a worker prepares, and what it sends."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.runner import Runner
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

from mspn_plugin.heatmaps import MultiLevelHeatmap

from .bench import SIDES, Bench
from .compare import CheckFailed, same_numbers
from .rows import Group, Row, timed_row
from .transport import shipment

_CHECKED = 24  # samples


class DataPath(Group):
    """Training and evaluation pipelines, each side's own, with one thread.

    The worker is a process of a data loader; the pipelines alone run in this process.
    """

    name = 'data'
    title = 'Data path (one worker)'

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        network = bench.sizes.network
        self.configs = {side: bench.config(side, network) for side in SIDES}
        self.loaders = {side: loader(cfg.train_dataloader) for side, cfg in self.configs.items()}

    def check(self) -> str:
        """Compares images and targets of the same samples with the same random augmentation."""
        datasets = [self.loaders[side].dataset for side in SIDES]
        codec = KEYPOINT_CODECS.build(self.configs['ours'].model.head.decoder)
        keypoints = 0
        for index in range(min(_CHECKED, *map(len, datasets))):
            stock, ours = (_seeded(dataset, index) for dataset in datasets)
            same_numbers('images of training', stock['inputs'], ours['inputs'], tolerance=0.01)
            keypoints += _same_targets(stock['data_samples'], ours['data_samples'], codec)
        if not keypoints:
            raise CheckFailed('the training data has no keypoints to compare; nothing was timed')
        return f'images and targets of training, {keypoints} keypoints'

    def measure(self) -> Iterable[Row]:
        """Times the pipelines and counts the bytes."""
        count = self.bench.sizes.samples
        with self.bench.threads(1):
            working = {
                side: _working_loader(cfg.train_dataloader, len(self.loaders[side].dataset), count)
                for side, cfg in self.configs.items()
            }
            all_samples = len(working['ours'].dataset)
            for key, what, bar, loaders, samples in (
                ('data-worker', 'one worker in training, sending included', 1.6, working, None),
                ('data-train', 'its pipeline, augmentation and targets', None, self.loaders, count),
                ('data-test', 'evaluation pipeline', None, self._test_loaders(), count),
            ):
                times = self.bench.alternate(
                    {side: partial(_take, loaders[side], samples) for side in SIDES},
                    least_time=0,
                )
                per = samples or all_samples
                yield timed_row(key, what, times, unit='samples/s', per=per, bar=bar)
        yield from self._bytes()

    def _bytes(self) -> Iterator[Row]:
        sent = {}
        for side in SIDES:
            batch = next(iter(self.loaders[side]))
            size = len(batch['inputs'])
            sent[side] = (shipment(batch), size)
        (stock, one), (ours, other) = sent['stock'], sent['ours']
        yield Row(
            'bytes',
            'sent from a worker per sample, image included',
            'kB',
            stock.total / one / 1e3,
            ours.total / other / 1e3,
            bar=0.2,
            note=f'of which the image is {ours.images / other / 1e3:.0f} kB on both sides',
        )
        yield Row(
            'bytes-targets',
            'the same without the image',
            'kB',
            stock.besides_images / one / 1e3,
            ours.besides_images / other / 1e3,
            note='targets, labels, what is known of the sample',
        )

    def _test_loaders(self) -> dict[str, Any]:
        return {side: loader(cfg.test_dataloader) for side, cfg in self.configs.items()}


def loader(cfg: Any, *, workers: int = 0) -> Any:
    """A data loader as the runner builds it, with another number of workers."""
    cfg = cfg.copy()
    cfg.update(num_workers=workers, persistent_workers=workers > 0)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools says what it reads
        return Runner.build_dataloader(cfg, seed=0)


def _working_loader(cfg: Any, size: int, count: int) -> Any:
    """A training loader with one worker process, whose epoch has ``count`` samples or a few more.

    Args:
        cfg: Of the loader.
        size: Samples of its data set.
        count: Samples to load in one go.
    """
    cfg = cfg.copy()
    times = max(1, -(-count // size))
    cfg.dataset = dict(type='RepeatDataset', times=times, dataset=cfg.dataset)
    return loader(cfg, workers=1)


def _take(data: Any, count: int | None) -> None:
    """Loads at least ``count`` samples, from the beginning and again; or all of them, once."""
    if count is None:
        for _ in data:
            pass
        return
    taken = 0
    while taken < count:
        for batch in data:
            taken += len(batch['inputs'])
            if taken >= count:
                return


def _seeded(dataset: Any, index: int) -> dict[str, Any]:
    random.seed(index)
    np.random.seed(index)
    torch.manual_seed(index)
    sample: dict[str, Any] = dataset[index]
    return sample


def _same_targets(stock: Any, ours: Any, codec: MultiLevelHeatmap) -> int:
    """Compares the target maps of one sample; returns how many keypoints both sides learn from.

    MMPose scales a map by its centre, which near a border is not its maximum, and keeps keypoints
    up to a cell outside the image. So maps are compared by their maximum, and only those of
    keypoints that both sides keep.
    """
    cells = torch.as_tensor(ours.gt_instance_labels.keypoint_cells)
    weights = torch.as_tensor(ours.gt_instance_labels.keypoint_weights)
    levels = stock.gt_fields.nlevel
    renderer = codec.renderer()
    kept = torch.as_tensor(stock.gt_instance_labels.keypoint_weights)
    kept = (kept.reshape(levels, -1)[0] > 0) & (weights[0] > 0)
    if not kept.any():
        return 0
    for level in range(levels):
        wanted: Tensor = torch.as_tensor(stock.gt_fields[level].heatmaps)[kept]
        # MMPose's networks of one stage leave out the coarsest of the five levels.
        found = renderer(cells, weights, level + codec.num_levels - levels)[0][kept]
        wanted = wanted * (255 / wanted.amax(dim=(1, 2), keepdim=True))
        same_numbers(f'target maps of level {level}', wanted, found, tolerance=1e-3)
    return int(kept.sum())
