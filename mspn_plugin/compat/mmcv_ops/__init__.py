"""`mmcv._ext` on torchvision and plain torch, used only if compiled mmcv is absent.

`mmcv-lite` ships the Python half of ``mmcv.ops``, which loads every compiled function by importing
``mmcv._ext``. Where nothing else answers to that name, `provider.py` is loaded under it, so MMPose,
MMDet and ``mmcv.ops`` work without a compiler. Compiled mmcv always wins, even if it is installed
later: our finder stands last in `sys.meta_path`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from .. import Gap

EXT_NAME = 'mmcv._ext'
_PROVIDER = Path(__file__).with_name('provider.py')


class ExtFinder(MetaPathFinder):
    """Answers for ``mmcv._ext`` and for nothing else."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Returns a spec that loads `provider.py` as ``mmcv._ext``.

        It is an ordinary file spec because MMEngine calls ``pkgutil.find_loader('mmcv._ext')``,
        which fails on a module without ``__spec__``.
        """
        if fullname != EXT_NAME:
            return None
        return importlib.util.spec_from_file_location(fullname, _PROVIDER)


_FINDER = ExtFinder()


def install() -> Gap:
    """Makes ``import mmcv._ext`` succeed where compiled mmcv is absent.

    Nothing is imported here, neither mmcv nor torchvision: the provider is loaded when ``mmcv.ops``
    first asks for it. It does not matter whether mmcv was imported before, and calling it again
    changes nothing.

    Returns:
        A record with ``active=True`` if this package answers for ``mmcv._ext``. It is ``False``
        where compiled mmcv does, and where mmcv or torchvision is not installed.
    """
    mmcv_path = _package_path('mmcv')
    if mmcv_path is None:
        return Gap(EXT_NAME, active=False, detail='mmcv is not installed')
    found = _foreign_spec(mmcv_path)
    if found is not None:
        version = _version('mmcv', 'mmcv-full')
        where = f'compiled mmcv {version}' if version else f'found at {found.origin}'
        return Gap(EXT_NAME, active=False, detail=where)
    torchvision = _version('torchvision')
    if torchvision is None:
        detail = 'torchvision is not installed; mmcv.ops needs it or compiled mmcv'
        return Gap(EXT_NAME, active=False, detail=detail)
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    detail = f'torchvision {torchvision} and plain torch, under mmcv-lite {_version("mmcv-lite")}'
    return Gap(EXT_NAME, active=True, detail=detail)


def _package_path(name: str) -> list[str] | None:
    """Returns where the submodules of a package are searched, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a stand-in in sys.modules that has no __spec__
        return None
    if spec is None or spec.submodule_search_locations is None:
        return None
    return list(spec.submodule_search_locations)


def _foreign_spec(mmcv_path: list[str]) -> ModuleSpec | None:
    """Returns the spec of an ``mmcv._ext`` that is not ours, without importing it."""
    loaded = sys.modules.get(EXT_NAME)
    if loaded is not None:
        spec = loaded.__spec__ or ModuleSpec(EXT_NAME, None, origin='sys.modules')
        return None if spec.origin == str(_PROVIDER) else spec
    for finder in sys.meta_path:
        if finder is not _FINDER and hasattr(finder, 'find_spec'):
            found = finder.find_spec(EXT_NAME, mmcv_path, None)
            if found is not None and found.origin != str(_PROVIDER):
                return found
    return None


def _version(*names: str) -> str | None:
    """Returns the version of the first of these distributions that is installed."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
