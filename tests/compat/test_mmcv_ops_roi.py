"""RoIAlign and RoIPool through ``mmcv.ops``, against loops over regions, bins and samples."""

import importlib
import math

import pytest
import torch

from mspn_plugin.compat import mmcv_ops

GAP = mmcv_ops.install()
if not GAP.active:
    pytest.skip(GAP.detail, allow_module_level=True)
ops = importlib.import_module('mmcv.ops')

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
on_each_device = pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_cuda)])

# image index, x1, y1, x2, y2: inside, over each border, larger than the map, below one cell
REGIONS = [
    [0, 4.3, 6.1, 19.7, 30.2],
    [1, -9.0, -5.5, 12.4, 9.3],
    [1, 20.2, 13.7, 49.0, 47.5],
    [0, -20.0, -20.0, 70.0, 70.0],
    [1, 11.2, 8.9, 12.1, 10.3],
]
SCALE = 0.25


def make_features(device: str = 'cpu', dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 9, 8, generator=generator, dtype=torch.float64)
    return features.to(device, dtype).requires_grad_()


def regions_like(features: torch.Tensor) -> torch.Tensor:
    return torch.tensor(REGIONS, dtype=features.dtype, device=features.device)


def sample(plane: torch.Tensor, y: float, x: float) -> torch.Tensor:
    """Bilinear value of (C, h, w) at a point; cell centres are whole numbers."""
    height, width = plane.shape[-2:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return plane[:, 0, 0] * 0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = plane[:, top, left] * (1 - (x - left)) + plane[:, top, right] * (x - left)
    lower = plane[:, bottom, left] * (1 - (x - left)) + plane[:, bottom, right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


def roi_align_by_loop(features, regions, pooled, ratio, mode, aligned):
    shift = 0.5 if aligned else 0.0
    outputs = []
    for image, *box in regions.tolist():
        x1, y1, x2, y2 = (value * SCALE - shift for value in box)
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1.0), max(width, 1.0)
        rows = ratio or math.ceil(height / pooled[0])
        columns = ratio or math.ceil(width / pooled[1])
        for i in range(pooled[0]):
            for j in range(pooled[1]):
                samples = torch.stack(
                    [
                        sample(
                            features[int(image)],
                            y1 + (i + (u + 0.5) / rows) * height / pooled[0],
                            x1 + (j + (v + 0.5) / columns) * width / pooled[1],
                        )
                        for u in range(rows)
                        for v in range(columns)
                    ]
                )
                outputs.append(samples.amax(0) if mode == 'max' else samples.mean(0))
    return torch.stack(outputs).view(len(regions), *pooled, -1).permute(0, 3, 1, 2)


def roi_pool_by_loop(features, regions, pooled):
    height, width = features.shape[-2:]
    output = features.new_zeros(len(regions), features.size(1), *pooled)
    for r, (image, x1, y1, x2, y2) in enumerate(regions.tolist()):
        left, top = x1 * SCALE, y1 * SCALE
        bin_w = ((x2 + 1) * SCALE - left) / pooled[1]
        bin_h = ((y2 + 1) * SCALE - top) / pooled[0]
        for i in range(pooled[0]):
            for j in range(pooled[1]):
                y = range(math.floor(top + i * bin_h), math.ceil(top + (i + 1) * bin_h))
                x = range(math.floor(left + j * bin_w), math.ceil(left + (j + 1) * bin_w))
                y = [v for v in y if 0 <= v < height]
                x = [v for v in x if 0 <= v < width]
                if y and x:
                    output[r, :, i, j] = features[int(image)][:, y][:, :, x].amax((1, 2))
    return output


def assert_same_values_and_gradients(function, reference, features):
    actual, expected = function(features), reference(features)
    torch.testing.assert_close(actual, expected)
    upstream = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad(actual, features, upstream)
    (wanted,) = torch.autograd.grad(expected, features, upstream)
    torch.testing.assert_close(gradient, wanted)


@on_each_device
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align(device, mode, ratio, aligned):
    features, pooled = make_features(device), (2, 3)
    regions = regions_like(features)
    assert_same_values_and_gradients(
        lambda x: ops.roi_align(x, regions, pooled, SCALE, ratio, mode, aligned),
        lambda x: roi_align_by_loop(x, regions, pooled, ratio, mode, aligned),
        features,
    )


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_gradcheck(mode):
    features = make_features()
    regions = regions_like(features)
    assert torch.autograd.gradcheck(
        lambda x: ops.roi_align(x, regions, (2, 2), SCALE, 2, mode, True), features
    )


@on_each_device
@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_roi_align_in_half_precision(device, dtype, mode):
    features = make_features(device, dtype)
    regions = regions_like(features)
    actual = ops.roi_align(features, regions, 2, SCALE, 2, mode, True)
    assert actual.dtype == dtype
    wide = features.detach().float()
    expected = roi_align_by_loop(wide, regions.float(), (2, 2), 2, mode, True)
    torch.testing.assert_close(actual.float(), expected, atol=0.02, rtol=0.02)
    actual.sum().backward()
    assert features.grad.dtype == dtype and features.grad.isfinite().all()


def test_roi_align_takes_float32_regions_of_half_features():
    features = make_features(dtype=torch.float16)
    regions = regions_like(features).float()
    layer = ops.RoIAlign(2, SCALE, 2)
    expected = roi_align_by_loop(features.detach().float(), regions, (2, 2), 2, 'avg', True)
    torch.testing.assert_close(layer(features, regions).float(), expected, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_of_nothing(mode):
    features = make_features()
    output = ops.roi_align(features, features.new_zeros(0, 5), 2, SCALE, 0, mode, True)
    assert output.shape == (0, 3, 2, 2)
    flat = ops.roi_align(features, features.new_zeros(1, 5), 2, SCALE, 0, mode, True)
    assert (flat == 0).all()  # a region without area
    flat.sum().backward()
    assert (features.grad == 0).all()


@on_each_device
def test_roi_pool(device):
    features, pooled = make_features(device), (2, 3)
    regions = regions_like(features)
    assert_same_values_and_gradients(
        lambda x: ops.roi_pool(x, regions, pooled, SCALE),
        lambda x: roi_pool_by_loop(x, regions, pooled),
        features,
    )


def test_roi_pool_of_malformed_and_outside_regions():
    features = make_features()
    regions = features.new_tensor([[0, 20, 20, 10, 10], [1, 200, 200, 240, 240]])
    output = ops.RoIPool(2, SCALE)(features, regions)
    assert (output == 0).all()
    output.sum().backward()
    assert (features.grad == 0).all()


def test_roi_pool_in_half_precision():
    features = make_features(dtype=torch.float16)
    output = ops.roi_pool(features, regions_like(features), 2, SCALE)
    expected = roi_pool_by_loop(features.detach(), regions_like(features), (2, 2))
    torch.testing.assert_close(output, expected)
    output.sum().backward()
    assert features.grad.dtype == torch.float16
