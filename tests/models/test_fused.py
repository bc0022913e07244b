"""The fused copy computes the same, follows its model, and leaves it alone."""

from __future__ import annotations

import torch
from mmengine.config import Config
from mmpose.registry import MODELS

from mspn_plugin import get_config
from mspn_plugin.models.fused import fused

TINY = 'mspn-tiny_1xb16-20e_coco-128x96'


def heatmaps(model, images):
    with torch.no_grad():
        return model.head(model.neck(model.backbone(images)))[-1][-1]


def test_the_same_heatmaps_without_normalisation():
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(get_config(TINY)).model)
    images = torch.randn(4, 3, 128, 96)
    for _ in range(5):
        heatmaps(model, images)  # statistics
    assert fused(model) is model  # in training mode
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copy = fused(model)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in copy.modules())
    wanted = heatmaps(model, images)
    assert (heatmaps(copy, images) - wanted).abs().max() < 1e-4 * (wanted.max() - wanted.min())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert fused(model) is copy

    with torch.no_grad():
        model.head.stages[-1][-1].conv.weight.mul_(2)
    assert fused(model) is not copy
    wanted = heatmaps(model, images)
    found = heatmaps(fused(model), images)
    assert (found - wanted).abs().max() < 1e-4 * (wanted.max() - wanted.min())


def test_a_normalisation_that_looks_at_the_whole_map_stays_where_it_is():
    torch.manual_seed(0)
    config = Config.fromfile(get_config(TINY)).model
    for part in (config.backbone, config.neck):
        part.norm_cfg = dict(type='GN', num_groups=4)
    model = MODELS.build(config)
    images = torch.randn(4, 3, 128, 96)
    for _ in range(5):
        heatmaps(model, images)  # statistics of the head
    model.eval()
    wanted = heatmaps(model, images)
    found = heatmaps(fused(model), images)
    assert (found - wanted).abs().max() < 1e-4 * (wanted.max() - wanted.min())


def test_weights_lie_channels_last():
    model = MODELS.build(Config.fromfile(get_config(TINY)).model)
    for network in (model, fused(model.eval())):
        convs = [part.weight for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convs)
    with torch.no_grad():
        features = model.backbone(torch.randn(2, 3, 128, 96))
    assert features[-1][-1].is_contiguous(memory_format=torch.channels_last)
