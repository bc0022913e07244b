"""The light runtime: the same crops and poses as the training half, alone, in lots, in films."""

import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import walk
from mmengine.dataset import Compose

from mspn import cli
from mspn.batches import Item
from mspn.errors import InputError
from mspn.json_files import read_json
from mspn.media import open_media, read_image
from mspn.runtime import PoseModel, Predictor
from mspn_plugin.apis import PosePredictor

REPOSITORY = Path(__file__).resolve().parents[2]


def people_of(root):
    """Pictures of a COCO set and the boxes of their people."""
    content = read_json(root / 'annotations/person_keypoints_val2017.json', 'x', expected='x')
    names = {image['id']: image['file_name'] for image in content['images']}
    boxes = {root / 'val2017' / name: [] for name in names.values()}
    for person in content['annotations']:
        x, y, w, h = person['bbox']
        if w > 1 and h > 1 and not person.get('iscrowd'):
            boxes[root / 'val2017' / names[person['image_id']]].append([x, y, x + w, y + h])
    return boxes


@pytest.fixture(scope='module')
def predictor(light_models):
    return Predictor(*light_models[:2], box_thr=0.0, nms_thr=0.5)


def test_crops_are_those_of_the_training_half_to_the_pixel(light_models, real_data):
    pose, _, model = light_models
    pipeline, light = Compose(model.cfg.test_dataloader.dataset.pipeline), PoseModel(pose)
    rng, count = np.random.default_rng(0), 0
    for path, boxes in itertools.islice(people_of(real_data).items(), 30):
        pixels = read_image(path)
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        boxes += rng.normal(0, 3, boxes.shape).astype(np.float32)  # also beyond the border
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
        crops = light.crop(0, Item(pixels, boxes))
        for box, crop in zip(boxes, crops, strict=True):
            person = dict(model.dataset_meta, img=pixels, bbox=box[None], bbox_score=np.ones(1))
            wanted = pipeline(person)['inputs'].numpy().transpose(1, 2, 0)
            np.testing.assert_array_equal(crop.pixels, wanted)
            count += 1
    assert count > 80


def test_poses_are_those_of_the_training_half(light_models, real_data):
    pose, _, model = light_models
    theirs, light = PosePredictor(model), Predictor(pose)
    pictures = {path: boxes for path, boxes in people_of(real_data).items() if boxes}
    stream = theirs.stream(Item(path, boxes) for path, boxes in pictures.items())
    found = light.predict_many(pictures, pictures.values())
    apart = []
    for (_, wanted), people in zip(stream, found, strict=True):
        for one, other in zip(wanted, people, strict=True):
            apart.append(np.abs(one.pred_instances.keypoints[0] - other.keypoints).max(axis=1))
    apart = np.concatenate(apart)
    assert len(apart) > 5000 and np.mean(apart < 0.05) > 0.998  # rounding decides between equals


def test_one_many_and_frames_give_the_same(predictor, light_models, people, tmp_path):
    pictures = sorted((people / 'val2017').glob('*.jpg'))
    one_by_one = [predictor.predict(path) for path in pictures]
    assert sum(map(len, one_by_one)) > 5
    many = list(predictor.predict_many(map(read_image, pictures)))
    frames = list(predictor.stream(people / 'val2017'))
    assert [frame.name for frame, _ in frames] == [path.name for path in pictures]
    small = Predictor(*light_models[:2], box_thr=0.0, nms_thr=0.5, batch_size=2)
    for lot in (many, [found for _, found in frames], list(small.predict_many(pictures))):
        for wanted, found in zip(one_by_one, lot, strict=True):
            np.testing.assert_allclose(found.keypoints, wanted.keypoints, atol=0.02)
            np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    (whole,) = predictor.predict(pictures[0], 'whole_image')
    height, width = read_image(pictures[0]).shape[:2]
    assert whole.box.tolist() == [0, 0, width, height]
    video = walk(tmp_path / 'walk.mp4', 6, size=(96, 80))
    found = list(predictor.stream(video, detect_every=3))
    assert [frame.id for frame, _ in found] == list(range(6))
    assert all(len(people) == 1 for _, people in predictor.stream(video, 'whole_image'))


def test_many_threads_may_call_one_predictor(predictor, people):
    pictures = sorted((people / 'val2017').glob('*.jpg'))
    wanted, found = [predictor.predict(path).keypoints for path in pictures], {}

    def work(number):
        for path in pictures * 3:
            found.setdefault(number, []).append(predictor.predict(path).keypoints)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for lists in found.values():
        for expected, keypoints in zip(wanted * 3, lists, strict=True):
            np.testing.assert_allclose(keypoints, expected, atol=0.02)


def test_what_cannot_be_used_is_a_sentence(light_models, people, tmp_path):
    pose, detector, _ = light_models
    light = Predictor(pose)
    picture = next(iter((people / 'val2017').glob('*.jpg')))
    text = tmp_path / 'text.jpg'
    text.write_text('no picture')
    for call, words in (
        (lambda: light.predict(text, 'whole_image'), 'cannot be read as an image'),
        (lambda: light.predict(tmp_path / 'none.jpg', 'whole_image'), 'does not exist'),
        (lambda: light.predict(picture, [[5, 5, 1, 1]]), 'has no area'),
        (lambda: light.predict(picture, [[0, 0, np.nan, 1]]), 'is not finite'),
        (lambda: light.predict(picture, 'all'), "expected numbers or 'whole_image'"),
        (lambda: light.predict(np.zeros((4, 4)), 'whole_image'), r'expected \(h, w, 3\)'),
        (lambda: Predictor(detector), 'holds a detector model; expected a pose model'),
        (lambda: Predictor(pose, pose), 'holds a pose model; expected a detector'),
        (lambda: Predictor(pose, detector, box_thr=2), 'expected 0 to 1'),
        (lambda: Predictor(pose, device='gpu'), "the device 'gpu' is unknown"),
        (lambda: Predictor(pose, device='cuda:7'), 'install onnxruntime-gpu'),
        (lambda: light.stream(people / 'val2017', 'whole_image', detect_every=2), 'a film, and 1'),
        (lambda: light.predict(np.zeros((2, 40_000, 3), np.uint8), 'whole_image'), 'at most 32766'),
    ):
        with pytest.raises(InputError, match=words):
            call()
    several = light.predict_many([picture, text], 'whole_image')
    assert len(next(several)) == 1  # what came before a bad one is there
    with pytest.raises(InputError, match=r'image 1 \(.*text.jpg\) cannot be read'):
        next(several)


def test_the_command_with_onnx_files(light_models, people, tmp_path, capsys):
    pose, detector, _ = light_models
    out = tmp_path / 'out'
    models = ['--model', str(pose), '--detector', str(detector)]
    cli.main(['predict', *models, str(people / 'val2017'), '--out', str(out), '--csv',
              '--bbox-thr', '0', '--nms-thr', '0.5'])  # fmt: skip
    printed, said = capsys.readouterr()
    results = json.loads((out / 'predictions.json').read_text())
    lines = (out / 'people.csv').read_text().splitlines()
    assert len(results) == len(lines) - 1 > 5 and f'{len(results)} people in 3 images' in printed
    assert lines[0].startswith('frame,image,person,track,score,x1,y1,x2,y2,nose_x,nose_y')
    assert 'people/s' in said and len(list((out / 'pictures').iterdir())) == 3
    video = walk(tmp_path / 'walk.mp4', 8, size=(96, 80))
    cli.main(['predict', str(video), *models[:2], '--whole-image', '--track', '--smooth', '0.5',
              '--out', str(tmp_path / 'film')])  # fmt: skip
    results = json.loads((tmp_path / 'film' / 'predictions.json').read_text())
    assert [entry['track_id'] for entry in results] == [1] * 8
    assert '1 different people' in capsys.readouterr().out
    smooth = ['--smooth', '0.5', '--no-pictures', '--out', str(tmp_path / 'smooth')]
    cli.main(['predict', str(video), *models[:2], '--whole-image', *smooth])
    results = json.loads((tmp_path / 'smooth' / 'predictions.json').read_text())
    assert len(results) == 8 and not any('track_id' in entry for entry in results)
    assert open_media(tmp_path / 'film' / 'walk.mp4').num_frames == 8


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--det-cat-id', '3', '--detector', 'DETECTOR'], '--det-cat-id is for a config'),
        (['--heatmaps'], '--heatmaps is for a config and a checkpoint'),
        (['--cfg-options', 'a=1'], '--cfg-options is for a config'),
        (['--track'], '--track needs a video or a camera'),
        (['--smooth', '0.5'], '--smooth needs a video or a camera'),
    ],
)
def test_the_command_says_what_does_not_fit(light_models, people, tmp_path, capsys, options, words):
    picture = next(iter((people / 'val2017').glob('*.jpg')))
    options = [light_models[1] if option == 'DETECTOR' else option for option in options]
    boxes = [] if '--detector' in options else ['--whole-image']
    arguments = ['predict', picture, '--model', light_models[0], *boxes, *options]
    with pytest.raises(SystemExit) as caught:
        cli.main([*map(str, arguments), '--out', str(tmp_path / 'out')])
    assert caught.value.code == 2 and words in capsys.readouterr().err


def test_the_command_takes_its_words_apart(capsys):
    parser = cli.make_parser()
    for words, model, source in (
        ('a.onnx x.jpg', ['a.onnx'], 'x.jpg'),
        ('name x.jpg', ['name'], 'x.jpg'),
        ('config weights x.jpg', ['config', 'weights'], 'x.jpg'),
    ):
        args = parser.parse_args(['predict', '--whole-image', '--model', *words.split()])
        args.settle(args.command, args)
        assert (args.model, args.input) == (model, source)
    for words, count in (
        ('--model config weights --detector d.onnx x.jpg', (2, 1)),
        ('--model config weights --detector config weights x.jpg', (2, 2)),
        ('--model config weights --detector name x.jpg', (2, 1)),
        ('--detector config weights --model p.onnx x.jpg', (1, 2)),
        ('--model name --detector name x.jpg', (1, 1)),
    ):
        args = parser.parse_args(['predict', *words.split()])
        args.settle(args.command, args)
        assert (len(args.model), len(args.detector), args.input) == (*count, 'x.jpg')
    for arguments, words in (
        (['--model', 'a.onnx', '--whole-image'], 'are required: input'),
        (['x.jpg', '--model', 'a', 'b', 'c', 'd', '--whole-image'], '--model takes an ONNX file'),
        (['x.jpg', '--model', 'a.onnx', 'b', '--whole-image'], '--model takes an ONNX file'),
    ):
        with pytest.raises(SystemExit) as caught:
            cli.main(['predict', *arguments])
        assert caught.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.slow
def test_it_runs_where_nothing_else_is_installed(light_models, people, tmp_path):
    """A new environment with numpy, OpenCV and ONNX Runtime alone, from the registry."""
    venv = tmp_path / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', venv], check=True)
    uv = [sys.executable, '-m', 'uv', 'pip', 'install', '--python', venv / 'bin' / 'python']
    wheel = [f'{REPOSITORY}[runtime]', '--no-deps']
    needs = ['numpy', 'opencv-python-headless<5', 'onnxruntime']
    done = subprocess.run([*uv, *needs], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f'no registry: {done.stderr.strip().splitlines()[-1]}')
    subprocess.run([*uv, *wheel], check=True, capture_output=True)
    size = sum(path.stat().st_size for path in venv.rglob('*') if path.is_file())
    assert size < 400e6, f'{size / 1e6:.0f} MB'
    picture = str(next(iter((people / 'val2017').glob('*.jpg'))))
    models = ['--model', light_models[0], '--detector', light_models[1], '--bbox-thr', '0']
    command = [venv / 'bin' / 'mspn', 'predict', picture, *models, '--out', tmp_path / 'out']
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'out' / 'predictions.json').read_text())
    assert cv2.imread(str(next((tmp_path / 'out' / 'pictures').iterdir()))) is not None
