"""The light half of MSPN: pictures, drawings and the command `mspn`, without torch.

Nothing here imports torch, MMEngine, MMCV, MMDetection or MMPose when it is imported. The people in
a photograph, with the models that ship::

    import mspn
    people = mspn.predict('photo.jpg')
    people.draw('photo.jpg')
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .version import __version__

if TYPE_CHECKING:
    from .runtime import People, Predictor
    from .runtime.predictor import predict

# ONNX Runtime, from 1.29 on, reports its use to its makers unless this is set before its import.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

__all__ = ['InputError', 'People', 'Predictor', '__version__', 'predict']


def __getattr__(name: str) -> Any:
    """What needs numpy and OpenCV, when it is asked for."""
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from .runtime import predictor

    return getattr(predictor, name)
