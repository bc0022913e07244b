"""The main job from beginning to end, in minutes on a CPU: `make demo`.

First the poses in two photographs, by the models that ship. Then data, training through
`mim train`, evaluation through `mim test`, poses, pictures and a plot; a person detector of MMDet,
trained on the same pictures, and the whole chain from pictures to poses. An interrupted demo goes
on where it stopped.
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

from demo.results import draw_poses, pose_ap
from mspn.errors import InputError, exit_with_sentence
from mspn.json_files import read_json
from mspn_plugin import get_config

CONFIG = 'mspn-tiny_1xb16-20e_coco-128x96'
DETECTOR = 'rtmdet-nano_1xb8-12e_person-256x192'
PEOPLE_TO_SEE = 19_400  # training crops in all: a few minutes on two cores
IMAGES_TO_SEE = 4_800  # and of the detector
PHOTOS = Path(__file__).resolve().parents[1] / 'photos'
STARTED = time.monotonic()


def say(text: str) -> None:
    """Prints a headline with the time since the start."""
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f'\n[{minutes:2d}:{seconds:02d}] {text}', flush=True)


def show(text: str) -> None:
    """Prints a line below a headline."""
    print(f'       {text}', flush=True)


def same_run(work: Path, identity: dict[str, object]) -> bool:
    """Whether a work folder holds this very training, done or not; otherwise it is moved aside."""
    record = work / 'run.json'
    text = json.dumps(identity, indent=2)
    if record.is_file() and record.read_text(encoding='utf-8') == text:
        return True
    if work.exists():
        old = work.with_name(f'{work.name}-{time.strftime("%Y%m%d-%H%M%S")}')
        work.rename(old)
        show(f'an earlier training with other data or settings is kept in {old}')
    work.mkdir(parents=True)
    record.write_text(text, encoding='utf-8')
    return False


def run_mim(*arguments: object, log: Path, lines: tuple[str, ...] = ()) -> None:
    """Runs mim; see `run_command`."""
    run_command('mim', *arguments, log=log, lines=lines)


def run_command(*arguments: object, log: Path, lines: tuple[str, ...] = ()) -> None:
    """Runs a module with all output in a log, and shows lines that contain one of ``lines``."""
    command = [sys.executable, '-P', '-m', *map(str, arguments)]
    log.parent.mkdir(parents=True, exist_ok=True)
    show(' '.join(command[3:]))
    options = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True}
    options['env'] = dict(os.environ, PYTHONUNBUFFERED='1', PYTHONWARNINGS='ignore')
    last_error = ''
    with log.open('a', encoding='utf-8') as file, subprocess.Popen(command, **options) as process:
        for line in process.stdout or ():
            file.write(line)
            if line.startswith('error: '):
                last_error = line.removeprefix('error: ').strip()
            if any(word in line for word in lines):
                show(line.split('INFO - ')[-1].split('  loss_s0')[0].rstrip()[:130])
    if process.returncode:
        raise InputError(last_error or f'this step failed; all of its output is in {log}')


def train(work: Path, *arguments: str, identity: dict[str, object], options: list[str]) -> Path:
    """Trains a model, or goes on with that, and returns its weights; `identity` has ``epochs``."""
    name, epochs = Path(arguments[1]).stem, int(str(identity['epochs']))
    config = hashlib.sha256(Path(get_config(name)).read_bytes()).hexdigest()
    resume = ['--resume'] if same_run(work, dict(identity, config=config)) else []
    options = [*options, f'train_cfg.max_epochs={epochs}', f'param_scheduler.1.T_max={epochs}']
    options += [f'default_hooks.checkpoint.interval={-(-epochs // 4)}', 'randomness.seed=0']
    run_mim(
        *('train', *arguments, '--work-dir', work, *resume, '--cfg-options', *options),
        log=work.with_suffix('.log'),
        lines=('Epoch(train)', 'Epoch(val)', 'resumed'),
    )
    last = Path((work / 'last_checkpoint').read_text(encoding='utf-8').strip()).name
    return Path(shutil.copyfile(work / last, work.parent / f'{name}.pth'))


@exit_with_sentence
def main() -> None:
    """Runs the steps."""
    parser = argparse.ArgumentParser(description='Data, training, evaluation, pictures.')
    parser.add_argument('--data', type=Path, help="folder in COCO's layout (default: synthetic)")
    parser.add_argument('--out', type=Path, help='results (default: demo/<name of the data>)')
    parser.add_argument('--epochs', type=int, help='length of the training (default: by its size)')
    args = parser.parse_args()
    name = args.data.resolve().name if args.data else 'synthetic'
    out = (args.out or Path('demo') / name).resolve()
    data = args.data.resolve() if args.data else out / 'people'
    say('the models that ship: poses in photographs')
    found = out / 'photos'
    run_command(
        *('mspn', 'predict', PHOTOS, '--out', found, '--overwrite'),
        log=out / 'photos.log',
        lines=('people in',),
    )
    show(str(found / 'pictures'))

    say(f'1/7 data: {data if args.data else f"synthetic people in {data}"}')
    if not args.data:
        try:
            make_synthetic_people(data)
        except ValueError as error:
            raise InputError(str(error)) from error
    annotations = data / 'annotations' / 'person_keypoints_train2017.json'
    val, images = annotations.with_name('person_keypoints_val2017.json'), data / 'val2017'
    content = read_json(annotations, 'the annotation file', expected='a COCO keypoint file')
    try:  # They are only counted here: `mim train` checks the files.
        people = sum(any(person['keypoints'][2::3]) for person in content['annotations'])
        num_images = max(1, len(content['images']))
    except (KeyError, TypeError) as error:
        raise InputError(f'{annotations} is not a COCO keypoint file') from error
    digest = hashlib.sha256(annotations.read_bytes()).hexdigest()
    identity: dict[str, object] = {'data': str(data), 'annotations': digest}

    epochs = args.epochs or max(1, round(PEOPLE_TO_SEE / max(1, people)))
    say(f'2/7 training: {people} people, {epochs} epochs')
    common = ['--data-root', str(data), '--gt-boxes']
    checkpoint = train(
        *(out / 'training', 'mspn_plugin', f'{CONFIG}.py', *common),
        identity={**identity, 'epochs': epochs},
        options=[f'train_cfg.val_interval={-(-epochs // 3)}', 'default_hooks.logger.interval=60'],
    )

    say('3/7 evaluation on the validation people, with the annotated boxes')
    metrics, folder = out / 'metrics.json', ('--work-dir', out / 'evaluation')
    test = ('test', 'mspn_plugin', f'{CONFIG}.py', '--checkpoint', checkpoint, *common, *folder)
    run_mim(*test, '--out', metrics, log=out / 'test.log')
    numbers = json.loads(metrics.read_text(encoding='utf-8'))
    for key, number in numbers.items():
        show(f'{key:<14} {number:7.3f}')

    say('4/7 poses and pictures')
    overview = out / 'pictures' / 'overview.jpg'
    draw_poses(CONFIG, checkpoint, images, val, overview)

    say('5/7 a report: where the model fails')
    report = out / 'report.html'
    run_command('mspn', 'report', out / 'training', '--out', report, log=out / 'report.log')

    epochs = args.epochs or max(1, round(IMAGES_TO_SEE / num_images))
    say(f"6/7 a detector, MMDet's {DETECTOR}: {num_images} pictures, {epochs} epochs")
    parts = ('train', 'val', 'test')
    detector = train(
        *(out / 'detector', 'mmdet', get_config(DETECTOR)),
        identity={**identity, 'epochs': epochs},
        options=[f'{part}_dataloader.dataset.data_root={data}/' for part in parts]
        + [f'{part}_evaluator.ann_file={val}' for part in parts[1:]]
        + [f'train_cfg.val_interval={epochs}'],
    )

    say('7/7 the whole chain: pictures, boxes, poses, pictures')
    models = (get_config(DETECTOR), detector, get_config(CONFIG), checkpoint)
    thresholds = ('--nms-thr', 0.65, '--bbox-thr', 0.05, '--person-thr', 0.3)
    folders = ('--input', images, '--out', out / 'detected', '--draw-boxes', '--overwrite')
    run_mim(
        *('run', 'mspn_plugin', 'topdown_demo', *models, *folders, *thresholds),
        log=out / 'detected.log',
        lines=('people in',),
    )
    ap = pose_ap(val, out / 'detected' / 'predictions.json')
    show(f'AP with detected boxes {ap:.3f}, with annotated boxes {numbers["coco/AP"]:.3f}')

    say('done')
    for path in (checkpoint, detector, metrics, report, overview, out / 'detected' / 'pictures'):
        show(str(path))


if __name__ == '__main__':
    main()
