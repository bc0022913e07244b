"""Checkpoints are loaded weights-only, and MMEngine's own still load.

Since torch 2.6 `torch.load` accepts tensors and plain containers only. MMEngine's checkpoints also
hold the log (`HistoryBuffer`) and numpy arrays: `torch.serialization.add_safe_globals` is told
exactly those. What MMEngine fetches from a URL it would load without limits; it no longer does.

A name that a file may use is not the thing itself but the narrowest stand-in that still loads it,
because the things themselves are not safe: ``numpy.ndarray((1,), 'O', b'8 bytes')`` makes Python
follow an address out of the file, and a crafted state of ``numpy.dtype`` reads beyond an array.

mmengine.logging.history_buffer.HistoryBuffer: `HistoryBuffer` itself
builtins.getattr: four methods of `HistoryBuffer`, nothing else
numpy.ndarray: a class that cannot be called, only passed on to ``_reconstruct``
numpy._core.multiarray._reconstruct: the maker of an empty array (numpy 1 wrote numpy.core)
numpy._core.multiarray.scalar: bool, integer, float and complex scalars (likewise)
numpy.dtype: the built-in bool, integer, float and complex types
"""

from __future__ import annotations

import functools
import inspect
import pickle
import re
from typing import Any, NoReturn

import mmengine.runner.checkpoint as checkpoint
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch.torch_version import TorchVersion

from . import Gap

_STATISTICS = ('min', 'max', 'current', 'mean')
_ALLOWED_TYPES = 'bool, integer, float and complex numbers'


def install() -> tuple[Gap, Gap]:
    """Adds the names above to torch's allow-list; calling it again changes nothing.

    Returns:
        ``torch.load``: ``active=True`` where torch loads weights only by default, which is since
        2.6. ``load_url``: where MMEngine would load more than weights from a URL.
    """
    restricted = TorchVersion(torch.__version__) >= '2.6'
    detail = f'torch {torch.__version__} does not restrict loading; 2.6 and newer do'
    if restricted:
        torch.serialization.add_safe_globals(list(_allow_list()))
        detail = 'allow-list of HistoryBuffer and plain numpy arrays for weights-only loading'
    load_url: Any = checkpoint.load_url  # the name that MMEngine calls
    urls, what = False, 'MMEngine loads URLs in a way of its own'
    if 'weights_only' in inspect.signature(load_url).parameters:
        checkpoint.load_url = functools.partial(load_url, weights_only=True)
        urls, what = True, 'weights-only loading of what MMEngine downloads'
    return Gap('torch.load', restricted, detail), Gap('load_url', urls, what)


@functools.cache  # torch keeps a set, so the same objects must be added each time
def _allow_list() -> tuple[tuple[Any, str], ...]:
    """Returns pairs of a callable and the name under which a file reaches it."""
    # torch fills an object only if its exact class is in the list. Arrays and types must be, yet a
    # file must not call their classes; every name that a file can write has a dot in it.
    filled: set[type] = {np.ndarray, *(type(np.dtype(code)) for code in '?bhilqBHILQefdgFDG')}
    return (
        (HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_history_statistic, 'builtins.getattr'),
        (_ArrayName, 'numpy.ndarray'),
        (_plain_dtype, 'numpy.dtype'),
        *((_empty_array, f'numpy.{core}.multiarray._reconstruct') for core in ('_core', 'core')),
        *((_number, f'numpy.{core}.multiarray.scalar') for core in ('_core', 'core')),
        *((cls, cls.__name__) for cls in filled),
    )


def _history_statistic(owner: object, name: object) -> Any:
    """Answers for ``builtins.getattr``, by which `HistoryBuffer` pickles its four statistics."""
    if owner is not HistoryBuffer or not isinstance(name, str) or name not in _STATISTICS:
        raise _refusal(f'getattr({owner!r}, {name!r})', 'the statistics of HistoryBuffer')
    return getattr(HistoryBuffer, name)


class _ArrayName(np.ndarray):
    """Answers for ``numpy.ndarray``; a subclass, so that numpy's ``_reconstruct`` takes it too."""

    def __new__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise _refusal('a call of numpy.ndarray', 'arrays as pickle writes them')


def _empty_array(subtype: object, shape: object, typecode: object) -> np.ndarray:
    """Answers for ``_reconstruct``: an empty array, to be filled by the state that follows."""
    if subtype is not _ArrayName and subtype is not np.ndarray:
        raise _refusal(f'an array of class {subtype!r}', 'numpy.ndarray')
    return np.empty(0, dtype=np.int8)


def _plain_dtype(code: object, align: object = False, copy: object = False) -> np.dtype:
    """Answers for ``numpy.dtype`` with numpy's own object for a type of numbers."""
    # Never a copy, although files ask for one: numpy ignores the state that follows for its own
    # objects, so a crafted one has no effect. Its byte order is taken to be this machine's.
    if not isinstance(code, str) or not re.fullmatch(r'[biufc]\d{1,2}', code):
        raise _refusal(f'an array of type {code!r}', _ALLOWED_TYPES)
    return np.dtype(code)


def _number(dtype: object, data: object) -> Any:
    """Answers for ``scalar``: one number out of its bytes."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in 'biufc':
        raise _refusal(f'a scalar of type {dtype!r}', _ALLOWED_TYPES)
    if not isinstance(data, bytes) or len(data) != dtype.itemsize:
        raise _refusal(f'a scalar of type {dtype} out of {data!r}', f'{dtype.itemsize} bytes')
    return np.frombuffer(data, dtype)[0]


def _refusal(found: str, allowed: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f'the file holds {found}; mspn_plugin allows only {allowed}')
