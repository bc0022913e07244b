"""Foreign networks to convert, with normalisation statistics that fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from original_mspn import Original
from torch import Tensor, nn


def calibrated(network: nn.Module, forward: Callable[[], object]) -> None:
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    network.train()
    with torch.no_grad():
        forward()
    network.eval()


@pytest.fixture
def calibrate() -> Callable[[nn.Module, Callable[[], object]], None]:
    """Gives every normalisation the statistics of one forward pass, as a training would."""
    return calibrated


@pytest.fixture
def original() -> Callable[..., Original]:
    """Makes the original's network with random weights, biases and calibrated statistics."""

    def make(images: Tensor, stages: int, **options) -> Original:
        torch.manual_seed(stages)
        network = Original(stages, **options)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.normal_(module.bias, std=0.5)
        calibrated(network, lambda: network(images))
        return network

    return make


@pytest.fixture
def images(people) -> Tensor:
    """Four normalised pictures, of half the published size to save time."""
    import cv2

    paths = sorted((people / 'train2017').glob('*.jpg'))[:4]
    pictures = [cv2.resize(cv2.imread(str(path)), (96, 128)) for path in paths]
    batch = torch.stack([torch.from_numpy(picture) for picture in pictures])
    return (batch.permute(0, 3, 1, 2).float() - 116) / 57
