"""One layer for each unit of each stage, as the neck and the head have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from torch import nn


class UnitLayers(nn.ModuleList):
    """Layers by stage and unit; parameters are named ``<stage>.<unit>.…``.

    Args:
        num_stages: Number of stages.
        num_units: Units per stage.
        make: Makes one layer.
    """

    def __init__(self, num_stages: int, num_units: int, make: Callable[[], nn.Module]) -> None:
        super().__init__(nn.ModuleList(make() for _ in range(num_units)) for _ in range(num_stages))
        self.num_units = num_units

    def by_stage(self) -> list[list[nn.Module]]:
        """The layers as ``[stage][unit]``."""
        return [list(stage) for stage in cast(Iterator[nn.ModuleList], iter(self))]
