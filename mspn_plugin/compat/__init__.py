"""Version gaps in the OpenMMLab stack, each closed by one module, and only where it exists.

On a machine with compiled mmcv and a working xtcocotools nothing here changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gap:
    """One gap between the packages that are installed and what MMPose and MMDet import.

    Attributes:
        name: What other packages import or call, such as ``mmcv._ext``.
        active: Whether this package supplies it. ``False`` means that the real thing is there.
        detail: Who answers now, in one line for `mspn_plugin.doctor`.
    """

    name: str
    active: bool
    detail: str


def close_gaps() -> tuple[Gap, ...]:
    """Closes every gap that this environment has; calling it again changes nothing.

    Returns:
        One record per known gap, open or not.
    """
    from . import coco_api, mmcv_ops, torch_load, url_load

    return (mmcv_ops.install(), coco_api.install(), torch_load.install(), url_load.install())
