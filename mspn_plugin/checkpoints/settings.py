"""Does a model use foreign weights as they were trained: colours, pooling, decoding?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from .sources import Source


def other_settings(model: nn.Module, source: Source) -> Iterator[str]:
    """Names the settings of a model that differ from those its weights were trained with.

    Args:
        model: A pose estimator of this package.
        source: Whose weights it was given.

    Yields:
        ``model.<part>.<setting>=<what the weights need> (it is <what the model has>)``.
    """
    needs = source.settings
    own = {
        'data_preprocessor': _data_preprocessor(model),
        'backbone': {'pool_padding': getattr(model.backbone, 'pool_padding', None)},
        'codec': {'refine': getattr(getattr(model.head, 'decoder', None), 'refine', None)},
    }
    for part, settings in needs.items():
        for name, wanted in settings.items():
            value = own[part].get(name)
            if value != wanted:
                place = 'head.decoder' if part == 'codec' else part
                yield f'model.{place}.{name}={wanted!r} (it is {value!r})'


def _data_preprocessor(model: nn.Module) -> dict[str, object]:
    """Colour order and normalisation, in the form of a config."""
    part = model.data_preprocessor
    mean, std = (
        [round(value, 3) for value in torch.as_tensor(getattr(part, name)).flatten().tolist()]
        if getattr(part, name, None) is not None
        else None
        for name in ('mean', 'std')
    )
    return dict(mean=mean, std=std, bgr_to_rgb=bool(getattr(part, '_channel_conversion', False)))
