"""OHKM against a loop over samples and keypoints, and its cost in operators."""

from __future__ import annotations

import pytest
import torch
from mmpose.registry import MODELS
from torch.utils._python_dispatch import TorchDispatchMode

from mspn_plugin.models import OHKMMSELoss
from mspn_plugin.models.losses import KeypointMeanMSELoss


def loop(output, target, weights, topk):
    """Each sample's mean of the largest ``topk`` keypoint errors, then the mean over samples."""
    total = 0.0
    for pred, goal, weight in zip(output, target, weights, strict=True):
        errors = sorted(
            (
                float(((p - g) ** 2).double().mean() * w)
                for p, g, w in zip(pred, goal, weight, strict=True)
            ),
            reverse=True,
        )
        count = min(topk, len(errors))
        total += sum(errors[:count]) / count
    return total / len(output)


class CountOperators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def batch(num=32, keypoints=17, seed=0):
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(num, keypoints, 16, 12, generator=generator) * 60
    target = torch.rand(num, keypoints, 16, 12, generator=generator) * 255
    weights = (torch.rand(num, keypoints, generator=generator) > 0.4).float()
    weights[0] = 0  # a person with no label at all
    return output, target, weights


@pytest.mark.parametrize(('keypoints', 'topk'), [(17, 8), (17, 17), (17, 1), (4, 8), (1, 8)])
def test_equals_the_loop(keypoints, topk):
    output, target, weights = batch(keypoints=keypoints)
    loss = OHKMMSELoss(topk)(output, target, weights)
    assert loss.item() == pytest.approx(loop(output, target, weights, topk), rel=1e-5)


def test_gradient_equals_the_loop():
    output, target, weights = batch(num=3)
    ours = output.clone().requires_grad_()
    OHKMMSELoss(8)(ours, target, weights).backward()
    theirs = output.clone().requires_grad_()
    total = 0
    for i in range(3):
        errors = ((theirs[i] - target[i]) ** 2).mean(dim=(1, 2)) * weights[i]
        total = total + torch.stack(sorted(errors, key=float, reverse=True)[:8]).sum() / 8
    (total / 3).backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-9)


def test_equals_mmpose_where_mmpose_works():
    output, target, weights = batch()
    stock = MODELS.build(dict(type='KeypointOHKMMSELoss', use_target_weight=True, topk=8))
    ours = OHKMMSELoss(8)(output, target, weights)
    assert ours.item() == pytest.approx(stock(output, target, weights).item(), rel=1e-5)
    stock = MODELS.build(dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=0.25))
    ours = KeypointMeanMSELoss(loss_weight=0.25)(output, target, weights)
    assert ours.item() == pytest.approx(stock(output, target, weights).item(), rel=1e-5)


def test_needs_few_operators():
    output, target, weights = batch()
    output.requires_grad_()
    with CountOperators() as counter:
        OHKMMSELoss(8)(output, target, weights).backward()
    print(len(counter.names), counter.names)
    assert len(counter.names) <= 60


def test_half_precision_does_not_overflow():
    output = torch.full((1, 2, 8, 8), 300.0, dtype=torch.float16)
    loss = OHKMMSELoss(8)(output, torch.zeros(1, 2, 8, 8))
    assert loss.item() == pytest.approx(90000)


def test_topk_must_be_positive():
    with pytest.raises(ValueError, match='topk is 0'):
        OHKMMSELoss(0)
