"""EfficientNet-Lite0 as the downsample path: its levels, its published weights, its padding."""

import pytest
import torch
import torch.nn.functional as F
from lite0 import published_names
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmpose.registry import MODELS

from mspn_plugin import InputError
from mspn_plugin.models.depthwise import DepthwiseConv2d
from mspn_plugin.models.efficientnet_lite import EfficientNetLite


def test_levels_and_size():
    model = EfficientNetLite()
    with torch.no_grad():
        levels = model(torch.rand(1, 3, 64, 96))
    sizes = [(24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]
    assert [tuple(level.shape[1:]) for level in levels] == sizes
    assert (
        sum(weight.numel() for weight in model.parameters()) == 4_652_008 - 1_693_160
    )  # the classifier


def test_published_weights_come_into_their_places(tmp_path):
    torch.manual_seed(0)
    source = EfficientNetLite()
    for value in source.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1)
    names = published_names(source)
    assert {'_blocks.0._depthwise_conv.weight', '_blocks.15._bn2.running_var'} <= set(names)
    torch.save(names, tmp_path / 'lite0.pth')
    config = dict(type='Pretrained', checkpoint=str(tmp_path / 'lite0.pth'))
    downsample = dict(type='BackboneDownsample', backbone=dict(type='EfficientNetLite'))
    downsample['backbone']['init_cfg'] = config
    model = MODELS.build(dict(type='MSPNBackbone', num_stages=2, downsample=downsample))
    model.init_weights()
    for stage in model.stages:
        torch.testing.assert_close(stage.down.backbone.state_dict(), source.state_dict())
    names.pop('_blocks.3._bn1.bias')
    torch.save(names, tmp_path / 'lite0.pth')
    with pytest.raises(InputError, match='does not hold the weights of an EfficientNet-Lite0'):
        EfficientNetLite(init_cfg=config).init_weights()


def test_an_even_size_is_padded_at_its_end():
    """As TensorFlow does, where the published weights are from."""
    model = EfficientNetLite().eval()
    conv, x = model.stem.conv, torch.rand(1, 3, 32, 48)
    wanted = F.conv2d(F.pad(x, (0, 1, 0, 1)), conv.weight, stride=2)
    torch.testing.assert_close(conv(x), wanted)


@pytest.mark.parametrize(('kernel', 'stride'), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize('size', [(12, 9), (7, 8), (5, 5)])
def test_gradients_of_depthwise_convolutions_are_torchs(kernel, stride, size):
    torch.manual_seed(0)
    settings = dict(stride=stride, groups=6, bias=False)
    conv = DepthwiseConv2d(6, 6, kernel, **settings).double()
    same = Conv2dAdaptivePadding(6, 6, kernel, **settings).double()
    same.load_state_dict(conv.state_dict())
    x = torch.rand(2, 6, *size, dtype=torch.double, requires_grad=True)
    found, wanted = conv(x), same(x)
    torch.testing.assert_close(found, wanted)
    slope = torch.rand_like(wanted)
    for a, b in zip(
        torch.autograd.grad(found, (x, conv.weight), slope),
        torch.autograd.grad(wanted, (x, same.weight), slope),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    with torch.autocast('cpu', torch.bfloat16):
        half = conv.float()(x.detach().float())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), wanted, rtol=0.05, atol=0.05)


def test_frozen_parts_do_not_learn():
    model = EfficientNetLite(frozen=3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.1)
    sum(level.square().mean() for level in model(torch.rand(2, 3, 64, 64))).backward()
    optimizer.step()
    changed = {name for name, v in model.state_dict().items() if not torch.equal(v, before[name])}
    assert changed and all(name.startswith('groups.') for name in changed)
    assert {name.split('.')[1] for name in changed} == {'2', '3', '4', '5', '6'}
    with pytest.raises(ValueError, match='expected 0 to 8 parts'):
        EfficientNetLite(frozen=9)
