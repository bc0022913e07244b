"""The original's network by its description, under the original's names."""

from collections.abc import Callable, Mapping
from pathlib import Path

import mmpose
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

STOCK = Path(mmpose.__file__).parent / '.mim/configs/body_2d_keypoint/topdown_heatmap/coco'


class Layer(nn.Module):
    """Convolution with a bias, normalisation, perhaps a ReLU: the original's only brick."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1, relu=True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
        self.bn = nn.BatchNorm2d(outputs)
        self.active = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x.relu() if self.active else x


class Block(nn.Module):
    def __init__(self, inputs: int, inner: int, stride: int):
        super().__init__()
        self.conv_bn_relu1 = Layer(inputs, inner)
        self.conv_bn_relu2 = Layer(inner, inner, 3, stride)
        self.conv_bn_relu3 = Layer(inner, 4 * inner, relu=False)
        if stride > 1 or inputs != 4 * inner:
            self.downsample = Layer(inputs, 4 * inner, stride=stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv_bn_relu3(self.conv_bn_relu2(self.conv_bn_relu1(x)))
        return (out + (self.downsample(x) if hasattr(self, 'downsample') else x)).relu()


class Unit(nn.Module):
    def __init__(self, inputs: int, first: bool, finest: bool, last_stage: bool, keypoints: int):
        super().__init__()
        self.u_skip = Layer(inputs, 256, relu=False)
        if not first:
            self.up_conv = Layer(256, 256, relu=False)
        if not last_stage:
            self.skip1, self.skip2 = Layer(inputs, inputs), Layer(256, inputs)
            if finest:
                self.cross_conv = Layer(256, 64)
        self.res_conv1 = Layer(256, 256)
        self.res_conv2 = Layer(256, keypoints, 3, relu=False)

    def forward(self, x: Tensor, coarser: Tensor | None, size: tuple[int, int]):
        out = self.u_skip(x)
        if coarser is not None:
            out = out + self.up_conv(resize(coarser, tuple(x.shape[-2:])))
        out = out.relu()
        heatmaps = resize(self.res_conv2(self.res_conv1(out)), size)
        skips = (self.skip1(x), self.skip2(out)) if hasattr(self, 'skip1') else None
        return out, heatmaps, skips, self.cross_conv(out) if hasattr(self, 'cross_conv') else None


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode='bilinear', align_corners=True)


class Original(nn.Module):
    """The network. Levels are numbered from the finest, units from the coarsest."""

    def __init__(self, stages: int, keypoints: int = 17, blocks=(3, 4, 6, 3), same_pool=False):
        super().__init__()
        self.stages, self.levels, self.same_pool = stages, len(blocks), same_pool
        self.top = nn.ModuleDict({'conv': Layer(3, 64, 7, 2)})
        for stage in range(stages):
            down, up, inputs = nn.ModuleDict(), nn.ModuleDict(), 64
            for level, count in enumerate(blocks):
                inner, members = 64 * 2**level, []
                for index in range(count):
                    members.append(Block(inputs, inner, 2 if level and not index else 1))
                    inputs = 4 * inner
                down[f'layer{level + 1}'] = nn.Sequential(*members)
            for unit in range(self.levels):
                channels = 256 * 2 ** (self.levels - 1 - unit)
                place = unit == 0, unit == self.levels - 1, stage == stages - 1
                up[f'up{unit + 1}'] = Unit(channels, *place, keypoints)
            parts = nn.ModuleDict({'downsample': down, 'upsample': up})
            self.add_module(f'stage{stage}', parts)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        x = self.top['conv'](x)
        if self.same_pool:  # nothing before, one cell after; the maximum ignores -inf
            x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
        else:
            x = F.max_pool2d(x, 3, 2, 1)
        skips, results = [], []
        for stage in range(self.stages):
            parts, levels = getattr(self, f'stage{stage}'), []
            for level in range(self.levels):
                x = parts['downsample'][f'layer{level + 1}'](x)
                if skips:
                    one, two = skips[self.levels - 1 - level]  # skips are in the order of units
                    x = x + one + two
                levels.append(x)
            out, skips, heatmaps = None, [], []
            for unit in range(self.levels):
                up = parts['upsample'][f'up{unit + 1}']
                out, maps, pair, x = up(levels[self.levels - 1 - unit], out, (64, 48))
                heatmaps.append(maps)
                if pair:
                    skips.append(pair)
            results.append(heatmaps)
        return results


def calibrate(network: nn.Module, forward: Callable[[], object]) -> None:
    """Gives every normalisation the statistics of one forward pass, as a training would."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    network.train()
    with torch.no_grad():
        forward()
    network.eval()


def random_original(images: Tensor, stages: int, **options) -> Original:
    """The network with random weights and biases, and calibrated statistics."""
    torch.manual_seed(stages)
    network = Original(stages, **options)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.5)
    calibrate(network, lambda: network(images))
    return network


def stock_config(stages: int) -> Config:
    """MMPose's own, without weights to start from."""
    name = f'{stages}xmspn50' if stages > 1 else 'mspn50'
    cfg = Config.fromfile(STOCK / f'td-hm_{name}_8xb32-210e_coco-256x192.py')
    cfg.model.backbone.init_cfg = None
    return cfg


def as_mindspore(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under MindSpore's names."""
    theirs = ('gamma', 'beta', 'moving_mean', 'moving_variance')
    names = dict(zip(('weight', 'bias', 'running_mean', 'running_var'), theirs, strict=True))
    renamed = {}
    for name, value in weights.items():
        owner, last = name.rsplit('.', 1)
        if last != 'num_batches_tracked':
            renamed[f'{owner}.{names[last]}' if owner.endswith('bn') else name] = value
    return renamed
