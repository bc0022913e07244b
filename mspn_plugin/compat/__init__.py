"""Version gaps in the OpenMMLab stack, each closed by one module, and only where it exists.

On a machine with compiled mmcv and a working xtcocotools nothing here changes anything.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Gap:
    """One gap between the packages that are installed and what MMPose and MMDet import.

    Attributes:
        name: What other packages import or call, such as ``mmcv._ext``.
        active: Whether this package supplies it. ``False`` means that the real thing is there.
        detail: Who answers now, in one line for `mspn.doctor`.
    """

    name: str
    active: bool
    detail: str


@dataclass(frozen=True)
class StandIn(MetaPathFinder):
    """Answers for one module and for nothing else; Python finds a package's submodules by itself.

    It gives an ordinary file spec, because MMEngine calls ``pkgutil.find_loader``, which fails on a
    module without.
    """

    name: str
    file: Path

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Returns the spec of our file under the other package's name."""
        return spec_from_file_location(fullname, self.file) if fullname == self.name else None


def version(*distributions: str) -> str | None:
    """Returns the version of the first of these distributions that is installed."""
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def close_gaps() -> tuple[Gap, ...]:
    """Closes and returns every known gap, open or not; calling it again changes nothing."""
    from . import coco_api, mmcv_ops, torch_load

    return (mmcv_ops.install(), coco_api.install(), *torch_load.install())
