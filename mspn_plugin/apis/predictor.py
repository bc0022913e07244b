"""The poses of people in any number of images: crops of all of them share batches."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmpose.structures import PoseDataSample
from torch import nn

from mspn.batches import WHOLE_IMAGE, Item, check_item, in_batches
from mspn.errors import InputError
from mspn.media import Image
from mspn.poses import Pose

from ..models.fused import fused

People = list[PoseDataSample]

__all__ = ['WHOLE_IMAGE', 'Item', 'PosePredictor', 'infer_people', 'pose_of']

_MOST_THREADS = 8
_END: Any = object()


class PosePredictor:
    """A model with all that prediction needs: made once, called often.

    What comes out for a person is what MMPose's ``inference_topdown`` gives. A copy of the model
    with its normalisations folded in does the work: if weights change, make a new predictor.

    Args:
        model: A top-down pose estimator, as ``mmpose.apis.init_model`` makes it.
        batch_size: People in a batch, at least 1; more need more memory.
        threads: How many of `stream`'s images are cropped while the network works. With 0 nothing
            is read before it is needed, which is the default on a CPU, where the network itself
            uses every core, and for a ``batch_size`` of 1.
        score_thr: Leaves out people whose score, the box's times the mean of the keypoints', is
            not above this.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        batch_size: int = 64,
        threads: int | None = None,
        score_thr: float = 0.0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size is {batch_size}, expected at least 1')
        if threads is None:
            waits = batch_size == 1 or next(model.parameters()).device.type == 'cpu'
            threads = 0 if waits else min(_MOST_THREADS, os.cpu_count() or 1)
        self._batch_size, self._threads, self._score_thr = batch_size, threads, score_thr
        self._model: Any = fused(model)
        self.meta: Any = model.dataset_meta
        cfg: Any = model.cfg
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpose')):
            self._pipeline = Compose(cfg.test_dataloader.dataset.pipeline)

    def predict(self, image: Image, boxes: Any = None, *, scores: Any = None) -> People:
        """Predicts the poses in one image, which is given with its boxes as in an `Item`.

        Returns:
            One sample per box, in the order of the boxes, less those below ``score_thr``.

        Raises:
            InputError: The image or a box is not usable; the message says which.
        """
        return next(self._stream([Item(image, boxes, scores)], threads=0))[1]

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[Item, People]]:
        """Predicts the poses in many images, which share batches.

        No more items are in memory than a batch takes, and those that the threads have ahead.

        Returns:
            Every item and its people, as `predict` gives them, in the order of the items.

        Raises:
            InputError: An image or a box is not usable. It comes, as what reading ``items`` raises
                does, after the results of all items before.
        """
        return self._stream(items, threads=self._threads)

    def _stream(self, items: Iterable[Item], *, threads: int) -> Iterator[tuple[Item, People]]:
        settings: Any = dict(batch_size=self._batch_size, threads=threads)
        for item, people in in_batches(items, self._crop, self._run, **settings):
            if self._score_thr > 0:
                people = [p for p in people if pose_of(p).score > self._score_thr]
            yield item, people

    def _crop(self, index: int, item: Item) -> list[dict[str, Any]]:
        """What the config's pipeline makes of every person of an image, which is decoded once."""
        checked = check_item(index, item)
        path = dict(img_path=checked.path) if checked.path else {}
        person = dict(self.meta, img=checked.pixels, **path)
        each = zip(checked.boxes[:, None], checked.scores[:, None], strict=True)
        return [self._pipeline(dict(person, bbox=b, bbox_score=score)) for b, score in each]

    def _run(self, crops: list[dict[str, Any]]) -> People:
        """What ``model.test_step`` gives for a batch, without a copy of every sample."""
        inputs = torch.stack([crop['inputs'] for crop in crops])
        with torch.no_grad():
            data = self._model.data_preprocessor(dict(inputs=inputs, data_samples=[]))
            samples = [crop['data_samples'] for crop in crops]
            return self._model(data['inputs'], samples, mode='predict')


def pose_of(person: PoseDataSample) -> Pose:
    """A person as the light half knows them."""
    found = person.pred_instances
    pose = (found.keypoints[0], found.keypoint_scores[0], found.bboxes[0], found.bbox_scores[0])
    if 'heatmaps' not in person.get('pred_fields', ()):
        return Pose(*pose)
    centre, half = person.metainfo['input_center'], 0.5 * np.float64(person.metainfo['input_scale'])
    region = np.concatenate([centre - half, centre + half])
    return Pose(*pose, person.pred_fields.numpy().heatmaps, region)


def infer_people(
    model: nn.Module,
    images: Image | Iterable[Image],
    boxes: Any = None,
    *,
    box_scores: Any = None,
    **options: Any,
) -> People | list[People] | Iterator[People]:
    """Predicts the poses of people by a `PosePredictor` that is made for this call.

    Args:
        model: A top-down pose estimator.
        images: One image, several, or an iterator.
        boxes: As in an `Item`; for several images an iterable of that, in step with them, where
            ``None`` or ``'whole_image'`` holds for all.
        box_scores: The boxes' scores in the same arrangement; 1 if absent.
        **options: The predictor's. To have every image's result at once, as for a camera, give a
            ``batch_size`` of 1.

    Returns:
        For one image the list of its people; for several the list of those lists; for an iterator
        an iterator over them.

    Raises:
        InputError: As from the predictor, or there are not as many boxes as images.
    """
    predictor = PosePredictor(model, **options)
    if isinstance(images, (str, Path, np.ndarray)):
        return predictor.predict(images, boxes, scores=box_scores)
    stream = (people for _, people in predictor.stream(_items(images, boxes, box_scores)))
    return stream if isinstance(images, Iterator) else list(stream)


def _items(images: Iterable[Image], boxes: Any, scores: Any) -> Iterator[Item]:
    """Images with their boxes and scores, which must be as many, or one word for all."""
    given = dict(boxes=boxes, scores=scores)
    shared = {key: v for key, v in given.items() if v is None or isinstance(v, str)}
    each = {key: v for key, v in given.items() if key not in shared}
    for index, row in enumerate(itertools.zip_longest(images, *each.values(), fillvalue=_END)):
        if any(value is _END for value in row):
            what = ('images', 'boxes or scores')
            more, fewer = what[::-1] if row[0] is _END else what
            raise InputError(
                f'there are more {more} than {fewer}, which ended after {index}; give an entry for '
                'every image, None for nobody'
            )
        yield Item(row[0], **shared, **dict(zip(each, row[1:], strict=True)))
