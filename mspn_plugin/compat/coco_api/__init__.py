"""`xtcocotools` on pycocotools, used only if the real xtcocotools does not import.

MMPose imports ``xtcocotools.coco``, ``.cocoeval`` and ``.mask``. The newest wheels of xtcocotools
are built for numpy 1 and for Python 3.11 at most, so a current machine has none that imports. The
folder `xtcocotools/` here is then loaded under that name; it builds on pycocotools.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from .. import Gap

NAME = 'xtcocotools'
_FOLDER = Path(__file__).with_name(NAME)
_INIT = str(_FOLDER / '__init__.py')


class PackageFinder(MetaPathFinder):
    """Answers for ``xtcocotools`` and for nothing else.

    Python finds the submodules by itself, in the folder that the package's spec names.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Returns an ordinary file spec of the folder `xtcocotools/` beside this file."""
        if fullname != NAME:
            return None
        return importlib.util.spec_from_file_location(
            fullname, _INIT, submodule_search_locations=[str(_FOLDER)]
        )


_FINDER = PackageFinder()


def install() -> Gap:
    """Makes ``import xtcocotools.coco`` and its siblings succeed where the real one fails.

    Calling it again changes nothing.

    Returns:
        A record with ``active=True`` if this package answers for ``xtcocotools``. It is ``False``
        where the real one imports, and where pycocotools is missing too.
    """
    if _FINDER not in sys.meta_path:
        if _foreign_origin() is None:
            reason = 'xtcocotools is not installed'
            place = len(sys.meta_path)
        else:
            error = _import_error()
            if error is None:
                return Gap(NAME, active=False, detail=f'xtcocotools {_version(NAME) or "found"}')
            reason = f'xtcocotools does not import: {error}'
            place = 0  # before the finder that would find the broken one again
        if importlib.util.find_spec('pycocotools') is None:
            detail = f'{reason}, and pycocotools is missing: pip install pycocotools'
            return Gap(NAME, active=False, detail=detail)
        sys.meta_path.insert(place, _FINDER)
    return Gap(NAME, active=True, detail=f'pycocotools {_version("pycocotools") or ""}'.strip())


def _foreign_origin() -> str | None:
    """Returns where an xtcocotools that is not ours would come from, without importing it."""
    try:
        spec = importlib.util.find_spec(NAME)
    except ValueError:  # somebody's stand-in in sys.modules that has no __spec__
        return 'sys.modules'
    if spec is None or spec.origin == _INIT:
        return None
    return spec.origin or 'a folder without __init__.py'


def _import_error() -> str | None:
    """Imports the real xtcocotools; after a failure no half-imported module is left behind.

    A compiled module that was built for another numpy raises ValueError, ImportError or
    AttributeError, depending on both versions, so every exception counts.
    """
    before = set(sys.modules)
    try:
        importlib.import_module(f'{NAME}.coco')
        importlib.import_module(f'{NAME}.cocoeval')
    except Exception as error:
        for name in set(sys.modules) - before:
            if name == NAME or name.startswith(f'{NAME}.'):
                del sys.modules[name]
        return f'{type(error).__name__}: {error}'.splitlines()[0]
    return None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
