"""Where weights can come from, how to tell, and the settings with which they were trained."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

_BGR = dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False)
_RGB = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


class Source(StrEnum):
    """The code that wrote some weights."""

    MSPN_PLUGIN = 'mspn_plugin'
    MMPOSE = 'mmpose'
    MEGVII = 'megvii'
    MINDSPORE = 'mindspore'
    TORCHVISION = 'torchvision'

    @property
    def description(self) -> str:
        """Its name in a sentence."""
        return _DESCRIPTIONS[self]

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """What a config must say for these weights: settings by part of the model.

        Empty where the weights do not tell: this package's own may be of any recipe.
        """
        return _SETTINGS.get(self, {})


_DESCRIPTIONS = {
    Source.MSPN_PLUGIN: 'mspn_plugin',
    Source.MMPOSE: "MMPose's MSPN",
    Source.MEGVII: 'the original MSPN (Megvii, PyTorch)',
    Source.MINDSPORE: 'the MindSpore MSPN',
    Source.TORCHVISION: 'a torchvision ResNet',
}

_SETTINGS: dict[Source, dict[str, dict[str, Any]]] = {
    Source.MMPOSE: dict(
        data_preprocessor=_RGB,
        backbone=dict(pool_padding='symmetric'),
        codec=dict(refine='gradient_sign'),
    ),
    Source.MEGVII: dict(
        data_preprocessor=_BGR,
        backbone=dict(pool_padding='symmetric'),
        codec=dict(refine='second_peak'),
    ),
    # MindSpore's Normalize works on 0..255, before its ToTensor divides by 255: (x - 0.406) / 255
    # / 0.225. So its mean is almost zero.
    Source.MINDSPORE: dict(
        data_preprocessor=_BGR | dict(mean=[0.406, 0.456, 0.485]),
        backbone=dict(pool_padding='same'),
        codec=dict(refine='second_peak'),
    ),
}

# One telling name each; the first that occurs among the weights decides.
_SIGNS = (
    (Source.MSPN_PLUGIN, re.compile(r'backbone\.stages\..*')),
    (Source.MMPOSE, re.compile(r'backbone\.multi_stage_mspn\..*')),
    (Source.MINDSPORE, re.compile(r'stage0\..*\.(gamma|moving_mean)')),
    (Source.MEGVII, re.compile(r'stage0\.(down|up)sample\..*')),
    (Source.TORCHVISION, re.compile(r'layer1\.0\.conv1\.weight')),
)


def recognise(names: Iterable[str]) -> Source | None:
    """Tells whose weights these are by their names, or ``None``.

    Args:
        names: The names of the weights.
    """
    names = list(names)
    for source, sign in _SIGNS:
        if any(sign.fullmatch(name) for name in names):
            return source
    return None
