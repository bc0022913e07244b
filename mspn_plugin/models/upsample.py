"""The upsample path of a stage: units from the coarsest level to the finest.

Shapes: B batch, C unit channels, h and w the size of a unit's level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from .downsample import NormCfg

Skips = tuple[Tensor, Tensor]


class StageOutput(NamedTuple):
    """What a stage hands on.

    Attributes:
        units: ``(B, C, h, w)`` of every unit, coarsest first.
        skips: The two that the next stage adds to each of its levels, finest first; empty if last.
        cross: ``(B, stem, h, w)``, the next stage's input; ``None`` if last.
    """

    units: list[Tensor]
    skips: list[Skips]
    cross: Tensor | None


class UpsampleUnit(BaseModule):
    """One unit: the level's features, plus the coarser unit's output resized to them.

    Args:
        in_channels: Channels of the level's output in the downsample path.
        unit_channels: Channels of the unit.
        has_coarser: Whether there is a coarser unit before this one.
        feeds_next_stage: Whether to make cross-stage skips for the same level of the next stage.
        norm_cfg: Normalisation of every convolution.
    """

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
        self.skip_down: ConvModule | None = None
        self.skip_up: ConvModule | None = None
        if feeds_next_stage:
            self.skip_down = conv(in_channels, in_channels, relu=True)
            self.skip_up = conv(unit_channels, in_channels, relu=True)

    def forward(self, x: Tensor, coarser: Tensor | None) -> Tensor:
        """Merges a level with the coarser unit.

        Args:
            x: ``(B, in, h, w)``, the level's output of the downsample path.
            coarser: ``(B, C, any, any)``, the coarser unit's output.

        Returns:
            ``(B, C, h, w)``.
        """
        out = self.lateral(x)
        if self.coarser is not None and coarser is not None:
            # Resize first, then convolve: the published order, and in training the statistics
            # of the normalisation depend on it. What comes out is the same in both orders.
            if self.resize_last:
                out.add_(_resize(self.coarser(coarser), x))
            else:
                out.add_(self.coarser(_resize(coarser, x)))
        return self.relu(out)

    def skip(self, x: Tensor, out: Tensor) -> Skips:
        """The two that this level adds to the same level of the next stage (paper section 3.3).

        Args:
            x: ``(B, in, h, w)``, the level's output of the downsample path.
            out: ``(B, C, h, w)``, this unit's output.

        Returns:
            ``(B, in, h, w)`` each. They are not added up here: the published code adds them to the
            next stage's level one after the other, and only this order gives the same bits.
        """
        if self.skip_down is None or self.skip_up is None:
            raise ValueError('this unit belongs to the last stage and feeds no other')
        return self.skip_down(x), self.skip_up(out)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode='bilinear', align_corners=True)


class UpsamplePath(BaseModule):
    """All units of a stage.

    Args:
        level_channels: Channels of the downsample path's levels, finest first.
        unit_channels: Channels of every unit.
        cross_channels: Channels that the next stage expects, or ``None`` for the last stage.
        norm_cfg: Normalisation of every convolution.
    """

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

    def forward(self, levels: Sequence[Tensor]) -> StageOutput:
        """Runs the units from the coarsest level to the finest.

        Args:
            levels: Outputs of the downsample path, finest first.
        """
        outputs: list[Tensor] = []
        skips: list[Skips] = []
        for unit, level in zip(self.units, reversed(levels), strict=True):
            outputs.append(unit(level, outputs[-1] if outputs else None))
            if self.cross is not None:
                skips.append(cast(UpsampleUnit, unit).skip(level, outputs[-1]))
        cross = self.cross(outputs[-1]) if self.cross is not None else None
        return StageOutput(outputs, skips[::-1], cross)
