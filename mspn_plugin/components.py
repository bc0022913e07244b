"""Imports every module that holds registered components; MMPose's registries know this one."""

from __future__ import annotations

from mspn.errors import MissingPackage

from . import _missing

try:
    from . import datasets, engine, heatmaps, models  # noqa: F401
except ModuleNotFoundError as error:
    raise _missing(error) from error
except KeyError as error:
    if 'is already registered' not in str(error):
        raise
    raise MissingPackage(
        'mmpose or mmdet was imported before mspn_plugin and that import had failed halfway, '
        'so their components would be registered twice. Start a fresh Python process and '
        'write `import mspn_plugin` above the imports of mmpose and mmdet.'
    ) from error
