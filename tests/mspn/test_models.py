"""Models by name: what is listed, and that a name is enough to predict."""

import shutil
import sys

import pytest
from runs import TINY, sentence

from mspn import cli, models
from mspn.download import place_of
from mspn.errors import MissingPackage
from mspn.models import Model


def test_what_is_listed(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv('MSPN_HOME', str(tmp_path))
    cli.main(['models'])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ['name', 'kind', 'published', 'result', 'from', 'here']
    assert any(line.startswith('mspn50-2stg  ') and 'AP 75.4 on COCO' in line for line in lines)
    assert any(line.startswith('rtmdet-nano-person ') and 'detector' in line for line in lines)
    assert all(line.endswith('no') for line in lines)
    first = next(models.models())
    place_of(first.url).parent.mkdir()
    place_of(first.url).touch()
    cli.main(['models'])
    assert capsys.readouterr().out.splitlines()[1].endswith('yes')
    names = [model.name for model in models.models()]
    assert len(names) == len(set(names)) >= 7


def test_a_name_is_enough(server, people, untrained_models, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('MSPN_HOME', str(tmp_path / 'home'))
    det_config, det_weights, _, weights = untrained_models
    for path in (weights, det_weights):
        shutil.copy(path, tmp_path / 'served')
    own = (
        Model('small', 'pose', TINY, f'{server}/pose.pth', '', ''),
        Model('boxes', 'detector', str(det_config), f'{server}/rtmdet.pth', '', ''),
    )
    monkeypatch.setattr(models, 'models', lambda: iter(own))
    picture = str(next(iter((people / 'val2017').glob('*.jpg'))))
    command = ['predict', picture, '--out', str(tmp_path / 'out'), '--model', 'small']
    cli.main([*command, '--detector', 'boxes', '--device', 'cpu'])
    assert 'people in 1 images' in capsys.readouterr().out
    assert (tmp_path / 'home' / 'weights' / 'pose.pth').is_file()
    error = sentence(capsys, cli.main, [*command[:-1], 'tiny', '--whole-image', '--overwrite'])
    assert (
        "there is no pose model 'tiny'; give an ONNX file, a config" in error and 'small' in error
    )


def test_without_the_training_half_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, 'yaml', None)
    with pytest.raises(MissingPackage, match='need torch and OpenMMLab; `mspn doctor` says how'):
        list(models.models())
