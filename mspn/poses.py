"""People as plain numbers: the boxes that go into a network, and the poses that come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError


@dataclass(frozen=True)
class Pose:
    """One person, in image pixels."""

    keypoints: np.ndarray  # (K, 2), x and y
    scores: np.ndarray  # (K,), the keypoints'; an empty heatmap gives 0.5, a perfect peak 1.5
    box: np.ndarray  # (4,), x1, y1, x2, y2 of the box that the person was found in
    box_score: float = 1.0  # from 0 to 1
    heatmaps: np.ndarray | None = None  # (K, H, W), 255 for a perfect peak, if asked for
    region: np.ndarray | None = None  # (4,), x1, y1, x2, y2 of what the heatmaps cover

    @property
    def score(self) -> float:
        """The person's score: the box's times the mean of the keypoints'."""
        return float(self.box_score * self.scores.mean())


def outside(boxes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Which boxes ``(N, 4)`` do not meet the image of this width and height."""
    (x1, y1, x2, y2), (width, height) = boxes.T, size
    return (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)


def check_boxes(
    boxes: Any, scores: Any, size: tuple[int, int], image: str
) -> tuple[np.ndarray, np.ndarray]:
    """Checks the boxes of one image, which a program may give in any form.

    Args:
        boxes: ``(N, 4)`` x1, y1, x2, y2 in pixels; ``None`` or empty for nobody.
        scores: ``(N,)`` from 0 to 1; ``None`` for 1 each.
        size: Width and height of the image.
        image: Its name, for messages.

    Returns:
        Boxes and scores as float32.

    Raises:
        InputError: A box is not a finite box that meets the image, or a score is out of range.
    """
    try:
        boxes = np.asarray([] if boxes is None else boxes, np.float64)
        marks = np.ones(len(boxes)) if scores is None else np.asarray(scores, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f'the boxes or scores of {image} are not numbers: {error}') from error
    boxes = boxes if boxes.size else boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        expected = '(N, 4), x1 y1 x2 y2 of each person'
        raise InputError(f'the boxes of {image} have the shape {boxes.shape}; expected {expected}')
    if marks.shape != (len(boxes),):
        raise InputError(
            f'{image} has {len(boxes)} boxes, but scores of the shape {marks.shape}; give one '
            'score for each box'
        )
    x1, y1, x2, y2 = boxes.T
    for wrong, problem in (
        (~np.isfinite(boxes).all(axis=1), 'is not finite'),
        ((x2 <= x1) | (y2 <= y1), 'has no area (x2 must exceed x1, and y2 y1)'),
        (outside(boxes, size), f'lies outside the image of {size[0]}x{size[1]} pixels'),
        (~((marks >= 0) & (marks <= 1)), 'has a score of {score}; expected 0 to 1'),
    ):
        for index in np.flatnonzero(wrong):
            text = problem.format(score=marks[index])
            raise InputError(f'box {index} of {image}, {boxes[index].tolist()}, {text}')
    return boxes.astype(np.float32), marks.astype(np.float32)
