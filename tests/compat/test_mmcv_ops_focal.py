"""Focal losses through ``mmcv.ops``, against the formulas of the paper and autograd."""

import importlib

import pytest
import torch

from mspn_plugin.compat import mmcv_ops

GAP = mmcv_ops.install()
if not GAP.active:
    pytest.skip(GAP.detail, allow_module_level=True)
ops = importlib.import_module('mmcv.ops')

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
on_each_device = pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_cuda)])
GAMMA, ALPHA = 2.0, 0.25


def make_samples(device: str, *, background: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (7, 4) and targets (7,); class 4 is background."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, 4, generator=generator, dtype=torch.float64)
    targets = torch.tensor([0, 3, 4, 1, 4, 2, 3] if background else [0, 3, 1, 1, 2, 2, 3])
    return logits.to(device).requires_grad_(), targets.to(device)


def sigmoid_formula(logits, targets, gamma, alpha, weight):
    rows = []
    for row, target in zip(logits, targets.tolist(), strict=True):
        factor = 1.0 if weight is None or target >= len(weight) else weight[target]
        for c, logit in enumerate(row):
            p = 1 / (1 + torch.exp(-logit))
            if c == target:
                loss = -alpha * (1 - p) ** gamma * torch.log(p)
            else:
                loss = -(1 - alpha) * p**gamma * torch.log(1 - p)
            rows.append(loss * factor)
    return torch.stack(rows).view_as(logits)


def softmax_formula(logits, targets, gamma, alpha, weight):
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    rows = []
    for row, target in zip(p, targets.tolist(), strict=True):
        factor = 1.0 if weight is None else weight[target]
        rows.append(-alpha * (1 - row[target]) ** gamma * torch.log(row[target]) * factor)
    return torch.stack(rows)


def reduce(loss, reduction):
    if reduction == 'none':
        return loss
    return loss.sum() / (len(loss) if reduction == 'mean' else 1)


def assert_same(actual, expected, logits):
    torch.testing.assert_close(actual, expected)
    upstream = torch.rand_like(expected)
    (gradient,) = torch.autograd.grad(actual, logits, upstream)
    (wanted,) = torch.autograd.grad(expected, logits, upstream)
    torch.testing.assert_close(gradient, wanted)


@on_each_device
@pytest.mark.parametrize('gamma', [0.0, GAMMA])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_sigmoid_focal_loss(device, reduction, weighted, gamma):
    logits, targets = make_samples(device, background=True)
    weight = logits.new_tensor([0.5, 1.0, 2.0, 3.0]) if weighted else None
    actual = ops.sigmoid_focal_loss(logits, targets, gamma, ALPHA, weight, reduction)
    expected = sigmoid_formula(logits, targets, gamma, ALPHA, weight)
    assert_same(actual, reduce(expected, reduction), logits)


@on_each_device
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_softmax_focal_loss(device, reduction, weighted):
    logits, targets = make_samples(device, background=False)
    weight = logits.new_tensor([0.5, 1.0, 2.0, 3.0]) if weighted else None
    actual = ops.softmax_focal_loss(logits, targets, GAMMA, ALPHA, weight, reduction)
    expected = softmax_formula(logits, targets, GAMMA, ALPHA, weight)
    assert_same(actual, reduce(expected, reduction), logits)


def test_gradcheck():
    logits, targets = make_samples('cpu', background=True)
    assert torch.autograd.gradcheck(
        lambda x: ops.sigmoid_focal_loss(x, targets, GAMMA, ALPHA, None, 'sum'), logits
    )


@on_each_device
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(device, dtype):
    logits, targets = make_samples(device, background=True)
    half = logits.detach().to(dtype).requires_grad_()
    actual = ops.sigmoid_focal_loss(half, targets, GAMMA, ALPHA, None, 'none')
    assert actual.dtype == dtype
    expected = sigmoid_formula(half.detach().float(), targets, GAMMA, ALPHA, None)
    torch.testing.assert_close(actual.float(), expected, atol=1e-2, rtol=1e-2)
    actual.sum().backward()
    assert half.grad.dtype == dtype and half.grad.isfinite().all()


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([1]), GAMMA, ALPHA, None, 'sum')
    loss.backward()
    # both classes are as wrong as can be: mmcv's logarithm ends at that of the smallest float32
    assert loss.item() == pytest.approx(126 * torch.log(torch.tensor(2.0)).item(), rel=1e-5)
    assert logits.grad.isfinite().all()


def test_no_samples():
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss == 0 and logits.grad.shape == (0, 4)


def test_a_target_beyond_the_background_is_an_error():
    with pytest.raises(ValueError, match='at most the number of classes, 4 .* got 5'):
        ops.sigmoid_focal_loss(torch.zeros(1, 4), torch.tensor([5]), 2.0, 0.25, None, 'sum')
