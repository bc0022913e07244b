"""Overlaps and suppression through ``mmcv.ops``, against loops over boxes."""

import importlib
import math

import numpy as np
import pytest
import torch

from mspn_plugin.compat import mmcv_ops

GAP = mmcv_ops.install()
if not GAP.active:
    pytest.skip(GAP.detail, allow_module_level=True)
ops = importlib.import_module('mmcv.ops')

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
on_each_device = pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_cuda)])


def make_boxes(count: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes crowded enough to overlap, and scores that all differ."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 40
    size = torch.rand(count, 2, generator=generator) * 30 + 1
    scores = (torch.randperm(count, generator=generator) + 1) / (count + 1)
    return torch.cat((corner, corner + size), 1), scores


def overlap(a, b, offset: int = 0, *, of_first: bool = False) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    return width * height / (area_a if of_first else area_a + area_b - width * height)


def nms_by_loop(boxes, scores, threshold: float, offset: int) -> list[int]:
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept: list[int] = []
    for i in order:
        if all(overlap(boxes[k], boxes[i], offset) <= threshold for k in kept):
            kept.append(i)
    return kept


def soft_nms_by_loop(boxes, scores, *, threshold, sigma, min_score, method, offset):
    left, kept = {i: scores[i] for i in range(len(boxes))}, []
    while left:
        best = max(left, key=left.__getitem__)
        kept.append((best, left.pop(best)))
        for i in list(left):
            iou = overlap(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                left[i] *= math.exp(-iou * iou / sigma)
            elif iou >= threshold:
                left[i] *= 1 - iou if method == 'linear' else 0
            if left[i] < min_score:
                del left[i]
    return kept


@on_each_device
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.8])
def test_nms(device, offset, threshold):
    boxes, scores = make_boxes(120)
    dets, kept = ops.nms(boxes.to(device), scores.to(device), threshold, offset=offset)
    expected = nms_by_loop(boxes.tolist(), scores.tolist(), threshold, offset)
    assert kept.tolist() == expected
    assert dets.device.type == device
    torch.testing.assert_close(dets.cpu(), torch.cat((boxes, scores[:, None]), 1)[expected])


def test_nms_filters_and_limits():
    boxes, scores = make_boxes(120)
    _, kept = ops.nms(boxes, scores, 0.5, score_threshold=0.3, max_num=4)
    expected = [i for i in nms_by_loop(boxes.tolist(), scores.tolist(), 0.5, 0) if scores[i] > 0.3]
    assert kept.tolist() == expected[:4]


def test_nms_takes_numpy_and_no_boxes_at_all():
    boxes, scores = make_boxes(20)
    dets, kept = ops.nms(boxes.numpy(), scores.numpy(), 0.5)
    assert isinstance(dets, np.ndarray) and kept.dtype == np.int64
    dets, kept = ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5) and kept.shape == (0,)


def test_nms_keeps_an_overlap_that_equals_the_threshold():
    # 3 of 5 cells are shared: the float32 nearest to 0.6, which is greater than the float64 one
    boxes = torch.tensor([[0.0, 0, 4, 1], [1.0, 0, 5, 1]])
    assert overlap(*boxes.tolist()) == 0.6
    _, kept = ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.6)
    assert kept.tolist() == [0, 1]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_nms_in_other_precisions(dtype):
    boxes = torch.tensor([[0.0, 0, 8, 8], [1.0, 0, 9, 8], [20.0, 20, 30, 30]], dtype=dtype)
    _, kept = ops.nms(boxes, torch.tensor([0.5, 0.75, 0.25], dtype=dtype), 0.5)
    assert kept.tolist() == [1, 2]


def test_batched_nms_keeps_classes_apart():
    boxes, scores = make_boxes(80)
    classes = torch.arange(80) % 3
    dets, kept = ops.batched_nms(boxes, scores, classes, dict(type='nms', iou_threshold=0.4))
    expected = []
    for label in range(3):
        own = (classes == label).nonzero()[:, 0].tolist()
        chosen = nms_by_loop(boxes[own].tolist(), scores[own].tolist(), 0.4, 0)
        expected += [own[i] for i in chosen]
    assert kept.tolist() == sorted(expected, key=lambda i: -scores[i])
    torch.testing.assert_close(dets[:, 4], scores[kept])


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('min_score', [1e-3, 0.2])
def test_soft_nms(method, offset, min_score):
    boxes, scores = make_boxes(90, seed=1)
    options = dict(sigma=0.4, min_score=min_score, method=method, offset=offset)
    dets, kept = ops.soft_nms(boxes, scores, iou_threshold=0.3, **options)
    expected = soft_nms_by_loop(boxes.tolist(), scores.tolist(), threshold=0.3, **options)
    assert kept.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(dets[:, :4], boxes[kept])
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected]))


def test_soft_nms_leaves_its_input_alone():
    boxes, scores = make_boxes(30)
    copies = boxes.clone(), scores.clone()
    ops.soft_nms(boxes.requires_grad_(), scores, min_score=0.5)
    assert torch.equal(boxes, copies[0]) and torch.equal(scores, copies[1])


def test_soft_nms_with_empty_boxes_and_equal_scores():
    boxes = np.array([[4, 3, 5, 3], [4, 3, 5, 4], *[[3, 1, 3, 1]] * 4], dtype=np.float32)
    scores = np.array([0.9, 0.9, 0.5, 0.5, 0.4, 0.0], dtype=np.float32)
    dets, kept = ops.soft_nms(boxes, scores, 0.6, sigma=0.5)
    assert len(dets) == len(kept) == 5
    assert kept.tolist() == [0, 1, 2, 3, 4]
    for method in ('linear', 'gaussian'):  # two empty boxes do not overlap
        dets, _ = ops.soft_nms(np.ones((2, 4), np.float32), scores[:2], method=method)
        assert dets[:, 4].tolist() == scores[:2].tolist()
    dets, kept = ops.soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5) and kept.shape == (0,)


def test_soft_nms_breaks_ties_by_the_swaps_of_mmcv():
    # The best box, 2, changes places with box 0, which so comes after 1. It suppresses its copies 3
    # and 4, and the last boxes fill these holes from the end: 7, then 6.
    apart = [[x, 0.0, x + 10, 10.0] for x in (20, 40, 60, 80, 100)]
    boxes = torch.tensor([*apart[:2], *[[0.0, 0.0, 10.0, 10.0]] * 3, *apart[2:]])
    scores = torch.full((8,), 0.5)
    scores[2] = 0.9
    _, kept = ops.soft_nms(boxes, scores, method='naive', min_score=0.1)
    assert kept.tolist() == [2, 1, 0, 7, 6, 5]


@pytest.mark.parametrize(('method', 'score'), [('naive', 0.0), ('linear', 0.25)])
def test_soft_nms_acts_on_an_overlap_that_equals_the_threshold(method, score):
    boxes = torch.tensor([[0.0, 0, 2, 1], [0.0, 0, 1, 1]])
    dets, _ = ops.soft_nms(boxes, torch.tensor([0.9, 0.5]), 0.5, min_score=0, method=method)
    assert dets[1, 4] == score


def test_nms_match():
    boxes, scores = make_boxes(60)
    dets = torch.cat((boxes, scores[:, None]), 1)
    groups = ops.nms_match(dets, 0.4)
    left = sorted(range(60), key=lambda i: -scores[i])
    for group in groups:
        joined = [i for i in left if i != left[0] and overlap(boxes[left[0]], boxes[i]) >= 0.4]
        assert group.tolist() == [left[0], *joined]
        left = [i for i in left if i not in group.tolist()]
    assert not left
    assert all(isinstance(group, np.ndarray) for group in ops.nms_match(dets.numpy(), 0.4))


@on_each_device
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('aligned', [False, True])
def test_bbox_overlaps(device, mode, aligned, offset):
    first, second = make_boxes(12, seed=2)[0], make_boxes(12, seed=3)[0]
    options = dict(mode=mode, aligned=aligned, offset=offset)
    actual = ops.bbox_overlaps(first.to(device), second.to(device), **options)
    table = torch.tensor(
        [
            [overlap(a, b, offset, of_first=mode == 'iof') for b in second.tolist()]
            for a in first.tolist()
        ]
    )
    torch.testing.assert_close(actual.cpu(), table.diagonal() if aligned else table)
