"""test_cfg.compile: the same poses through torch.compile, and a sentence where it cannot work."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from mspn_plugin import InputError
from mspn_plugin.apis import infer_people
from mspn_plugin.models import compiled

IMAGE = np.random.default_rng(0).integers(0, 255, (200, 160, 3), np.uint8)


@pytest.fixture
def compile_with(monkeypatch):
    """Puts another backend in the place of the default one, which takes a minute."""

    def replace(backend):
        torch._dynamo.reset()
        made = torch.compile(compiled._pass_through, backend=backend, fullgraph=True)
        monkeypatch.setattr(compiled, '_compiled', lambda mode: made)

    yield replace
    torch._dynamo.reset()


def poses(model, count=2):
    people = infer_people(model, IMAGE, [[10, 10, 100, 180]] * count)
    return np.stack([person.pred_instances.keypoints for person in people])


def test_the_whole_network_is_one_graph_and_gives_the_same(calibrated_tiny, compile_with):
    graphs = []

    def backend(graph, inputs):
        graphs.append(sum(node.op != 'placeholder' for node in graph.graph.nodes))
        return graph.forward

    compile_with(backend)
    model = calibrated_tiny()
    expected = poses(model)
    assert not graphs
    model.test_cfg['compile'] = 'default'
    assert np.array_equal(poses(model), expected)
    assert len(graphs) == 1 and graphs[0] > 100
    model.train()
    model.extract_feat(torch.zeros(2, 3, 128, 96))
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='needs a C++ compiler')
def test_torch_compiles_for_real():
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3).eval(), nn.ReLU()]
    inputs = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        found = compiled.compiled_features(parts, inputs, 'default')
        torch.testing.assert_close(found, parts[1](parts[0](inputs)))


def test_what_cannot_be_compiled_is_a_sentence(calibrated_tiny, compile_with):
    def backend(graph, inputs):
        raise OSError('no compiler')

    compile_with(backend)
    model = calibrated_tiny()
    model.test_cfg['compile'] = 'default'
    with pytest.raises(InputError, match=r'compile=default: torch cannot compile .*no compiler'):
        poses(model)


def test_other_errors_stay_what_they_are(compile_with):
    compile_with('eager')
    with pytest.raises(RuntimeError, match='to have 3 channels') as caught:
        compiled.compiled_features([nn.Conv2d(3, 4, 3)], torch.zeros(1, 2, 8, 8), 'default')
    assert not isinstance(caught.value, InputError)


def test_an_unknown_mode_is_refused(calibrated_tiny):
    model = calibrated_tiny()
    model.test_cfg['compile'] = 'fast'
    with pytest.raises(InputError, match="'fast', expected one of default, reduce-overhead"):
        poses(model)
