"""Checkpoints with a few bytes changed, and pickles of anything: weights, or one sentence."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mutations import EDGE_TEXTS, VALUES, mutated_bytes
from runs import TINY
from safetensors.torch import save as save_safetensors

from mspn_plugin import get_config
from mspn_plugin.apis.detector import _load_weights
from mspn_plugin.checkpoints.convert import convert_state_dict
from mspn_plugin.checkpoints.files import read_checkpoint, weights_in
from mspn_plugin.checkpoints.match import check_beside_weights, check_can_resume, fit_weights

MINDSPORE = Path(__file__).resolve().parents[1] / 'data' / 'mindspore_small.ckpt'
WEIGHTS = {
    'backbone.stages.0.up.units.0.lateral.conv.weight': torch.arange(8.0).reshape(2, 4, 1, 1),
    'backbone.stem.conv.weight': torch.zeros(2, 3, 1, 1),
    'backbone.stem.bn.num_batches_tracked': torch.tensor(3),
}
CANARY = 'canary'


class Evil:
    def __reduce__(self):
        return os.system, (f'touch {CANARY}',)


@pytest.fixture(scope='module')
def contents():
    log = HistoryBuffer([1.0, 2.0], [1, 1])
    content = dict(
        state_dict=OrderedDict(WEIGHTS),
        meta=dict(epoch=1, iter=2, dataset_meta=dict(sigmas=np.array([0.1], np.float32))),
        message_hub=dict(log_scalars={'train/loss': log}),
        optimizer=dict(state={0: dict(step=1)}, param_groups=[dict(lr=0.1)]),
    )
    found = [save_safetensors(WEIGHTS, metadata=dict(source='megvii')), MINDSPORE.read_bytes()]
    found += [pickle.dumps(content, protocol=4), pickle.dumps(Evil(), protocol=0)]
    for made in (content, dict(content, meta=Evil())):
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(made, buffer, _use_new_zipfile_serialization=zipped)
            found.append(buffer.getvalue())
    return found


@pytest.fixture(scope='module')
def path(folder):
    return folder / 'file'


@pytest.fixture(scope='module')
def model():
    init_default_scope('mmpose')
    with torch.device('meta'):
        return MODELS.build(Config.fromfile(get_config(TINY)).model)


def use(loaded, weights, model):
    """What the tools do with a checkpoint that could be read."""
    check_beside_weights(loaded, 'file')
    _load_weights(torch.nn.Linear(2, 2), loaded, 'file', 'config')
    fit_weights(weights, model)


def judge(path, trial, model, monkeypatch):
    monkeypatch.chdir(path.parent)
    loaded = trial(read_checkpoint, str(path))
    weights = trial(weights_in, loaded, str(path))
    if weights is not None:
        assert all(type(n) is str and isinstance(v, torch.Tensor) for n, v in weights.items())
        trial(convert_state_dict, weights)
        trial(use, loaded, weights, model)
        trial(check_can_resume, loaded, str(path))
    assert not (path.parent / CANARY).exists()
    assert list(path.parent.iterdir()) == [path]


@given(data=st.data())
def test_mutated_files(data, path, contents, trial, model, monkeypatch):
    path.write_bytes(data.draw(mutated_bytes(data.draw(st.sampled_from(contents)))))
    judge(path, trial, model, monkeypatch)


TENSORS = st.sampled_from(
    [torch.zeros(3), torch.zeros(0), torch.tensor(float('nan')), torch.nn.Parameter(torch.ones(1))]
    + [torch.zeros(2, dtype=dtype) for dtype in (torch.complex64, torch.bool)]
    + [torch.eye(2).to_sparse(), torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)]
    + [torch.zeros(1).expand(10**9), torch.empty(2, device='meta'), *WEIGHTS.values()]
)
NAMES = EDGE_TEXTS | st.sampled_from(
    [*WEIGHTS, 'module.stage0.upsample.up1.u_skip.conv.weight', 'stage0.x.gamma', 'top.conv.bias']
    + ['backbone.multi_stage_mspn.0.x', 'layer1.0.conv1.weight', 'head.stages.0.0.conv.weight']
    + ['backbone.stages.0.down.levels.99999999.0.x', 'backbone.stages.' + '9' * 400 + '.x']
)
STATES = st.dictionaries(NAMES | st.integers(), TENSORS | VALUES, max_size=4)
SKELETONS = st.fixed_dictionaries(
    dict(num_keypoints=st.sampled_from([2, 2, 2, 0, -1, '2', 10**9])),
    optional={
        key: VALUES
        | st.sampled_from([[0, 1], [1, 0], [[0, 1]], [[0, 5]], [-1, 0], [[1, 2, 3]] * 2])
        for key in ('flip_indices', 'flip_pairs', 'skeleton_links', 'keypoint_colors', 'sigmas')
    },
)


def versioned(value):
    weights = OrderedDict(WEIGHTS)
    weights._metadata = value
    return weights


META = VALUES | st.fixed_dictionaries(
    dict(dataset_meta=VALUES | SKELETONS), optional=dict(classes=VALUES)
)
GOOD = st.one_of(
    st.just(OrderedDict(WEIGHTS)),
    (VALUES | st.dictionaries(EDGE_TEXTS, VALUES)).map(versioned),
)
BESIDE = dict(optimizer=VALUES, message_hub=VALUES)
CHECKPOINTS = st.one_of(
    st.fixed_dictionaries(dict(state_dict=GOOD, meta=META), optional=BESIDE),
    STATES | VALUES,
    st.fixed_dictionaries(
        {}, optional=dict(state_dict=STATES | VALUES, model=STATES | VALUES, meta=META, **BESIDE)
    ),
)


@given(content=CHECKPOINTS)
def test_files_with_anything_in_them(content, path, trial, model, monkeypatch):
    torch.save(content, path)
    judge(path, trial, model, monkeypatch)
