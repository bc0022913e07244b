"""MSPNNeck: the 1x1 refinement at the end of every upsample unit.

Shapes: B batch, S stages, U units per stage, C unit channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class MSPNNeck(BaseModule):
    """A 1x1 convolution with normalisation and ReLU for each unit of each stage.

    Poses come from the last unit of the last stage alone, so in evaluation mode the neck passes on
    only that one, and the head predicts only what it is given.

    Args:
        num_stages: Number of stages of the backbone.
        num_units: Units per stage.
        unit_channels: Channels of every unit.
        eval_units: What to pass on in evaluation mode: ``'last'``, or ``'all'`` to look at every
            heatmap or to compute the loss of validation data.
        norm_cfg: Normalisation of every convolution.
        init_cfg: Initialisation.

    Raises:
        ValueError: ``eval_units`` is unknown.
    """

    def __init__(
        self,
        num_stages: int = 2,
        num_units: int = 4,
        *,
        unit_channels: int = 256,
        eval_units: str = 'last',
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if eval_units not in ('last', 'all'):
            raise ValueError(f"eval_units is {eval_units!r}, expected 'last' or 'all'")
        norm_cfg = dict(norm_cfg or dict(type='BN'))
        self.eval_units = eval_units
        self.num_units = num_units
        self.stages: Any = nn.ModuleList(
            nn.ModuleList(
                ConvModule(unit_channels, unit_channels, 1, norm_cfg=norm_cfg)
                for _ in range(num_units)
            )
            for _ in range(num_stages)
        )

    def forward(self, features: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """Refines the units ``[stage][unit]`` of ``(B, C, h, w)`` that `MSPNBackbone` gives.

        In evaluation mode with ``eval_units='last'`` it gives only ``[[last of the last stage]]``.
        """
        if len(features) != len(self.stages) or len(features[0]) != self.num_units:
            raise ValueError(
                f'the backbone gives {len(features)} stages of {len(features[0])} units, but the '
                f'neck is built for {len(self.stages)} of {self.num_units}; give both the same '
                'num_stages and as many units as the backbone has levels'
            )
        if not self.training and self.eval_units == 'last':
            return [[self.stages[-1][-1](features[-1][-1])]]
        return [
            [conv(unit) for conv, unit in zip(stage, units, strict=True)]
            for stage, units in zip(self.stages, features, strict=True)
        ]
