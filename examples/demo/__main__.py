"""The main job from beginning to end, in minutes on a CPU: `make demo`.

Data, training through `mim train`, evaluation through `mim test`, poses through MMPose's
`inference_topdown`, pictures and a plot; then a person detector of MMDet, trained on the same
pictures, and the whole chain from pictures to poses. An interrupted demo goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from synthetic_people import make_synthetic_people

from demo.curve import plot_training
from demo.pictures import draw_poses, most_crowded
from demo.scores import pose_ap
from mspn.errors import exit_with_sentence
from mspn_plugin import InputError, get_config
from mspn_plugin.annotations.keypoint_file import check_annotations

CONFIG = 'mspn-tiny_1xb16-20e_coco-128x96'
DETECTOR = 'rtmdet-nano_1xb8-12e_person-256x192'
PEOPLE_TO_SEE = 19_400  # training crops in all: a few minutes on two cores
IMAGES_TO_SEE = 4_800  # and of the detector
ROWS = {
    'coco/AP': 'AP         OKS 0.50:0.95',
    'coco/AP .5': 'AP         OKS 0.50',
    'coco/AP .75': 'AP         OKS 0.75',
    'coco/AP (M)': 'AP medium',
    'coco/AP (L)': 'AP large',
    'coco/AR': 'AR         OKS 0.50:0.95',
    'coco/AR .5': 'AR         OKS 0.50',
    'coco/AR .75': 'AR         OKS 0.75',
    'coco/AR (M)': 'AR medium',
    'coco/AR (L)': 'AR large',
}


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Data, training, evaluation, pictures.')
    parser.add_argument(
        '--data', type=Path, metavar='FOLDER', help="data in COCO's layout (default: synthetic)"
    )
    parser.add_argument(
        '--out', type=Path, metavar='FOLDER', help='results (default: demo/<name of the data>)'
    )
    parser.add_argument('--epochs', type=int, help='length of the training (default: by its size)')
    return parser.parse_args()


def say(text: str) -> None:
    """Prints a headline with the time since the start."""
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f'\n[{minutes:2d}:{seconds:02d}] {text}', flush=True)


def show_progress(done: int, total: int) -> None:
    """Prints how many pictures are drawn, now and then."""
    if done % 120 == 0 or done == total:
        print(f'       {done} of {total} pictures', flush=True)


def same_run(work: Path, identity: dict[str, object]) -> bool:
    """Whether a work folder holds this very training, done or not; otherwise it is moved aside.

    Args:
        work: The work folder of the training.
        identity: Whatever the result depends on.
    """
    record = work / 'run.json'
    text = json.dumps(identity, indent=2)
    if record.is_file() and record.read_text(encoding='utf-8') == text:
        return True
    if work.exists():
        old = work.with_name(f'{work.name}-{time.strftime("%Y%m%d-%H%M%S")}')
        work.rename(old)
        print(
            f'       an earlier training with other data or settings is kept in {old}', flush=True
        )
    work.mkdir(parents=True)
    record.write_text(text, encoding='utf-8')
    return False


def run_mim(arguments: list[str], log: Path, *, show: tuple[str, ...]) -> None:
    """Runs mim, writes all of its output to a file and shows the lines that matter.

    Args:
        arguments: What follows ``mim``.
        log: The file for the output.
        show: Shows lines that contain one of these.

    Raises:
        InputError: The command failed.
    """
    print(f'       mim {" ".join(arguments)}', flush=True)
    command = [sys.executable, '-m', 'mim', *arguments]
    environment = dict(os.environ, PYTHONUNBUFFERED='1', PYTHONWARNINGS='ignore')
    last_error = ''
    with (
        log.open('a', encoding='utf-8') as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        ) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            if line.startswith('error: '):
                last_error = line.removeprefix('error: ').strip()
            if any(word in line for word in show):
                text = line.split('INFO - ')[-1].split('  loss_s0')[0].rstrip()[:130]
                print(f'       {text}', flush=True)
    if process.returncode:
        raise InputError(last_error or f'this step failed; all of its output is in {log}')


def train_detector(data: Path, out: Path, identity: dict[str, object], epochs: int) -> Path:
    """Trains the detector on the people's boxes, and returns its weights."""
    work = out / 'detector'
    config = get_config(DETECTOR)
    identity = dict(
        identity,
        config=hashlib.sha256(Path(config).read_bytes()).hexdigest(),
        epochs=epochs,
    )
    resume = ['--resume'] if same_run(work, identity) else []
    options = [
        f'{part}_dataloader.dataset.data_root={data}/' for part in ('train', 'val', 'test')
    ] + [
        f'{part}_evaluator.ann_file={data}/annotations/person_keypoints_val2017.json'
        for part in ('val', 'test')
    ]
    options += [
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_interval={epochs}',
        f'param_scheduler.1.T_max={epochs}',
        f'default_hooks.checkpoint.interval={max(1, epochs // 3)}',
        'randomness.seed=0',
    ]
    run_mim(
        ['train', 'mmdet', config, '--work-dir', str(work), *resume, '--cfg-options', *options],
        out / 'detector.log',
        show=('Epoch(train)', 'Epoch(val)', 'resumed'),
    )
    last = Path((work / 'last_checkpoint').read_text(encoding='utf-8').strip()).name
    checkpoint = out / f'{DETECTOR}.pth'
    shutil.copyfile(work / last, checkpoint)
    return checkpoint


@exit_with_sentence
def main() -> None:
    """Runs the steps."""
    args = parse_arguments()
    out = (
        args.out or Path('demo') / (args.data.resolve().name if args.data else 'synthetic')
    ).resolve()
    work = out / 'training'

    if args.data:
        say(f'1/7 data: {args.data}')
        data = args.data.resolve()
    else:
        data = out / 'people'
        say(f'1/7 data: synthetic people in {data}')
        try:
            make_synthetic_people(data, progress=show_progress)
        except ValueError as error:
            raise InputError(str(error)) from error
    train = data / 'annotations' / 'person_keypoints_train2017.json'
    val = data / 'annotations' / 'person_keypoints_val2017.json'
    check_annotations(val, 17)
    records = check_annotations(train, 17)['annotations']
    people = sum(any(person['keypoints'][2::3]) for person in records)
    epochs = args.epochs or max(1, round(PEOPLE_TO_SEE / people))
    config = get_config(CONFIG)
    identity = {
        'data': str(data),
        'annotations': hashlib.sha256(train.read_bytes()).hexdigest(),
        'config': hashlib.sha256(Path(config).read_bytes()).hexdigest(),
        'epochs': epochs,
    }

    say(f'2/7 training: {people} people, {epochs} epochs')
    resume = ['--resume'] if same_run(work, identity) else []
    common = ['--data-root', str(data), '--gt-boxes']
    options = [
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_interval={max(1, -(-epochs // 3))}',
        f'param_scheduler.1.T_max={epochs}',
        f'default_hooks.checkpoint.interval={max(1, -(-epochs // 4))}',
        'default_hooks.logger.interval=60',
        'randomness.seed=0',
    ]
    mim_train = ['train', 'mspn_plugin', f'{CONFIG}.py', '--work-dir', str(work), *common]
    run_mim(
        [*mim_train, *resume, '--cfg-options', *options],
        out / 'train.log',
        show=('Epoch(train)', 'Epoch(val)', 'resumed'),
    )
    last = Path((work / 'last_checkpoint').read_text(encoding='utf-8').strip()).name
    checkpoint = out / f'{CONFIG}.pth'
    shutil.copyfile(work / last, checkpoint)

    say('3/7 evaluation on the validation people, with the annotated boxes')
    metrics = out / 'metrics.json'
    mim_test = ['test', 'mspn_plugin', f'{CONFIG}.py', '--checkpoint', str(checkpoint)]
    run_mim(
        [*mim_test, '--work-dir', str(out / 'evaluation'), *common, '--out', str(metrics)],
        out / 'test.log',
        show=(),
    )
    numbers = json.loads(metrics.read_text(encoding='utf-8'))
    for key, label in ROWS.items():
        print(f'       {label:<28} {numbers[key]:7.3f}', flush=True)

    say('4/7 poses and pictures')
    crowded = most_crowded(val, 6)
    images = data / 'val2017'
    pictures = draw_poses(Path(config), checkpoint, images, crowded, out / 'pictures')

    say('5/7 training curve')
    curve = out / 'training_curve.png'
    plot_training(work, curve)

    images_seen = len(json.loads(train.read_text(encoding='utf-8'))['images'])
    det_epochs = args.epochs or max(1, round(IMAGES_TO_SEE / images_seen))
    say(f"6/7 a detector, MMDet's {DETECTOR}: {images_seen} pictures, {det_epochs} epochs")
    detector = train_detector(data, out, identity, det_epochs)

    say('7/7 the whole chain: pictures, boxes, poses, pictures')
    chain = ['run', 'mspn_plugin', 'topdown_demo', get_config(DETECTOR), str(detector)]
    detected = out / 'detected'
    run_mim(
        [
            *(*chain, config, str(checkpoint), '--input', str(images), '--out', str(detected)),
            *('--nms-thr', '0.65', '--draw-boxes'),
            *('--bbox-thr', '0.05', '--person-thr', '0.3', '--overwrite'),
        ],
        out / 'detected.log',
        show=('people in',),
    )
    ap = pose_ap(val, detected / 'predictions.json')
    annotated = numbers['coco/AP']
    print(
        f'       AP with detected boxes {ap:.3f}, with annotated boxes {annotated:.3f}', flush=True
    )

    say('done')
    for what, path in (
        ('detector', detector),
        ('detected', detected / 'pictures'),
        ('weights', checkpoint),
        ('numbers', metrics),
        ('pictures', pictures[-1]),
        ('curve', curve),
    ):
        print(f'       {what:<9} {path}')


STARTED = time.monotonic()

if __name__ == '__main__':
    main()
