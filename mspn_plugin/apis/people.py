"""The poses of people in any number of images: crops of all of them share batches."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from ..errors import InputError
from ..models.fused import fused
from .boxes import check_boxes

Image = str | Path | np.ndarray
People = list[PoseDataSample]

WHOLE_IMAGE = 'whole_image'
_END = object()


def infer_people(
    model: nn.Module,
    images: Image | Iterable[Image],
    boxes: Any = None,
    *,
    box_scores: Any = None,
    batch_size: int = 64,
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
    if isinstance(images, (str, Path, np.ndarray)):
        boxes = boxes if isinstance(boxes, str) else [boxes]
        box_scores = None if box_scores is None else [box_scores]
        return next(_stream(model, [images], boxes, box_scores, batch_size, score_thr))
    results = _stream(model, images, boxes, box_scores, batch_size, score_thr)
    return results if isinstance(images, Iterator) else list(results)


def instance_score(person: PoseDataSample) -> float:
    """A person's score: the box's times the mean of the keypoints'."""
    found = person.pred_instances
    return float(found.bbox_scores[0] * found.keypoint_scores[0].mean())


def read_image(path: Path) -> np.ndarray | None:
    """Pixels as MMPose's LoadImage decodes them; ``None`` if they cannot be read."""
    try:
        return mmcv.imread(str(path))
    except (OSError, cv2.error, ValueError):
        return None


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
    score_thr: float,
) -> Iterator[People]:
    init_default_scope(model.cfg.get('default_scope', 'mmpose'))
    pipeline = Compose(model.cfg.test_dataloader.dataset.pipeline)
    batch = _Batch(fused(model))
    waiting: deque[list[PoseDataSample | None]] = deque()
    for index, (image, given, scores) in enumerate(_in_step(images, boxes, box_scores)):
        name = f'image {index}' + (f' ({image})' if isinstance(image, (str, Path)) else '')
        pixels = _decode(image, name)
        height, width = pixels.shape[:2]
        if isinstance(given, str):
            if given != WHOLE_IMAGE:
                raise InputError(f"boxes is {given!r}; expected numbers or '{WHOLE_IMAGE}'")
            given = [[0, 0, width, height]]
        checked, checked_scores = check_boxes(given, scores, (width, height), name)
        results: list[PoseDataSample | None] = [None] * len(checked)
        waiting.append(results)
        for person, (box, score) in enumerate(zip(checked, checked_scores, strict=True)):
            data = dict(model.dataset_meta, img=pixels, bbox=box[None], bbox_score=score[None])
            if isinstance(image, (str, Path)):
                data['img_path'] = str(image)
            batch.add(results, person, pipeline(data))
            if len(batch) == batch_size:
                batch.run()
        if len(waiting) > batch_size:  # most images have nobody: do not let the others wait
            batch.run()
        while waiting and None not in waiting[0]:
            yield _kept(waiting.popleft(), score_thr)
    batch.run()
    for results in waiting:
        yield _kept(results, score_thr)


def _kept(results: list[PoseDataSample | None], score_thr: float) -> People:
    people = [person for person in results if person is not None]
    return [p for p in people if instance_score(p) > score_thr] if score_thr > 0 else people


def _in_step(images: Iterable[Image], boxes: Any, scores: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Images with their boxes and scores; all of them must be as many."""
    forever = itertools.repeat
    each = [
        images,
        forever(boxes) if boxes is None or isinstance(boxes, str) else boxes,
        forever(None) if scores is None else scores,
    ]
    iterators = [iter(values) for values in each]
    for index in itertools.count():
        image, their_boxes, their_scores = (next(iterator, _END) for iterator in iterators)
        rest = (their_boxes, their_scores)
        ended = [
            value is _END
            for value, values in zip(rest, each[1:], strict=True)
            if not isinstance(values, itertools.repeat)
        ]
        if image is _END and all(ended):
            return
        if image is _END or any(ended):
            what = ('images', 'boxes or scores')
            more, fewer = what[::-1] if image is _END else what
            raise InputError(
                f'there are more {more} than {fewer}, which ended after {index}; give an entry for '
                'every image, None for nobody'
            )
        yield image, their_boxes, their_scores


def _decode(image: Any, name: str) -> np.ndarray:
    """Pixels of an image, as MMPose's LoadImage decodes it.

    Raises:
        InputError: It cannot be read.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise InputError(
                f'{name} is an array of shape {image.shape} and type {image.dtype}; expected '
                '(h, w, 3) uint8, blue green red'
            )
        return image
    if not isinstance(image, (str, Path)):
        raise InputError(f'{name} is a {type(image).__name__}; expected a path or an array')
    path = Path(image)
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise InputError(f'{name} {what}; expected the file of an image')
    pixels = read_image(path)
    if pixels is None:
        raise InputError(f'{name} cannot be read as an image; it is damaged, or something else')
    return pixels
