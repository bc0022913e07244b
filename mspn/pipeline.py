"""From frames to people, with no more in memory than a batch needs."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from .batches import WHOLE_IMAGE, Item
from .media import Frame, Image
from .poses import Pose, nms, object_keypoint_similarity, usable_boxes

Boxes = tuple[Any, Any]  # and their scores, as in an Item

_GOOD = 0.6  # score of a keypoint that is trusted; an empty heatmap gives 0.5
_ENOUGH = 1 / 3  # of a person's keypoints must be good for their extent to be a box
_MARGIN = 0.15  # of that extent on every side: there is more to a person than keypoints
_SAME = 0.8  # overlap from which two followed boxes are taken to follow one person


class PoseFinder(Protocol):
    """What finds poses in boxes: the light half's `PoseModel`, or a model of the training half."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the keypoints are."""

    def predict(self, image: Image, boxes: Any = None, *, scores: Any = None) -> list[Pose]:
        """The poses in the boxes of one image."""

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[Item, list[Pose]]]:
        """Every item with its poses; the people of many images share batches."""


def people_in_frames(
    frames: Iterable[Frame],
    find: Callable[[list[Frame]], Sequence[Boxes]],
    poses: PoseFinder,
    *,
    find_batch: int = 1,
    find_every: int = 1,
    at_once: bool = False,
    oks_thr: float = 1.0,
) -> Iterator[tuple[Frame, list[Pose]]]:
    """Finds the people in every frame and their poses.

    Args:
        frames: As `open_media` gives them.
        find: Gives the boxes in some frames.
        poses: Gives the poses in boxes.
        find_batch: How many frames ``find`` is given.
        find_every: Calls it for the first of so many frames only. In the others the boxes of the
            frame before `follow` the poses that were found in them.
        at_once: Whether every frame's people come before the next frame is read, as for a camera.
            A batch is then one frame, and so it is if ``find_every`` is not 1.
        oks_thr: Only `distinct` poses stay. 1 keeps all.

    Yields:
        Each frame and its people, in the order of the frames.
    """
    sigmas = poses.meta['sigmas']
    if find_every == 1 and not at_once:
        for item, people in poses.stream(_items(iter(frames), find, find_batch)):
            yield item.key, distinct(people, sigmas, oks_thr)
        return
    people = []
    for count, frame in enumerate(frames):
        following = count % find_every
        boxes, scores = follow(people, frame.pixels.shape[1::-1]) if following else find([frame])[0]
        found = poses.predict(frame.pixels, boxes, scores=scores)
        people = distinct(found, sigmas, oks_thr)
        yield frame, people


def _items(frames: Iterator[Frame], find: Any, size: int) -> Iterator[Item]:
    failure: Exception | None = None
    while failure is None:
        batch = deque[Frame]()
        try:
            batch.extend(itertools.islice(frames, size))
        except Exception as error:  # after the frames before it
            failure = error
        if not batch:
            break
        found = deque(find(list(batch)))
        while batch:  # nothing here may hold a frame that is done
            boxes, scores = found.popleft()
            yield Item(batch[0].pixels, boxes, scores, batch.popleft())
    if failure is not None:
        raise failure


def whole_images(frames: Sequence[Frame]) -> list[Boxes]:
    """In place of a detector: one person fills each frame."""
    return [(WHOLE_IMAGE, None) for _ in frames]


def distinct(people: list[Pose], sigmas: Sequence[float], oks_thr: float) -> list[Pose]:
    """Leaves out who has been found twice: two boxes may overlap little and hold one person.

    Args:
        people: Of one image.
        sigmas: COCO's constant of each keypoint.
        oks_thr: Of two poses with a higher object keypoint similarity, 0 to 1, the one with the
            higher score stays, in its place.
    """
    if oks_thr >= 1 or len(people) < 2:
        return people
    kept: list[int] = []
    for index in sorted(range(len(people)), key=lambda index: -people[index].score):
        others = [people[other] for other in kept]
        alike = object_keypoint_similarity(people[index], others, sigmas)
        if (alike <= oks_thr).all():
            kept.append(index)
    return [people[index] for index in sorted(kept)]


def follow(people: Sequence[Pose], size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes for the next frame of a film: the extent of the poses in this one, and a margin.

    Returns:
        The boxes, and the scores that they had when they were detected. The box of a person with
        too few good keypoints stays where it was. People who have left the frame, whose width and
        height are ``size``, are left out, and all but one of those who have become the same.
    """
    boxes = np.array([person.box for person in people], np.float32).reshape(-1, 4)
    for box, person in zip(boxes, people, strict=True):
        good = person.scores >= _GOOD
        if good.sum() >= max(2, _ENOUGH * len(good)):
            low, high = (edge(person.keypoints[good], axis=0) for edge in (np.min, np.max))
            margin = _MARGIN * (high - low)
            box[:2], box[2:] = low - margin, high + margin
    usable = np.flatnonzero(usable_boxes(boxes, size))
    ranks = np.array([person.score for person in people])[usable]
    kept = usable[np.sort(nms(boxes[usable], ranks, _SAME))]
    return boxes[kept], np.array([people[index].box_score for index in kept], np.float32)
