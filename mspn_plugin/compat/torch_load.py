"""What a weights-only `torch.load` may contain, so that MMEngine's own checkpoints load.

Since torch 2.6 `torch.load` accepts tensors and plain containers only, and MMEngine 0.10 calls it
without saying otherwise. Its checkpoints also hold the log (`HistoryBuffer`), whose history is in
numpy arrays, and the numpy arrays of ``dataset_meta``. This module names exactly those, for
`torch.serialization.add_safe_globals`; `torch.load` itself is not touched, and nothing is ever
loaded with ``weights_only=False``.

A name that a file may use is not the thing itself but the narrowest stand-in that still loads it,
because the things themselves are not safe: ``numpy.ndarray((1,), 'O', b'8 bytes')`` makes Python
follow an address out of the file, and a crafted state of ``numpy.dtype`` reads beyond an array.

======================================  =====================================================
name in a file                          what answers
======================================  =====================================================
mmengine.logging.history_buffer         `HistoryBuffer` itself
  .HistoryBuffer
builtins.getattr                        four methods of `HistoryBuffer`, nothing else
numpy.ndarray                           a class that cannot be called, only passed on to ...
numpy._core.multiarray._reconstruct     ... the maker of an empty array
numpy.core.multiarray._reconstruct      the same; numpy 1 wrote this name
numpy._core.multiarray.scalar           bool, integer, float and complex scalars
numpy.core.multiarray.scalar            the same
numpy.dtype                             the built-in bool, integer, float and complex types
======================================  =====================================================
"""

from __future__ import annotations

import functools
import importlib.util
import pickle
import re
from typing import Any, NoReturn

import numpy as np

from . import Gap

NAME = 'torch.load'

# HistoryBuffer pickles its table of statistics: functions that Python pickles as
# getattr(HistoryBuffer, name).
_STATISTICS = ('min', 'max', 'current', 'mean')

_NUMBERS = re.compile(r'[biufc]\d{1,2}')
_ALLOWED_TYPES = 'bool, integer, float and complex numbers'


def install() -> Gap:
    """Adds the names above to torch's allow-list; calling it again changes nothing.

    Returns:
        A record with ``active=True`` where torch loads weights only by default, which is since 2.6.
        ``False`` with an older torch, and where torch or MMEngine is not installed.
    """
    for package in ('torch', 'mmengine'):
        if importlib.util.find_spec(package) is None:
            return Gap(NAME, active=False, detail=f'{package} is not installed')
    import torch
    from torch.torch_version import TorchVersion

    if TorchVersion(torch.__version__) < '2.6':
        detail = f'torch {torch.__version__} does not restrict loading; 2.6 and newer do'
        return Gap(NAME, active=False, detail=detail)
    torch.serialization.add_safe_globals(list(_allow_list()))
    detail = 'allow-list of HistoryBuffer and plain numpy arrays for weights-only loading'
    return Gap(NAME, active=True, detail=detail)


@functools.cache  # torch keeps a set, so the same objects must be added each time
def _allow_list() -> tuple[tuple[Any, str], ...]:
    """Returns pairs of a callable and the name under which a file reaches it."""
    from mmengine.logging import HistoryBuffer

    named: list[tuple[Any, str]] = [
        (HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_history_statistic, 'builtins.getattr'),
        (_ArrayName, 'numpy.ndarray'),
        (_plain_dtype, 'numpy.dtype'),
    ]
    for module in ('numpy._core.multiarray', 'numpy.core.multiarray'):
        named += [(_empty_array, f'{module}._reconstruct'), (_number, f'{module}.scalar')]
    # torch fills an object only if its exact class is in the list. Arrays and types must be, yet a
    # file must not call their classes; every name that a file can write has a dot in it.
    filled: set[type] = {np.ndarray, *(type(np.dtype(code)) for code in '?bhilqBHILQefdgFDG')}
    unreachable = [(cls, cls.__name__) for cls in filled]
    return (*named, *unreachable)


def _history_statistic(owner: object, name: object) -> Any:
    """Answers for ``builtins.getattr`` with the four statistics of `HistoryBuffer`."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or not isinstance(name, str) or name not in _STATISTICS:
        raise _refusal(f'getattr({owner!r}, {name!r})', 'the statistics of HistoryBuffer')
    return getattr(HistoryBuffer, name)


class _ArrayName(np.ndarray):
    """Stands for ``numpy.ndarray`` in a file, which passes it to ``_reconstruct``.

    It is a subclass so that numpy's own ``_reconstruct`` takes it too, should somebody else have
    allowed that one.
    """

    def __new__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise _refusal('a call of numpy.ndarray', 'arrays as pickle writes them')


def _empty_array(subtype: object, shape: object, typecode: object) -> np.ndarray:
    """Answers for ``_reconstruct``: an empty array, to be filled by the state that follows."""
    if subtype is not _ArrayName and subtype is not np.ndarray:
        raise _refusal(f'an array of class {subtype!r}', 'numpy.ndarray')
    return np.empty(0, dtype=np.int8)


def _plain_dtype(code: object, align: object = False, copy: object = False) -> np.dtype:
    """Answers for ``numpy.dtype`` with numpy's own object for a type of numbers.

    Never a copy, although files ask for one: numpy ignores the state that follows for its own
    objects, so a crafted one has no effect. The byte order, which that state holds, is therefore
    taken to be this machine's.
    """
    if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
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
