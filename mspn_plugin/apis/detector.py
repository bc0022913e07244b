"""Person boxes from any detector of MMDet, beside a pose model of MMPose in one process."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch import nn
from torchvision.ops import nms

from mspn.errors import InputError, listed
from mspn.poses import check_thresholds, usable_boxes

from ..checkpoints.architecture import differences
from ..checkpoints.files import read_checkpoint, weights_in
from ..checkpoints.match import check_beside_weights
from ..zoo import get_config, tables

# Buffers that a network computes anew, or that official files have in one version and not in
# another. No prediction depends on a file having them.
_HARMLESS = re.compile(r'num_batches_tracked$|^data_preprocessor\.|position_ids$')


class PersonDetector:
    """Finds people in images, beside a pose model: MMEngine's default scope stays as it is.

    Args:
        config: Path of an MMDet config, or the name of one that comes with MMDet, such as
            ``rtmdet_tiny_8xb32-300e_coco``, or with this package.
        weights: A file or a URL. It must fit the config: MMEngine alone would warn and go on with
            random weights.
        device: Where the detector runs; the pose model may run elsewhere.
        category: Index of the people among the categories; 0 in COCO.
        score_thr: Leaves out boxes with a lower score.
        nms_thr: Of two boxes that overlap more than this (intersection over union), only the one
            with the higher score stays.

    Raises:
        InputError: Config, weights and category do not belong together, or a value is unusable.
    """

    def __init__(
        self,
        config: str | Path,
        weights: str | Path,
        *,
        device: str = 'cpu',
        category: int = 0,
        score_thr: float = 0.3,
        nms_thr: float = 0.3,
    ) -> None:
        check_thresholds(score_thr=score_thr, nms_thr=nms_thr)
        check_device(device)
        self._category, self._score_thr, self._nms_thr = category, score_thr, nms_thr
        cfg = read_detector_config(config)
        loaded = read_checkpoint(str(weights))
        self._scope = cfg.get('default_scope') or 'mmdet'
        with DefaultScope.overwrite_default_scope(self._scope):
            self.model, self._pipeline = _build(cfg, str(config))
            _load_weights(self.model, loaded, f'{weights}', f'{config}')
        self.model.to(device)
        counts = [getattr(part, 'num_classes', 1) for part in self.model.modules()]
        last = max(count for count in counts if isinstance(count, int)) - 1
        if not 0 <= category <= last:
            raise InputError(
                f'the detector {config} has the categories 0 to {last}, and {category} is none of '
                'them; give the index of the people'
            )

    def detect(self, images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Finds the people in a batch of images ``(h, w, 3)`` uint8 BGR, whose sizes may differ.

        Returns:
            For each image boxes ``(N, 4)`` float32, x1 y1 x2 y2 in pixels, and scores ``(N,)``
            float32 from 0 to 1, the highest first.

        Raises:
            InputError: The model finds something else than boxes.
        """
        if not images:
            return []
        with DefaultScope.overwrite_default_scope(self._scope), torch.no_grad():
            data = [self._pipeline(dict(img=image, img_id=0)) for image in images]
            found = self.model.test_step(pseudo_collate(data))
        return [self._people(s, i.shape[1::-1]) for s, i in zip(found, images, strict=True)]

    def _people(self, sample: Any, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        instances = sample.get('pred_instances')
        if instances is None or not {'bboxes', 'scores', 'labels'} <= set(instances.keys()):
            raise InputError('the detector gives no boxes with scores and categories; take another')
        boxes, scores = instances.bboxes.float(), instances.scores.float()
        kept = (instances.labels == self._category) & (scores >= self._score_thr)
        kept &= boxes.isfinite().all(dim=1) & scores.isfinite()
        # MMDet cuts boxes off at the border of the padded image; the picture ends before that.
        boxes = torch.minimum(boxes[kept].clamp(min=0), boxes.new_tensor([*size, *size]))
        scores = scores[kept].clamp(0, 1)
        order = nms(boxes, scores, self._nms_thr)
        found, marks = boxes[order].cpu().numpy(), scores[order].cpu().numpy()
        usable = usable_boxes(found, size)
        return found[usable], marks[usable]


def check_device(device: str) -> None:
    """Raises an `InputError` if a device cannot be used."""
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = ', '.join(['cpu', *(f'cuda:{i}' for i in range(torch.cuda.device_count()))])
        raise InputError(
            f'the device {device!r} cannot be used; this machine has {here}'
        ) from error


def read_detector_config(config: str | Path) -> Config:
    """Reads a config by its path, or by its name in MMDet or this package, with or without ``.py``.

    Raises:
        InputError: There is no such config, or it describes no detector.
    """
    if importlib.util.find_spec('mmdet') is None:
        raise InputError('MMDet is not installed, so there is no detector; `mspn doctor` says how')
    path = Path(config) if Path(config).is_file() else _shipped_config(str(config))
    if path is None:
        raise InputError(
            f'the detector config {config} does not exist; give the path of an MMDet config, or '
            'the name of one that comes with MMDet, such as rtmdet_tiny_8xb32-300e_coco'
        )
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program, so anything can happen in it
        raise InputError(f'{path} cannot be read as an MMEngine config: {error}') from error
    scope = cfg.get('default_scope')
    if 'type' not in cfg.get('model', {}) or 'test_dataloader' not in cfg or scope == 'mmpose':
        raise InputError(
            f'{path} describes no MMDet detector; the config and weights of the detector come '
            'before those of the pose model'
        )
    # `_base_ = 'mspn_plugin::...'` leaves this package's scope on every table. It leads to MMPose's
    # registries, in which there is nothing of MMDet's.
    for table in tables(cfg._cfg_dict):
        if table.get('_scope_') == 'mspn_plugin':
            del table['_scope_']
    return cfg


def _shipped_config(name: str) -> Path | None:
    """A config of this package, of MMDet, or of MMPose's demos."""
    with contextlib.suppress(InputError):
        return Path(get_config(name))
    file, found = name.removesuffix('.py') + '.py', []
    for package, folder in (('mmdet', 'configs'), ('mmpose', 'demo/mmdetection_cfg')):
        place = Path(importlib.import_module(package).__path__[0], '.mim', folder)
        found += sorted(place.rglob(Path(file).name))
    return next((path for path in found if path.as_posix().endswith(f'/{file}')), None)


def _build(cfg: Config, name: str) -> tuple[Any, Any]:
    """MMDet's own way to a detector with random weights, and its pipeline for pixels in memory."""
    from mmcv.transforms import Compose
    from mmdet.apis import init_detector
    from mmdet.models.detectors.base import BaseDetector
    from mmdet.utils import get_test_pipeline_cfg

    with warnings.catch_warnings(record=True):  # of random weights
        try:
            model = init_detector(cfg, None, device='cpu')
        except Exception as error:  # anything can be wrong in a config
            raise InputError(f'{name} cannot be built as an MMDet detector: {error}') from error
    if not isinstance(model, BaseDetector):
        raise InputError(
            f'{name} describes a {type(model).__name__}; expected the config of an MMDet detector'
        )
    steps = get_test_pipeline_cfg(cfg.copy())
    steps[0].type = 'mmdet.LoadImageFromNDArray'
    return model, Compose(steps)


def _load_weights(model: nn.Module, loaded: Any, weights: str, config: str) -> None:
    """Loads all of the weights, or raises an `InputError`."""
    given, own = dict(weights_in(loaded, weights)), model.state_dict()
    check_beside_weights(loaded, weights)
    holder = loaded.get('state_dict', loaded) if isinstance(loaded, Mapping) else loaded
    state: Any = OrderedDict(given)  # a plain dict cannot have the modules' versions, by which ...
    state._metadata = getattr(holder, '_metadata', None)  # ... MMDet translates older files
    try:
        left = [name for names in model.load_state_dict(state, strict=False) for name in names]
    except RuntimeError as error:  # a weight of another shape
        left = [str(error).splitlines()[-1].strip()]
    if not (left := [name for name in left if not _HARMLESS.search(name)]):
        return
    shapes = ({n: v.shape for n, v in w.items() if not _HARMLESS.search(n)} for w in (given, own))
    problems = differences(*shapes) or listed(left)
    raise InputError(
        f'the checkpoint {weights} does not fit the detector {config}: {problems}; give the config '
        'that belongs to it, or another checkpoint'
    )
