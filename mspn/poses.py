"""People as plain numbers: the boxes that go into a network, and the poses that come out.

Shapes: N people, K keypoints, H and W heatmap size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError

PERSON = 1  # COCO's category of people
_SMALLEST = 1.0  # width and height of a person's box, in pixels
LARGEST = 20  # times as wide or high as its image a box is no person's
BODY = 0.53  # share of a box that a person covers; MMPose's figure


@dataclass(frozen=True)
class Pose:
    """One person, in image pixels."""

    keypoints: np.ndarray  # (K, 2), x and y
    scores: np.ndarray  # (K,), the keypoints'; an empty heatmap gives 0.5, a perfect peak 1.5
    box: np.ndarray  # (4,), x1, y1, x2, y2 of the box that the person was found in
    box_score: float = 1.0  # from 0 to 1
    heatmaps: np.ndarray | None = None  # (K, H, W), 255 for a perfect peak, if asked for
    region: np.ndarray | None = None  # (4,), x1, y1, x2, y2 of what the heatmaps cover
    track: int | None = None  # the person's number in a film, from 1, if people are tracked

    @property
    def score(self) -> float:
        """The person's score: the box's times the mean of the keypoints'."""
        return float(self.box_score * self.scores.mean())


class People(Sequence[Pose]):
    """The people in a picture: a sequence of `Pose`, whose numbers come as arrays too.

    Args:
        poses: The people.
        meta: What the keypoints are, as `draw_people` takes it.
    """

    def __init__(self, poses: Sequence[Pose], meta: Mapping[str, Any]) -> None:
        self._poses, self.meta = list(poses), meta

    def __len__(self) -> int:
        return len(self._poses)

    def __getitem__(self, index: Any) -> Any:
        chosen = self._poses[index]
        return People(chosen, self.meta) if isinstance(index, slice) else chosen

    def __iter__(self) -> Iterator[Pose]:
        return iter(self._poses)

    @property
    def names(self) -> list[str]:
        """The keypoints' names (K)."""
        return names_of(self.meta)

    @property
    def boxes(self) -> np.ndarray:
        """``(N, 4)``, x1 y1 x2 y2 in pixels of the picture."""
        return np.array([person.box for person in self], np.float32).reshape(-1, 4)

    @property
    def keypoints(self) -> np.ndarray:
        """``(N, K, 2)``, x and y in pixels of the picture."""
        points = [person.keypoints for person in self]
        return np.array(points, np.float32).reshape(-1, self.meta['num_keypoints'], 2)

    @property
    def keypoint_scores(self) -> np.ndarray:
        """``(N, K)``; an empty heatmap gives 0.5, a perfect peak 1.5."""
        marks = [person.scores for person in self]
        return np.array(marks, np.float32).reshape(-1, self.meta['num_keypoints'])

    @property
    def scores(self) -> np.ndarray:
        """``(N,)``, each the box's score times the mean of the keypoints'."""
        return np.array([person.score for person in self], np.float32)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """The people as COCO's keypoint results; see `coco_results`."""
        return coco_results(self, image_id)

    def to_json(self) -> str:
        """The people as a JSON list: box, score, and x, y, score of each keypoint by its name."""
        people = []
        for person in self:
            numbers = np.column_stack([person.keypoints, person.scores]).round(3).tolist()
            entry = dict(
                box=np.asarray(person.box).round(3).tolist(),
                score=round(person.score, 5),
                keypoints=dict(zip(self.names, numbers, strict=True)),
            )
            people.append(entry | ({} if person.track is None else dict(track=person.track)))
        return json.dumps(people, allow_nan=False)

    def draw(self, picture: Any, **options: Any) -> np.ndarray:
        """A copy of the picture, ``(h, w, 3)`` uint8 BGR, with the people; see `draw_people`."""
        from .drawing import draw_people

        return draw_people(picture, self, self.meta, **options)


def names_of(meta: Mapping[str, Any]) -> list[str]:
    """The keypoints' names in their order, of what `draw_people` takes as ``meta``."""
    return [meta['keypoint_id2name'][index] for index in range(meta['num_keypoints'])]


def coco_results(people: Sequence[Pose], image_id: int) -> list[dict[str, Any]]:
    """Writes the people of an image as COCO's keypoint results, which `pycocotools` evaluates.

    Returns:
        One entry per person: ``image_id``, ``category_id``, ``keypoints`` (3 K numbers: x, y,
        score), ``score`` (the person's) and ``bbox`` (x, y, width, height in image pixels), and
        ``track_id`` where people are tracked.

    Raises:
        InputError: A person's numbers are not finite.
    """
    results = []
    for person in people:
        numbers = np.column_stack([person.keypoints, person.scores]).ravel().tolist()
        if not np.isfinite(numbers).all():
            raise InputError(
                f'the keypoints of a person in image {image_id} are not finite numbers; the '
                "model's weights are probably damaged, so take another checkpoint"
            )
        keypoints = [round(number, 5 if i % 3 == 2 else 3) for i, number in enumerate(numbers)]
        x1, y1, x2, y2 = np.asarray(person.box, np.float64).tolist()
        box = [round(number, 3) for number in (x1, y1, x2 - x1, y2 - y1)]
        entry: dict[str, Any] = dict(image_id=image_id, category_id=PERSON, keypoints=keypoints)
        entry |= dict(score=round(person.score, 5), bbox=box)
        results.append(entry | ({} if person.track is None else dict(track_id=person.track)))
    return results


def outside(boxes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Which boxes ``(N, 4)`` do not meet the image of this width and height, or dwarf it."""
    (x1, y1, x2, y2), (width, height) = boxes.T, size
    dwarfs = (x2 - x1 > LARGEST * width) | (y2 - y1 > LARGEST * height)
    return (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height) | dwarfs


def usable_boxes(boxes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Which of the boxes ``(N, 4)`` have an area and meet the image of this width and height."""
    return (boxes[:, 2:] - boxes[:, :2] >= _SMALLEST).all(axis=1) & ~outside(boxes, size)


def check_thresholds(**thresholds: float) -> None:
    """Raises an `InputError` if a detector's threshold is no number from 0 to 1."""
    for name, value in thresholds.items():
        if not 0 <= value <= 1:
            raise InputError(f"the detector's {name} is {value}; expected 0 to 1")


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Non-maximum suppression: of boxes that overlap more, the one of the highest score stays.

    Args:
        boxes: ``(N, 4)``, x1 y1 x2 y2.
        scores: ``(N,)``.
        threshold: Of the intersection over union.

    Returns:
        The numbers of the boxes that stay, the highest score first.
    """
    order, kept = np.argsort(-np.asarray(scores), kind='stable'), []
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        low = np.maximum(boxes[first, :2], boxes[rest, :2])
        high = np.minimum(boxes[first, 2:], boxes[rest, 2:])
        shared = np.prod((high - low).clip(0), axis=1)
        order = rest[shared <= threshold * (areas[first] + areas[rest] - shared)]
    return np.array(kept, int)


def object_keypoint_similarity(
    person: Pose, others: Sequence[Pose], sigmas: Sequence[float]
) -> np.ndarray:
    """COCO's measure of how alike poses are, from 0 to 1: one person's with each of the others.

    All keypoints count. The size of two people is the mean of their boxes' areas, of which a
    person covers about half.
    """
    if not others:
        return np.zeros(0)
    boxes = np.array([each.box for each in (person, *others)], np.float64)
    areas = BODY * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    points = np.array([each.keypoints for each in others], np.float64) - person.keypoints
    size = np.maximum((areas[0] + areas[1:]) / 2, 1e-9)[:, None]
    error = (points**2).sum(axis=2) / (2 * np.asarray(sigmas)) ** 2 / size / 2
    similarity: np.ndarray = np.exp(-error).mean(axis=1)
    return similarity


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
