"""People as plain numbers: the boxes that go into a network, and the poses that come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError


@dataclass(frozen=True)
class Pose:
    """One person, in image pixels.

    Attributes:
        keypoints: ``(K, 2)``, x and y.
        scores: ``(K,)``, the keypoints' scores; an empty heatmap gives 0.5, a perfect peak 1.5.
        box: ``(4,)``, x1, y1, x2, y2 of the box that the person was found in.
        box_score: Its score, 0 to 1.
        heatmaps: ``(K, H, W)``, 255 for a perfect peak, if they were asked for.
        region: ``(4,)``, x1, y1, x2, y2 of what the heatmaps cover.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    box: np.ndarray
    box_score: float = 1.0
    heatmaps: np.ndarray | None = None
    region: np.ndarray | None = None

    @property
    def score(self) -> float:
        """The person's score: the box's times the mean of the keypoints'."""
        return float(self.box_score * self.scores.mean())


def check_boxes(
    boxes: Any, scores: Any, size: tuple[int, int], image: str
) -> tuple[np.ndarray, np.ndarray]:
    """Checks the boxes of one image.

    Args:
        boxes: ``(N, 4)`` x1, y1, x2, y2 in pixels; ``None`` or empty for nobody.
        scores: ``(N,)`` from 0 to 1; ``None`` for 1 each.
        size: Width and height of the image.
        image: Its name, for messages.

    Returns:
        Boxes ``(N, 4)`` and scores ``(N,)``, float32.

    Raises:
        InputError: A box is not a finite box that meets the image, or a score is out of range.
    """
    checked = _numbers([] if boxes is None else boxes, 'boxes', image)
    checked = checked if checked.size else checked.reshape(0, 4)
    if checked.ndim != 2 or checked.shape[1] != 4:
        raise InputError(
            f'the boxes of {image} have the shape {checked.shape}; expected (N, 4), x1 y1 x2 y2 of '
            'each person'
        )
    marks = np.ones(len(checked)) if scores is None else _numbers(scores, 'scores', image)
    if marks.shape != (len(checked),):
        raise InputError(
            f'{image} has {len(checked)} boxes, but scores of the shape {marks.shape}; give one '
            'score for each box'
        )
    x1, y1, x2, y2 = checked.T
    width, height = size
    outside = (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
    for wrong, problem in (
        (~np.isfinite(checked).all(axis=1), 'is not finite'),
        ((x2 <= x1) | (y2 <= y1), 'has no area (x2 must exceed x1, and y2 y1)'),
        (outside, f'lies outside the image of {width}x{height} pixels'),
        (~((marks >= 0) & (marks <= 1)), 'has the score {score}; expected 0 to 1'),
    ):
        if wrong.any():
            index = int(np.argmax(wrong))
            text = problem.format(score=marks[index])
            raise InputError(f'box {index} of {image}, {checked[index].tolist()}, {text}')
    return checked.astype(np.float32), marks.astype(np.float32)


def _numbers(values: Any, what: str, image: str) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f'the {what} of {image} are not numbers: {error}') from error
