"""A .safetensors file goes wherever a checkpoint goes, is written, and cannot be resumed from."""

import json
import struct

import pytest
import torch
from mmpose.apis import MMPoseInferencer, init_model
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


def test_mmpose_loads_it(pose):
    path, weights = pose
    options = dict(pose2d_weights=str(path), det_model='whole_image', device='cpu')
    inferencer = MMPoseInferencer(get_config(TINY), **options)
    own = inferencer.inferencer.model.state_dict()
    assert own.keys() == weights.keys() and all(torch.equal(own[n], weights[n]) for n in own)


def test_the_detector_loads_it(untrained_models, tmp_path):
    config, weights, *_ = untrained_models
    content = torch.load(weights, weights_only=True)
    # RTMDet's levels share weights, for which the format has no notation.
    save_file({n: v.clone() for n, v in content.items()}, tmp_path / 'det.safetensors')
    detector = PersonDetector(config, tmp_path / 'det.safetensors', score_thr=0)
    assert all(torch.equal(v, content[n]) for n, v in detector.model.state_dict().items())


def test_it_is_tested_trained_from_and_converted(pose, call_tool, capsys, people, quick, tmp_path):
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
    message = sentence(capsys, call_tool, 'train', TINY, *data, '--resume', path)
    assert 'holds weights but no state of a training run' in message
    assert f'load_from={path}' in message


HEADERS = ['{"a": [}]', '{}', '{"__metadata__":{"a":1}}', '{"a":"../../x"}', '[' * 100_000]
HEADERS += ['{"a":' * 20_000, '{' * 100, '{"a":{"dtype":"OBJ","shape":[2],"data_offsets":[0,8]}}']
PLACES = [([2], [0, 2**63]), ([2], [8, 0]), ([2], [-1, 8]), ([1], [4, 8])]  # at last a hole
PLACES += [([2**63], [0, 8]), ([2**32, 2**32], [0, 8]), ([-2], [0, 8])]
TENSORS = [dict(dtype='F32', shape=shape, data_offsets=place) for shape, place in PLACES]


@pytest.mark.parametrize('header', HEADERS + [json.dumps(dict(a=tensor)) for tensor in TENSORS])
def test_hostile_headers_end_in_a_sentence(header, tmp_path):
    path = tmp_path / 'evil.safetensors'
    length = 2**64 - 1 if header == '{' * 100 else len(header)
    path.write_bytes(struct.pack('<Q', length) + header.encode() + bytes(8))
    with pytest.raises(InputError, match=r'evil\.safetensors'):
        read_state_dict(str(path))
    with pytest.raises(InputError, match=r'evil\.safetensors'):
        init_model(get_config(TINY), str(path), device='cpu')
