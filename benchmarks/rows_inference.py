"""Rows of inference: crops to keypoints, with flip test."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from mspn_plugin.models.fused import fused

from .bench import Bench
from .compare import clear_peaks, same_heatmaps, same_keypoints
from .network import Network
from .reduced import autocast
from .rows import Group, Row, no_gpu, timed_row
from .rows_heatmaps import blurred


def predictor(
    bench: Bench, model: Any, inputs: torch.Tensor, samples: list[Any], kind: str = 'fp32'
) -> Any:
    """A function that predicts the poses of a batch of normalised crops.

    Args:
        bench: The benchmark.
        model: Of either side.
        inputs: ``(B, 3, h, w)``.
        samples: Their B samples.
        kind: Kind of numbers.
    """

    def predict() -> Any:
        with torch.no_grad(), autocast(bench.device, kind):
            return model.predict(inputs, samples)

    return predict


class Inference(Group):
    """Batches of crops; ours through the copy of the model that `infer_people` makes."""

    name = 'inference'
    title = 'Inference (crops to keypoints, flip test)'

    def check(self) -> str:
        """Compares heatmaps and keypoints."""
        count = compare_predictions(self.bench, self.bench.sizes.network)
        return f'heatmaps, {count} keypoints with flip test'

    def measure(self) -> Iterable[Row]:
        """Times all batch sizes."""
        bench = self.bench
        network = bench.sizes.network
        models = bench.models(network)
        models['ours'] = fused(models['ours'])
        for batch_size in bench.sizes.infer_batches:
            yield from self._measure(models, batch_size)
        if not bench.on_gpu:
            what = f'inference on a GPU, {network.stages} stages, B = 64'
            yield no_gpu('inference-gpu-b64', what, 'people/s', 4)

    def _measure(self, models: dict[str, Any], batch_size: int) -> Iterator[Row]:
        bench = self.bench
        network = bench.sizes.network
        inputs, samples = bench.batch(network, batch_size)
        sides = {
            side: predictor(bench, model, inputs, copy.copy(samples))
            for side, model in models.items()
        }
        kinds = ['bf16', 'fp16'] if bench.on_gpu else ['bf16']
        for kind in kinds:
            sides[kind] = predictor(bench, models['ours'], inputs, copy.copy(samples), kind)
        modes = compile_modes(bench) if batch_size in bench.sizes.compiled_batches else []
        for mode in modes:
            sides[mode] = predictor(
                bench, _compiled(models['ours'], mode), inputs, copy.copy(samples)
            )
        repeats = bench.settings.repeats if batch_size < 64 else bench.slow_repeats
        times = bench.alternate(sides, repeats=repeats)
        what = f'inference, {network.stages} stages, B = {batch_size}'
        options: dict[str, Any] = dict(
            unit='people/s', per=batch_size, operations=2 * batch_size * bench.operations(network)
        )
        bar = 1.5 if batch_size == 8 and not bench.on_gpu else None
        key = f'inference-b{batch_size}'
        yield timed_row(key, what, times, bar=bar, peak=bench.peak(), **options)
        for kind in kinds:
            yield timed_row(
                f'{key}-{kind}',
                f'{what}, {kind} against fp32',
                times,
                ours=kind,
                bar=4 if batch_size == 64 and bench.on_gpu else None,
                peak=bench.peak(kind),
                **options,
            )
        for mode in modes:
            named = 'torch.compile' if mode == 'default' else f"torch.compile('{mode}')"
            yield timed_row(
                f'{key}-{mode}', f'{what}, {named}', times, ours=mode, peak=bench.peak(), **options
            )


def compile_modes(bench: Bench) -> list[str]:
    """The ways of ``test_cfg.compile`` that are worth a measurement: CUDA graphs need a GPU."""
    if bench.on_gpu:
        return ['default', 'reduce-overhead']
    return ['default'] if shutil.which(os.environ.get('CXX', 'g++')) else []


def _compiled(model: Any, mode: str) -> Any:
    """The same weights in a model with another setting."""
    other = copy.copy(model)
    other.test_cfg = dict(model.test_cfg, compile=mode)
    return other


def compare_predictions(bench: Bench, network: Network, people: int = 8) -> int:
    """Compares heatmaps and keypoints of both sides' models, with flip test.

    Args:
        bench: The benchmark.
        network: The network.
        people: How many.

    Returns:
        The number of keypoints that were compared.

    Raises:
        CheckFailed: They differ.
    """
    inputs, samples = bench.batch(network, people)
    maps, keypoints = {}, {}
    models = bench.models(network)
    for side, model in models.items():
        model.test_cfg = dict(model.test_cfg, output_heatmaps=True)
        model = fused(model)
        with torch.no_grad():
            found = model.predict(inputs, copy.deepcopy(samples))
        maps[side] = torch.stack([sample.pred_fields.heatmaps for sample in found])
        keypoints[side] = np.concatenate(
            [input_pixels(sample, sample.pred_instances.keypoints) for sample in found]
        )
    same_heatmaps('heatmaps with flip test', maps['stock'], maps['ours'])
    kernel = models['ours'].head.decoder.decode_kernel_size
    clear = clear_peaks(blurred(maps['stock'], kernel))
    return same_keypoints('keypoints', keypoints['stock'], keypoints['ours'], clear)


def input_pixels(sample: Any, keypoints: np.ndarray) -> np.ndarray:
    """Keypoints ``(N, K, 2)`` of an image in pixels of the network's input."""
    size, scale = (np.asarray(getattr(sample, name)) for name in ('input_size', 'input_scale'))
    pixels: np.ndarray = (keypoints - sample.input_center) * size / scale + size / 2
    return pixels
