"""The training half's part of `mspn predict`: models of a config and a checkpoint."""

from __future__ import annotations

import argparse
import contextlib
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from mmengine.registry import init_default_scope

from mspn.batches import Item
from mspn.errors import InputError
from mspn.media import Image
from mspn.poses import Pose

from ..apis.detector import PersonDetector, check_device
from ..apis.predictor import PosePredictor, pose_of
from ..engine.start import check_weights_fit
from .run_config import override, read_config

from mmpose.apis import init_model  # isort: skip  # after the plugin, which closes the gaps
from mmpose.models.pose_estimators import TopdownPoseEstimator  # isort: skip

load_detector = PersonDetector


def best_device() -> str:
    """Where models run if nothing is said."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


class Poses:
    """A `PosePredictor` that gives people as the light half knows them."""

    def __init__(self, predictor: PosePredictor) -> None:
        self.meta, self._predictor = predictor.meta, predictor

    def predict(self, image: Image, boxes: Any = None, *, scores: Any = None) -> list[Pose]:
        """As the predictor's."""
        with self._memory():
            return [pose_of(p) for p in self._predictor.predict(image, boxes, scores=scores)]

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[Item, list[Pose]]]:
        """As the predictor's."""
        with self._memory():
            for item, people in self._predictor.stream(items):
                yield item, [pose_of(person) for person in people]

    @staticmethod
    @contextlib.contextmanager
    def _memory() -> Iterator[None]:
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(
                "a batch of people exceeds the device's memory; give a smaller --batch-size"
            ) from error


def load_poses(args: argparse.Namespace, device: str) -> Poses:
    """Builds the model of a config and loads the weights, which must be its own."""
    # Deprecations inside these packages would break the line of progress into pieces.
    warnings.filterwarnings('ignore', module=r'(torch|mmengine|mmcv|mmdet|mmpose)\b')
    check_device(device)
    model = load_model(args.model, args.cfg_options, device, heatmaps=args.heatmaps)
    predictor = PosePredictor(model, batch_size=args.batch_size, score_thr=args.score_thr)
    return Poses(predictor)


def load_model(
    config_and_checkpoint: Any, options: Any, device: str, *, heatmaps: bool = False
) -> Any:
    """A pose model of a config with its overrides and a checkpoint, or an `InputError`."""
    config, checkpoint = config_and_checkpoint
    cfg: Any = read_config(config)
    override(cfg, options, config)
    scope = cfg.get('default_scope', 'mmpose')
    if not {'backbone', 'head'} <= set(cfg.get('model', {})) or scope != 'mmpose':
        raise InputError(f'{config} describes no pose model; expected backbone and head in it')
    if heatmaps:
        cfg.model.setdefault('test_cfg', {})['output_heatmaps'] = True
    init_default_scope('mmpose')
    try:
        check_weights_fit(checkpoint, cfg.model)
    except Exception as error:  # anything can be wrong in a config
        if isinstance(error, InputError):
            raise
        raise InputError(
            f'{config} cannot be built as a pose model: {error}; correct it, or --cfg-options'
        ) from error
    model = init_model(cfg, checkpoint, device=device)
    if not isinstance(model, TopdownPoseEstimator):
        raise InputError(f'{config} describes a {type(model).__name__}; expected a top-down model')
    return model
