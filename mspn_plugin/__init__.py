"""MSPN (Multi-Stage Pose Network) as a plugin of MMPose.

Importing this package does two things and nothing else: it closes the version gaps of the
OpenMMLab stack that exist on this machine (`mspn_plugin.compat`), and it registers the components
in MMPose's registries, so that configs can name them. In a config::

    custom_imports = dict(imports=['mspn_plugin'], allow_failed_imports=False)
"""

from __future__ import annotations

import sys

from mspn.errors import InputError
from mspn.version import __version__

from .zoo import get_config, list_configs

__all__ = ['InputError', '__version__', 'get_config', 'list_configs']


def _doctor_is_asked() -> bool:
    """Whether this process is ``python -m mspn_plugin.doctor``, which must run in a broken one."""
    return 'mspn_plugin.doctor' in sys.orig_argv


def _register() -> None:
    """Closes the gaps, then imports every module that holds registered components.

    Raises:
        ImportError: A package that this one builds on is missing or was half imported before.
    """
    from .compat import close_gaps

    try:
        close_gaps()
        from . import datasets, engine, heatmaps, models, registry  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(
            f'mspn_plugin needs the package {error.name!r}, which is not installed. '
            'Run `python -m mspn_plugin.doctor`: it lists everything that is missing, '
            'with the command that installs it.'
        ) from error
    except KeyError as error:
        if 'is already registered' not in str(error):
            raise
        raise ImportError(
            'mmpose or mmdet was imported before mspn_plugin and that import had failed halfway, '
            'so their components would be registered twice. Start a fresh Python process and '
            'write `import mspn_plugin` above the imports of mmpose and mmdet.'
        ) from error


if not _doctor_is_asked():
    _register()
