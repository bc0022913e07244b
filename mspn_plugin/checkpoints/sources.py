"""Where weights can come from, how to tell, and the settings with which they were trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

import torch
from torch import nn

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
        return {
            Source.MMPOSE: "MMPose's MSPN",
            Source.MEGVII: 'the original MSPN (Megvii, PyTorch)',
            Source.MINDSPORE: 'the MindSpore MSPN',
        }.get(self, self.value)

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """What a config must say for these weights; empty where they do not tell, as our own."""
        return _SETTINGS.get(self, {})


# MindSpore's Normalize works on 0..255, before its ToTensor divides by 255: (x - 0.406) / 255
# / 0.225. So its mean is almost zero.
_ALMOST_ZERO = _BGR | dict(mean=[0.406, 0.456, 0.485])
_SETTINGS: dict[Source, dict[str, dict[str, Any]]] = {
    source: dict(
        data_preprocessor=colours, backbone=dict(pool_padding=padding), codec=dict(refine=refine)
    )
    for source, colours, padding, refine in (
        (Source.MMPOSE, _RGB, 'symmetric', 'gradient_sign'),
        (Source.MEGVII, _BGR, 'symmetric', 'second_peak'),
        (Source.MINDSPORE, _ALMOST_ZERO, 'same', 'second_peak'),
    )
}

# How one telling name begins; the first that occurs among the weights decides.
_SIGNS = {
    Source.MSPN_PLUGIN: r'backbone\.stages\.',
    Source.MMPOSE: r'backbone\.multi_stage_mspn\.',
    Source.MINDSPORE: r'stage0\..*\.(gamma|moving_mean)$',
    Source.MEGVII: r'stage0\.(down|up)sample\.',
    Source.TORCHVISION: r'layer1\.0\.conv1\.weight$',
}


def recognise(names: Iterable[str]) -> Source | None:
    """Tells whose weights these are by their names, or ``None``."""
    names = list(names)
    found = (s for s, sign in _SIGNS.items() if any(re.match(sign, name) for name in names))
    return next(found, None)


def other_settings(model: nn.Module, source: Source) -> Iterator[str]:
    """Names the settings of a pose estimator that are not those its weights were trained with."""
    normalise = model.data_preprocessor
    decoder = getattr(model.head, 'decoder', None)
    own: dict[str, Any] = dict(
        bgr_to_rgb=bool(getattr(normalise, '_channel_conversion', False)),
        pool_padding=getattr(model.backbone, 'pool_padding', None),
        refine=getattr(decoder, 'refine', None),
    )
    for name in ('mean', 'std'):
        if (values := getattr(normalise, name, None)) is not None:
            own[name] = [round(number, 3) for number in torch.as_tensor(values).flatten().tolist()]
    for part, settings in source.settings.items():
        for name, wanted in settings.items():
            if own.get(name) != wanted:
                place = 'head.decoder' if part == 'codec' else part
                yield f'model.{place}.{name}={wanted!r} (it is {own.get(name)!r})'
