"""Version gaps in the OpenMMLab stack, each closed by one module, and only where it exists.

On a machine with compiled mmcv and a working xtcocotools nothing here changes anything.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


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


class StandIn(MetaPathFinder):
    """Answers for one module and for nothing else; Python finds a package's submodules by itself.

    It gives an ordinary file spec, because MMEngine calls ``pkgutil.find_loader``, which fails on a
    module without.
    """

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.file = name, file

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the spec of our file under the other package's name."""
        if fullname != self.name:
            return None
        folder = [str(self.file.parent)] if self.file.stem == '__init__' else None
        return importlib.util.spec_from_file_location(
            fullname, self.file, submodule_search_locations=folder
        )


def version(*distributions: str) -> str | None:
    """Returns the version of the first of these distributions that is installed."""
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def close_gaps() -> tuple[Gap, ...]:
    """Closes and returns every known gap, open or not; calling it again changes nothing."""
    from . import coco_api, mmcv_ops, torch_load

    return (mmcv_ops.install(), coco_api.install(), *torch_load.install())
