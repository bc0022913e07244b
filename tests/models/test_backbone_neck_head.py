"""The network: sizes, widths, gradients, what is passed on, and its losses unit by unit."""

from __future__ import annotations

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

CODEC = dict(
    type='MultiLevelHeatmap',
    input_size=(48, 64),
    heatmap_size=(12, 16),
    kernel_sizes=(11, 9, 7, 5, 5),
)
SMALL = dict(num_blocks=(1, 2, 1, 1), stem_channels=12, base_channels=4, unit_channels=10)


def build(num_stages=2, norm_cfg=None, **head):
    backbone = MODELS.build(
        dict(type='MSPNBackbone', num_stages=num_stages, norm_cfg=norm_cfg, **SMALL)
    )
    neck = MODELS.build(
        dict(type='MSPNNeck', num_stages=num_stages, unit_channels=10, norm_cfg=norm_cfg)
    )
    head = MODELS.build(
        dict(
            type='MultiStageHead',
            num_stages=num_stages,
            unit_channels=10,
            decoder=CODEC,
            norm_cfg=norm_cfg,
            **head,
        )
    )
    return nn.ModuleDict(dict(backbone=backbone, neck=neck, head=head))


def samples(num=3, keypoints=17, seed=0):
    generator = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(num):
        sample = PoseDataSample()
        sample.gt_instance_labels = InstanceData(
            keypoint_cells=torch.rand(1, keypoints, 2, generator=generator)
            * torch.tensor([12.0, 16.0]),
            keypoint_weights=(torch.rand(1, keypoints, generator=generator) > 0.3).float(),
        )
        out.append(sample)
    return out


def features(net, batch=3):
    return net['neck'](net['backbone'](torch.randn(batch, 3, 64, 48)))


@pytest.mark.parametrize('num_stages', [1, 2, 3])
def test_shapes_of_every_stage_and_unit(num_stages):
    net = build(num_stages)
    feats = net['backbone'](torch.randn(2, 3, 64, 48))
    sizes = [[tuple(x.shape) for x in stage] for stage in feats]
    assert sizes == [[(2, 10, 2, 2), (2, 10, 4, 3), (2, 10, 8, 6), (2, 10, 16, 12)]] * num_stages
    heatmaps = net['head'](net['neck'](feats))
    assert [[tuple(x.shape) for x in stage] for stage in heatmaps] == [
        [(2, 17, 16, 12)] * 4
    ] * num_stages


def test_odd_input_sizes_work():
    feats = build()['backbone'](torch.randn(1, 3, 75, 53))
    assert tuple(feats[-1][-1].shape) == (1, 10, 19, 14)


def test_widths_are_real_parameters():
    backbone = MODELS.build(
        dict(
            type='MSPNBackbone',
            num_stages=2,
            num_blocks=(2, 1, 3),
            stem_channels=20,
            base_channels=6,
            unit_channels=14,
        )
    )
    assert [len(level) for level in backbone.stages[1].down.levels] == [2, 1, 3]
    assert backbone.stem.conv.out_channels == 20
    assert backbone.stages[0].up.cross.conv.out_channels == 20
    assert backbone.stages[0].down.levels[2][-1].conv3.conv.out_channels == 6 * 4 * 4
    feats = backbone(torch.randn(2, 3, 64, 48))
    assert [x.shape[1] for x in feats[0]] == [14, 14, 14]


def test_norm_cfg_reaches_every_block():
    net = build(norm_cfg=dict(type='GN', num_groups=1), num_keypoints=17)
    kinds = {type(module) for module in net.modules() if 'norm' in type(module).__name__.lower()}
    assert kinds == {nn.GroupNorm}


def test_every_parameter_gets_a_gradient():
    net = build()
    losses = net['head'].loss(features(net), samples())
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias in front of a normalisation would be such a parameter; there are none.
    assert without == []


@pytest.mark.parametrize('num_stages', [1, 2])
@pytest.mark.parametrize('coarse_to_fine', [True, False])
@pytest.mark.parametrize('ohkm', [True, False])
def test_losses_equal_the_recipe(num_stages, coarse_to_fine, ohkm):
    """Level, weight and kind of every unit's loss, each written out again here."""
    net = build(num_stages, coarse_to_fine=coarse_to_fine, ohkm=ohkm)
    head, data = net['head'], samples()
    feats = features(net)
    losses = head.loss(feats, data)
    cells = torch.cat([s.gt_instance_labels.keypoint_cells for s in data])
    weights = torch.cat([s.gt_instance_labels.keypoint_weights for s in data])
    renderer = head.decoder.renderer()
    for stage, maps in enumerate(head(feats)):
        for unit, output in enumerate(maps):
            level = unit + (1 if coarse_to_fine and stage == num_stages - 1 else 0)
            target = renderer(cells, weights, level)
            errors = ((output - target) ** 2).mean(dim=(2, 3)) * weights
            if unit == 3 and ohkm:
                expected = errors.sort(dim=1, descending=True).values[:, :8].mean()
            else:
                expected = errors.mean() * (0.25 if unit < 3 else 1)
            ours = losses.pop(f'loss_s{stage}_u{unit}')
            assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    assert list(losses) == ['acc_pose']


def test_accuracy_equals_mmpose():
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(40, 17, 16, 12, generator=generator)
    output = torch.where(torch.rand(40, 17, 1, 1, generator=generator) > 0.4, target, -target)
    output = output.roll(1, dims=3)
    weights = (torch.rand(40, 17, generator=generator) > 0.5).float()
    weights[:, 5] = 0
    _, expected, _ = pose_pck_accuracy(output.numpy(), target.numpy(), weights.numpy() > 0)
    assert pck_accuracy(output, target, weights).item() == pytest.approx(expected, abs=1e-6)
    shifted = pck_accuracy(target, target, weights)
    assert shifted.item() == 1
    assert pck_accuracy(output, target, torch.zeros_like(weights)).item() == 0


def test_the_training_step_never_reads_from_the_device():
    """Operators that make the CPU wait for a GPU: none between the labels and the gradients."""

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = func.name()
            waits = ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal', 'is_nonzero')
            assert not any(word in name.split('::')[1] for word in waits), name
            return func(*args, **(kwargs or {}))

    net, data = build(), samples()
    with Watch():
        losses = net['head'].loss(features(net), data)
        sum(value for key, value in losses.items() if 'loss' in key).backward()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_whole_training_step_on_a_gpu_never_waits_for_it():
    net = build().cuda()
    images = torch.randn(3, 3, 64, 48, device='cuda')
    data = [sample.to('cuda') for sample in samples()]
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    for step in range(3):  # the first one sets up cuDNN
        torch.cuda.set_sync_debug_mode('error' if step else 'default')
        try:
            losses = net['head'].loss(net['neck'](net['backbone'](images)), data)
            sum(value for key, value in losses.items() if 'loss' in key).backward()
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
        last = net['head'](net['neck'](net['backbone'](images)))
        net['neck'].eval_units = 'all'
        full = net['head'](net['neck'](net['backbone'](images)))
    assert [len(stage) for stage in last] == [1] and [len(stage) for stage in full] == [4, 4]
    assert torch.equal(last[-1][-1], full[-1][-1])


def test_loss_of_a_shortened_forward_says_what_to_set():
    net = build().eval()
    with pytest.raises(ValueError, match='eval_units="all"'):
        net['head'].loss(features(net), samples())


def test_keypoint_counts_that_differ_are_explained():
    net = build()
    with pytest.raises(ValueError, match='21 keypoints per person.*17'):
        net['head'].loss(features(net), samples(keypoints=21))


def test_fewer_keypoints_than_topk_work():
    net = build(num_keypoints=4, topk=8)
    losses = net['head'].loss(features(net), samples(keypoints=4))
    assert all(torch.isfinite(value) for value in losses.values())


def test_predict_with_flip_averages_and_returns_heatmaps():
    net = build().eval()
    flip_indices = [0, 2, 1, *range(3, 17)]
    data = samples(2)
    for sample in data:
        sample.set_metainfo(dict(flip_indices=flip_indices))
    with torch.no_grad():
        a, b = features(net, 2), features(net, 2)
        poses, fields = net['head'].predict(
            [a, b], data, dict(flip_test=True, flip_mode='heatmap', output_heatmaps=True)
        )
        expected = (net['head'](a)[-1][-1] + net['head'](b)[-1][-1][:, flip_indices].flip(-1)) / 2
    assert torch.allclose(fields[1].heatmaps, expected[1], atol=1e-5)
    assert poses[0].keypoints.shape == (1, 17, 2) and poses[0].keypoint_scores.shape == (1, 17)
    assert poses[0].keypoints.dtype == np.float32


@pytest.mark.parametrize(
    ('config', 'words'),
    [
        (dict(type='MSPNBackbone', num_stages=0), 'num_stages'),
        (dict(type='MSPNBackbone', num_blocks=(3,)), 'two levels'),
        (dict(type='MSPNBackbone', num_blocks=(3, 0)), 'two levels'),
        (dict(type='MSPNBackbone', unit_channels=0), 'positive'),
        (dict(type='MSPNNeck', eval_units='first'), 'eval_units'),
        (
            dict(type='MultiStageHead', decoder={**CODEC, 'kernel_sizes': (7, 5)}),
            'has 2 target levels.*need 5',
        ),
        (
            dict(
                type='MultiStageHead',
                decoder=dict(
                    type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=2
                ),
            ),
            'MultiLevelHeatmap',
        ),
    ],
)
def test_wrong_settings_are_explained(config, words):
    with pytest.raises(ValueError, match=words):
        MODELS.build(config)


def test_a_neck_for_another_number_of_stages_is_explained():
    with pytest.raises(ValueError, match='2 stages of 4 units.*built for 3'):
        neck = MODELS.build(dict(type='MSPNNeck', num_stages=3, unit_channels=10))
        neck(build()['backbone'](torch.randn(1, 3, 64, 48)))
