"""Trains the models that ship, on a folder in COCO's layout, and writes them as they ship.

Two cores need about seven hours, a GPU one. A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mspn.errors import InputError, exit_with_sentence
from mspn.models import DETECTOR, POSE, SHIPPED
from mspn_plugin import get_config
from mspn_plugin.engine.bf16 import cpu_has_bf16

from .calibrate import shift_of, shifted

# What comes before the config that ships, and for how many of its epochs: each part's learning rate
# ends at about the one that the next begins with.
BEFORE = (
    ('mspn-small_1xb32-30e_coco-128x96', 25),
    ('mspn-small_1xb32-40e_coco-192x144', 15),
    ('mspn-small_1xb32-12e_coco-256x192', 12),
)
LICENCE = 'Apache-2.0'
# Large blocks of memory are kept between steps: a fifth of the time on a CPU.
MEMORY = dict(MALLOC_MMAP_THRESHOLD_='2000000000', MALLOC_TRIM_THRESHOLD_='8000000000')


def run(*command: object) -> None:
    """Runs a module of Python to its end."""
    words = [sys.executable, '-P', '-W', 'ignore', '-m', *map(str, command)]
    print(' '.join(words[5:]), flush=True)
    if subprocess.run(words, env=os.environ | MEMORY).returncode:
        raise InputError(f'{command[0]} {command[1]} failed; what it printed says why')


def last(work: Path) -> Path:
    """The newest checkpoint of a training."""
    return Path((work / 'last_checkpoint').read_text(encoding='utf-8').strip())


def export(config: str, checkpoint: Path, out: Path, name: str, *more: str) -> Path:
    """Writes what a training has made as it ships; gives the file of the weights."""
    place = out / 'weights' / f'{name}.safetensors'
    place.parent.mkdir(exist_ok=True)
    files = ['-o', place.with_suffix('.onnx'), '--weights', place, '--half', '--overwrite']
    run('mspn', 'export', config, checkpoint, *more, *files, '--licence', LICENCE)
    return place


def data_options(args: argparse.Namespace, train: str) -> list[str]:
    """Where the pictures and their annotations are, as settings of a config."""
    data, options = args.data.resolve(), []
    for split, file, images in (
        ('train', train, args.train_images),
        ('val', args.val, args.val_images),
        ('test', args.val, args.val_images),
    ):
        dataset = f'{split}_dataloader.dataset'
        options += [f'{dataset}.data_root={data}/', f'{dataset}.ann_file={file}']
        options += [f'{dataset}.data_prefix.img={images}']
        if split != 'train':
            options += [f'{split}_evaluator.ann_file={data / file}']
    return options


@exit_with_sentence
def main() -> None:
    """Trains, evaluates, exports."""
    parser = argparse.ArgumentParser(description='Trains the models that ship.')
    add: Any = parser.add_argument
    add('data', type=Path, help="a folder in COCO's layout")
    add('--train', default='annotations/person_keypoints_train2017.json', metavar='FILE')
    add('--train-images', default='train2017/', metavar='FOLDER')
    add('--val', default='annotations/person_keypoints_val2017.json', metavar='FILE')
    add('--val-images', default='val2017/', metavar='FOLDER')
    what = 'annotations for the last part: of pictures as it will be used on (those of --train)'
    add('--last', metavar='FILE', help=what)
    what = (
        'annotations for the detector: of pictures in which everybody has a box (those of --train)'
    )
    add('--boxes', metavar='FILE', help=what)
    add('--out', type=Path, default=Path('work_dirs/small'), help='trainings and their results')
    add('--cfg-options', nargs='*', default=[], metavar='KEY=VALUE', help='for all trainings')
    args = parser.parse_args()
    amp = ['--amp', 'bf16'] if cpu_has_bf16() else []
    pose, detector = SHIPPED

    start: list[str] = []
    for config, epochs in (*BEFORE, (pose.config, None)):
        train = args.train if epochs else args.last or args.train
        options = [*data_options(args, train), *args.cfg_options]
        work = args.out / config
        length = [f'train_cfg.max_epochs={epochs}'] if epochs else []
        settings = ['--cfg-options', 'randomness.seed=0', *length, *start, *options]
        run('mspn', 'train', config, *amp, '--gt-boxes', '--work-dir', work, '--resume', *settings)
        start = [f'load_from={last(work)}']
    weights = export(pose.config, last(args.out / pose.config), args.out, POSE, '--no-flip-test')
    run('mspn', 'test', pose.config, weights, '--gt-boxes', '--cfg-options', *options)

    options = [*data_options(args, args.boxes or args.train), *args.cfg_options]
    if amp:
        options.append('optim_wrapper.type=CpuBf16OptimWrapper')
    work = args.out / detector.config
    command = ['train', 'mmdet', get_config(detector.config), '--work-dir', work, '--resume']
    run('mim', *command, '--cfg-options', 'randomness.seed=0', *options)
    last_one, where = last(work), (args.out, DETECTOR, '--detector')
    weights = export(detector.config, last_one, *where)
    shift = shift_of(
        weights.with_suffix('.onnx'), args.data / args.val, args.data / args.val_images
    )
    export(detector.config, shifted(last_one, shift, work / 'shifted.pth'), *where)
    print(f'written: {weights.parent}')


if __name__ == '__main__':
    main()
