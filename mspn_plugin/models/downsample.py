"""The downsample path of a stage: a ResNet without its stem.

Shapes: B batch, h and w the size of a level; level 0 is the finest (a quarter of the input).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from .recompute import computed_twice

NormCfg = dict[str, Any]


class Bottleneck(BaseModule):
    """ResNet's bottleneck: 1x1, 3x3, 1x1, added to a shortcut.

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels of the two inner convolutions; the output has 4 times as many.
        stride: Stride of the 3x3 convolution and of the shortcut.
        norm_cfg: Normalisation of every convolution.
    """

    expansion = 4
    with_cp = False
    """Whether training keeps only the input and computes the rest again for the gradients."""

    def __init__(
        self, in_channels: int, mid_channels: int, *, stride: int, norm_cfg: NormCfg
    ) -> None:
        super().__init__()
        out_channels = mid_channels * self.expansion
        self.conv1 = ConvModule(in_channels, mid_channels, 1, norm_cfg=norm_cfg)
        self.conv2 = ConvModule(
            mid_channels, mid_channels, 3, stride=stride, padding=1, norm_cfg=norm_cfg
        )
        self.conv3 = ConvModule(mid_channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=None)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvModule(
                in_channels, out_channels, 1, stride=stride, norm_cfg=norm_cfg, act_cfg=None
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, in, h, w)`` to ``(B, 4 * mid, h / stride, w / stride)``."""
        if self.with_cp and self.training and torch.is_grad_enabled():
            return computed_twice(self, self._forward, x)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        out = self.conv3(self.conv2(self.conv1(x)))
        # In place: nothing needs the sum's parts again, neither here nor for the gradients.
        return self.relu(out.add_(self.shortcut(x)))


class DownsamplePath(BaseModule):
    """Levels of bottlenecks, each but the first halving the size and doubling the channels.

    Args:
        in_channels: Channels of the stem, or of the previous stage's output.
        base_channels: Inner channels of the bottlenecks of level 0.
        num_blocks: Bottlenecks per level.
        norm_cfg: Normalisation of every block.
    """

    def __init__(
        self, in_channels: int, base_channels: int, num_blocks: Sequence[int], *, norm_cfg: NormCfg
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for level, blocks in enumerate(num_blocks):
            mid_channels = base_channels * 2**level
            layers = []
            for block in range(blocks):
                stride = 2 if level > 0 and block == 0 else 1
                layers.append(
                    Bottleneck(in_channels, mid_channels, stride=stride, norm_cfg=norm_cfg)
                )
                in_channels = mid_channels * Bottleneck.expansion
            self.levels.append(nn.Sequential(*layers))

    def forward(self, x: Tensor, skips: Sequence[Sequence[Tensor]] | None = None) -> list[Tensor]:
        """Runs all levels.

        Args:
            x: ``(B, in_channels, h, w)``.
            skips: All that the stage before adds to each level's output, finest first.

        Returns:
            The output of every level, finest first.
        """
        outputs = []
        for index, level in enumerate(self.levels):
            x = level(x)
            for skip in skips[index] if skips is not None else ():
                x = x + skip if torch.is_grad_enabled() else x.add_(skip)
            outputs.append(x)
        return outputs
