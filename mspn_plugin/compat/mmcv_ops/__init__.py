"""`mmcv._ext` on torchvision and plain torch, used only if compiled mmcv is absent.

`mmcv-lite` ships the Python half of ``mmcv.ops``, which loads every compiled function by importing
``mmcv._ext``. Where nothing else answers to that name, `ext.py` is loaded under it, and MMPose and
MMDet work without a compiler. Compiled mmcv always wins, even if it is installed later: our finder
stands last in `sys.meta_path`.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from .. import Gap, StandIn, version

EXT_NAME = 'mmcv._ext'
_FINDER = StandIn(EXT_NAME, Path(__file__).with_name('ext.py'))


def install() -> Gap:
    """Makes ``import mmcv._ext`` succeed where compiled mmcv is absent.

    Nothing is imported here: the file is loaded when ``mmcv.ops`` first asks for it. It does not
    matter whether mmcv was imported before, and calling it again changes nothing.

    Returns:
        A record with ``active=True`` if this package answers for ``mmcv._ext``. It is ``False``
        where compiled mmcv does, and where mmcv or torchvision is not installed.
    """
    try:
        mmcv = importlib.util.find_spec('mmcv')
    except ValueError:  # a stand-in in sys.modules that has no __spec__
        mmcv = None
    if mmcv is None or mmcv.submodule_search_locations is None:
        return Gap(EXT_NAME, active=False, detail='mmcv is not installed')
    found = _foreign_spec(list(mmcv.submodule_search_locations))
    if found is not None:
        compiled = version('mmcv', 'mmcv-full')
        where = f'compiled mmcv {compiled}' if compiled else f'found at {found.origin}'
        return Gap(EXT_NAME, active=False, detail=where)
    torchvision = version('torchvision')
    if torchvision is None:
        detail = 'torchvision is not installed; mmcv.ops needs it or compiled mmcv'
        return Gap(EXT_NAME, active=False, detail=detail)
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    detail = f'torchvision {torchvision} and plain torch, under mmcv-lite {version("mmcv-lite")}'
    return Gap(EXT_NAME, active=True, detail=detail)


def _foreign_spec(mmcv_path: list[str]) -> ModuleSpec | None:
    """Returns the spec of an ``mmcv._ext`` that is not ours, without importing it."""
    if EXT_NAME in sys.modules:
        spec = sys.modules[EXT_NAME].__spec__
        specs = [spec or ModuleSpec(EXT_NAME, None, origin='sys.modules')]
    else:
        finders = [finder for finder in sys.meta_path if hasattr(finder, 'find_spec')]
        found = [finder.find_spec(EXT_NAME, mmcv_path, None) for finder in finders]
        specs = [spec for spec in found if spec]
    return next((spec for spec in specs if spec.origin != str(_FINDER.file)), None)
