"""The head's losses against both published rules, each written out for one keypoint at a time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mspn_plugin import get_config
from mspn_plugin.models import OHKMMSELoss

WIDTH, HEIGHT, KEYPOINTS, PEOPLE = 12, 16, 17, 2
KERNELS = (15, 11, 9, 7, 5)
CODEC = dict(type='MultiLevelHeatmap', input_size=(48, 64), heatmap_size=(WIDTH, HEIGHT))


def target_map(cell, kernel):
    """One lit cell, blurred, with a maximum of 255."""
    lit = np.zeros((HEIGHT, WIDTH), np.float64)
    lit[int(cell[1]), int(cell[0])] = 1
    blurred = cv2.GaussianBlur(lit, (kernel, kernel), 0)
    return torch.from_numpy(blurred / blurred.max() * 255)


def error(output, cell, kernel):
    """Mean squared error of one heatmap; without a cell, nothing is to be drawn."""
    goal = torch.zeros(HEIGHT, WIDTH) if cell is None else target_map(cell, kernel)
    return ((output.double() - goal.double()) ** 2).mean()


def original_unit(maps, cells, visibility, kernel, mined):
    """The original's loss of one unit: a mean over people of each person's loss."""
    people = []
    for person in range(PEOPLE):
        errors = []
        for k in range(KEYPOINTS):
            v, cell = visibility[person, k], cells[person, k]
            if mined:  # an unlabelled keypoint costs nothing
                errors.append(error(maps[person, k], cell, kernel) if v > 0 else 0 * maps.sum())
            else:  # every keypoint costs, but only a visible one is to be drawn
                errors.append(error(maps[person, k], cell if v > 1 else None, kernel))
        if mined:
            people.append(sum(sorted(errors, key=torch.Tensor.item, reverse=True)[:8]) / 8)
        else:
            people.append(sum(errors) / KEYPOINTS)
    return sum(people) / PEOPLE


def mmpose_unit(maps, cells, weights, kernel, mined):
    """MMPose's: the keypoints' errors times their weights, all of them or the 8 largest."""
    people = []
    for person in range(PEOPLE):
        errors = [
            error(maps[person, k], cells[person, k], kernel) * weights[person, k]
            for k in range(KEYPOINTS)
        ]
        if mined:
            people.append(sum(sorted(errors, key=torch.Tensor.item, reverse=True)[:8]) / 8)
        else:
            people.append(sum(errors) / KEYPOINTS)
    return sum(people) / PEOPLE


def expected_losses(rule, heatmaps, cells, visibility, *, coarse_to_fine, ohkm):
    losses = {}
    for stage, maps in enumerate(heatmaps):
        for unit in range(4):
            finer = coarse_to_fine and stage == len(heatmaps) - 1
            kernel = KERNELS[unit + 1 if finer else unit]
            loss = rule(maps[unit], cells, visibility, kernel, mined=ohkm and unit == 3)
            losses[f'loss_s{stage}_u{unit}'] = loss if unit == 3 else loss / 4
    return losses


def build(**settings):
    torch.manual_seed(4)
    return MODELS.build(dict(type='MultiStageHead', unit_channels=6, decoder=CODEC, **settings))


def data(num_stages, values):
    """Features and labels; every visibility of ``values`` occurs, in person 1 hardly any label."""
    generator = torch.Generator().manual_seed(num_stages)
    sizes = [(2, 2), (4, 3), (8, 6), (16, 12)]
    feats = [
        [torch.randn(PEOPLE, 6, *size, generator=generator, requires_grad=True) for size in sizes]
        for _ in range(num_stages)
    ]
    cells = torch.rand(PEOPLE, KEYPOINTS, 2, generator=generator) * torch.tensor([12.0, 16.0])
    choice = torch.randint(len(values), (PEOPLE, KEYPOINTS), generator=generator)
    visibility = torch.tensor(values)[choice]
    visibility[1, 3:] = 0
    assert set(visibility.flatten().tolist()) == set(values)
    samples = []
    for person in range(PEOPLE):
        sample = PoseDataSample()
        sample.gt_instance_labels = InstanceData(
            keypoint_cells=cells[person : person + 1],
            keypoint_weights=visibility[person : person + 1],
        )
        samples.append(sample)
    return feats, samples, cells.numpy(), visibility


@pytest.mark.parametrize('num_stages', [1, 2, 3, 4])
@pytest.mark.parametrize('coarse_to_fine', [True, False])
@pytest.mark.parametrize('ohkm', [True, False])
@pytest.mark.parametrize(
    ('coarse_targets', 'rule', 'values'),
    [
        ('visible', original_unit, (0.0, 1.0, 2.0)),
        ('labelled', mmpose_unit, (0.0, 0.5, 1.0)),
    ],
)
def test_losses_and_gradients_equal_the_published_rule(
    num_stages, coarse_to_fine, ohkm, coarse_targets, rule, values
):
    settings = dict(coarse_to_fine=coarse_to_fine, ohkm=ohkm)
    head = build(num_stages=num_stages, coarse_targets=coarse_targets, **settings)
    feats, samples, cells, visibility = data(num_stages, values)
    losses = head.loss(feats, samples)
    losses.pop('acc_pose')
    expected = expected_losses(rule, head(feats), cells, visibility, **settings)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5)
    total, expected_total = sum(losses.values()), sum(expected.values())
    assert total.item() == pytest.approx(expected_total.item(), rel=1e-5)

    inputs = [*head.parameters(), *(x for stage in feats for x in stage)]
    ours = torch.autograd.grad(total, inputs)
    theirs = torch.autograd.grad(expected_total, inputs)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() <= 1e-5 * other.norm()


def test_the_original_rule_punishes_what_is_drawn_of_an_occluded_keypoint():
    """The rules differ where they should: in the coarse units, for v = 1."""
    head = build(num_stages=1, coarse_targets='visible')
    feats, samples, *_ = data(1, (0.0, 1.0, 2.0))
    before = head.loss(feats, samples)
    for sample in samples:
        weights = sample.gt_instance_labels.keypoint_weights
        weights[weights == 1] = 2
    after = head.loss(feats, samples)
    assert all(before[f'loss_s0_u{unit}'] != after[f'loss_s0_u{unit}'] for unit in range(3))
    assert before['loss_s0_u3'] == after['loss_s0_u3']  # learns from every label, seen or not
    assert before['acc_pose'] == after['acc_pose']


def test_binary_weights_make_every_label_count_alike():
    generator = torch.Generator().manual_seed(0)
    output, target = torch.rand(2, 4, KEYPOINTS, 8, 6, generator=generator) * 255
    weights = torch.randint(3, (4, KEYPOINTS), generator=generator).float()
    loss = OHKMMSELoss(8, binary_weights=True)
    assert loss(output, target, weights) == OHKMMSELoss(8)(output, target, (weights > 0).float())


def test_an_unknown_rule_is_explained():
    with pytest.raises(ValueError, match="'seen'.*labelled, visible"):
        build(coarse_targets='seen')


def test_heatmaps_and_losses_are_of_full_precision_under_autocast():
    model = MODELS.build(Config.fromfile(get_config('mspn-tiny_1xb16-20e_coco-128x96')).model)
    samples = []
    for _ in range(2):
        sample = PoseDataSample()
        labels = dict(keypoint_cells=torch.rand(1, 17, 2) * 40, keypoint_weights=torch.ones(1, 17))
        sample.gt_instance_labels = InstanceData(**labels)
        samples.append(sample)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        feats = model.extract_feat(torch.randn(2, 3, 128, 96))
        losses = model.head.loss(feats, samples)
        heatmaps = model.head(feats)[-1][-1]
    assert feats[-1][-1].dtype == torch.bfloat16
    assert heatmaps.dtype == torch.float32
    for name, loss in losses.items():
        assert loss.dtype == torch.float32 and loss.isfinite(), name
    sum(loss for name, loss in losses.items() if 'loss' in name).backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)
