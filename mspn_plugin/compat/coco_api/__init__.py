"""`xtcocotools` on pycocotools, used only if the real xtcocotools does not import.

MMPose imports ``xtcocotools.coco``, ``.cocoeval`` and ``.mask``. The newest wheels of xtcocotools
are built for numpy 1 and for Python 3.11 at most, so a current machine has none that imports. The
folder `xtcocotools/` here is then loaded under that name; it builds on pycocotools.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

from .. import Gap, StandIn, version

NAME = 'xtcocotools'
_FINDER = StandIn(NAME, Path(__file__).with_name(NAME) / '__init__.py')


def install() -> Gap:
    """Makes ``import xtcocotools.coco`` and its siblings succeed where the real one fails.

    Calling it again changes nothing.

    Returns:
        A record with ``active=True`` if this package answers for ``xtcocotools``. It is ``False``
        where the real one imports, and where pycocotools is missing too.
    """
    if _FINDER not in sys.meta_path:
        reason = _import_error()
        if reason is None:
            return Gap(NAME, active=False, detail=f'xtcocotools {version(NAME) or "found"}')
        if importlib.util.find_spec('pycocotools') is None:
            detail = f'{reason}, and pycocotools is missing: pip install pycocotools'
            return Gap(NAME, active=False, detail=detail)
        sys.meta_path.insert(0, _FINDER)  # before the finder that would find a broken one again
    return Gap(NAME, active=True, detail=f'pycocotools {version("pycocotools") or ""}'.strip())


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
        return f'xtcocotools does not import: {type(error).__name__}: {error}'.splitlines()[0]
    return None
