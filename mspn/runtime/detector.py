"""Boxes of people, by a detector in an ONNX file.

Shapes: B images, N boxes, h and w the size of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..poses import check_thresholds, nms, usable_boxes
from .model_file import ModelFile, Providers

_GREY = 114  # of what an image does not fill, as RTMDet is trained


class DetectorModel:
    """Finds people with an ONNX file of `mspn export`. Many threads may use it at the same time.

    Args:
        path: The file.
        device: As of a `ModelFile`.
        threads: As of a `ModelFile`.
        score_thr: Leaves out boxes with a lower score.
        nms_thr: Of two boxes that overlap more than this (intersection over union), only the one
            with the higher score stays.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: Providers = 'cpu',
        threads: int | None = None,
        score_thr: float = 0.3,
        nms_thr: float = 0.3,
    ) -> None:
        check_thresholds(score_thr=score_thr, nms_thr=nms_thr)
        self._file = ModelFile(path, 'detector', device=device, threads=threads)
        self.facts = self._file.facts
        self._size: tuple[int, int] = tuple(self.facts['input_size'])
        self._score_thr, self._nms_thr = score_thr, nms_thr

    def detect(self, images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Finds the people in a batch of images ``(h, w, 3)`` uint8 BGR, whose sizes may differ.

        Returns:
            For each image boxes ``(N, 4)`` float32, x1 y1 x2 y2 in pixels, and scores ``(N,)``
            float32 from 0 to 1, the highest first.
        """
        if not images:
            return []
        framed = [self._frame(image) for image in images]
        boxes, scores, numbers = self._file(images=np.stack([pixels for pixels, _ in framed]))
        found = []
        for number, (image, (_, scale)) in enumerate(zip(images, framed, strict=True)):
            mine = (numbers == number) & (scores >= self._score_thr)
            size = image.shape[1::-1]
            own = (boxes[mine] / scale).clip(0, [*size, *size]).astype(np.float32)
            order = nms(own, scores[mine], self._nms_thr)
            order = order[usable_boxes(own[order], size)]
            found.append((own[order], scores[mine][order]))
        return found

    def _frame(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """An image resized into the network's input, and the factors of x1 y1 x2 y2."""
        (height, width), (w, h) = image.shape[:2], self._size
        factor = min(w / width, h / height)
        size = max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5))
        pixels = np.full((h, w, 3), _GREY, np.uint8)
        resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        pixels[: size[1], : size[0]] = resized
        return pixels, np.array([size[0] / width, size[1] / height] * 2, np.float32)
