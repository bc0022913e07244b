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

_FINDER = StandIn('xtcocotools', Path(__file__).with_name('xtcocotools') / '__init__.py')


def install() -> Gap:
    """Makes ``import xtcocotools.coco`` and its siblings succeed where the real one fails.

    Calling it again changes nothing.

    Returns:
        A record with ``active=True`` if this package answers for ``xtcocotools``. It is ``False``
        where the real one imports, and where pycocotools is missing too.
    """
    name = _FINDER.name
    if _FINDER not in sys.meta_path:
        before = set(sys.modules)
        try:
            importlib.import_module(f'{name}.coco')
            importlib.import_module(f'{name}.cocoeval')
            return Gap(name, active=False, detail=f'xtcocotools {version(name) or "found"}')
        except Exception as error:  # built for another numpy: ValueError, AttributeError, ...
            reason = f'{name} does not import: {type(error).__name__}: {error}'.splitlines()[0]
        for module in set(sys.modules) - before:
            if module.partition('.')[0] == name:  # no half-imported module is left behind
                del sys.modules[module]
        if importlib.util.find_spec('pycocotools') is None:
            detail = f'{reason}, and pycocotools is missing: pip install pycocotools'
            return Gap(name, active=False, detail=detail)
        sys.meta_path.insert(0, _FINDER)  # before the finder that would find a broken one again
    return Gap(name, active=True, detail=f'pycocotools {version("pycocotools") or ""}'.strip())
