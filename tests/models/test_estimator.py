"""The same poses from a fused copy, with half the bits, and through torch.compile."""

import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from torch import nn

from mspn_plugin import InputError, get_config
from mspn_plugin.apis import infer_people
from mspn_plugin.models import estimator as compiled
from mspn_plugin.models.fused import fused

TINY = Config.fromfile(get_config('mspn-tiny_1xb16-20e_coco-128x96')).model
BOX = [10, 10, 100, 180]
IMAGE = np.random.default_rng(0).integers(0, 255, (200, 160, 3), np.uint8)


def calibrated(backbone, neck):
    torch.manual_seed(0)
    parts = dict(backbone={**TINY.backbone, **backbone}, neck={**TINY.neck, **neck})
    model = MODELS.build({**TINY, **parts})
    images = torch.randn(4, 3, 128, 96)
    for _ in range(5):
        heatmaps(model, images)
    return model, images


def heatmaps(model, images):
    with torch.no_grad():
        return model.head(model.neck(model.backbone(images)))[-1][-1]


def assert_same(model, images):
    wanted, found = (heatmaps(network, images) for network in (model, fused(model)))
    assert (found - wanted).abs().max() < 1e-4 * (wanted.max() - wanted.min())


def predict(model):
    """A person's prediction, and the types of numbers in which the convolutions computed."""
    types = set()
    for module in fused(model).modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: types.add(out.dtype))
    return infer_people(model, IMAGE, [BOX])[0], types


def test_the_fused_copy_follows_its_model_leaves_it_alone_and_lies_channels_last():
    model, images = calibrated({}, {})
    assert fused(model) is model  # in training mode
    model.eval()
    before, copy = deepcopy(model.state_dict()), fused(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.modules())
    for network in (model, copy):
        convs = [part.weight for part in network.modules() if isinstance(part, nn.Conv2d)]
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convs)
    with torch.no_grad():
        features = model.backbone(images)[-1][-1]
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert_same(model, images)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert fused(model) is copy
    with torch.no_grad():
        model.head.stages[-1][-1].conv.weight.mul_(2)
    assert fused(model) is not copy
    assert_same(model, images)


GROUPS = dict(norm_cfg=dict(type='GN', num_groups=4))
MOBILENET = dict(type='MobileNetV2', out_indices=(1, 2, 4, 6))
MOBILE = dict(downsample=dict(type='BackboneDownsample', backbone=MOBILENET))


@pytest.mark.parametrize('parts', [(GROUPS, GROUPS), (MOBILE, {})])
def test_other_networks_are_fused_as_far_as_it_changes_nothing(parts):
    model, images = calibrated(*parts)
    assert_same(model.eval(), images)


def test_a_named_precision_gives_the_same_poses_and_an_unknown_one_is_refused(calibrated_tiny):
    model = calibrated_tiny()
    model.test_cfg['output_heatmaps'] = True
    person, types = predict(model)
    maps, scores = person.pred_fields.heatmaps, person.pred_instances.keypoint_scores
    assert types == {torch.float32}
    for precision, dtype in (('bf16', torch.bfloat16), ('fp16', torch.float16)):
        model.test_cfg['precision'] = precision
        half, types = predict(model)
        found = half.pred_fields.heatmaps
        assert types == {dtype} and found.dtype == torch.float32
        assert 0 < (found - maps).abs().max() < 0.1 * (maps.max() - maps.min())
        assert half.pred_instances.keypoint_scores == pytest.approx(scores, abs=0.02)
    model.test_cfg.pop('precision')  # what the caller has set holds unless one is named
    with torch.autocast('cpu', torch.bfloat16):
        assert predict(model)[1] == {torch.bfloat16}
        model.test_cfg['precision'] = 'fp32'
        assert predict(model)[1] == {torch.float32}
    settings = dict(precision='fp32, bf16, fp16', compile='default, reduce-overhead')
    for setting, choices in settings.items():
        model = calibrated_tiny()
        model.test_cfg[setting] = 'fast'
        with pytest.raises(InputError, match=f"'fast', expected one of {choices}"):
            predict(model)


@pytest.fixture
def compile_with(monkeypatch):
    def replace(backend):
        torch._dynamo.reset()
        made = torch.compile(compiled._pass_through, backend=backend, fullgraph=True)
        monkeypatch.setattr(compiled, '_compiled', lambda mode: made)

    yield replace
    torch._dynamo.reset()


def test_the_whole_network_is_one_graph_and_gives_the_same(calibrated_tiny, compile_with):
    graphs = []

    def backend(graph, inputs):
        graphs.append(sum(node.op != 'placeholder' for node in graph.graph.nodes))
        return graph.forward

    compile_with(backend)
    model = calibrated_tiny()
    expected = predict(model)[0].pred_instances.keypoints
    assert not graphs
    model.test_cfg['compile'] = 'default'
    for person in infer_people(model, IMAGE, [BOX] * 2):
        assert np.array_equal(person.pred_instances.keypoints, expected)
    assert len(graphs) == 1 and graphs[0] > 100
    model.train()
    model.extract_feat(torch.zeros(2, 3, 128, 96))
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='needs a C++ compiler')
def test_torch_compiles_for_real(monkeypatch):
    # Without a pool of processes, and without trying out the processor's instructions.
    monkeypatch.setattr('torch._inductor.config.compile_threads', 1)
    monkeypatch.setattr('torch._inductor.config.cpp.vec_isa_ok', True)
    parts, inputs = [nn.Conv2d(3, 4, 3).eval(), nn.ReLU()], torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        found = compiled.compiled_features(parts, inputs, 'default')
        torch.testing.assert_close(found, parts[1](parts[0](inputs)))


def test_what_cannot_be_compiled_is_a_sentence_and_other_errors_stay(compile_with):
    def backend(graph, inputs):
        raise OSError('no compiler')

    parts = [nn.Conv2d(3, 4, 3).eval()]
    compile_with(backend)
    with pytest.raises(InputError, match=r'compile=default: torch cannot compile .*no compiler'):
        compiled.compiled_features(parts, torch.zeros(1, 3, 8, 8), 'default')
    compile_with('eager')
    with pytest.raises(RuntimeError, match='to have 3 channels') as caught:
        compiled.compiled_features(parts, torch.zeros(1, 2, 8, 8), 'default')
    assert not isinstance(caught.value, InputError)
