"""Rows of end-to-end inference: images and boxes to poses."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmpose.apis import inference_topdown

from mspn_plugin.apis import infer_people

from .bench import Bench
from .compare import CheckFailed, clear_peaks, same_keypoints
from .material import Photograph, photographs
from .network import Network
from .reduced import autocast
from .rows import Group, Row, no_gpu, timed_row
from .rows_heatmaps import blurred
from .rows_inference import input_pixels

SMALL = Network(stages=1, small=True, input_size=(96, 128))
"""A network in which everything around it takes most of the time."""


class People(Group):
    """`infer_people` against MMPose's `inference_topdown`, which takes an image at a time."""

    name = 'people'
    title = 'End to end (images and boxes to poses)'

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        settings, sizes = bench.settings, bench.sizes
        self.crowded = photographs(
            settings.data_root, settings.detections, sizes.photographs, least_people=4
        )
        self.all = photographs(settings.data_root, settings.detections, sizes.small_images)

    def check(self) -> str:
        """Compares the keypoints of one crowded image, in the large and in the small network."""
        counts = [
            compare_people(self.bench, network, self.crowded[:1])
            for network in (self.bench.sizes.network, SMALL)
        ]
        return f'{sum(counts)} keypoints of {len(self.crowded[0].boxes)} people, end to end'

    def measure(self) -> Iterable[Row]:
        """Times both, with the network of the benchmark and with a small one."""
        bench = self.bench
        network = bench.sizes.network
        bar = 5 if bench.on_gpu else 1.5
        for key, net, images, aim in (
            ('people', network, self.crowded, bar),
            ('people-small', SMALL, self.all, None),
        ):
            models = bench.models(net)
            count = sum(len(image.boxes) for image in images)
            sides = {
                'stock': partial(one_by_one, models['stock'], images),
                'ours': partial(together, models['ours'], images),
                'bf16': partial(self._bf16, models['ours'], images),
            }
            times = bench.alternate(sides, repeats=bench.slow_repeats)
            options: dict[str, Any] = dict(
                unit='people/s', per=count, operations=2 * count * bench.operations(net)
            )
            what = f'infer_people, {net}, {len(images)} images, {count} people'
            yield timed_row(key, what, times, bar=aim, peak=bench.peak(), **options)
            peak = bench.peak('bf16')
            yield timed_row(
                f'{key}-bf16',
                f'{what}, bf16 against fp32',
                times,
                ours='bf16',
                bar=aim if bench.on_gpu else None,
                peak=peak,
                **options,
            )
        if not bench.on_gpu:
            yield no_gpu('people-gpu', f'infer_people, {network} on a GPU', 'people/s', 5)

    def _bf16(self, model: Any, images: list[Photograph]) -> Any:
        with autocast(self.bench.device, 'bf16'):
            return together(model, images)


def one_by_one(model: Any, images: list[Photograph]) -> list[Any]:
    """MMPose's way: image after image, each with all of its boxes."""
    return [inference_topdown(model, str(image.path), image.boxes) for image in images]


def together(model: Any, images: list[Photograph]) -> list[Any]:
    """This package's way: all images in one call."""
    paths: list[str | Path | np.ndarray] = [image.path for image in images]
    return list(infer_people(model, paths, [image.boxes for image in images]))


def compare_people(bench: Bench, network: Network, images: list[Photograph]) -> int:
    """Compares what both ways give for some images.

    Returns:
        The number of keypoints that were compared.

    Raises:
        CheckFailed: They differ.
    """
    models = bench.models(network)
    models['stock'].test_cfg = dict(models['stock'].test_cfg, output_heatmaps=True)
    with bench.threads(bench.settings.threads):
        stock = [person for people in one_by_one(models['stock'], images) for person in people]
        ours = [person for people in together(models['ours'], images) for person in people]
    if len(stock) != len(ours):
        raise CheckFailed(
            f'MMPose gives {len(stock)} people, this package {len(ours)}; nothing was timed'
        )
    maps = torch.stack([person.pred_fields.heatmaps for person in stock])
    points = [
        np.concatenate([input_pixels(one, one.pred_instances.keypoints) for one in people])
        for people in (stock, ours)
    ]
    clear = clear_peaks(blurred(maps, models['ours'].head.decoder.decode_kernel_size))
    return same_keypoints(f'keypoints of {network}, end to end', points[0], points[1], clear)
