"""Losses against loops over people and keypoints, and the head's against both published rules."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mspn_plugin import get_config
from mspn_plugin.models.losses import KeypointMeanMSELoss, OHKMMSELoss

WIDTH, HEIGHT, KEYPOINTS, PEOPLE = 12, 16, 17, 2
KERNELS = (15, 11, 9, 7, 5)
CODEC = dict(type='MultiLevelHeatmap', input_size=(48, 64), heatmap_size=(WIDTH, HEIGHT))
MINED = dict(type='OHKMMSELoss', topk=8)


def hardest(errors, topk=8):
    people = [sorted(person, key=torch.Tensor.item, reverse=True)[:topk] for person in errors]
    return sum(sum(person) / len(person) for person in people) / len(people)


def batch(num=32, keypoints=17):
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(num, keypoints, 16, 12, generator=generator) * 60
    target = torch.rand(num, keypoints, 16, 12, generator=generator) * 255
    weights = (torch.rand(num, keypoints, generator=generator) > 0.4).float()
    weights[0] = 0  # a person with no label at all
    return output, target, weights


@pytest.mark.parametrize(('keypoints', 'topk'), [(17, 8), (17, 17), (17, 1), (4, 8), (1, 8)])
def test_ohkm_and_its_gradient_equal_the_loop(keypoints, topk):
    output, target, weights = batch(3, keypoints)
    ours, theirs = output.clone().requires_grad_(), output.clone().requires_grad_()
    loss = OHKMMSELoss(topk)(ours, target, weights)
    expected = hardest(((theirs - target) ** 2).mean(dim=(2, 3)) * weights, topk)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    expected.backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-9)


def test_equals_mmpose_where_mmpose_works_and_does_not_overflow_in_half_precision():
    half = torch.full((1, 2, 8, 8), 300.0, dtype=torch.float16)
    assert OHKMMSELoss(8)(half, half * 0).item() == pytest.approx(90000)  # without overflow
    output, target, weights = batch()
    for ours, kind in (
        (OHKMMSELoss(8), dict(type='KeypointOHKMMSELoss', topk=8)),
        (KeypointMeanMSELoss(loss_weight=0.25), dict(type='KeypointMSELoss', loss_weight=0.25)),
    ):
        stock = MODELS.build(dict(kind, use_target_weight=True))(output, target, weights)
        assert ours(output, target, weights).item() == pytest.approx(stock.item(), rel=1e-5)


def error(output, cell, kernel):
    goal = np.zeros((HEIGHT, WIDTH))
    if cell is not None:
        goal[int(cell[1]), int(cell[0])] = 1
        goal = cv2.GaussianBlur(goal, (kernel, kernel), 0)
        goal *= 255 / goal.max()
    return ((output.double() - torch.from_numpy(goal)) ** 2).mean()


def original_unit(maps, cells, visibility, kernel, mined):
    """The original's loss of one unit: each costs, but what cannot be seen is not to be drawn."""
    if mined:  # what has a label costs, seen or not
        return mmpose_unit(maps, cells, visibility > 0, kernel, mined)
    people = [list(zip(*person, strict=True)) for person in zip(cells, visibility, strict=True)]
    drawn = [[cell if seen > 1 else None for cell, seen in person] for person in people]
    return mmpose_unit(maps, drawn, torch.ones(PEOPLE, KEYPOINTS), kernel, mined)


def mmpose_unit(maps, cells, weights, kernel, mined):
    """MMPose's: the keypoints' errors times their weights, all of them or the 8 largest."""
    errors = [
        [error(maps[i, k], cells[i][k], kernel) * weights[i, k] for k in range(KEYPOINTS)]
        for i in range(PEOPLE)
    ]
    return hardest(errors, 8 if mined else KEYPOINTS)


def build(**settings):
    torch.manual_seed(4)
    return MODELS.build(dict(type='MultiStageHead', unit_channels=6, decoder=CODEC, **settings))


def data(num_stages, values):
    """Features and labels; every visibility of ``values`` occurs, in person 1 hardly any label."""
    generator = torch.Generator().manual_seed(num_stages)
    shapes = [(PEOPLE, 6, *size) for size in ((2, 2), (4, 3), (8, 6), (16, 12))]
    options = dict(generator=generator, requires_grad=True)
    feats = [[torch.randn(shape, **options) for shape in shapes] for _ in range(num_stages)]
    cells = torch.rand(PEOPLE, KEYPOINTS, 2, generator=generator) * torch.tensor([12.0, 16.0])
    choice = torch.randint(len(values), (PEOPLE, KEYPOINTS), generator=generator)
    visibility = torch.tensor(values)[choice]
    visibility[1, 3:] = 0
    assert set(visibility.flatten().tolist()) == set(values)
    pairs = zip(cells[:, None], visibility[:, None], strict=True)
    labels = [InstanceData(keypoint_cells=c, keypoint_weights=v) for c, v in pairs]
    samples = [PoseDataSample(gt_instance_labels=each) for each in labels]
    return feats, samples, cells.numpy(), visibility


@pytest.mark.parametrize('num_stages', [1, 2, 3, 4])
@pytest.mark.parametrize('coarse_to_fine', [True, False])
@pytest.mark.parametrize('mined', [True, False])
@pytest.mark.parametrize('rule', [original_unit, mmpose_unit])
def test_losses_and_gradients_equal_the_published_rule(num_stages, coarse_to_fine, mined, rule):
    binary = rule is original_unit
    mean = 'VisibleKeypointMSELoss' if binary else 'KeypointMeanMSELoss'
    values = (0.0, 1.0, 2.0) if binary else (0.0, 0.5, 1.0)
    final = dict(MINED, binary_weights=binary) if mined else dict(type=mean)
    kinds = dict(coarse_loss=dict(type=mean, loss_weight=0.25), final_loss=final)
    head = build(num_stages=num_stages, coarse_to_fine=coarse_to_fine, **kinds)
    feats, samples, cells, visibility = data(num_stages, values)
    losses = head.loss(feats, samples)
    losses.pop('acc_pose')
    expected = {}
    for stage, maps in enumerate(head(feats)):
        for unit in range(4):
            finer = coarse_to_fine and stage == num_stages - 1
            kernel = KERNELS[unit + 1 if finer else unit]
            loss = rule(maps[unit], cells, visibility, kernel, mined=mined and unit == 3)
            expected[f'loss_s{stage}_u{unit}'] = loss if unit == 3 else loss / 4
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5)
    inputs = [*head.parameters(), *(x for stage in feats for x in stage)]
    ours = torch.autograd.grad(sum(losses.values()), inputs)
    theirs = torch.autograd.grad(sum(expected.values()), inputs)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize('visible', [False, True])
@pytest.mark.parametrize('old', ['coarse_weight=0.5', 'ohkm=False', 'topk=3, coarse_weight=2'])
def test_the_settings_before_the_losses_are_understood(old, visible):
    """Alone, or in a config whose base has new ones; the warning shows what to write."""
    mean = 'VisibleKeypointMSELoss' if visible else 'KeypointMeanMSELoss'
    base, old = dict(coarse_loss=dict(type=mean, loss_weight=0.25)), eval(f'dict({old})')
    for start in (dict(coarse_targets='visible' if visible else 'labelled'), base):
        with pytest.warns(FutureWarning, match='write instead: coarse_loss=') as caught:
            head = build(**start, **old)
        new = build(**eval(f'dict({str(caught[0].message).partition("instead: ")[2]})'))
        for each in (head, new):
            assert type(each.coarse_loss).__name__ == mean
            assert each.coarse_loss.loss_weight == old.get('coarse_weight', 0.25)
            final = each.final_loss
            if 'ohkm' in old:
                assert type(final).__name__ == mean and final.loss_weight == 1
            else:
                assert final.topk == old.get('topk', 8) and final.binary_weights == visible


def test_unknown_settings_are_refused():
    for settings, words in (
        (dict(coarse_targets='seen'), "'seen'.*labelled, visible"),
        (dict(num_keypoint=3), 'num_keypoint'),
        (dict(final_loss=dict(MINED, topk=0)), 'topk is 0'),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            build(**settings)


def test_heatmaps_and_losses_are_of_full_precision_under_autocast():
    model = MODELS.build(Config.fromfile(get_config('mspn-tiny_1xb16-20e_coco-128x96')).model)
    samples = data(1, (0.0, 1.0))[1]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        feats = model.extract_feat(torch.randn(2, 3, 128, 96))
        losses = model.head.loss(feats, samples)
        heatmaps = model.head(feats)[-1][-1]
    assert (feats[-1][-1].dtype, heatmaps.dtype) == (torch.bfloat16, torch.float32)
    for name, loss in losses.items():
        assert loss.dtype == torch.float32 and loss.isfinite(), name
    sum(loss for name, loss in losses.items() if 'loss' in name).backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)
