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

    def __init__(
        self, in_channels: int, unit_channels: int, *, coarser: bool, skips: bool, norm_cfg: NormCfg
    ) -> None:
        super().__init__()
        conv = partial(ConvModule, kernel_size=1, norm_cfg=norm_cfg)
        self.lateral = conv(in_channels, unit_channels, act_cfg=None)
        self.coarser = conv(unit_channels, unit_channels, act_cfg=None) if coarser else None
        self.relu = nn.ReLU(inplace=True)
        if skips:
            self.skip_down = conv(in_channels, in_channels)
            self.skip_up = conv(unit_channels, in_channels)

    def forward(self, x: Tensor, coarser: Tensor | None) -> Tensor:
        """Merges a level ``(B, in, h, w)`` with the coarser unit's output to ``(B, C, h, w)``."""
        out = self.lateral(x)
        if self.coarser is not None and coarser is not None:
            resize = partial(F.interpolate, size=x.shape[-2:], mode='bilinear', align_corners=True)
            # The published order is to resize first, and a normalisation's statistics depend on it.
            # Once that is folded away, see `fused`, the same comes out for a quarter of the work.
            folded = isinstance(self.coarser.norm, nn.Identity)
            out.add_(resize(self.coarser(coarser)) if folded else self.coarser(resize(coarser)))
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
        skips = cross_channels is not None
        self.units = nn.ModuleList(
            UpsampleUnit(channels, unit_channels, coarser=index > 0, skips=skips, norm_cfg=norm_cfg)
            for index, channels in enumerate(reversed(level_channels))
        )
        self.cross = None
        if cross_channels is not None:
            self.cross = ConvModule(unit_channels, cross_channels, 1, norm_cfg=norm_cfg)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Skips], Tensor | None]:
        """Runs the units over the outputs of the downsample path, which come finest first.

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
