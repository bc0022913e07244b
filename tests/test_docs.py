"""Every example of docs/inference.md, deploy.md, own-data.md and the README's Python works."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from films import walk
from fish import make_fish
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmpose.registry import MODELS
from own_labels import cvat
from runs import NO_WORKERS

from mspn import cli
from mspn_plugin import get_config

REPOSITORY = Path(__file__).resolve().parent.parent
POSE = 'mspn-tiny_1xb16-20e_coco-128x96'
DETECTOR = 'rtmdet-nano_1xb8-12e_person-256x192'


def blocks(path, kind):
    text = (REPOSITORY / path).read_text(encoding='utf-8')
    found = re.findall(r'^```(\w*)\n(.*?)^```', text, re.M | re.S)
    return [code for language, code in found if language == kind]


@pytest.fixture(scope='module')
def place(people, tmp_path_factory):
    root = tmp_path_factory.mktemp('place')
    demo = root / 'demo' / 'synthetic'
    shutil.copytree(people, demo / 'people')
    pictures = sorted((demo / 'people' / 'val2017').iterdir())
    (root / 'images').mkdir()
    for name in ('one.jpg', 'two.jpg', 'person.jpg', 'images/1.jpg'):
        shutil.copyfile(pictures[0], root / name)
    shutil.copyfile(REPOSITORY / 'examples' / 'photos' / 'astronaut.jpg', root / 'photo.jpg')
    (root / 'detections.json').write_text(
        '[{"category_id": 1, "image_id": 1, "bbox": [10, 20, 90, 180], "score": 0.9}]'
    )
    for scope, name in (('mmpose', POSE), ('mmdet', DETECTOR)):
        init_default_scope(scope)
        with DefaultScope.overwrite_default_scope(scope):
            cfg = Config.fromfile(get_config(name))
            model = MODELS.build(cfg.model)
        meta = dict(dataset_meta=dict(cfg.train_dataloader.dataset.get('metainfo', {})))
        weights = dict(state_dict=model.state_dict(), meta=meta if scope == 'mmdet' else {})
        torch.save(weights, demo / f'{name}.pth')
    return root


@pytest.mark.slow
def test_python_and_commands(place, call_tool, monkeypatch, capsys):
    monkeypatch.chdir(place)
    photo, readme = blocks('README.md', 'python')[:2]
    more = [photo, *blocks('docs/inference.md', 'python')]
    for code in more:
        exec(code, {})
    assert 'people' in capsys.readouterr().out and list(Path('out').rglob('one.*'))
    names: dict = {}
    exec(readme, names)
    (person,) = names['result']['predictions'][0]
    assert len(person['keypoints']) == 17 and person['bbox_score'] < 1  # a box of the detector
    commands = [line for code in blocks('docs/inference.md', '') for line in code.splitlines()]
    written = ('results/people/predictions', 'infer_results/results', 'infer_bf16/results')
    for command, name in zip(commands, written, strict=True):
        mim, run, package, tool, *arguments = shlex.split(command)
        assert (mim, run, package) == ('mim', 'run', 'mspn_plugin')
        call_tool(tool, *arguments)
        assert Path(f'{name}.json').is_file()


@pytest.mark.slow
def test_deployment(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    shutil.copytree('demo/synthetic/people/val2017', 'people')
    walk(Path('walk.mp4'), 6, size=(96, 80))
    commands = [line for code in blocks('docs/deploy.md', '') for line in code.splitlines()]
    written = 'pose.onnx', 'detector.onnx', 'results/light/people.csv', 'results/film/walk.mp4'
    for command, name in zip(commands, written, strict=True):
        mspn, *arguments = shlex.split(command)
        assert mspn == 'mspn'
        cli.main(arguments)
        assert Path(name).is_file()
    (code,) = blocks('docs/deploy.md', 'python')
    capsys.readouterr()
    exec(code, {})
    assert 'left_shoulder' in capsys.readouterr().out


SHORT = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', *NO_WORKERS]


@pytest.mark.slow
def test_labels_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cvat(make_fish(tmp_path / 'pictures', 12), tmp_path / 'pictures', tmp_path / 'labels')
    make_fish(tmp_path / 'new_pictures', 2, seed=1)
    commands = [line for code in blocks('docs/own-data.md', '') for line in code.splitlines()]
    written = iter(
        ['fish/config.py', 'fish/run/report.html', 'results/new_pictures/predictions.json']
        + ['fish/run', 'fish/run/report.html']
        + ['fish/run-detector', 'found/predictions.json', 'fish.onnx']
        + ['fish-detector.onnx', 'light/predictions.json']
    )
    for command in commands:
        mspn, verb, *arguments = shlex.split(command)
        assert mspn == 'mspn'
        short = ['--amp', 'none', '--cfg-options', *SHORT] if verb == 'train' else []
        short = ['--cfg-options', *NO_WORKERS[4:]] if verb == 'test' else short
        with DefaultScope.overwrite_default_scope('mmpose'):
            cli.main([verb, *arguments, *short])
        assert Path(next(written)).exists(), command
        assert 'no report' not in capsys.readouterr().out
    assert next(written, None) is None
    for line in blocks('docs/own-data.md', 'python')[0].splitlines():
        exec(line, {})
