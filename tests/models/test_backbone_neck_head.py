"""The network: sizes, widths, gradients, what is passed on, and other downsample paths."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.evaluation.functional import pose_pck_accuracy
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mspn_plugin.models.losses import pck_accuracy

CELLS = dict(input_size=(48, 64), heatmap_size=(12, 16))
CODEC = dict(type='MultiLevelHeatmap', kernel_sizes=(11, 9, 7, 5, 5), **CELLS)
MOBILENET = dict(type='MobileNetV2', out_indices=(1, 2, 4, 6))
MOBILE = dict(type='BackboneDownsample', backbone=MOBILENET)
SMALL = dict(num_blocks=(1, 2, 1, 1), stem_channels=12, base_channels=4)


def build(num_stages=2, norm_cfg=None, backbone=SMALL):
    common = dict(unit_channels=10, num_stages=num_stages, norm_cfg=norm_cfg)
    kinds = dict(backbone='MSPNBackbone', neck='MSPNNeck', head='MultiStageHead')
    own = dict(backbone=backbone, neck={}, head=dict(decoder=CODEC))
    parts = {name: dict(type=kind, **common, **own[name]) for name, kind in kinds.items()}
    return nn.ModuleDict({name: MODELS.build(part) for name, part in parts.items()})


def samples(num=3, keypoints=17, device='cpu'):
    generator = torch.Generator().manual_seed(0)
    out = []
    for _ in range(num):
        cells = torch.rand(1, keypoints, 2, generator=generator) * torch.tensor([12.0, 16.0])
        weights = (torch.rand(1, keypoints, generator=generator) > 0.3).float()
        labels = InstanceData(keypoint_cells=cells, keypoint_weights=weights).to(device)
        out.append(PoseDataSample(gt_instance_labels=labels))
    return out


def features(net, batch=3, device='cpu'):
    return net['neck'](net['backbone'](torch.randn(batch, 3, 64, 48).to(device)))


def backward(net, device='cpu'):
    losses = net['head'].loss(features(net, device=device), samples(device=device))
    sum(value for key, value in losses.items() if 'loss' in key).backward()


@pytest.mark.parametrize('num_stages', [1, 2, 3])
def test_shapes_of_every_stage_and_unit(num_stages):
    net = build(num_stages)
    feats = net['backbone'](torch.randn(2, 3, 64, 48))
    sizes = [[tuple(x.shape) for x in stage] for stage in feats]
    assert sizes == [[(2, 10, 2, 2), (2, 10, 4, 3), (2, 10, 8, 6), (2, 10, 16, 12)]] * num_stages
    heatmaps = [[tuple(x.shape) for x in stage] for stage in net['head'](net['neck'](feats))]
    assert heatmaps == [[(2, 17, 16, 12)] * 4] * num_stages
    assert net['backbone'](torch.randn(1, 3, 75, 53))[-1][-1].shape == (1, 10, 19, 14)


def test_widths_are_real_parameters_and_norm_cfg_reaches_every_block():
    path = dict(type='DownsamplePath', num_blocks=(2, 1, 3), base_channels=6)
    widths = dict(stem_channels=20, unit_channels=14)
    backbone = MODELS.build(dict(type='MSPNBackbone', downsample=path, **widths))
    assert [len(level) for level in backbone.stages[1].down.levels] == [2, 1, 3]
    assert backbone.stem.conv.out_channels == 20
    assert backbone.stages[0].up.cross.conv.out_channels == 20
    assert backbone.stages[0].down.levels[2][-1].conv3.conv.out_channels == 6 * 4 * 4
    feats = backbone(torch.randn(2, 3, 64, 48))
    assert [x.shape[1] for x in feats[0]] == [14, 14, 14]
    net = build(norm_cfg=dict(type='GN', num_groups=1))
    kinds = {type(module) for module in net.modules() if 'norm' in type(module).__name__.lower()}
    assert kinds == {nn.GroupNorm}


def test_accuracy_equals_mmpose():
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(40, 17, 16, 12, generator=generator)
    output = torch.where(torch.rand(40, 17, 1, 1, generator=generator) > 0.4, target, -target)
    output = output.roll(1, dims=3)
    weights = (torch.rand(40, 17, generator=generator) > 0.5).float()
    weights[:, 5] = 0
    _, expected, _ = pose_pck_accuracy(output.numpy(), target.numpy(), weights.numpy() > 0)
    assert pck_accuracy(output, target, weights).item() == pytest.approx(expected, abs=1e-6)
    assert pck_accuracy(target, target, weights).item() == 1
    assert pck_accuracy(output, target, torch.zeros_like(weights)).item() == 0


def test_the_training_step_never_reads_from_the_device_and_every_parameter_gets_a_gradient():
    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            waits = ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal')  # for a GPU
            assert not any(word in func.name().split('::')[1] for word in waits), func
            return func(*args, **(kwargs or {}))

    with Watch():
        backward(net := build())
    # A bias in front of a normalisation would get none; there are none.
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_whole_training_step_on_a_gpu_never_waits_for_it():
    net = build().cuda()
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    for step in range(3):  # the first one sets up cuDNN
        torch.cuda.set_sync_debug_mode('error' if step else 'default')
        try:
            backward(net, 'cuda')
            optimizer.step()
            optimizer.zero_grad()
        finally:
            torch.cuda.set_sync_debug_mode('default')


def test_evaluation_passes_on_only_the_last_unit_with_the_same_result():
    net = build().train()
    for _ in range(3):
        features(net, batch=8)  # calibrates the normalisation
    net.eval()
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        feats = net['backbone'](images)
        last = net['head'](net['neck'](feats))
        net['neck'].eval_units = 'all'
        full = net['head'](net['neck'](feats))
    assert [len(stage) for stage in last] == [1] and [len(stage) for stage in full] == [4, 4]
    assert torch.equal(last[-1][-1], full[-1][-1])


def test_wrong_settings_and_features_and_labels_that_do_not_fit_are_explained():
    pretrained = dict(downsample=MOBILE, init_cfg=dict(type='Pretrained'))
    resnet = dict(in_channels=4, backbone=dict(type='ResNet', depth=18))
    few, msra = dict(CODEC, kernel_sizes=(7, 5)), dict(type='MSRAHeatmap', sigma=2, **CELLS)
    for kind, settings, words in (
        ('MSPNBackbone', dict(num_stages=0), 'num_stages'),
        ('MSPNBackbone', dict(num_blocks=(3,)), 'two levels'),
        ('MSPNBackbone', dict(num_blocks=(3, 0)), 'two levels'),
        ('MSPNBackbone', dict(unit_channels=0), 'positive'),
        ('MSPNBackbone', pretrained, 'a pretrained ResNet does not fit a BackboneDownsample'),
        ('BackboneDownsample', resnet, r'ResNet .* widths \[2\], expected 16.*out_indices'),
        ('MSPNNeck', dict(eval_units='first'), 'eval_units'),
        ('MultiStageHead', dict(decoder=few), '2 .*levels.*need 5'),
        ('MultiStageHead', dict(decoder=msra), 'MultiLevelHeatmap'),
    ):
        with pytest.raises(ValueError, match=words):
            MODELS.build(dict(settings, type=kind))
    net = build()
    with pytest.raises(ValueError, match='21 keypoints per person.*17'):
        net['head'].loss(features(net), samples(keypoints=21))
    with pytest.raises(ValueError, match='eval_units="all"'):
        net['head'].loss(features(net.eval()), samples())
    neck = MODELS.build(dict(type='MSPNNeck', num_stages=3, unit_channels=10))
    with pytest.raises(ValueError, match='2 stages of 4 units.*built for 3'):
        neck(net['backbone'](torch.randn(1, 3, 64, 48)))


def test_predict_with_flip_averages_and_returns_heatmaps():
    net, flip_indices = build().eval(), [0, 2, 1, *range(3, 17)]
    for sample in (data := samples(2)):
        sample.set_metainfo(dict(flip_indices=flip_indices))
    settings = dict(flip_test=True, flip_mode='heatmap', output_heatmaps=True)
    with torch.no_grad():
        a, b = features(net, 2), features(net, 2)
        poses, fields = net['head'].predict([a, b], data, settings)
        expected = (net['head'](a)[-1][-1] + net['head'](b)[-1][-1][:, flip_indices].flip(-1)) / 2
    assert torch.allclose(fields[1].heatmaps, expected[1], atol=1e-5)
    assert poses[0].keypoints.shape == (1, 17, 2) and poses[0].keypoint_scores.shape == (1, 17)
    assert poses[0].keypoints.dtype == np.float32


def test_a_backbone_of_mmpose_is_the_downsample_path(tmp_path):
    pretrained = MODELS.build(MOBILENET).state_dict()
    torch.save(pretrained, tmp_path / 'mobile.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'mobile.pth'))
    mobile = dict(MOBILE, backbone=dict(MOBILENET, init_cfg=init_cfg))
    net = build(backbone=dict(stem_channels=12, downsample=mobile))
    net['backbone'].init_weights()
    paths = [stage.down for stage in net['backbone'].stages]
    for path in paths:
        torch.testing.assert_close(path.backbone.state_dict(), pretrained, rtol=0, atol=0)
    backward(net)
    assert all(path.backbone.conv1.conv.weight.grad.any() for path in paths)
    torch.optim.SGD(net.parameters(), lr=1e-3).step()
    feats = net['backbone'].eval()(torch.randn(1, 3, 75, 53))
    assert feats[0][-1].shape == feats[1][-1].shape == (1, 10, 19, 14)
    with torch.no_grad():
        skips = [(torch.ones(1, 1, 1, 1),) * 2] * 4
        x = torch.randn(1, 12, 16, 12)
        for level, more in zip(paths[1](x), paths[1](x, skips), strict=True):
            assert torch.allclose(level + 2, more, atol=1e-5)


def test_with_cp_takes_the_same_step_with_less_memory():
    def count(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    trained, sizes, kept = [], [], {}
    for with_cp in (False, True):
        torch.manual_seed(0)
        widths = dict(num_blocks=(2, 2), stem_channels=8, base_channels=8, unit_channels=8)
        backbone = MODELS.build(dict(type='MSPNBackbone', with_cp=with_cp, **widths))
        optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
        for _ in range(2):
            kept.clear()
            with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
                outputs = backbone(torch.randn(4, 3, 64, 48))
            loss = sum(unit.square().mean() for units in outputs for unit in units)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        trained.append(backbone)
        sizes.append(sum(kept.values()))
    assert sizes[1] < 0.7 * sizes[0]
    wanted, found = (backbone.state_dict() for backbone in trained)
    assert int(found['stem.bn.num_batches_tracked']) == 2
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    images = torch.randn(1, 3, 64, 48)
    assert torch.allclose(*(backbone.eval()(images)[-1][-1] for backbone in trained))
