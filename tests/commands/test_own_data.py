"""A folder of `mspn new`: made, trained, tested, reported, exported, and used."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from fish import LIMBS, NAMES, make_fish
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import VISBACKENDS, DefaultScope
from mmengine.visualization import LocalVisBackend
from mmpose.registry import METRICS, MODELS
from mmpose.visualization import PoseLocalVisualizer
from own_labels import cvat, yolo
from runs import NO_WORKERS, Line, sentence, train_on

from mspn import cli
from mspn.models import DETECTOR, POSE, weights_of
from mspn_plugin import InputError
from mspn_plugin.annotations.own_data import coco_sigmas
from mspn_plugin.checkpoints.files import read_state_dict
from mspn_plugin.checkpoints.take_over import take_over
from mspn_plugin.commands import new
from mspn_plugin.commands.run_config import read_config

QUICK = ['--cfg-options', *NO_WORKERS]
SHORT = [*QUICK, 'train_cfg.max_epochs=2', 'train_cfg.val_interval=1', 'randomness.seed=0']
SHORT += ['default_hooks.checkpoint.interval=1', 'train_dataloader.batch_size=8']


@VISBACKENDS.register_module()
class Counted(LocalVisBackend):
    made = 0

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        Counted.made += 1


def mspn(*words):
    PoseLocalVisualizer._instance_dict.clear()  # a new process would have none
    with DefaultScope.overwrite_default_scope('mmpose'):
        cli.main([str(word) for word in words])


@pytest.fixture(scope='module')
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp('labels')
    content = make_fish(folder / 'pictures', 12)
    cvat(content, folder / 'pictures', folder / 'cvat')
    return folder / 'cvat'


@pytest.fixture(scope='module')
def fish(labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp('own') / 'fish'
    mspn('new', labels, '--out', folder)
    return folder


@pytest.fixture(scope='module')
def trained(fish, capfd_of_module):
    Counted.made = 0  # a worker that comes back to this file trains again
    mspn('train', fish, '--amp', 'none', *SHORT, 'visualizer.vis_backends.0.type=Counted')
    assert Counted.made == 1  # the report at the end does not write to where the curves went
    return fish, capfd_of_module()


@pytest.fixture(scope='module')
def capfd_of_module(request):
    capture = request.config.pluginmanager.getplugin('capturemanager')

    def read():
        return capture.read_global_capture().out

    return read


def test_what_is_in_the_folder(fish, labels):
    names = sorted(path.name for path in fish.iterdir() if not path.name.startswith('run'))
    assert names == sorted(
        'annotations config.py detector.py images labels.jpg metainfo.py notes.txt'.split()
        + ['start.safetensors']
    )
    for name in ('config.py', 'detector.py'):
        assert len((fish / name).read_text().splitlines()) <= 15
    links = list((fish / 'images').iterdir())
    assert len(links) == 12 and all(link.is_symlink() for link in links)
    cfg = read_config(str(fish))
    assert cfg.model.head.num_keypoints == 6 and cfg.val_dataloader.dataset.bbox_file is None
    assert cfg.model.head.decoder.input_size == (192, 144)  # fish are wider than high
    steps = [step['type'] for step in cfg.train_dataloader.dataset.pipeline]
    assert 'HalfBodyBox' not in steps and 'UniformBoxTransform' in steps
    info = Config.fromfile(fish / 'metainfo.py').dataset_info
    assert [info['keypoint_info'][i]['name'] for i in range(6)] == NAMES
    colours = [tuple(info['keypoint_info'][i]['color']) for i in range(6)]
    assert colours[1] == colours[4] != colours[2] == colours[5] and len(set(colours)) == 3
    assert len(info['skeleton_info']) == len(LIMBS)


def test_sides_that_nobody_knows_are_not_mirrored(tmp_path):
    content = make_fish(tmp_path / 'pictures', 4, size=(96, 72))
    yolo(dict(train=content), tmp_path / 'pictures', tmp_path / 'labels')
    mspn('new', tmp_path / 'labels', '--out', tmp_path / 'own')
    assert len((tmp_path / 'own' / 'config.py').read_text().splitlines()) <= 15
    cfg = read_config(str(tmp_path / 'own'))
    steps = [step['type'] for step in cfg.train_dataloader.dataset.pipeline]
    assert 'RandomFlip' not in steps and 'UniformBoxTransform' in steps and len(steps) > 5
    assert cfg.model.test_cfg.flip_test is False


def test_the_number_of_epochs_fits_the_data():
    people = [2, 50, 500, 5000, 100_000]
    epochs = [new.epochs_for(count) for count in people]
    assert epochs == sorted(epochs, reverse=True) and epochs[0] == 210 and epochs[-1] == 20
    assert 4000 < 50 * epochs[1] < 12_000  # minutes on two cores


def test_a_folder_that_is_there_and_one_that_fails_stay_as_they_are(
    fish, labels, tmp_path, capsys, monkeypatch
):
    assert 'is not empty; give a folder' in sentence(capsys, mspn, 'new', labels, '--out', fish)
    words = sentence(capsys, mspn, 'new', labels, '--out', tmp_path / 'no' / 'x')
    assert 'no does not exist; create it' in words
    words = sentence(capsys, mspn, 'new', labels, '--out', tmp_path / ('x' * 250))
    assert 'cannot be written' in words
    for odd in ('a\rb', 'P4\udce9'):
        words = sentence(capsys, mspn, 'new', labels, '--out', tmp_path / odd)
        assert 'cannot stand in a config' in words
    for command in (
        ['new', 'x' * 300, '--out', 'y'],
        ['check', 'x' * 300, '.'],
        ['report', 'x' * 300],
    ):
        assert 'xxx' in sentence(capsys, mspn, *command)
    (tmp_path / 'empty').mkdir()
    words = sentence(capsys, mspn, 'new', tmp_path / 'empty', '--out', tmp_path / 'x')
    assert 'holds no pictures' in words

    def fail(data, folder):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(new, '_first_weights', fail)
    words = sentence(capsys, mspn, 'new', labels, '--out', tmp_path / 'x')
    assert 'x cannot be written (No space left on device)' in words
    assert [path.name for path in tmp_path.iterdir()] == ['empty']


def test_weights_for_other_keypoints(fish):
    config, place = weights_of(POSE, 'pose')
    cfg = read_config(config)
    cfg.model.backbone.init_cfg = None
    theirs = list(coco_sigmas())
    weights = read_state_dict(place)
    same = take_over(weights, MODELS.build(cfg.model), theirs, theirs)
    for name, value in weights.items():
        assert torch.equal(same[name], value.to(same[name].dtype)), name
    ours = ['Left Eye', 'fin', 'right_ankle']
    cfg.model.head.num_keypoints = 3
    model = MODELS.build(cfg.model)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    mixed = take_over(weights, model, theirs, ours)
    for name in (n for n in mixed if n.startswith('head.stages') and n.endswith('conv.weight')):
        assert torch.equal(mixed[name][0], weights[name][theirs.index('left_eye')].float())
        assert torch.equal(mixed[name][1], fresh[name][1])
        assert torch.equal(mixed[name][2], weights[name][theirs.index('right_ankle')].float())
    with pytest.raises(InputError, match='of another model: .* does not fit'):
        take_over({}, model, theirs, ours)


def test_a_training_says_one_line_for_each_validation(trained):
    folder, out = trained
    lines = [line for line in out.splitlines() if line.startswith('epoch')]
    pattern = (
        r'epoch {}/2  loss [\d.]+  accuracy [\d.e-]+  AP \d\.\d+ \(best \d\.\d+\)  0:\d\d:\d\d left'
    )
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(pattern.format(number), line), line
    assert 'mmengine - INFO' not in out and 'Average Precision' not in out
    log = next((folder / 'run').glob('*/*.log'))
    assert 'Epoch(train)' in log.read_text() and str(log) in out
    assert 'a report on it: ' in out


def test_the_report_holds_all_in_one_file(trained):
    folder, _ = trained
    text = (folder / 'run' / 'report.html').read_text()
    assert len(text) < 5e6 and not re.search(r'(src|href)="(?!data:|#)', text)
    assert '<script' not in text and 'url(' not in text.replace('url(#', '')
    for words in (
        *('coco/AP', 'loss_s0_u3', 'acc_pose', '>lr<', *NAMES),
        *('jitter', 'inversion', 'swap', 'miss', 'PCK@0.1', 'size of the box'),
        *('labelled keypoints', 'mspn train', '--amp none', '<td>0</td>', 'torch 2'),
        'taken at random, are for validation',  # said by `mspn new`
    ):
        assert words in text, words
    assert text.count('data:image/jpeg') == min(24, text.count('<figure>')) > 0


def test_two_runs_are_compared(trained, tmp_path, capsys):
    folder, _ = trained
    other = tmp_path / 'other <b>'
    shutil.copytree(folder, other, symlinks=True)
    mspn('report', folder, other, '--out', tmp_path / 'both.html')
    text = (tmp_path / 'both.html').read_text()
    assert 'difference' in text and '+0.000' in text and 'other &lt;b&gt;' in text
    assert '<b>' not in text
    kept = list((other / 'run' / 'predictions').glob('*.json'))
    metainfo = other / 'metainfo.py'  # an evaluation uses its sigmas
    metainfo.write_text(metainfo.read_text().replace('0.067', '0.15'))
    mspn('report', folder, other, '--out', tmp_path / 'both.html')
    assert len(list((other / 'run' / 'predictions').glob('*.json'))) == len(kept) + 1
    labels = other / 'annotations' / 'val.json'
    content = json.loads(labels.read_text())
    content['annotations'][0]['area'] += 1
    labels.write_text(json.dumps(content))
    mspn('report', folder, other, '--out', tmp_path / 'both.html')
    text = (tmp_path / 'both.html').read_text()
    assert 'these numbers do not compare' in text and 'difference' not in text
    for words, given in (
        ('is no folder', ['no']),
        ('3 runs are given', [folder] * 3),
        ('holds no config', [tmp_path]),
    ):
        assert words in sentence(capsys, mspn, 'report', *given)


def test_the_folder_is_a_model(trained, labels, tmp_path, capsys):
    folder, _ = trained
    mspn('test', folder, '--out', tmp_path / 'numbers.json', '--work-dir', tmp_path / 'w', *QUICK)
    numbers = json.loads((tmp_path / 'numbers.json').read_text())
    assert 0 < numbers['coco/error'] < 1
    mspn('export', folder, '-o', tmp_path / 'fish.onnx')
    facts = onnxruntime.InferenceSession(tmp_path / 'fish.onnx').get_modelmeta()
    assert 'left_fin' in str(facts.custom_metadata_map)
    pictures = labels / 'images' / 'default'
    one = next(pictures.iterdir())
    said = sentence(capsys, mspn, 'predict', one, '--model', folder, '--out', tmp_path / 'a')
    assert 'mspn train FOLDER --detector' in said and '--whole-image' in said
    for number, model in enumerate((folder, tmp_path / 'fish.onnx')):
        out = tmp_path / f'found{number}'
        mspn('predict', one, '--model', model, '--whole-image', '--out', out)
        (entry,) = json.loads((out / 'predictions.json').read_text())
        assert len(entry['keypoints']) == 18


@pytest.mark.slow
def test_a_detector_of_its_own(trained, labels, tmp_path, capsys):
    folder = tmp_path / 'fish'
    shutil.copytree(trained[0], folder, symlinks=True)
    options = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'randomness.seed=0']
    options += NO_WORKERS[:4]
    place = folder / 'annotations' / 'val.json'
    content = json.loads(place.read_text())
    content['annotations'][0]['bbox'] = [0, 0, 0, 0]
    place.write_text(json.dumps(content))
    command = ['train', folder, '--detector', '--resume', '--amp', 'none', '--cfg-options']
    mspn(*command, *options)
    assert list((folder / 'run-detector').glob('*.pth'))
    mspn(*command, *options, 'train_cfg.max_epochs=2', 'default_hooks.checkpoint.interval=1')
    assert 'outside the image, left out' in capsys.readouterr().out
    used = Config.fromfile(folder / 'run-detector' / 'detector.py').val_evaluator
    people = json.loads(Path(used.ann_file).read_text())['annotations']
    assert len(people) == len(content['annotations']) - 1
    first, again = (path.read_text() for path in sorted((folder / 'run-detector').rglob('*.log')))
    assert re.search(f'Load checkpoint from .*{DETECTOR}', first) and 'resumed epoch' not in first
    assert 'resumed epoch: 1' in again
    one = next((labels / 'images' / 'default').iterdir())
    mspn('predict', one, '--model', folder, '--bbox-thr', 0, '--out', tmp_path / 'found')
    assert (tmp_path / 'found' / 'predictions.json').is_file()
    words = sentence(capsys, mspn, 'train', labels, '--detector')
    assert 'is no folder that `mspn new` has written' in words
    words = sentence(capsys, mspn, 'train', folder, '--detector', '--stop-after', 3)
    assert '--stop-after is not for --detector' in words
    shutil.rmtree(folder / 'images')
    assert 'does not exist' in sentence(capsys, mspn, 'train', folder, '--detector')


def test_a_folder_before_its_training(fish, tmp_path, capsys):
    folder = tmp_path / 'fish'
    shutil.copytree(fish, folder, symlinks=True)
    shutil.rmtree(folder / 'run', ignore_errors=True)
    one = next((folder / 'images').iterdir())
    for words in (['test', folder], ['predict', one, '--model', folder], ['report', folder]):
        assert f'no weights yet; train them: mspn train {folder}' in sentence(capsys, mspn, *words)
    assert 'holds no config.py' in sentence(capsys, mspn, 'predict', one, '--model', tmp_path)


def test_of_equal_aps_the_smaller_error_is_the_best(tmp_path):
    class Made:
        numbers = iter([(0.5, 0.3), (0.5, 0.2), (0.5, 0.4), (0.4, 0.1)])

    class Metric(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results.append(0)

        def compute_metrics(self, results):
            ap, error = next(Made.numbers)
            return {'coco/AP': ap, 'coco/error': error}

    data = [torch.ones(2)] * 2
    hook = dict(type='SafeCheckpointHook', save_best='coco/AP', rule='greater')
    train_on(
        data,
        tmp_path,
        Line(),
        val_evaluator=[Metric()],
        train_cfg=dict(by_epoch=True, max_epochs=4, val_interval=1),
        default_hooks=dict(checkpoint=hook),
    )
    assert [path.name for path in tmp_path.glob('best_*')] == ['best_coco_AP_epoch_2.pth']


def test_the_error_beside_the_ap(fish):
    truth = json.loads((fish / 'annotations' / 'val.json').read_text())
    metric = METRICS.build(
        dict(type='CocoErrorMetric', ann_file=str(fish / 'annotations' / 'val.json'))
    )
    metric.dataset_meta = dict(sigmas=np.full(6, 0.067), num_keypoints=6, dataset_name='fish')
    samples, expected = [], []
    for person in truth['annotations']:
        points = np.array(person['keypoints'], np.float32).reshape(1, 6, 3)
        moved = points[..., :2] + [3, 4]
        side = max(person['bbox'][2:])
        expected += [5 / side] * int((points[..., 2] > 0).sum())
        found = dict(keypoints=moved, keypoint_scores=np.ones((1, 6)))
        boxes = dict(bbox_scores=np.ones(1), bbox_scales=np.ones((1, 2)))
        samples.append(
            dict(
                id=person['id'],
                img_id=person['image_id'],
                pred_instances=found,
                gt_instances=boxes,
                raw_ann_info=person,
            )
        )
    metric.process([], samples)
    with contextlib.redirect_stdout(None):
        numbers = metric.evaluate(len(samples))
    assert numbers['coco/error'] == pytest.approx(np.mean(expected), rel=1e-5)
    assert numbers['coco/AP'] > 0.5
