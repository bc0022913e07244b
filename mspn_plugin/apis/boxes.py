"""Person boxes as a caller gives them, checked before they reach a network."""

from __future__ import annotations

from typing import Any

import numpy as np

from mspn.errors import InputError


def check_boxes(boxes: Any, scores: Any, size: tuple[int, int], image: str) -> tuple:
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
    checked = _numbers(boxes, 'boxes', image) if boxes is not None else np.zeros((0, 4))
    checked = checked.reshape(0, 4) if not checked.size else checked
    if checked.ndim != 2 or checked.shape[1] != 4:
        raise InputError(
            f'the boxes of {image} have the shape {checked.shape}; expected (N, 4), x1 y1 x2 y2 of '
            'each person'
        )
    width, height = size
    x1, y1, x2, y2 = checked.T
    problems = (
        (~np.isfinite(checked).all(axis=1), 'is not finite'),
        ((x2 <= x1) | (y2 <= y1), 'has no area (x2 must exceed x1, and y2 y1)'),
        (
            (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height),
            f'lies outside the image of {width}x{height} pixels',
        ),
    )
    for wrong, problem in problems:
        if wrong.any():
            index = int(np.argmax(wrong))
            raise InputError(f'box {index} of {image}, {checked[index].tolist()}, {problem}')
    checked_scores = np.ones(len(checked)) if scores is None else _numbers(scores, 'scores', image)
    if checked_scores.shape != (len(checked),):
        raise InputError(
            f'{image} has {len(checked)} boxes, but scores of the shape {checked_scores.shape}; '
            'give one score for each box'
        )
    wrong = ~((checked_scores >= 0) & (checked_scores <= 1))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InputError(
            f'the score of box {index} of {image} is {checked_scores[index]}; expected 0 to 1'
        )
    return checked.astype(np.float32), checked_scores.astype(np.float32)


def _numbers(values: Any, what: str, image: str) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f'the {what} of {image} are not numbers: {error}') from error
