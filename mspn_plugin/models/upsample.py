"""The upsample path of a stage: units from the coarsest level to the finest.

Shapes: B batch, C unit channels, h and w the size of a unit's level.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from .downsample import NormCfg, Skips


class UpsampleUnit(BaseModule):
    """One unit: the level's features, plus the coarser unit's output resized to them."""

    resize_last = False
    """Whether to convolve before resizing, a quarter of the work; for predictions only."""

    def __init__(
        self,
        in_channels: int,
        unit_channels: int,
        *,
        has_coarser: bool,
        feeds_next_stage: bool,
        norm_cfg: NormCfg,
    ) -> None:
        super().__init__()

        def conv(channels_in: int, channels_out: int, *, relu: bool) -> ConvModule:
            act_cfg = dict(type='ReLU') if relu else None
            return ConvModule(channels_in, channels_out, 1, norm_cfg=norm_cfg, act_cfg=act_cfg)

        self.lateral = conv(in_channels, unit_channels, relu=False)
        self.coarser = conv(unit_channels, unit_channels, relu=False) if has_coarser else None
        self.relu = nn.ReLU(inplace=True)
        if feeds_next_stage:
            self.skip_down = conv(in_channels, in_channels, relu=True)
            self.skip_up = conv(unit_channels, in_channels, relu=True)

    def forward(self, x: Tensor, coarser: Tensor | None) -> Tensor:
        """Merges a level ``(B, in, h, w)`` with the coarser unit's output to ``(B, C, h, w)``."""
        out = self.lateral(x)
        if self.coarser is not None and coarser is not None:
            resize = partial(F.interpolate, size=x.shape[-2:], mode='bilinear', align_corners=True)
            # Resize first, then convolve: the published order, and in training the statistics
            # of the normalisation depend on it. What comes out is the same in both orders.
            for step in (self.coarser, resize) if self.resize_last else (resize, self.coarser):
                coarser = step(coarser)
            out.add_(coarser)
        return self.relu(out)

    def skip(self, x: Tensor, out: Tensor) -> Skips:
        """The two that this level adds to the same level of the next stage (paper section 3.3).

        They are not added up here: the published code adds them to the next stage's level one
        after the other, and only this order gives the same bits.
        """
        return self.skip_down(x), self.skip_up(out)


class UpsamplePath(BaseModule):
    """All units of a stage; with ``cross_channels`` also what the next stage starts from."""

    def __init__(
        self,
        level_channels: Sequence[int],
        unit_channels: int,
        *,
        cross_channels: int | None,
        norm_cfg: NormCfg,
    ) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            UpsampleUnit(
                channels,
                unit_channels,
                has_coarser=index > 0,
                feeds_next_stage=cross_channels is not None,
                norm_cfg=norm_cfg,
            )
            for index, channels in enumerate(reversed(level_channels))
        )
        self.cross = None
        if cross_channels is not None:
            self.cross = ConvModule(unit_channels, cross_channels, 1, norm_cfg=norm_cfg)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Skips], Tensor | None]:
        """Runs the units from the coarsest level to the finest.

        Args:
            levels: Outputs of the downsample path, finest first.

        Returns:
            ``(B, C, h, w)`` of every unit, coarsest first; what the next stage adds to each of its
            levels, finest first; and that stage's input. Of the last stage, an empty list and
            ``None``.
        """
        outputs: list[Tensor] = []
        skips: list[Skips] = []
        for unit, level in zip(self.units, reversed(levels), strict=True):
            outputs.append(unit(level, outputs[-1] if outputs else None))
            if self.cross is not None:
                skips.append(cast(UpsampleUnit, unit).skip(level, outputs[-1]))
        return outputs, skips[::-1], self.cross(outputs[-1]) if self.cross is not None else None
