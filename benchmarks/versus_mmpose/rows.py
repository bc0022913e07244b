"""The rows: each function checks that both sides give the same, says what it compared, then times.

They are generators: the check runs when the first thing is asked of one, the measurements when more
is. So every check runs before any measurement.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.optim import build_optim_wrapper
from mmpose.apis import inference_topdown
from mmpose.registry import MODELS
from torch import Tensor

from mspn.errors import InputError
from mspn_plugin.apis import infer_people

from .checks import CheckFailed, clear_peaks, same_keypoints, same_numbers, same_poses
from .report import Row, timed_row
from .sides import SIDES, Photograph, Sides
from .timing import Work, threads

_CHECKED = 24  # samples of the data path


def data(sides: Sides) -> Iterator[str | Row]:
    """Training samples from one worker with one thread, sending included, and their bytes."""
    loaders = {side: sides.loader(side, count=_CHECKED) for side in SIDES}
    yield _check_samples(sides, *(loaders[side].dataset for side in SIDES))
    count = sides.settings.samples
    with threads(1):
        working = {side: sides.loader(side, count=count, workers=1) for side in SIDES}
        works = {side: partial(deque, working[side], maxlen=0) for side in SIDES}
        seconds = sides.times(works, least_time=0)
    yield timed_row('data', 'one worker in training, per sample', seconds, per=count)
    kilobytes = ([sent_bytes(next(iter(loaders[side]))) / _CHECKED / 1e3] for side in SIDES)
    yield Row('bytes', 'sent from a worker, per sample, image included', 'kB', *kilobytes)


def _check_samples(sides: Sides, stock: Any, ours: Any) -> str:
    """Compares images and targets of the same samples with the same random augmentation."""
    _, codec = sides.codecs()
    render = codec.renderer()
    keypoints = 0
    for index in range(_CHECKED):
        samples = []
        for dataset in (stock, ours):
            random.seed(index)
            np.random.seed(index)
            samples.append(dataset[index])
        same_numbers('training images', *(one['inputs'] for one in samples), tolerance=0.01)
        wanted, found = (one['data_samples'] for one in samples)
        own = found.gt_instance_labels
        cells, labelled = map(torch.as_tensor, (own.keypoint_cells, own.keypoint_weights))
        levels = wanted.gt_fields.nlevel
        # MMPose keeps keypoints up to a cell outside the image: compared is what both keep.
        kept = torch.as_tensor(wanted.gt_instance_labels.keypoint_weights).reshape(levels, -1)[0]
        kept = (kept > 0) & (labelled[0] > 0)
        keypoints += int(kept.sum())
        for level in range(levels if kept.any() else 0):
            maps = torch.as_tensor(wanted.gt_fields[level].heatmaps)[kept]
            # MMPose scales a map by its centre, which near a border is not its maximum.
            maps = maps * (255 / maps.amax(dim=(1, 2), keepdim=True))
            # Its networks of one stage leave out the coarsest of the five levels.
            own_maps = render(cells, labelled, level + codec.num_levels - levels)[0][kept]
            same_numbers(f'target maps of level {level}', maps, own_maps, tolerance=1e-3)
    if not keypoints:
        raise CheckFailed('the training data has no keypoints to compare')
    return f'images and targets of training, {keypoints} keypoints'


class _Counter(pickle.Pickler):
    """Pickles, but counts tensors, which lie in shared memory, instead of storing them."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[int, int] = {}

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, Tensor):
            return NotImplemented
        storage = obj.untyped_storage()
        self.storages[storage.data_ptr()] = storage.nbytes()
        return str, (f'{storage.data_ptr()} {tuple(obj.shape)} {obj.dtype}',)


def sent_bytes(batch: dict[str, Any]) -> int:
    """Bytes that a worker would send for a collated batch."""
    file = io.BytesIO()
    counter = _Counter(file)
    counter.dump(batch)
    return len(file.getvalue()) + sum(counter.storages.values())


def ohkm(sides: Sides) -> Iterator[str | Row]:
    """The loss of hard keypoints, forward and backward."""
    count, device = sides.settings.losses, sides.settings.device
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, count, 17, 64, 48, generator=generator).to(device)
    output, target = (50 * maps[0]).requires_grad_(), 100 * maps[1]
    weights = (torch.rand(count, 17, generator=generator) > 0.2).float().to(device)
    stock = MODELS.build(dict(type='KeypointOHKMMSELoss', use_target_weight=True, topk=8))
    losses = dict(stock=stock, ours=MODELS.build(dict(type='OHKMMSELoss', topk=8)))

    def work(side: str) -> tuple[Tensor, Tensor | None]:
        output.grad = None
        loss = losses[side](output, target, weights)
        loss.backward()
        return loss, output.grad

    (wanted, slope), (found, own_slope) = work('stock'), work('ours')
    same_numbers('OHKM loss', wanted, found, tolerance=1e-5)
    same_numbers('gradient of the OHKM loss', slope, own_slope, tolerance=1e-5)
    yield 'OHKM loss and its gradient'
    seconds = sides.times({side: partial(work, side) for side in SIDES})
    yield timed_row('ohkm', f'OHKM loss, forward and backward, B = {count}', seconds)


def decode(sides: Sides) -> Iterator[str | Row]:
    """Keypoints of a batch of heatmaps."""
    stock, ours = sides.codecs()
    count = sides.settings.decoded
    points = np.random.default_rng(0).uniform((32, 32), (159, 223), (count, 1, 17, 2))
    peaks = [stock.encode(person, np.ones((1, 17)))['heatmaps'] for person in points]
    # As a network predicts them: not quite as high, on a ground that is not flat.
    noise = torch.rand(count, 17, 64, 48, generator=torch.Generator().manual_seed(1))
    heatmaps = (torch.from_numpy(np.array(peaks)) * 0.7 + 20 * noise).to(sides.settings.device)
    works = dict(
        stock=lambda: [stock.decode(one) for one in heatmaps.cpu().numpy()],
        ours=lambda: ours.batch_decode(heatmaps),
    )
    wanted, wanted_scores = map(np.array, zip(*works['stock'](), strict=True))
    found, scores = map(np.array, works['ours']())
    same_numbers('scores of keypoints', wanted_scores, scores, tolerance=1e-4)
    clear = clear_peaks(heatmaps)
    compared = same_keypoints('decoded keypoints', wanted[:, 0], found[:, 0], clear)
    yield f'{compared} decoded keypoints'
    what = f'decoding, per person, B = {count}'
    yield timed_row('decode', what, sides.times(works), unit='us', per=count)


def train(sides: Sides) -> Iterator[str | Row]:
    """Whole training steps: preprocessing, our targets, forward, backward, optimizer."""
    yield _check_training_mode(sides)
    count = sides.settings.batch_size
    works = {side: _step(sides, side) for side in SIDES}
    works['bf16'] = torch.autocast(sides.settings.device.type, torch.bfloat16)(works['ours'])
    seconds = sides.times(works, least_time=0)
    what = f'training step, {sides.settings.stages} stages, B = {count}, per image'
    yield timed_row('train', what, seconds, per=count)
    yield timed_row('train-bf16', f'{what}, bf16 against fp32', seconds, per=count, ours='bf16')


def _check_training_mode(sides: Sides) -> str:
    """Compares the heatmaps of every unit; targets are what the data path's check is for."""
    # In double precision: here a random network makes rounding ten times as large in every stage.
    inputs = sides.model('ours').data_preprocessor(sides.crops(2))['inputs'].double()
    maps = []
    for side in SIDES:
        model = sides.model(side).double()
        model.train()
        with torch.no_grad():
            units = model.head(model.extract_feat(inputs))
        nested = (unit if isinstance(unit, list) else [unit] for unit in units)
        maps.append([unit for stage in nested for unit in stage])
    for index, (stock, ours) in enumerate(zip(*maps, strict=True)):
        same_numbers(f'heatmaps of unit {index} in training', stock, ours, tolerance=1e-6)
    return f'heatmaps of {len(maps[0])} units in training mode'


def _step(sides: Sides, side: str) -> Work:
    """A training step with a batch of the side's own pipeline."""
    count = sides.settings.batch_size
    model = sides.model(side)
    model.train()
    optimizer = build_optim_wrapper(model, sides.config(side).optim_wrapper)
    batch = next(iter(sides.loader(side, count=count, batch_size=count)))
    return partial(model.train_step, batch, optimizer)


def inference(sides: Sides) -> Iterator[str | Row]:
    """Crops to keypoints with flip test."""
    yield _check_poses(sides)
    count = sides.settings.batch_size
    crops = sides.crops(count)
    works = {side: partial(_predict, sides.predictor(side), crops) for side in SIDES}
    works['bf16'] = torch.autocast(sides.settings.device.type, torch.bfloat16)(works['ours'])
    seconds = sides.times(works)
    what = f'inference with flip test, {sides.settings.stages} stages, B = {count}, per person'
    yield timed_row('inference', what, seconds, per=count)
    yield timed_row('inference-bf16', f'{what}, bf16 against fp32', seconds, per=count, ours='bf16')


@torch.no_grad()
def _predict(model: Any, crops: dict[str, Any]) -> Any:
    return model.test_step(crops)


@cache
def _check_poses(sides: Sides) -> str:
    models = (sides.predictor(side, output_heatmaps=True) for side in SIDES)
    return same_poses(*(_predict(model, sides.crops(8)) for model in models))


def people(sides: Sides) -> Iterator[str | Row]:
    """Images and boxes to poses: `infer_people` against `inference_topdown`, image by image."""
    images = sides.photographs(sides.settings.photographs, least_people=4)
    ways = dict(stock=_one_by_one, ours=_together)
    found = (ways[side](sides.model(side, output_heatmaps=True), images[:1])[0] for side in SIDES)
    yield f'{same_poses(*found)}, end to end'
    works = {side: partial(ways[side], sides.model(side), images) for side in SIDES}
    count = sum(len(boxes) for _, boxes in images)
    stages = sides.settings.stages
    what = f'infer_people, {stages} stages, {len(images)} images, {count} people, per person'
    yield timed_row('people', what, sides.times(works, slow=True), per=count)


def _one_by_one(model: Any, images: list[Photograph]) -> list[Any]:
    return [inference_topdown(model, str(path), boxes) for path, boxes in images]


def _together(model: Any, images: list[Photograph]) -> list[Any]:
    return list(infer_people(model, *map(list, zip(*images, strict=True))))


def evaluation(sides: Sides) -> Iterator[str | Row]:
    """Both sides' ``tools/test.py``, from the command to the numbers."""
    yield _check_poses(sides)
    works = {side: partial(run_script, sides, *c) for side, c in sides.evaluation().items()}
    seconds = sides.times(works, slow=True, warm_up=False)
    settings = sides.settings
    what = f'tools/test.py, {settings.stages} stages, the first {settings.evaluated} boxes'
    yield timed_row('evaluation', what, seconds, unit='s', note='start and imports included')


def run_script(sides: Sides, script: str, *arguments: str) -> None:
    """Runs a script with the benchmark's threads and device; raises `InputError` if it fails."""
    environment = dict(os.environ, PYTHONWARNINGS='ignore')
    if sides.settings.threads != os.cpu_count():
        environment['OMP_NUM_THREADS'] = str(sides.settings.threads)
    if sides.settings.device.type == 'cpu':
        environment['CUDA_VISIBLE_DEVICES'] = ''
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise InputError(f'{Path(script).name} failed: {(done.stderr or done.stdout)[-800:]}')


def imports(sides: Sides) -> Iterator[str | Row]:
    """``import mspn_plugin`` in a new process."""
    yield 'nothing to compare for the import'
    command = [sys.executable, '-W', 'ignore', '-c', 'import mspn_plugin']
    run = partial(subprocess.run, command, check=True, cwd=sides.folder)
    seconds = sides.times({'ours': run}, slow=True)
    note = 'on this stack MMPose cannot be imported without it'
    yield timed_row('imports', 'import mspn_plugin, a new process', seconds, unit='s', note=note)
