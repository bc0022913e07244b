"""Foreign files load wherever a checkpoint is named, and what does not fit ends in a sentence."""

import os

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpose.apis import init_model
from mmpose.registry import MODELS
from original_mspn import random_original
from safetensors.torch import save_file

from mspn_plugin import InputError, get_config
from mspn_plugin.checkpoints import convert_state_dict
from mspn_plugin.checkpoints.files import read_state_dict
from mspn_plugin.engine.start import check_weights_fit

BLOCKS = (1, 1, 1, 1)  # a small network: these tests are about files


def model_config(num_stages=2, num_keypoints=17, **estimator):
    cfg = Config.fromfile(get_config('mspn50-2stg_8xb32-210e_coco-256x192')).model
    cfg.backbone.update(init_cfg=None, num_blocks=BLOCKS, num_stages=num_stages)
    cfg.neck.num_stages = num_stages
    cfg.head.update(num_stages=num_stages, num_keypoints=num_keypoints)
    cfg.update(estimator)
    return cfg


@pytest.fixture
def weights(images):
    return random_original(images, 2, blocks=BLOCKS).state_dict()


@pytest.fixture
def converted(weights):
    return convert_state_dict(weights)[0]


def assert_loaded(model, converted, path=None):
    if path:
        load_checkpoint(model, path)
    own = model.state_dict()
    assert own.keys() == converted.keys()
    assert all(torch.equal(own[name], value) for name, value in converted.items())


@pytest.fixture
def said(monkeypatch):
    """What is written to MMEngine's log."""
    lines = []
    for module in ('models.estimator', 'checkpoints.match'):
        monkeypatch.setattr(f'mspn_plugin.{module}.print_log', lambda text, **_: lines.append(text))
    return lines


def test_settings_that_do_not_belong_to_the_weights_are_named(weights, said):
    model = MODELS.build(model_config())  # RGB and gradient_sign, as MMPose
    model.load_state_dict(weights)
    text = '\n'.join(said)
    assert 'data_preprocessor.bgr_to_rgb=False (it is True)' in text
    assert 'data_preprocessor.mean=[103.53, 116.28, 123.675]' in text
    assert "head.decoder.refine='second_peak' (it is 'gradient_sign')" in text
    assert 'pool_padding' not in text
    cfg = model_config()
    cfg.data_preprocessor.update(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395])
    cfg.data_preprocessor.bgr_to_rgb = False
    cfg.head.decoder.refine = 'second_peak'
    said.clear()
    MODELS.build(cfg).load_state_dict(weights)
    assert not said


@pytest.mark.parametrize('kind', ['pth', 'model', 'net', 'safetensors', 'legacy'])
def test_files_of_every_kind(kind, weights, converted, tmp_path):
    path = tmp_path / f'weights.{kind}'
    if kind == 'safetensors':
        save_file(weights, path)
    else:  # the original's training saves the weights beside other state
        content = {kind: weights, 'optimizer': {}} if kind in ('model', 'net') else weights
        torch.save(content, path, _use_new_zipfile_serialization=kind != 'legacy')
    assert_loaded(MODELS.build(model_config()), converted, str(path))
    check_weights_fit(str(path), model_config())
    cfg = Config.fromfile(get_config('mspn50-2stg_8xb32-210e_coco-256x192'))
    cfg.model = model_config()
    assert_loaded(init_model(cfg, str(path), device='cpu'), converted)


def test_a_url_loads_and_is_downloaded_once(server, weights, converted, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    for save, name in ((torch.save, 'mspn.pth'), (save_file, 'mspn.safetensors')):
        save(weights, tmp_path / 'served' / name)
        check_weights_fit(f'{server}/{name}', model_config())
        (tmp_path / 'served' / name).unlink()
        assert_loaded(MODELS.build(model_config()), converted, f'{server}/{name}')
    with pytest.raises(InputError, match=r'other\.safetensors.*cannot be read.*404'):
        read_state_dict(f'{server}/other.safetensors')


def test_inside_another_module_and_after_a_copy(weights, converted):
    wrapper = torch.nn.Module()
    wrapper.inner = MODELS.build(model_config())
    wrapper.load_state_dict({f'inner.{name}': value for name, value in weights.items()})
    assert_loaded(wrapper.inner, converted)


def test_weights_of_another_network_end_in_a_sentence(weights, tmp_path):
    path = str(tmp_path / 'two_stages.pth')
    torch.save(weights, path)
    for changes, words in (
        (dict(num_stages=1), 'num_stages=2 instead of 1.*give the config'),
        (dict(num_stages=3), 'num_stages=2 instead of 3'),
        (dict(num_keypoints=14), r'num_keypoints=17 instead of 14.*model\.strict=False'),
        (dict(num_stages=1, num_keypoints=14, strict=False), 'num_stages=2 instead of 1'),
        (dict(type='TopdownPoseEstimator'), "set model.type='MSPNPoseEstimator'"),
    ):
        cfg = model_config(**changes)
        with pytest.raises(InputError, match=words):
            check_weights_fit(path, cfg)
        if 'type' not in changes:
            with pytest.raises(InputError, match=words.removesuffix('.*give the config')):
                load_checkpoint(MODELS.build(cfg), path)


def test_another_number_of_keypoints_on_request(weights, converted, tmp_path, said):
    path = tmp_path / 'seventeen.pth'
    torch.save(weights, path)
    cfg = model_config(num_keypoints=14, strict=False)
    check_weights_fit(str(path), cfg)
    model = MODELS.build(cfg)
    new = {n: v.clone() for n, v in model.state_dict().items() if n.startswith('head.stages.')}
    load_checkpoint(model, str(path))
    own = model.state_dict()
    assert new and all(torch.equal(v, new.get(n, converted[n])) for n, v in own.items())
    assert any('another number of keypoints' in line for line in said)


def test_what_was_checked_is_not_read_again(weights, converted, tmp_path, monkeypatch):
    path = tmp_path / 'mspn.pth'
    torch.save(weights, path)
    check_weights_fit(str(path), model_config())
    model = MODELS.build(model_config())
    with monkeypatch.context() as patch:
        patch.delattr(torch, 'load')
        load_checkpoint(model, str(path))
        with pytest.raises(AttributeError):  # once
            load_checkpoint(model, str(path))
    assert_loaded(model, converted)
    check_weights_fit(str(path), model_config())
    torch.save({name: value * 0 for name, value in weights.items()}, path)
    os.utime(path, ns=(0, 0))  # written meanwhile
    load_checkpoint(model, str(path))
    assert not model.backbone.stem.conv.weight.any()


def test_files_that_are_no_weights(weights, tmp_path):
    torch.save(weights, tmp_path / 'whole.pth')
    save_file(weights, tmp_path / 'whole.safetensors')
    halves = {f'cut{path.suffix}': path.read_bytes()[:50_000] for path in tmp_path.glob('whole.*')}
    cases = [('', 'is a folder'), ('no.pth', '.*does not exist')]
    for name, content in (halves | {'text.pth': b'hello\n', 'empty.pth': b''}).items():
        (tmp_path / name).write_bytes(content)
        cases.append((name, ' cannot be read as a checkpoint.*fetch it again'))
    for number, content in enumerate(([1, 2], {}, dict(state_dict=dict(a=1)), dict(a=1.0))):
        torch.save(content, tmp_path / f'{number}.pth')
        cases.append((f'{number}.pth', ' holds no weights'))
    for name, words in cases:
        with pytest.raises(InputError, match=f'{name}{words}'):
            read_state_dict(str(tmp_path / name))
