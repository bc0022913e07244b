"""The downsample path of a stage: a ResNet without its stem, or any other backbone.

Whatever is registered in MMPose's `MODELS` can be one, named by ``MSPNBackbone(downsample=...)``:

- its class takes ``in_channels`` and, by name, what else the config says;
- ``out_channels`` holds the channels of its levels, finest first, each half as large as the last;
- ``path(x, skips)`` gives the levels of ``x``, to which it has added the ``skips``, if any: for
  each level the tensors of its shape that the stage before hands on.

``x`` is ``(B, in_channels, h / 4, w / 4)``, of which the finest level has the size too. A class
with a true ``takes_pictures`` gets, in the first stage, pictures ``(B, 3, h, w)`` and
``in_channels=None``.

Shapes: B batch, h and w the size of the input; level 0 is the finest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

NormCfg = dict[str, Any]
Skips = tuple[Tensor, Tensor]


class Bottleneck(BaseModule):
    """ResNet's bottleneck: 1x1, 3x3 with the stride, and 1x1, added to a shortcut."""

    expansion = 4
    with_cp = False
    """Whether training keeps only the input and computes the rest again for the gradients."""

    def __init__(
        self, in_channels: int, mid_channels: int, *, stride: int, norm_cfg: NormCfg
    ) -> None:
        super().__init__()
        out_channels = mid_channels * self.expansion
        conv = partial(ConvModule, norm_cfg=norm_cfg)
        self.conv1 = conv(in_channels, mid_channels, 1)
        self.conv2 = conv(mid_channels, mid_channels, 3, stride=stride, padding=1)
        self.conv3 = conv(mid_channels, out_channels, 1, act_cfg=None)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = conv(in_channels, out_channels, 1, stride=stride, act_cfg=None)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, in, h, w)`` to ``(B, 4 * mid, h / stride, w / stride)``."""
        if self.with_cp and self.training and torch.is_grad_enabled():
            contexts = (contextlib.nullcontext(), _same_statistics(self))
            return checkpoint(self._forward, x, use_reentrant=False, context_fn=lambda: contexts)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        out = self.conv3(self.conv2(self.conv1(x)))
        # In place: nothing needs the sum's parts again, neither here nor for the gradients.
        return self.relu(out.add_(self.shortcut(x)))


@MODELS.register_module()
class DownsamplePath(BaseModule):
    """Levels of bottlenecks, each but the first halving the size and doubling the channels.

    Args:
        in_channels: Channels of the stem, or of the previous stage's output.
        base_channels: Inner channels of the bottlenecks of level 0.
        num_blocks: Bottlenecks per level.
        norm_cfg: Normalisation of every block.
    """

    def __init__(
        self,
        in_channels: int,
        base_channels: int = 64,
        num_blocks: Sequence[int] = (3, 4, 6, 3),
        *,
        norm_cfg: NormCfg | None = None,
    ) -> None:
        super().__init__()
        norm_cfg = dict(norm_cfg or dict(type='BN'))
        self.levels = nn.ModuleList()
        channels = [base_channels * 2**level for level in range(len(num_blocks))]
        for level, (mid, blocks) in enumerate(zip(channels, num_blocks, strict=True)):
            layers = []
            for block in range(blocks):
                stride = 2 if level > 0 and block == 0 else 1
                layers.append(Bottleneck(in_channels, mid, stride=stride, norm_cfg=norm_cfg))
                in_channels = mid * Bottleneck.expansion
            self.levels.append(nn.Sequential(*layers))
        self.out_channels = tuple(mid * Bottleneck.expansion for mid in channels)

    def forward(self, x: Tensor, skips: Sequence[Skips] | None = None) -> list[Tensor]:
        """Runs the levels; the skips of each go into the next one too."""
        outputs = []
        for index, level in enumerate(self.levels):
            x = _add(level(x), skips[index] if skips else ())
            outputs.append(x)
        return outputs


@MODELS.register_module()
class BackboneDownsample(BaseModule):
    """A backbone of MMPose, or of another OpenMMLab package, as the downsample path of a stage.

    The first stage shows it the pictures. For the later ones a 1x1 convolution makes the features
    of the stage before into as many numbers as a picture has, a block of 4x4 pixels of each cell.
    So nothing inside the backbone changes, and it may start from its own pretrained weights in
    every stage. Skips are added to the levels that come out of it. For example::

        backbone=dict(
            type='MSPNBackbone',
            downsample=dict(
                type='BackboneDownsample',
                backbone=dict(type='MobileNetV2', out_indices=(1, 2, 4, 6)),
            ),
        )

    Args:
        in_channels: Channels of the previous stage's output; ``None`` for the first stage.
        backbone: Config of the backbone. Its ``out_indices`` have to choose levels of a quarter of
            the picture's size, an eighth and so on; as many as the neck and the head have units.

    Raises:
        ValueError: The levels are others.
    """

    takes_pictures = True

    def __init__(self, in_channels: int | None, backbone: dict[str, Any]) -> None:
        super().__init__()
        self.picture: nn.Module = nn.Identity()
        if in_channels is not None:
            self.picture = nn.Sequential(nn.Conv2d(in_channels, 3 * 4**2, 1), nn.PixelShuffle(4))
        self.backbone = MODELS.build(backbone)
        self.backbone.eval()
        with torch.no_grad():
            levels = self.backbone(torch.zeros(1, 3, 64, 64))
        self.backbone.train()
        levels = [levels] if isinstance(levels, Tensor) else levels
        sizes = [level.shape[-1] for level in levels]
        if len(sizes) < 2 or sizes != [16 // 2**level for level in range(len(sizes))]:
            raise ValueError(
                f'of a picture of 64x64 pixels {backbone["type"]} gives levels of the widths '
                f'{sizes}, expected 16, 8, 4, 2; choose such levels by its out_indices'
            )
        self.out_channels = tuple(level.shape[1] for level in levels)

    def forward(self, x: Tensor, skips: Sequence[Skips] | None = None) -> list[Tensor]:
        """Runs the backbone, then adds the skips."""
        levels = self.backbone(self.picture(x))
        return [_add(level, skips[i] if skips else ()) for i, level in enumerate(levels)]


def _add(x: Tensor, skips: Sequence[Tensor]) -> Tensor:
    for skip in skips:
        x = x + skip if torch.is_grad_enabled() else x.add_(skip)
    return x


@contextlib.contextmanager
def _same_statistics(module: nn.Module) -> Iterator[None]:
    """Lets the second computation leave the running statistics alone: the same steps as without."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None  # so that nothing counts
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
