"""The scope ``mspn_plugin``, by which MMEngine finds this package's configs and models.

MMEngine looks up the scope of ``_base_ = 'mspn_plugin::coco/...'``, and the inferencers' ``scope``,
in a table of packages, and builds what it finds in the registries of that scope. They hold nothing
of their own: they pass on to MMPose's, in which everything of this package is registered.
"""

from __future__ import annotations

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry
from mmpose import registry as mmpose_registries

SCOPE = 'mspn_plugin'

MODULE2PACKAGE[SCOPE] = SCOPE
for parent in list(vars(mmpose_registries).values()):
    if isinstance(parent, Registry) and parent.scope == 'mmpose':  # not MMEngine's, imported there
        Registry(parent.name, parent=parent, scope=SCOPE, locations=[f'{SCOPE}.components'])
