"""The poses of people in any number of images: crops of all of them share batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from mspn.errors import InputError
from mspn.images import Image, decode

from ..models.fused import fused
from .boxes import check_boxes
from .in_step import ahead, in_step

People = list[PoseDataSample]

WHOLE_IMAGE = 'whole_image'
_MOST_THREADS = 8


def infer_people(
    model: nn.Module,
    images: Image | Iterable[Image],
    boxes: Any = None,
    *,
    box_scores: Any = None,
    batch_size: int = 64,
    threads: int | None = None,
    score_thr: float = 0.0,
) -> People | list[People] | Iterator[People]:
    """Predicts the poses of people, given their boxes.

    Every image is decoded once, a batch holds people of as many images as fill it, and a copy of
    the model with its normalisations folded in does the work. What comes out for a person is what
    MMPose's ``inference_topdown`` gives.

    Args:
        model: A top-down pose estimator, as ``mmpose.apis.init_model`` makes it.
        images: One image (a path, or BGR pixels ``(h, w, 3)`` uint8), several, or an iterator.
        boxes: For one image ``(N, 4)``: x1, y1, x2, y2 in pixels. For several an iterable of that,
            in step with the images. No boxes, or ``None``, means no people. ``'whole_image'`` takes
            each image as one person.
        box_scores: The boxes' scores, ``(N,)`` from 0 to 1, in the same arrangement; 1 if absent.
        batch_size: People in a batch; more need more memory. For every image's result to come at
            once, as for a camera, give 1.
        threads: How many decode and crop images while the network works. With 0 nothing is read
            before it is needed, which is the default on a CPU, where the network itself uses every
            core, and for a ``batch_size`` of 1.
        score_thr: Leaves out people whose score, the box's times the mean of the keypoints', is
            not above this.

    Returns:
        For one image the list of its people; for several the list of those lists; for an iterator
        an iterator over them, which holds no more images in memory than a batch needs.

    Raises:
        InputError: An image cannot be read, a box is not usable (the message names image and
            index), or there are not as many boxes as images.
        ValueError: ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f'batch_size is {batch_size}, expected at least 1')
    if threads is None:
        waits = batch_size == 1 or next(model.parameters()).device.type == 'cpu'
        threads = 0 if waits else min(_MOST_THREADS, os.cpu_count() or 1)
    if isinstance(images, (str, Path, np.ndarray)):
        boxes = boxes if isinstance(boxes, str) else [boxes]
        box_scores = None if box_scores is None else [box_scores]
        return next(_stream(model, [images], boxes, box_scores, batch_size, 0, score_thr))
    results = _stream(model, images, boxes, box_scores, batch_size, threads, score_thr)
    return results if isinstance(images, Iterator) else list(results)


def instance_score(person: PoseDataSample) -> float:
    """A person's score: the box's times the mean of the keypoints'."""
    found = person.pred_instances
    return float(found.bbox_scores[0] * found.keypoint_scores[0].mean())


class _Batch:
    """People on their way through the network, and where their results belong."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._people: list[tuple[list[PoseDataSample | None], int, dict[str, Any]]] = []

    def __len__(self) -> int:
        return len(self._people)

    def add(self, results: list[PoseDataSample | None], index: int, data: dict[str, Any]) -> None:
        self._people.append((results, index, data))

    def run(self) -> None:
        """Fills in the results of everyone in the batch, and empties it."""
        if not self._people:
            return
        inputs = torch.stack([data['inputs'] for _, _, data in self._people])
        samples = [data['data_samples'] for _, _, data in self._people]
        with torch.no_grad():
            found = _predict(self._model, inputs, samples)
        for (results, index, _), sample in zip(self._people, found, strict=True):
            results[index] = sample
        self._people.clear()


def _predict(model: Any, inputs: Tensor, samples: People) -> People:
    """What ``model.test_step`` gives, without a copy of every sample.

    Args:
        model: A pose estimator.
        inputs: Crops ``(B, 3, h, w)`` as the pipeline gives them.
        samples: Their B samples.

    Returns:
        The samples, with the predicted instances.
    """
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=[]))
    return model(data['inputs'], samples, mode='predict')


def _stream(
    model: Any,
    images: Iterable[Image],
    boxes: Any,
    box_scores: Any,
    batch_size: int,
    threads: int,
    score_thr: float,
) -> Iterator[People]:
    init_default_scope(model.cfg.get('default_scope', 'mmpose'))
    crop = _Crop(model)
    batch = _Batch(fused(model))
    waiting: deque[list[PoseDataSample | None]] = deque()
    given = ((i, *each) for i, each in enumerate(in_step(images, boxes, box_scores)))
    prepared = ahead(crop, given, threads)
    failure: Exception | None = None
    while True:
        try:
            crops = next(prepared, None)
        except Exception as error:  # what came before it is not lost
            failure, crops = error, None
        if crops is None:
            break
        results: list[PoseDataSample | None] = [None] * len(crops)
        waiting.append(results)
        for person, data in enumerate(crops):
            batch.add(results, person, data)
            if len(batch) == batch_size:
                batch.run()
        if len(waiting) > batch_size:  # most images have nobody: do not let the others wait
            batch.run()
        while waiting and None not in waiting[0]:
            yield _kept(waiting.popleft(), score_thr)
    batch.run()
    for results in waiting:
        yield _kept(results, score_thr)
    if failure is not None:
        raise failure


class _Crop:
    """Cuts the people out of an image, which is decoded once."""

    def __init__(self, model: Any) -> None:
        self._meta = model.dataset_meta
        self._pipeline = Compose(model.cfg.test_dataloader.dataset.pipeline)

    def __call__(self, index: int, image: Any, boxes: Any, scores: Any) -> list[dict[str, Any]]:
        """What the pipeline of the config makes of every person.

        Raises:
            InputError: The image or a box cannot be used.
        """
        name = f'image {index}' + (f' ({image})' if isinstance(image, (str, Path)) else '')
        pixels = decode(image, name)
        height, width = pixels.shape[:2]
        if isinstance(boxes, str):
            if boxes != WHOLE_IMAGE:
                raise InputError(f"boxes is {boxes!r}; expected numbers or '{WHOLE_IMAGE}'")
            boxes = [[0, 0, width, height]]
        boxes, scores = check_boxes(boxes, scores, (width, height), name)
        path = dict(img_path=str(image)) if isinstance(image, (str, Path)) else {}
        return [
            self._pipeline(
                dict(self._meta, img=pixels, bbox=box[None], bbox_score=score[None], **path)
            )
            for box, score in zip(boxes, scores, strict=True)
        ]


def _kept(results: list[PoseDataSample | None], score_thr: float) -> People:
    people = [person for person in results if person is not None]
    return [p for p in people if instance_score(p) > score_thr] if score_thr > 0 else people
