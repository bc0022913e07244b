"""Poses of the people in boxes, by an ONNX file: the light twin of the training half's predictor.

Shapes: N people, K keypoints, h and w the size of the network's input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..batches import Item, check_item, in_batches
from ..media import Image
from ..poses import Pose
from .model_file import ModelFile, Providers

AHEAD = 2  # threads that decode and crop the next images while the network works


class Crop(NamedTuple):
    """A person cut out of an image."""

    pixels: np.ndarray  # (h, w, 3) uint8 BGR
    centre: np.ndarray  # (2,) of what was cut out, in image pixels
    size: np.ndarray  # (2,) its width and height
    box: np.ndarray
    box_score: float


class PoseModel:
    """Finds poses with an ONNX file of `mspn export`. Many threads may use it at the same time.

    Args:
        path: The file.
        device: As of a `ModelFile`.
        threads: As of a `ModelFile`.
        batch_size: People in a batch, at least 1.
        score_thr: Leaves out people whose score is not above this.

    Attributes:
        meta: What the keypoints are, as `draw_people` takes it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: Providers = 'cpu',
        threads: int | None = None,
        batch_size: int = 16,
        score_thr: float = 0.0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size is {batch_size}, expected at least 1')
        self._file = ModelFile(path, 'pose', device=device, threads=threads)
        self._batch_size, self._score_thr = batch_size, score_thr
        self.facts = facts = self._file.facts
        self.meta: dict[str, Any] = facts['meta'] | dict(
            keypoint_id2name=dict(enumerate(facts['keypoints'])),
            keypoint_name2id={name: index for index, name in enumerate(facts['keypoints'])},
            num_keypoints=len(facts['keypoints']),
        )
        self._input_size: tuple[int, int] = tuple(facts['input_size'])
        self._padding = np.array(facts['box_padding'], np.float32)

    def predict(self, image: Image, boxes: Any = None, *, scores: Any = None) -> list[Pose]:
        """The poses in one image, given with its boxes as in an `Item`; errors as of `stream`."""
        return next(self._stream([Item(image, boxes, scores)], threads=0))[1]

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[Item, list[Pose]]]:
        """Every item with its poses, in order; the people of many images share batches.

        Raises:
            InputError: An image or a box is not usable. It comes after all results before.
        """
        return self._stream(items, threads=AHEAD)

    def _stream(self, items: Iterable[Item], *, threads: int) -> Iterator[tuple[Item, list[Pose]]]:
        settings: Any = dict(batch_size=self._batch_size, threads=threads)
        for item, people in in_batches(items, self.crop, self._run, **settings):
            if self._score_thr > 0:
                people = [person for person in people if person.score > self._score_thr]
            yield item, people

    def crop(self, index: int, item: Item) -> list[Crop]:
        """Cuts the people out of an item, which messages call by its index."""
        checked = check_item(index, item)
        return [
            self._cut(checked.pixels, box, float(score))
            for box, score in zip(checked.boxes, checked.scores, strict=True)
        ]

    def _cut(self, image: np.ndarray, box: np.ndarray, score: float) -> Crop:
        """Cuts out a padded box of the network's aspect ratio, as MMPose does, to the pixel."""
        width, height = self._input_size
        centre, (w, h) = (box[2:] + box[:2]) * 0.5, (box[2:] - box[:2]) * self._padding
        aspect = width / height
        size = np.array([w, w / aspect] if w > h * aspect else [h * aspect, h], np.float32)
        # Three points of the box and of the crop: the centre, its left edge, and its lower left.
        start, end = np.zeros((2, 3, 2), np.float32)
        start[0], start[1] = centre, centre + (-0.5 * size[0], 0)
        start[2] = start[1] + (0, start[0, 0] - start[1, 0])
        end[:] = (width / 2, height / 2), (0, height / 2), (0, height / 2 + width / 2)
        warp = cv2.getAffineTransform(start, end)
        pixels = cv2.warpAffine(image, warp, (width, height), flags=cv2.INTER_LINEAR)
        return Crop(pixels, centre, size, box, score)

    def run_crops(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints ``(N, K, 2)`` in pixels and scores ``(N, K)`` of crops ``(N, h, w, 3)``."""
        keypoints, scores = self._file(crops=pixels)
        return keypoints, scores

    def _run(self, crops: list[Crop]) -> list[Pose]:
        keypoints, scores = self.run_crops(np.stack([crop.pixels for crop in crops]))
        people = []
        for crop, points, marks in zip(crops, keypoints, scores, strict=True):
            points = points / self._input_size * crop.size + crop.centre - 0.5 * crop.size
            people.append(Pose(points.astype(np.float32), marks, crop.box, crop.box_score))
        return people
