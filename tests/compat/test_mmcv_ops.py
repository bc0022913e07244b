"""Suppression, RoIAlign and focal loss through ``mmcv.ops``, against formulas; and detectors."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch.nn import functional

from mspn_plugin.compat import mmcv_ops

GAP = mmcv_ops.install()
if not GAP.active:
    pytest.skip(GAP.detail, allow_module_level=True)

import mmcv.ops as ops  # noqa: E402
import mmdet  # noqa: E402
from mmdet.apis import inference_detector  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
on_each_device = pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_cuda)])


def make_boxes(count: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes crowded enough to overlap, and scores that all differ."""
    generator = torch.Generator().manual_seed(seed)
    corner, size = torch.rand(2, count, 2, generator=generator) * 35
    scores = (torch.randperm(count, generator=generator) + 1) / (count + 1)
    return torch.cat((corner, corner + size + 1), 1), scores


def overlap(a, b, offset: int = 0) -> float:
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + offset) for i in (0, 1))
    areas = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


def nms_by_loop(boxes, scores, *, threshold, offset, method='naive', sigma=1, min_score=1e-9):
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
    found = nms_by_loop(boxes.tolist(), scores.tolist(), threshold=threshold, offset=offset)
    expected = [i for i, _ in found]
    assert kept.tolist() == expected and dets.device.type == device
    torch.testing.assert_close(dets.cpu(), torch.cat((boxes, scores[:, None]), 1)[expected])


def test_suppression_of_numpy_nothing_empty_boxes_ties_and_an_overlap_at_the_threshold():
    found = [values.numpy() for values in make_boxes(120)]
    for suppress in (lambda *found: ops.nms(*found, 0.5), ops.soft_nms):
        dets, kept = suppress(*found)
        assert isinstance(dets, np.ndarray) and kept.dtype == np.int64
        dets, kept = suppress(torch.zeros(0, 4), torch.zeros(0))
        assert dets.shape == (0, 5) and kept.shape == (0,)
    boxes = np.array([[4, 3, 5, 3], [4, 3, 5, 4], *[[3, 1, 3, 1]] * 4], dtype=np.float32)
    scores = np.array([0.9, 0.9, 0.5, 0.5, 0.4, 0.0], dtype=np.float32)
    dets, kept = ops.soft_nms(boxes, scores, 0.6, sigma=0.5)
    assert len(dets) == 5 and kept.tolist() == [0, 1, 2, 3, 4]
    for method in ('linear', 'gaussian'):  # two empty boxes do not overlap
        dets, _ = ops.soft_nms(np.ones((2, 4), np.float32), scores[:2], method=method)
        assert dets[:, 4].tolist() == scores[:2].tolist()
    boxes = torch.tensor([[0.0, 0, 2, 1], [0.0, 0, 1, 1]])  # the overlap equals the threshold
    for method, score in (('naive', 0.0), ('linear', 0.25)):
        dets, _ = ops.soft_nms(boxes, torch.tensor([0.9, 0.5]), 0.5, min_score=0, method=method)
        assert dets[1, 4] == score
    # Ties as in mmcv: boxes 2 and 0 change places, the last boxes fill the holes of 3 and 4.
    apart = [[x, 0.0, x + 10, 10.0] for x in (20, 40, 60, 80, 100)]
    boxes = torch.tensor([*apart[:2], *[[0.0, 0.0, 10.0, 10.0]] * 3, *apart[2:]])
    scores = torch.full((8,), 0.5)
    scores[2] = 0.9
    _, kept = ops.soft_nms(boxes, scores, method='naive', min_score=0.1)
    assert kept.tolist() == [2, 1, 0, 7, 6, 5]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_nms_in_other_precisions_and_of_an_overlap_that_equals_the_threshold(dtype):
    boxes = torch.tensor([[0.0, 0, 8, 8], [1.0, 0, 9, 8], [20.0, 20, 30, 30]], dtype=dtype)
    _, kept = ops.nms(boxes, torch.tensor([0.5, 0.75, 0.25], dtype=dtype), 0.5)
    assert kept.tolist() == [1, 2]
    # 3 of 5 cells are shared: the float32 nearest to 0.6, which is greater than the float64 one
    boxes = torch.tensor([[0.0, 0, 4, 1], [1.0, 0, 5, 1]])
    assert overlap(*boxes.tolist()) == 0.6
    assert ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.6)[1].tolist() == [0, 1]


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('min_score', [1e-3, 0.2])
def test_soft_nms(method, offset, min_score):
    boxes, scores = make_boxes(90, seed=1)
    options = dict(sigma=0.4, min_score=min_score, method=method, offset=offset)
    dets, kept = ops.soft_nms(boxes.requires_grad_(), scores, iou_threshold=0.3, **options)
    assert all(map(torch.equal, (boxes, scores), make_boxes(90, seed=1)))
    expected = nms_by_loop(boxes.tolist(), scores.tolist(), threshold=0.3, **options)
    assert kept.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(dets[:, :4], boxes[kept])
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected]))


REGIONS = [  # image index, x1, y1, x2, y2
    [0, 4.3, 6.1, 19.7, 30.2],
    *([1, -9.0, -5.5, 12.4, 9.3], [1, 20.2, 13.7, 49.0, 47.5]),  # over the borders
    [0, -20.0, -20.0, 70.0, 70.0],
    [1, 11.2, 8.9, 12.1, 10.3],  # below one cell
]
SCALE, GAMMA, ALPHA = 0.25, 2.0, 0.25


def make_features(device='cpu', dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 9, 8, generator=generator, dtype=torch.float64)
    regions = torch.tensor(REGIONS, dtype=dtype, device=device)
    return features.to(device, dtype).requires_grad_(), regions


def roi_align_by_points(features, regions, pooled, ratio, aligned):
    limits, shift, outputs = torch.tensor(features.shape[-2:]), 0.5 * aligned, []
    for image, x1, y1, x2, y2 in regions.double().cpu():
        start = torch.stack((y1, x1)) * SCALE - shift
        size = torch.stack((y2 - y1, x2 - x1)) * SCALE
        size = size if aligned else size.clamp(min=1)
        counts = [ratio or math.ceil(side / bins) for side, bins in zip(size, pooled, strict=True)]
        y, x = (
            first + (torch.arange(n).double() + 0.5) * length / n
            for first, length, n in zip(start, size, np.multiply(counts, pooled), strict=True)
        )
        points = torch.stack(torch.meshgrid(y, x, indexing='ij'), -1)
        inside = ((points >= -1) & (points <= limits)).all(-1)
        # grid_sample wants x before y, from -1 at the first cell's centre to 1 at the last one's.
        grid = (2 * points / (limits - 1) - 1).flip(-1)[None].to(features)
        options = dict(padding_mode='border', align_corners=True)
        values = functional.grid_sample(features[None, int(image)], grid, **options)
        outputs.append(functional.avg_pool2d(values * inside.to(features), counts))
    return torch.cat(outputs)


def assert_same(actual, expected, leaf):
    torch.testing.assert_close(actual, expected)
    upstream = torch.randn_like(expected)
    gradients = (torch.autograd.grad(output, leaf, upstream) for output in (actual, expected))
    torch.testing.assert_close(*gradients)


@on_each_device
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align(device, ratio, aligned):
    (features, regions), pooled = make_features(device), (2, 3)
    actual = ops.roi_align(features, regions, pooled, SCALE, ratio, 'avg', aligned)
    assert_same(actual, roi_align_by_points(features, regions, pooled, ratio, aligned), features)


@on_each_device
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_roi_align_and_focal_loss_in_half_precision(device, dtype):
    features, regions = make_features(device, dtype)
    for boxes in (regions.float(), regions):
        actual = ops.roi_align(features, boxes, 2, SCALE, 2, 'avg', True)
        assert actual.dtype == dtype
        expected = roi_align_by_points(features.detach().float(), boxes.float(), (2, 2), 2, True)
        torch.testing.assert_close(actual.float(), expected, atol=0.02, rtol=0.02)
    actual.sum().backward()
    assert features.grad.dtype == dtype and features.grad.isfinite().all()
    logits, targets = make_samples(device)
    half = logits.detach().to(dtype).requires_grad_()
    actual = ops.sigmoid_focal_loss(half, targets, GAMMA, ALPHA, None, 'none')
    assert actual.dtype == dtype
    expected = sigmoid_formula(half.detach().float(), targets, GAMMA)
    torch.testing.assert_close(actual.float(), expected, atol=1e-2, rtol=1e-2)
    actual.sum().backward()
    assert half.grad.dtype == dtype and half.grad.isfinite().all()


def make_samples(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (7, 4) and targets (7,); class 4 is background."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, 4, generator=generator, dtype=torch.float64)
    return logits.to(device).requires_grad_(), torch.tensor([0, 3, 4, 1, 4, 2, 3], device=device)


def sigmoid_formula(logits, targets, gamma, weight=None):
    positive = functional.one_hot(targets, 5)[:, :4].to(logits)
    p = logits.sigmoid()
    p_of_truth = torch.where(positive > 0, p, 1 - p)
    share = torch.where(positive > 0, ALPHA, 1 - ALPHA)
    weights = 1 if weight is None else functional.pad(weight, (0, 1), value=1)[targets, None]
    return -share * (1 - p_of_truth) ** gamma * p_of_truth.log() * weights


@on_each_device
@pytest.mark.parametrize('gamma', [0.0, GAMMA])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_sigmoid_focal_loss(device, reduction, weighted, gamma):
    logits, targets = make_samples(device)
    weight = logits.new_tensor([0.5, 1.0, 2.0, 3.0]) if weighted else None
    actual = ops.sigmoid_focal_loss(logits, targets, gamma, ALPHA, weight, reduction)
    expected = sigmoid_formula(logits, targets, gamma, weight)
    totals = {'none': expected, 'mean': expected.sum() / len(expected), 'sum': expected.sum()}
    assert_same(actual, totals[reduction], logits)


def test_focal_loss_of_extreme_logits_and_a_wrong_target_and_both_operators_of_nothing():
    features, _ = make_features()
    for count in (0, 1):  # a region without area
        regions = features.new_zeros(count, 5)
        flat = ops.roi_align(features, regions, 2, SCALE, 0, 'avg', True)
        assert flat.shape == (count, 3, 2, 2) and (flat == 0).all()
    flat.sum().backward()
    assert (features.grad == 0).all()
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([1]), GAMMA, ALPHA, None, 'sum')
    loss.backward()
    # both classes are as wrong as can be: mmcv's logarithm ends at that of the smallest float32
    assert loss.item() == pytest.approx(126 * torch.log(torch.tensor(2.0)).item(), rel=1e-5)
    assert logits.grad.isfinite().all()
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss == 0 and logits.grad.shape == (0, 4)
    with pytest.raises(ValueError, match='at most the number of classes, 4 .* got 5'):
        ops.sigmoid_focal_loss(torch.zeros(1, 4), torch.tensor([5]), 2.0, 0.25, None, 'sum')


RTMDET = 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
YOLOX = 'yolox/yolox_tiny_8xb8-300e_coco.py'
FASTER_RCNN = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'


def make(name, device, **options):
    config = Config.fromfile(Path(mmdet.__file__).parent / '.mim' / 'configs' / name)
    config.model.backbone.init_cfg = None
    config.model.data_preprocessor.update(options)
    torch.manual_seed(0)
    register_all_modules()
    return config, MODELS.build(config.model).to(device)


@on_each_device
@pytest.mark.parametrize('name', [RTMDET, YOLOX, FASTER_RCNN])
def test_inference_on_a_picture_with_random_weights(name, device):
    config, model = make(name, device)
    model.eval().cfg = config
    for step in config.test_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (160, 128)
        if step.type == 'Pad' and 'size' in step:
            step.size = (160, 160)
    config.test_pipeline = config.test_dataloader.dataset.pipeline
    if name == YOLOX:  # its box sizes are exponentials: infinite with weights this random
        for conv in model.bbox_head.multi_level_conv_reg:
            torch.nn.init.zeros_(conv.weight)
    # Random weights are never sure of anything; this way suppression has something to do.
    model.test_cfg.get('rcnn', model.test_cfg).score_thr = 0.0
    picture = np.random.default_rng(0).integers(0, 256, (96, 120, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = inference_detector(model, picture).pred_instances
    assert len(found) > 0 and found.bboxes.shape == (len(found), 4)
    assert found.bboxes.abs().max() < 200  # pixels of the picture, give or take its padding
    assert (found.scores.diff() <= 0).all()


LEARNING = {FASTER_RCNN: 'roi_head.bbox_head.fc_cls.weight', RTMDET: 'bbox_head.rtm_cls.0.weight'}


@on_each_device
@pytest.mark.parametrize('name', LEARNING)
def test_one_training_step(name, device):
    # RTMDet's batch augmentation needs a loader; the network is what is tested.
    model = make(name, device, **({} if name == FASTER_RCNN else dict(batch_augments=None)))[1]
    shapes = dict.fromkeys(('img_shape', 'ori_shape', 'batch_input_shape', 'pad_shape'), (128, 128))
    boxes = torch.tensor([[10.0, 12, 60, 90], [40.0, 8, 100, 60]])
    sample = DetDataSample(
        metainfo=shapes | {'scale_factor': (1.0, 1.0)},
        gt_instances=InstanceData(bboxes=boxes, labels=torch.tensor([0, 5])),
        ignored_instances=InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0)),
    ).to(device)
    image = torch.randint(0, 256, (3, 128, 128), dtype=torch.uint8)
    data = model.train().data_preprocessor(dict(inputs=[image], data_samples=[sample]), True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    gradient = dict(model.named_parameters())[LEARNING[name]].grad
    assert total.isfinite() and gradient.isfinite().all() and gradient.abs().sum() > 0
    gradients = [p.grad for p in model.backbone.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
