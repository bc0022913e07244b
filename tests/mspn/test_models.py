"""Models by name: what is listed, and that a name is enough to predict."""

import hashlib
import shutil
import sys

import pytest
import torch
from mmpose.apis import MMPoseInferencer
from runs import TINY, sentence

from mspn import cli, models
from mspn.errors import InputError, MissingPackage
from mspn.models import Model


def test_what_is_listed(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv('MSPN_HOME', str(tmp_path))
    cli.main(['models'])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ['name', 'kind', 'result', 'parameters', 'speed', 'from', 'here']
    shipped = [line for line in lines if line.startswith((models.POSE, models.DETECTOR))]
    assert len(shipped) == 2 and all(line.endswith('yes') for line in shipped)
    (two,) = (line for line in lines if line.startswith('mspn50-2stg  '))
    assert 'AP 75.4 on COCO' in two and '56.8 M' in two and two.endswith('no')
    assert any(line.startswith('rtmdet-nano-person ') and 'detector' in line for line in lines)
    known = {model.name: model for model in models.models()}
    known['mspn50-2stg'].place.parent.mkdir()
    known['mspn50-2stg'].place.touch()
    cli.main(['models'])
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith('mspn50-2stg  ')).endswith('yes')
    assert len(known) == len(list(models.models())) >= 9


@pytest.fixture
def own(server, untrained_models, tmp_path, monkeypatch):
    """A pose model and a detector that a server has, under the names small and boxes."""
    monkeypatch.setenv('MSPN_HOME', str(tmp_path / 'home'))
    config, det_weights, _, weights = untrained_models
    for path in (weights, det_weights):
        shutil.copy(path, tmp_path / 'served')
    pair = (
        Model('small', 'pose', TINY, f'{server}/pose.pth', '', '', '', ''),
        Model('boxes', 'detector', str(config), f'{server}/rtmdet.pth', '', '', '', ''),
    )
    monkeypatch.setattr(models, 'models', lambda: iter(pair))
    return weights


def test_a_name_is_enough(own, people, tmp_path, capsys):
    picture = str(next(iter((people / 'val2017').glob('*.jpg'))))
    command = ['predict', picture, '--out', str(tmp_path / 'out'), '--model', 'small']
    cli.main([*command, '--detector', 'boxes', '--device', 'cpu'])
    assert 'people in 1 images' in capsys.readouterr().out
    assert (tmp_path / 'home' / 'weights' / 'pose.pth').is_file()
    error = sentence(capsys, cli.main, [*command[:-1], 'tiny', '--whole-image', '--overwrite'])
    assert (
        "there is no pose model 'tiny'; give an ONNX file, a config" in error and 'small' in error
    )


def test_a_name_stands_for_a_checkpoint_too(own, people, quick, tmp_path, capsys):
    """In evaluation, training, export, and for MMPose's own inferencer with MMDet's detector."""
    work = ['--data-root', str(people), '--gt-boxes', '--work-dir', str(tmp_path / 'work')]
    options = [*work, '--cfg-options', *quick]
    cli.main(['test', 'small', *options])
    assert 'coco/AP' in capsys.readouterr().out
    cli.main(['train', TINY, *options, 'load_from=small', 'train_cfg.max_epochs=1'])
    cli.main(['export', 'boxes', '--detector', '-o', str(tmp_path / 'boxes.onnx')])
    inferencer = MMPoseInferencer(pose2d='small', det_model='boxes', device='cpu')
    own_weights = torch.load(own, weights_only=True)
    for name, value in inferencer.inferencer.model.state_dict().items():
        torch.testing.assert_close(value, own_weights[name], rtol=0, atol=0)
    picture = next(iter((people / 'val2017').glob('*.jpg')))
    assert next(inferencer(str(picture)))['predictions'][0]
    error = sentence(capsys, cli.main, ['test', 'mspn50-4stg_8xb32-210e_coco-384x288', *options])
    assert 'no checkpoint is given; there is no pose model' in error


def test_another_file_than_the_published_one_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setenv('MSPN_HOME', str(tmp_path / 'home'))
    digest = hashlib.sha256(b'weights').hexdigest()[:8]
    for name, content in ((f'a-{digest}_20201123.pth', b'weights'), (f'b-{digest}.pth', b'others')):
        (tmp_path / 'served' / name).write_bytes(content)
        model = Model('own', 'pose', TINY, f'{server}/{name}', '', '', '', '')
        monkeypatch.setattr(models, 'models', lambda model=model: iter([model]))
        if content == b'weights':
            assert models.find_model('own', 'pose')[1].endswith(name)
        else:
            with pytest.raises(InputError, match='holds another file than it should'):
                models.find_model('own', 'pose')


def test_without_the_training_half_the_shipped_ones_are_left(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'yaml', None)
    cli.main(['models'])
    printed = capsys.readouterr().out
    assert models.POSE in printed and 'mspn50-2stg' not in printed
    assert 'need torch and OpenMMLab; `mspn doctor` says how' in printed
    assert models.find_model(models.POSE, 'pose')[0].endswith('mspn-small.onnx')
    with pytest.raises(MissingPackage, match='need torch and OpenMMLab'):
        models.find_model('mspn50-2stg', 'pose')
