"""Converted networks compute what the foreign ones do, and incomplete weights are refused."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from original_mspn import as_mindspore, calibrate, random_original, stock_config

from mspn_plugin import InputError, get_config, list_configs
from mspn_plugin.checkpoints import convert_state_dict
from mspn_plugin.checkpoints.architecture import shapes, shapes_of, sizes_of
from mspn_plugin.models.backbone import SameMaxPool


def ours(num_stages, **backbone):
    cfg = Config.fromfile(get_config(f'mspn50-{num_stages}stg_8xb32-210e_coco-256x192')).model
    cfg.backbone.update(init_cfg=None, **backbone)
    cfg.neck.eval_units = 'all'
    return MODELS.build(cfg).eval()


def assert_equal(found, wanted, tolerance=1e-4):
    for one, other in zip(found, wanted, strict=True):
        scale = other.max() - other.min()
        assert scale > 1  # not a dead network
        assert (one - other).abs().max() <= tolerance * scale


def all_heatmaps(model, images):
    return [unit for stage in model.head(model.neck(model.backbone(images))) for unit in stage]


@pytest.mark.parametrize('num_stages', [1, 2, 3, 4])
def test_mmpose(num_stages, images):
    torch.manual_seed(num_stages)
    theirs = MODELS.build(stock_config(num_stages).model)
    calibrate(theirs, lambda: theirs(images, None))
    model = ours(num_stages)
    state = theirs.state_dict()
    converted, source = convert_state_dict(state)
    assert source == 'mmpose' and set(converted) == set(model.state_dict())
    model.load_state_dict(converted)
    old = {name.replace('head.', 'keypoint_head.'): value for name, value in state.items()}
    for name, value in convert_state_dict(old)[0].items():  # as MMPose 0.x named it
        assert torch.equal(value, converted[name])
    with torch.no_grad():
        assert_equal(all_heatmaps(model, images[:2]), theirs(images[:2], None))


@pytest.mark.parametrize('num_stages', [1, 2, 4])
def test_megvii(num_stages, images):
    # A random network multiplies rounding errors, about tenfold a stage, and biases that moved
    # into a mean round differently. In double precision only what the networks compute is left.
    theirs = random_original(images, num_stages).double()
    model = ours(num_stages).double()
    converted, source = convert_state_dict(theirs.state_dict())
    assert source == 'megvii'
    model.load_state_dict(converted)
    with torch.no_grad():
        image = images[:1].double()
        wanted = [unit for stage in theirs(image) for unit in stage]
        assert_equal(all_heatmaps(model, image), wanted, tolerance=1e-6)
        if num_stages == 1:
            theirs, model, image = theirs.float(), model.float(), image.float()
            assert_equal(all_heatmaps(model, image), theirs(image)[0])


def test_mindspore_pools_with_the_odd_cell_at_the_end(images):
    theirs = random_original(images, 1, same_pool=True).double()
    images = images[:2].double()
    training = {'moment1.top.conv.conv.weight': torch.zeros(64, 3, 7, 7)}
    training['learning_rate'] = torch.tensor(0.1)
    converted, source = convert_state_dict(as_mindspore(theirs.state_dict()) | training)
    assert source == 'mindspore' and source.settings['backbone'] == dict(pool_padding='same')
    with torch.no_grad():
        wanted = theirs(images)[-1]
        model = ours(1, pool_padding='same').double()
        model.load_state_dict(converted)
        assert_equal(all_heatmaps(model, images), wanted, tolerance=1e-6)
        other = ours(1).double()
        other.load_state_dict(converted)
        assert (all_heatmaps(other, images)[-1] - wanted[-1]).abs().max() > 0.01


@pytest.mark.parametrize('size', [(8, 8), (7, 9), (5, 6)])
def test_same_pooling_by_its_definition(size):
    x = torch.rand(1, 1, *size)
    pooled = SameMaxPool(3, 2)(x)[0, 0]
    assert pooled.shape == (-(-size[0] // 2), -(-size[1] // 2))
    for row, column in np.ndindex(*pooled.shape):
        # An even size has no cell before the first window, an odd one has one.
        top, left = 2 * row - size[0] % 2, 2 * column - size[1] % 2
        window = x[0, 0, max(0, top) : top + 3, max(0, left) : left + 3]
        assert pooled[row, column] == window.max()


def test_a_small_network_of_another_shape_converts_too(images):
    theirs = random_original(images, 2, keypoints=5, blocks=(1, 2, 1))
    head = convert_state_dict(theirs.state_dict())[0]['head.stages.1.2.conv.weight']
    assert head.shape == (5, 256, 3, 3)
    assert torch.equal(head, theirs.stage1['upsample']['up3'].res_conv2.conv.weight)


@pytest.mark.parametrize('wrapper', ['module.', 'model.', '_orig_mod.', 'ema_', 'model._orig_mod.'])
def test_wrapped_and_own_weights(wrapper, images):
    weights = random_original(images, 1, blocks=(1, 1)).state_dict()
    plain, _ = convert_state_dict(weights)
    converted, _ = convert_state_dict({f'{wrapper}{name}': v for name, v in weights.items()})
    assert all(torch.equal(value, plain[name]) for name, value in converted.items())
    own = {f'{wrapper}{n}': v for n, v in plain.items() if not n.endswith('batches_tracked')}
    again, source = convert_state_dict(own)
    assert source == 'mspn_plugin' and again.keys() == converted.keys() == plain.keys()
    # A moving average beside the weights is left out.
    average = {f'ema_{name}': torch.zeros_like(value) for name, value in weights.items()}
    found, _ = convert_state_dict({**weights, **average})
    assert all(torch.equal(value, plain[name]) for name, value in found.items())


@pytest.mark.parametrize('name', list_configs())
def test_the_names_and_shapes_by_sizes_are_those_of_the_models(name):
    with torch.device('meta'):
        own = MODELS.build(Config.fromfile(get_config(name)).model).state_dict()
    if 'downsample' in Config.fromfile(get_config(name)).model.backbone:
        assert sizes_of(own) is None  # another network than a ResNet
    else:
        assert shapes_of(sizes_of(own)) == shapes(own)


def test_every_weight_is_accounted_for(images):
    weights = dict(random_original(images, 2, blocks=(1, 1)).state_dict())
    up = 'stage1.upsample.up1.up_conv.conv.weight'
    inner = 'stage1.downsample.layer2.0.conv_bn_relu2.conv.weight'
    extra = dict.fromkeys((f'stage0.extra{index}' for index in range(12)), torch.zeros(1))
    coarser = 'backbone.stages.1.up.units.0.coarser.conv.weight'
    missing = 'backbone.stages.0.up.cross.bn.running_var'
    sizes = r'\(128, 128, 1, 1\) instead of \(128, 128, 3, 3\)'
    for changes, words in (
        ({up: torch.zeros(1)}, f'1 not in the network: {coarser}'),
        ({'stage0.upsample.up2.cross_conv.bn.running_var': None}, f'1 missing: {missing}'),
        ({inner: torch.zeros(128, 128, 1, 1)}, f'conv2.conv.weight {sizes}'),
        (extra, '12 not in the network: stage0.extra0, .*and 2 more'),
        ({'top.conv.conv.weight': None}, 'the stem'),
        # A bias that does not fit its normalisation is not swallowed.
        ({'stage0.upsample.up1.u_skip.conv.bias': torch.zeros(3)}, r'(?s)\A(?!.*top)'),
        ({**dict.fromkeys(weights), 'fc.weight': torch.zeros(1)}, 'of no network that is known'),
    ):
        changed = {name: v for name, v in {**weights, **changes}.items() if v is not None}
        with pytest.raises(InputError, match=words):
            convert_state_dict(changed)
