"""A .safetensors file goes wherever a checkpoint goes, is written, and cannot be resumed from."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpose.apis import MMPoseInferencer, init_model
from mmpose.registry import MODELS
from runs import TINY, sentence
from safetensors.torch import load_file, save_file

from mspn_plugin import InputError, get_config
from mspn_plugin.apis.detector import PersonDetector
from mspn_plugin.checkpoints.files import read_state_dict


@pytest.fixture
def pose(untrained_models, tmp_path):
    """A pose model's weights in a .safetensors file, and the same as tensors."""
    weights = torch.load(untrained_models[3], weights_only=True)
    packed = {name: value.contiguous() for name, value in weights.items()}  # not channels-last
    save_file(packed, tmp_path / 'pose.safetensors')
    return tmp_path / 'pose.safetensors', weights


def equal(model, weights):
    own = model.state_dict()
    return own.keys() == weights.keys() and all(torch.equal(own[n], weights[n]) for n in own)


def test_mmpose_and_mmengine_load_it(pose):
    path, weights = pose
    assert equal(init_model(get_config(TINY), str(path), device='cpu'), weights)
    inferencer = MMPoseInferencer(
        pose2d=get_config(TINY), pose2d_weights=str(path), det_model='whole_image', device='cpu'
    )
    assert equal(inferencer.inferencer.model, weights)
    model = MODELS.build(Config.fromfile(get_config(TINY)).model)
    load_checkpoint(model, str(path))
    assert equal(model, weights)


def test_the_detector_loads_it(untrained_models, tmp_path):
    config, weights, *_ = untrained_models
    content = torch.load(weights, weights_only=True)
    # RTMDet's levels share weights, for which the format has no notation.
    save_file({n: v.clone() for n, v in content.items()}, tmp_path / 'det.safetensors')
    detector = PersonDetector(config, tmp_path / 'det.safetensors', score_thr=0)
    assert all(torch.equal(v, content[n]) for n, v in detector.model.state_dict().items())


def test_it_is_tested_trained_from_and_converted(pose, call_tool, people, quick, tmp_path):
    path, weights = pose
    data = ['--data-root', people, '--gt-boxes', '--work-dir', tmp_path / 'work']
    out = tmp_path / 'metrics.json'
    call_tool('test', TINY, path, *data, '--out', out, '--cfg-options', *quick)
    assert len(json.loads(out.read_text())) == 10
    options = [*quick, f'load_from={path}', 'train_cfg.max_epochs=1']
    call_tool('train', TINY, *data, '--no-validate', '--cfg-options', *options)
    # What was trained is written as .safetensors, which holds the weights and nothing else.
    trained = tmp_path / 'work' / 'epoch_1.pth'
    call_tool('convert_checkpoint', trained, tmp_path / 'trained.safetensors')
    state = torch.load(trained, weights_only=True)['state_dict']
    written = load_file(tmp_path / 'trained.safetensors')
    assert written.keys() == state.keys() == weights.keys()
    assert all(torch.equal(written[name], value) for name, value in state.items())


def test_resuming_from_it_ends_in_a_sentence(pose, call_tool, capsys, people, tmp_path):
    data = ['--data-root', people, '--gt-boxes', '--work-dir', tmp_path / 'work']
    message = sentence(capsys, call_tool, 'train', TINY, *data, '--resume', pose[0])
    assert 'holds weights but no state of a training run' in message
    assert f'load_from={pose[0]}' in message


def header(**entries):
    text = json.dumps(entries).encode()
    return struct.pack('<Q', len(text)) + text + bytes(8)


def entry(dtype='F32', shape=(2,), offsets=(0, 8)):
    return dict(dtype=dtype, shape=list(shape), data_offsets=list(offsets))


@pytest.mark.parametrize(
    'content',
    [
        b'',
        struct.pack('<Q', 2**63) + b'{}',
        struct.pack('<Q', 2**64 - 1) + b'{' * 100,
        struct.pack('<Q', 9) + b'{"a": [}]' + bytes(8),
        struct.pack('<Q', 2) + b'{}' + bytes(8),
        header(a=entry(offsets=(0, 2**63))),
        header(a=entry(offsets=(8, 0))),
        header(a=entry(offsets=(-1, 8))),
        header(a=entry(shape=(2**63,))),
        header(a=entry(shape=(2**32, 2**32))),
        header(a=entry(shape=(-2,))),
        header(a=entry(dtype='OBJ')),
        header(a=entry(), b=entry()),  # the same bytes twice
        header(a=entry(offsets=(4, 8), shape=(1,))),  # a hole
        header(__metadata__=dict(a=1)),
        header(a='../../x'),
        struct.pack('<Q', 100_000) + b'[' * 100_000,
        struct.pack('<Q', 100_001) + b'{"a":' * 20_000 + b' ' * 2,
    ],
)
def test_hostile_headers_end_in_a_sentence(content, tmp_path):
    path = tmp_path / 'evil.safetensors'
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'evil\.safetensors'):
        read_state_dict(str(path))
    with pytest.raises(InputError, match=r'evil\.safetensors'):
        init_model(get_config(TINY), str(path), device='cpu')
