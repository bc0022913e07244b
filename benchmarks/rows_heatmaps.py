"""Rows of heatmaps: targets from keypoints, keypoints from heatmaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

from mspn_plugin.heatmaps.blur import blur_maps

from .bench import Bench
from .compare import clear_peaks, same_keypoints, same_numbers
from .network import own_config, stock_config
from .rows import Group, Row, timed_row

_KEYPOINTS = 17


def random_keypoints(count: int, input_size: tuple[int, int]) -> np.ndarray:
    """Keypoints ``(count, 1, K, 2)`` in input pixels, 8 cells or more from the border.

    There the two sides' targets are the same: MMPose scales them differently near a border.
    """
    low, high = 32, np.asarray(input_size) - 33
    random = np.random.default_rng(0).uniform(0, 1, (count, 1, _KEYPOINTS, 2))
    return (low + random * (high - low)).astype(np.float32)


def _use(things: Iterator[Any]) -> None:
    for _ in things:
        pass


class Targets(Group):
    """Target maps of a batch, all levels, with one thread."""

    name = 'targets'
    title = 'Target heatmaps'

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        network = bench.sizes.network
        self.stock = [KEYPOINT_CODECS.build(c) for c in _codecs(stock_config(network))]
        self.ours = KEYPOINT_CODECS.build(own_config(network).model.head.decoder)
        # Two stages have five levels, one stage has the four finer ones.
        self.levels = range(self.ours.num_levels - len(self.stock), self.ours.num_levels)
        self.renderer = self.ours.renderer().to(bench.device)
        self.keypoints = random_keypoints(bench.sizes.targets, network.input_size)
        self.visible = np.ones(self.keypoints.shape[:3], np.float32)

    def _stock(self) -> Iterator[list[np.ndarray]]:
        """The maps of all levels, sample by sample, as its workers make them."""
        for points, seen in zip(self.keypoints, self.visible, strict=True):
            yield [codec.encode(points, seen)['heatmaps'] for codec in self.stock]

    def _ours(self) -> Iterator[Tensor]:
        """The maps of all samples, level by level, as the head makes them."""
        encoded = [
            self.ours.encode(points, seen)
            for points, seen in zip(self.keypoints, self.visible, strict=True)
        ]
        cells, weights = (
            torch.from_numpy(np.concatenate([one[name] for one in encoded])).to(self.bench.device)
            for name in ('keypoint_cells', 'keypoint_weights')
        )
        return self.renderer.levels(cells, weights, self.levels)

    def check(self) -> str:
        """Compares all maps."""
        stock = np.array(list(self._stock())).swapaxes(0, 1)
        for level, (wanted, found) in enumerate(zip(stock, self._ours(), strict=True)):
            same_numbers(f'target maps of level {level}', wanted, found, tolerance=1e-4)
        return f'target maps of {len(self.keypoints)} samples'

    def measure(self) -> Iterable[Row]:
        """Times both, with one thread."""
        # Both sides use maps as they come; all of them at once are never in memory.
        sides = dict(stock=lambda: _use(self._stock()), ours=lambda: _use(self._ours()))
        with self.bench.threads(1):
            times = self.bench.alternate(sides)
        what = f'targets of {len(self.keypoints)} samples x {len(self.stock)} levels, 1 thread'
        yield timed_row('targets', what, times, unit='ms', bar=10)


class Decoding(Group):
    """Keypoints of a batch of heatmaps."""

    name = 'decode'
    title = 'Decoding'

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        network = bench.sizes.network
        self.stock = KEYPOINT_CODECS.build(stock_config(network).model.head.decoder)
        self.ours = KEYPOINT_CODECS.build(own_config(network).model.head.decoder)
        count = bench.sizes.decoded
        points = torch.from_numpy(random_keypoints(count, network.input_size))[:, 0]
        cells = points / torch.as_tensor(self.ours.cell_size).float()
        maps = self.ours.renderer()(cells, torch.ones(count, _KEYPOINTS), 4)
        # As a network predicts them: not quite as high, on a ground that is not flat.
        noise = 20 * torch.rand(maps.shape, generator=torch.Generator().manual_seed(1))
        self.clear = (maps * 0.7 + noise).to(bench.device)
        self.noise = noise.to(bench.device)  # of which a network that knows nothing gives some

    def _stock(self, heatmaps: Tensor) -> Any:
        maps = heatmaps.cpu().numpy()
        return [self.stock.decode(one) for one in maps]

    def _ours(self, heatmaps: Tensor) -> Any:
        return self.ours.batch_decode(heatmaps)

    def check(self) -> str:
        """Compares keypoints and scores."""
        count = sum(self._check(heatmaps) for heatmaps in (self.clear, self.noise))
        return f'{count} decoded keypoints'

    def _check(self, heatmaps: Tensor) -> int:
        wanted, wanted_scores = map(np.array, zip(*self._stock(heatmaps), strict=True))
        found, scores = map(np.array, self._ours(heatmaps))
        clear = clear_peaks(blurred(heatmaps, self.ours.decode_kernel_size))
        count = same_keypoints('decoded keypoints', wanted[:, 0], found[:, 0], clear)
        same_numbers('scores of keypoints', wanted_scores, scores, tolerance=1e-4)
        return count

    def measure(self) -> Iterable[Row]:
        """Times both, per person."""
        count = len(self.clear)
        what = f'decoding, per person, B = {count}'
        for key, name, heatmaps, bar in (
            ('decode', what, self.clear, 20),
            ('decode-noise', f'{what}, maps of noise without a peak', self.noise, None),
        ):
            sides = dict(stock=partial(self._stock, heatmaps), ours=partial(self._ours, heatmaps))
            times = self.bench.alternate(sides)
            yield timed_row(key, name, times, unit='us', per=count, bar=bar)


def blurred(heatmaps: Tensor, kernel_size: int) -> Tensor:
    """Heatmaps ``(B, K, H, W)`` after the decoder's blur."""
    return blur_maps(heatmaps.float().flatten(0, 1), kernel_size).view_as(heatmaps)


def _codecs(cfg: Any) -> list[dict[str, Any]]:
    codecs: list[dict[str, Any]] = cfg.codec
    return codecs
