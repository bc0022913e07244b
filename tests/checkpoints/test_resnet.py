"""ImageNet weights reach the stem and every stage, and nothing else passes for them."""

from __future__ import annotations

import pytest
import torch
import torchvision
from mmpose.registry import MODELS

from mspn_plugin import InputError


@pytest.fixture(scope='module')
def resnet50(tmp_path_factory):
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None)
    path = tmp_path_factory.mktemp('weights') / 'resnet50.pth'
    torch.save(model.state_dict(), path)
    return model, str(path)


def backbone(path, **settings):
    return MODELS.build(
        dict(
            type='MSPNBackbone',
            num_stages=2,
            init_cfg=dict(type='Pretrained', checkpoint=path),
            **settings,
        )
    )


def test_both_stages_start_as_the_resnet(resnet50):
    resnet, path = resnet50
    model = backbone(path)
    model.init_weights()
    model.eval(), resnet.eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(image))))
        ours = model.pool(model.stem(image))
        assert torch.allclose(ours, x, atol=1e-5)
        levels = [model.stages[stage].down(ours) for stage in range(2)]
        for index, layer in enumerate((resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4)):
            x = layer(x)
            scale = x.abs().max()
            for stage in range(2):
                assert (levels[stage][index] - x).abs().max() <= 1e-5 * scale


def test_another_resnet_is_refused_with_its_misfits(tmp_path):
    path = tmp_path / 'resnet18.pth'
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    with pytest.raises(InputError, match='does not fit this backbone.*num_blocks'):
        backbone(str(path)).init_weights()


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / 'other.pth'
    torch.save({'encoder.weight': torch.zeros(3)}, path)
    with pytest.raises(InputError, match='not those of a torchvision ResNet.*encoder.weight'):
        backbone(str(path)).init_weights()
