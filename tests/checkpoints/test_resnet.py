"""ImageNet weights reach the stem and every stage, and nothing else passes for them."""

import pytest
import torch
import torchvision
from mmpose.registry import MODELS

from mspn_plugin import InputError


def backbone(path):
    init = dict(type='Pretrained', checkpoint=path)
    return MODELS.build(dict(type='MSPNBackbone', num_stages=2, init_cfg=init))


def test_both_stages_start_as_the_resnet(tmp_path):
    torch.manual_seed(0)
    resnet = torchvision.models.resnet50(weights=None)
    torch.save(resnet.state_dict(), tmp_path / 'resnet50.pth')
    model = backbone(str(tmp_path / 'resnet50.pth'))
    model.init_weights()
    model.eval(), resnet.eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(image))))
        ours = model.pool(model.stem(image))
        assert torch.allclose(ours, x, atol=1e-5)
        levels = [model.stages[stage].down(ours) for stage in range(2)]
        for index in range(4):
            x = getattr(resnet, f'layer{index + 1}')(x)
            for stage in range(2):
                assert (levels[stage][index] - x).abs().max() <= 1e-5 * x.abs().max()


def test_other_weights_are_refused_with_their_misfits(tmp_path):
    smaller = torchvision.models.resnet18(weights=None).state_dict()
    other = {'encoder.weight': torch.zeros(3)}
    for weights, words in (
        (smaller, 'does not fit this backbone.*num_blocks'),
        (other, 'not those of a torchvision ResNet.*encoder.weight'),
    ):
        torch.save(weights, tmp_path / 'weights.pth')
        with pytest.raises(InputError, match=words):
            backbone(str(tmp_path / 'weights.pth')).init_weights()
