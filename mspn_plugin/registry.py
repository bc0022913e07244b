"""The scope ``mspn_plugin``, by which MMEngine finds this package's configs and models.

MMEngine looks up the scope of ``_base_ = 'mspn_plugin::coco/...'``, and the inferencers' ``scope``,
in a table of packages, and builds what it finds in the registries of that scope. They hold nothing
of their own: they pass on to MMPose's, in which everything of this package is registered. Without a
scope, MMPose's inferencers look into MMPose's index; what of ours has weights then stands there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.infer import BaseInferencer
from mmengine.registry import Registry
from mmpose import registry as mmpose_registries

from .zoo import get_config

SCOPE = 'mspn_plugin'

MODULE2PACKAGE[SCOPE] = SCOPE
for parent in list(vars(mmpose_registries).values()):
    if isinstance(parent, Registry) and parent.scope == 'mmpose':  # not MMEngine's, imported there
        Registry(parent.name, parent=parent, scope=SCOPE, locations=[f'{SCOPE}.components'])

_models_of = BaseInferencer._get_models_from_metafile


def _models_by_name(folder: str) -> Iterator[dict[str, Any]]:
    yield from _models_of(folder)
    if folder == BaseInferencer._get_repo_or_mim_dir('mmpose'):
        for model in _models_of(BaseInferencer._get_repo_or_mim_dir(SCOPE)):
            if 'Weights' in model:
                yield dict(model, Config=get_config(model['Name']))


BaseInferencer._get_models_from_metafile = staticmethod(_models_by_name)
