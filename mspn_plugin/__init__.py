"""MSPN (Multi-Stage Pose Network) as a plugin of MMPose.

Importing this package closes the version gaps of the OpenMMLab stack that exist on this machine
(`mspn_plugin.compat`), and tells MMPose's registries where the components are (`components`). As
with MMPose's own, their modules are imported when a registry is first asked. In a config::

    custom_imports = dict(imports=['mspn_plugin'], allow_failed_imports=False)
"""

from __future__ import annotations

import sys

from mspn.errors import InputError, MissingPackage
from mspn.version import __version__

from .zoo import get_config, list_configs

__all__ = ['InputError', '__version__', 'get_config', 'list_configs']


def _missing(error: ModuleNotFoundError) -> MissingPackage:
    return MissingPackage(
        f'mspn_plugin needs the package {error.name!r}, which is not installed. Run `mspn doctor` '
        'or `python -m mspn.doctor`: it lists everything that is missing, with the command that '
        'installs it.'
    )


def _announce() -> None:
    """Closes the gaps and adds `components` to what the registries import when they are asked."""
    from .compat import close_gaps

    close_gaps()
    from mmengine.registry import FUNCTIONS
    from mmpose import registry as mmpose

    from .inferencers import add_names

    add_names()
    from . import registry as _  # noqa: F401  the scope `mspn_plugin::`
    from .checkpoints import files  # noqa: F401  MMEngine's loaders of *.safetensors and *.ckpt

    names = 'DATA_SAMPLERS DATASETS HOOKS KEYPOINT_CODECS METRICS MODELS TRANSFORMS'.split()
    for registry in (FUNCTIONS, *(getattr(mmpose, name) for name in names)):
        # A new list: registries without locations share one. Ours first: its errors are readable.
        registry._locations = [f'{__name__}.components', *registry._locations]
        registry._imported = False  # whoever has used MMPose already has set it
    # A package whose import has failed is gone from sys.modules; what it had imported is not.
    if any(
        name.startswith(('mmpose.', 'mmdet.')) and name.rpartition('.')[0] not in sys.modules
        for name in sys.modules
    ):
        from . import components  # noqa: F401  now, so that the sentence comes in time


try:
    _announce()
except ModuleNotFoundError as error:
    raise _missing(error) from error
