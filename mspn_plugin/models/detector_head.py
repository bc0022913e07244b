"""The head of the small person detector: RTMDet's, fit for training in bf16.

A config names this module in its ``custom_imports``, since nothing else of the package needs MMDet.
"""

from __future__ import annotations

from typing import Any

from mmdet.models.dense_heads import RTMDetSepBNHead
from mmdet.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class RTMDetFloatHead(RTMDetSepBNHead):
    """RTMDet's head, which gives fp32 to what comes after it, whatever the network computes in.

    In bf16 a place in the picture would be rounded to a pixel or two, and so would be the boxes by
    which predictions are matched with people.
    """

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Any, ...]:
        """Scores and sides of boxes per level, as of the base class."""
        return tuple([level.float() for level in levels] for levels in super().forward(feats))
