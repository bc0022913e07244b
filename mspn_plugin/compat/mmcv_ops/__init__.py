"""`mmcv._ext` on torchvision and plain torch, used only if compiled mmcv is absent.

`mmcv-lite` ships the Python half of ``mmcv.ops``, which loads every compiled function by importing
``mmcv._ext``. Where nothing else answers to that name, `ext.py` is loaded under it, and MMPose and
MMDet work without a compiler. Compiled mmcv always wins, even if it is installed later: our finder
stands last in `sys.meta_path`.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from .. import Gap, StandIn, version

_FINDER = StandIn('mmcv._ext', Path(__file__).with_name('ext.py'))


def install() -> Gap:
    """Makes ``import mmcv._ext`` succeed where compiled mmcv is absent.

    Nothing is imported here: the file is loaded when ``mmcv.ops`` first asks for it. It does not
    matter whether mmcv was imported before, and calling it again changes nothing.

    Returns:
        A record with ``active=True`` if this package answers for ``mmcv._ext``. It is ``False``
        where compiled mmcv does, and where mmcv is not installed.
    """
    name = _FINDER.name
    mmcv = importlib.util.find_spec('mmcv')
    if mmcv is None:
        return Gap(name, active=False, detail='mmcv is not installed')
    found = PathFinder.find_spec(name, mmcv.submodule_search_locations)
    origin = found.origin if found else None
    if name in sys.modules:
        origin = getattr(sys.modules[name], '__file__', 'sys.modules')
    if origin not in (None, str(_FINDER.file)):
        compiled = version('mmcv', 'mmcv-full')
        where = f'compiled mmcv {compiled}' if compiled else f'found at {origin}'
        return Gap(name, active=False, detail=where)
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    answers = f'torchvision {version("torchvision")} and plain torch'
    return Gap(name, active=True, detail=f'{answers}, under mmcv-lite {version("mmcv-lite")}')
