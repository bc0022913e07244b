"""A checkpoint that MMEngine fetches from a URL is loaded weights-only, as one on the disk is.

Since torch 2.6 ``torch.load`` accepts weights only unless told otherwise, but MMEngine loads what
it downloads (``http://``, ``https://``, and with them ``torchvision://`` and the model zoos of
OpenMMLab) with `torch.hub.load_state_dict_from_url`, which still says ``weights_only=False``: a
pickle from a URL would run. Only the name that MMEngine calls is replaced, by the same function
with ``weights_only=True``; torch is not touched.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
from typing import Any

from . import Gap

NAME = 'load_url'


def install() -> Gap:
    """Makes MMEngine's downloads weights-only; calling it again changes nothing.

    Returns:
        A record with ``active=True`` where MMEngine would load anything else than weights from a
        URL.
    """
    for package in ('torch', 'mmengine'):
        if importlib.util.find_spec(package) is None:
            return Gap(NAME, active=False, detail=f'{package} is not installed')
    import mmengine.runner.checkpoint as checkpoint

    load_url: Any = getattr(checkpoint, 'load_url', None)
    option = inspect.signature(load_url).parameters.get('weights_only') if load_url else None
    if option is None:
        return Gap(NAME, active=False, detail='MMEngine loads URLs in a way of its own')
    if not isinstance(load_url, functools.partial):
        if option.default is not False:
            return Gap(NAME, active=False, detail='loading from URLs is weights-only already')
        checkpoint.load_url = functools.partial(load_url, weights_only=True)
    return Gap(NAME, active=True, detail='weights-only loading of what MMEngine downloads')
