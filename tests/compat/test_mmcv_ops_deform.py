"""Deformable convolution and attention through ``mmcv.ops``, against explicit sampling."""

import importlib
import math

import pytest
import torch

from mspn_plugin.compat import mmcv_ops

GAP = mmcv_ops.install()
if not GAP.active:
    pytest.skip(GAP.detail, allow_module_level=True)
ops = importlib.import_module('mmcv.ops')
attention = importlib.import_module('mmcv.ops.multi_scale_deform_attn')

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
on_each_device = pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_cuda)])

# stride, padding, dilation (vertical, horizontal), groups, deform groups
GEOMETRIES = [
    pytest.param((1, 1), (1, 1), (1, 1), 1, 1, id='plain'),
    pytest.param((2, 1), (1, 2), (1, 2), 2, 1, id='groups'),
    pytest.param((1, 2), (0, 1), (1, 1), 1, 2, id='deform-groups'),
    pytest.param((1, 1), (2, 1), (2, 1), 2, 4, id='both'),
]


def sample(planes: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Bilinear value of (C, h, w) at one point; beyond the border the map is 0."""
    height, width = planes.shape[-2:]
    top, left = math.floor(y.item()), math.floor(x.item())
    total = planes.new_zeros(len(planes))
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
                total = total + weight * planes[:, row, column]
    return total


def convolve_by_loop(x, offset, weight, mask, bias, stride, padding, dilation, groups, deform):
    batch, channels = x.shape[:2]
    out_channels, _, kernel_h, kernel_w = weight.shape
    height, width = offset.shape[-2:]
    cells = kernel_h * kernel_w
    shifts = offset.view(batch, deform, cells, 2, height, width)
    images = []
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                column = []  # (channels, cells): what the kernel sees here
                for cell in range(cells):
                    row, col = divmod(cell, kernel_w)
                    parts = []
                    for d, planes in enumerate(x[b].chunk(deform)):
                        dy, dx = shifts[b, d, cell, :, i, j]
                        y = i * stride[0] - padding[0] + row * dilation[0] + dy
                        z = j * stride[1] - padding[1] + col * dilation[1] + dx
                        value = sample(planes, y, z)
                        if mask is not None:
                            value = value * mask[b, d * cells + cell, i, j]
                        parts.append(value)
                    column.append(torch.cat(parts))
                seen = torch.stack(column, 1).view(groups, channels // groups, cells)
                kernels = weight.view(groups, out_channels // groups, channels // groups, cells)
                images.append(torch.einsum('gick,gck->gi', kernels, seen).flatten())
    output = torch.stack(images).view(batch, height, width, out_channels).permute(0, 3, 1, 2)
    return output if bias is None else output + bias.view(1, -1, 1, 1)


def make_convolution(stride, padding, dilation, groups, deform, *, device, with_bias=True):
    """Random tensors of a 3x2 kernel on a 5x6 map: 4 channels in, 2 out, batch of 2."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(device).requires_grad_()

    x, weight = random(2, 4, 5, 6), random(2, 4 // groups, 3, 2)
    height = (5 + 2 * padding[0] - 2 * dilation[0] - 1) // stride[0] + 1
    width = (6 + 2 * padding[1] - dilation[1] - 1) // stride[1] + 1
    offset, mask = random(2, deform * 12, height, width), random(2, deform * 6, height, width)
    return x, offset, mask, weight, random(2) if with_bias else None


def assert_same(actual, expected, inputs):
    torch.testing.assert_close(actual, expected)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(actual, inputs, upstream)
    for gradient, wanted in zip(
        gradients, torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(gradient, wanted)


@on_each_device
@pytest.mark.parametrize(('stride', 'padding', 'dilation', 'groups', 'deform'), GEOMETRIES)
def test_deform_conv(device, stride, padding, dilation, groups, deform):
    geometry = (stride, padding, dilation, groups, deform)
    x, offset, _, weight, _ = make_convolution(*geometry, device=device)
    actual = ops.deform_conv2d(x, offset, weight, *geometry, False, 1)
    expected = convolve_by_loop(x, offset, weight, None, None, *geometry)
    assert_same(actual, expected, (x, offset, weight))


@on_each_device
@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize(('stride', 'padding', 'dilation', 'groups', 'deform'), GEOMETRIES[1::2])
def test_modulated_deform_conv(device, stride, padding, dilation, groups, deform, with_bias):
    geometry = (stride, padding, dilation, groups, deform)
    x, offset, mask, weight, bias = make_convolution(*geometry, device=device, with_bias=with_bias)
    actual = ops.modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry)
    expected = convolve_by_loop(x, offset, weight, mask, bias, *geometry)
    inputs = (x, offset, mask, weight) + ((bias,) if with_bias else ())
    assert_same(actual, expected, inputs)


def test_deform_conv_that_is_frozen_gets_no_gradient():
    x, offset, _, weight, _ = make_convolution(
        (1, 1), (1, 1), (1, 1), 1, 1, device='cpu', with_bias=False
    )
    out = ops.deform_conv2d(x, offset, weight.detach(), 1, 1, 1, 1, 1)
    out.sum().backward()
    assert x.grad is not None and weight.grad is None


@on_each_device
@pytest.mark.parametrize('layer', ['DeformConv2dPack', 'ModulatedDeformConv2dPack'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_fresh_layers_are_convolutions_in_half_precision(device, dtype, layer):
    # A fresh layer has zero offsets (and masks of 0.5), so it is a convolution.
    torch.manual_seed(0)
    module = getattr(ops, layer)(4, 3, 3, padding=1, bias=False).to(device, dtype)
    x = torch.randn(2, 4, 6, 6, device=device, dtype=dtype)
    expected = torch.conv2d(x.float(), module.weight.float(), padding=1)
    actual = module(x)
    assert actual.dtype == dtype
    factor = 2 if layer.startswith('Modulated') else 1
    torch.testing.assert_close(actual.float() * factor, expected, atol=0.05, rtol=0.05)
    actual.sum().backward()
    assert module.weight.grad.isfinite().all()


def make_attention(device: str = 'cpu', dtype: torch.dtype = torch.float64):
    """Two levels, 5x4 and 3x2; 2 heads of 3 channels, 4 queries, 2 points."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[5, 4], [3, 2]], device=device)
    starts = torch.tensor([0, 20], device=device)

    def prepare(values):
        return values.to(device, dtype).requires_grad_()

    value = prepare(torch.randn(2, 26, 2, 3, generator=generator, dtype=torch.float64))
    places = torch.rand(2, 4, 2, 2, 2, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2
    weights = torch.rand(2, 4, 2, 2, 2, generator=generator, dtype=torch.float64)
    return value, shapes, starts, prepare(places), prepare(weights)


def attend_by_loop(value, shapes, starts, places, weights):
    batch, queries, heads, levels, points, _ = places.shape
    rows = []
    for b in range(batch):
        for q in range(queries):
            for m in range(heads):
                total = value.new_zeros(value.size(-1))
                for level in range(levels):
                    height, width = shapes[level].tolist()
                    start = starts[level].item()
                    plane = value[b, start : start + height * width, m]
                    plane = plane.T.reshape(-1, height, width)
                    for p in range(points):
                        x, y = places[b, q, m, level, p]
                        found = sample(plane, y * height - 0.5, x * width - 0.5)
                        total = total + weights[b, q, m, level, p] * found
                rows.append(total)
    return torch.stack(rows).view(batch, queries, -1)


@on_each_device
def test_multi_scale_attention(device):
    value, shapes, starts, places, weights = make_attention(device)
    function = attention.MultiScaleDeformableAttnFunction.apply
    inputs = (value, places, weights)
    for expected in (
        attend_by_loop(value, shapes, starts, places, weights),
        attention.multi_scale_deformable_attn_pytorch(value, shapes, places, weights),
    ):
        actual = function(value, shapes, starts, places, weights, 64)
        assert_same(actual, expected, inputs)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_multi_scale_attention_in_half_precision(dtype):
    value, shapes, starts, places, weights = make_attention(dtype=dtype)
    function = attention.MultiScaleDeformableAttnFunction.apply
    actual = function(value, shapes, starts, places, weights, 64)
    assert actual.dtype == dtype
    wide = [tensor.detach().float() for tensor in (value, places, weights)]
    expected = attend_by_loop(wide[0], shapes, starts, *wide[1:])
    torch.testing.assert_close(actual.float(), expected, atol=0.02, rtol=0.02)
    actual.sum().backward()
    assert value.grad.dtype == dtype


@on_each_device
def test_the_attention_module_of_deformable_detr(device):
    torch.manual_seed(0)
    module = ops.MultiScaleDeformableAttention(8, num_heads=2, num_levels=2, num_points=2)
    module.init_weights()
    module = module.to(device)
    _, shapes, starts, _, _ = make_attention(device)
    value = torch.randn(26, 1, 8, device=device)
    query = torch.randn(4, 1, 8, device=device)
    points = torch.rand(1, 4, 2, 2, device=device)
    options = dict(reference_points=points, spatial_shapes=shapes, level_start_index=starts)
    output = module(query, value=value, **options)
    assert output.shape == (4, 1, 8)
    output.sum().backward()
    assert module.value_proj.weight.grad.isfinite().all()
