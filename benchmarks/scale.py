"""Cost against work: how time grows with people, images, stages, input size and workers."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mspn_plugin.models.fused import fused

from .bench import SIDES, Bench
from .machine import describe
from .material import Photograph, photographs
from .network import Network
from .report import number
from .rows_data import loader
from .rows_inference import compare_predictions, predictor
from .rows_people import SMALL, compare_people, one_by_one, together
from .rows_training import Step
from .settings import Settings
from .timing import Work, clock


@dataclass(frozen=True)
class Curve:
    """Figures of both sides over some amount of work.

    Attributes:
        title: What was done.
        over: What the amounts count.
        unit: What the figures count.
        amounts: Amounts of work.
        stock: MMPose's figure for each.
        ours: This package's.
    """

    title: str
    over: str
    unit: str
    amounts: list[float]
    stock: list[float]
    ours: list[float]


@dataclass(frozen=True)
class Scale:
    """All curves, by the name of the plot that they belong to, and facts about the machine."""

    facts: dict[str, str]
    plots: dict[str, list[Curve]]

    def write(self, folder: Path) -> Path:
        """Writes ``scale.json`` and gives its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / 'scale.json'
        path.write_text(json.dumps(asdict(self), indent=1) + '\n', encoding='utf-8')
        return path

    def markdown(self) -> str:
        """The curves as tables."""
        names = ('date', 'processor', 'device')
        facts = ', '.join(dict.fromkeys(self.facts[name] for name in names))
        parts = [f'{facts}; {self.facts["threads"]} threads.']
        for curves in self.plots.values():
            for curve in curves:
                head = ' | '.join(f'{amount:g}' for amount in curve.amounts)
                lines = [
                    f'| {curve.title}: {curve.over} | {head} |',
                    '|---|' + '---:|' * len(curve.amounts),
                ]
                for name, values in (('stock MMPose', curve.stock), ('mspn_plugin', curve.ours)):
                    figures = ' | '.join(number(value) for value in values)
                    lines.append(f'| {name}, {curve.unit} | {figures} |')
                parts.append('\n'.join(lines))
        return '\n\n'.join(parts) + '\n'


def measure_scale(settings: Settings, *, say: Callable[[str], None] = print) -> Scale:
    """Checks both sides, then measures all curves.

    Args:
        settings: How to run; every point is measured twice and the faster one counts.
        say: Called with a line of progress at a time.

    Raises:
        CheckFailed: The two sides disagree; nothing was timed.
    """
    plots: dict[str, list[Curve]] = {}
    with tempfile.TemporaryDirectory(prefix='mspn-scale-') as folder:
        bench = Bench(settings, Path(folder))
        with bench.threads(settings.threads):
            some = photographs(settings.data_root, settings.detections, 1)
            count = compare_predictions(bench, bench.sizes.network)
            count += compare_people(bench, SMALL, some)
            say(f'same results: {count} keypoints')
            for name, curves in (
                ('people', _people),
                ('images', _images),
                ('stages', _stages),
                ('workers', _workers),
            ):
                plots[name] = []
                for curve in curves(bench):
                    plots[name].append(curve)
                    pairs = zip(curve.amounts, curve.stock, curve.ours, strict=True)
                    text = ', '.join(f'{a:g}: {s:.3g} -> {o:.3g}' for a, s, o in pairs)
                    say(f'{curve.title}, {curve.unit} by {curve.over}: {text}')
    return Scale(describe(settings.device, settings.threads), plots)


def _best(bench: Bench, sides: dict[str, Work], *, repeats: int = 2) -> tuple[float, float]:
    """Seconds of both sides: the best turn. Several turns follow one that warms up."""
    times = bench.alternate(sides, repeats=repeats, warm_up=int(repeats > 1), least_time=0)
    return min(times['stock'].seconds), min(times['ours'].seconds)


def _people(bench: Bench) -> Iterator[Curve]:
    """One image with more and more people in it."""
    network = bench.sizes.network
    models = bench.models(network)
    amounts, pairs = list(bench.sizes.scale.people), []
    crowd = _crowd(bench)
    for amount in amounts:
        boxes = crowd.boxes.repeat(-(-amount // len(crowd.boxes)), axis=0)[:amount]
        pairs.append(_both(bench, models, [Photograph(crowd.path, boxes)], most_often=2))
    stock, ours = map(list, zip(*pairs, strict=True))
    yield Curve(f'one image, {network}', 'people in the image', 'seconds', [*amounts], stock, ours)


def _crowd(bench: Bench) -> Photograph:
    """An image with as many people as there are in any of the first ones."""
    settings = bench.settings
    found = photographs(settings.data_root, settings.detections, 200)
    return max(found, key=lambda image: len(image.boxes))


def _images(bench: Bench) -> Iterator[Curve]:
    """More and more images with two people each, through the small network."""
    settings = bench.settings
    found = [
        replace(image, boxes=image.boxes[:2])
        for image in photographs(settings.data_root, settings.detections, 200, least_people=2)
    ]
    models = bench.models(SMALL)
    amounts, pairs = list(bench.sizes.scale.images), []
    for amount in amounts:
        images = [found[index % len(found)] for index in range(amount)]
        # Hundreds of images need no second look.
        pairs.append(_both(bench, models, images, most_often=2 if amount < 300 else 1))
    stock, ours = map(list, zip(*pairs, strict=True))
    yield Curve(f'two people each, {SMALL}', 'images', 'seconds', [*amounts], stock, ours)


def _both(
    bench: Bench, models: dict[str, Any], images: list[Photograph], *, most_often: int
) -> tuple[float, float]:
    """Seconds of both ways of finding the poses in some images."""
    return _best(
        bench,
        {
            'stock': partial(one_by_one, models['stock'], images),
            'ours': partial(together, models['ours'], images),
        },
        repeats=most_often,
    )


def _stages(bench: Bench) -> Iterator[Curve]:
    """More and more stages, at every input size: inference and training."""
    ranges = bench.sizes.scale
    for width, height in ranges.input_sizes:
        inference: list[tuple[float, float]] = []
        training: list[tuple[float, float]] = []
        for stages in ranges.stages:
            network = replace(bench.sizes.network, stages=stages, input_size=(width, height))
            inference.append(_inference(bench, network))
            training.append(_training(bench, network))
        for what, pairs, count in (
            ('inference with flip test', inference, ranges.batch_size),
            ('training step', training, ranges.train_batch_size),
        ):
            yield Curve(
                f'{what} at {height}x{width}, B = {count}',
                'stages',
                'ms per image',
                [*ranges.stages],
                [1e3 * pair[0] / count for pair in pairs],
                [1e3 * pair[1] / count for pair in pairs],
            )


def _inference(bench: Bench, network: Network) -> tuple[float, float]:
    inputs, samples = bench.batch(network, bench.sizes.scale.batch_size)
    models = bench.models(network)
    models['ours'] = fused(models['ours'])
    return _best(
        bench, {side: predictor(bench, models[side], inputs, [*samples]) for side in SIDES}
    )


def _training(bench: Bench, network: Network) -> tuple[float, float]:
    size = bench.sizes.scale.train_batch_size
    steps: dict[str, Work] = {s: Step(bench, s, size, network=network) for s in SIDES}
    # The second step still prepares convolutions.
    return _best(bench, steps, repeats=3)


def _workers(bench: Bench) -> Iterator[Curve]:
    """The training pipeline with more and more workers, after they have started."""
    most = bench.sizes.scale.max_workers or min(16, os.cpu_count() or 1)
    amounts = sorted({1, *(2**k for k in range(1, 5) if 2**k <= most), most})
    figures: dict[str, list[float]] = {side: [] for side in SIDES}
    for amount in amounts:
        for side in SIDES:
            cfg = bench.config(side, bench.sizes.network)
            figures[side].append(_samples_per_second(cfg, amount, bench.sizes.scale.samples))
    yield Curve(
        'training pipeline', 'workers', 'samples/s', [*amounts], figures['stock'], figures['ours']
    )


def _samples_per_second(cfg: object, workers: int, samples: int) -> float:
    data = loader(cfg.train_dataloader, workers=workers)  # type: ignore[attr-defined]
    taken, start = 0, 0.0
    while True:
        for batch in data:
            if not start:
                start = clock()  # the first batch comes after the workers have started
            else:
                taken += len(batch['inputs'])
            if taken >= samples:
                return taken / (clock() - start)
