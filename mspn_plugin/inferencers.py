"""Names of models for MMPose's and MMDet's own inferencers."""

from __future__ import annotations

import functools
from typing import Any

from mmengine.config import Config
from mmengine.infer.infer import BaseInferencer

from mspn.models import known, weights_of

from .zoo import get_config


def add_names() -> None:
    """Lets ``MMPoseInferencer(pose2d=NAME, det_model=NAME)`` take the names of `mspn models`.

    Those of MMPose's and MMDet's own indices go on to work.
    """
    theirs = BaseInferencer._load_model_from_metafile
    if getattr(theirs, '__wrapped__', None) is None:
        BaseInferencer._load_model_from_metafile = functools.wraps(theirs)(_named(theirs))


def _named(theirs: Any) -> Any:
    def load(self: BaseInferencer, model: str) -> tuple[Config, str]:
        if ours := known(model):
            return _read(ours.kind, *weights_of(model, ours.kind))
        found: tuple[Config, str] = theirs(self, model)
        return found

    return load


def _read(kind: str, config: str, weights: str) -> tuple[Config, str]:
    if kind == 'pose':
        return Config.fromfile(get_config(config)), weights
    from .apis.detector import read_detector_config

    return read_detector_config(config), weights
