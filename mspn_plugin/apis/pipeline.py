"""From frames to people: a detector and a pose model, with no more in memory than a batch needs."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmpose.evaluation.functional.nms import oks_nms
from mmpose.structures import PoseDataSample
from torch import nn
from torchvision.ops import nms

from mspn.media import Frame

from .detector import PersonDetector, usable_boxes
from .people import infer_people, instance_score

Boxes = tuple[np.ndarray, np.ndarray]
"""Boxes ``(N, 4)``, x1 y1 x2 y2 in pixels, and their scores ``(N,)``."""

_GOOD = 0.6  # score of a keypoint that is trusted; an empty heatmap gives 0.5
_ENOUGH = 1 / 3  # of a person's keypoints must be good for their extent to be a box
_MARGIN = 0.15  # of that extent on every side: there is more to a person than keypoints
_BODY = 0.53  # share of a box that a person covers; MMPose's figure
_SAME = 0.8  # overlap from which two followed boxes are taken to follow one person


def people_in_frames(
    frames: Iterable[Frame],
    detector: PersonDetector,
    model: nn.Module,
    *,
    batch_size: int = 64,
    det_batch_size: int = 8,
    det_every: int = 1,
    at_once: bool = False,
    score_thr: float = 0.0,
    oks_thr: float = 1.0,
) -> Iterator[tuple[Frame, list[PoseDataSample]]]:
    """Finds the people in every frame and their poses.

    Args:
        frames: Images, as `open_media` gives them.
        detector: Finds the boxes.
        model: A top-down pose estimator.
        batch_size: People in a batch of the pose model, of as many frames as fill it.
        det_batch_size: Frames in a batch of the detector.
        det_every: Detects in the first of so many frames. In the others the boxes of the frame
            before move along with the poses that were found in them, see `follow`.
        at_once: Whether every frame's people come before the next frame is read, as for a camera.
            A batch is then one frame, and so it is if ``det_every`` is not 1.
        score_thr: Leaves out people whose score is not above this.
        oks_thr: Of two poses that are more alike than this, see `distinct`, the one with the higher
            score stays. 1 keeps all.

    Yields:
        Each frame and its people, in the order of the frames.
    """
    options: dict[str, Any] = dict(batch_size=batch_size, score_thr=score_thr)
    people: Any = []
    meta: Any = model.dataset_meta
    sigmas = meta['sigmas']
    if det_every == 1 and not at_once:
        feed = _Feed(frames, detector, det_batch_size)
        scores = feed.scores()
        for people in infer_people(
            model, feed.images(), feed.boxes(), box_scores=scores, **options
        ):
            yield feed.waiting.popleft(), distinct(people, sigmas, oks_thr)
        return
    for count, frame in enumerate(frames):
        if count % det_every == 0:
            boxes, box_scores = detector.detect([frame.pixels])[0]
        else:
            boxes, box_scores = follow(people, frame.pixels.shape[1::-1])
        people = infer_people(model, frame.pixels, boxes, box_scores=box_scores, **options)
        people = distinct(people, sigmas, oks_thr)
        yield frame, people


def distinct(
    people: list[PoseDataSample], sigmas: Sequence[float], oks_thr: float
) -> list[PoseDataSample]:
    """Leaves out who has been found twice: two boxes may overlap little and hold one person.

    Args:
        people: Of one image.
        sigmas: COCO's constant of each keypoint.
        oks_thr: Object keypoint similarity, 0 to 1, above which two poses are one person's.

    Returns:
        Those with the higher scores, in the given order.
    """
    if oks_thr >= 1 or len(people) < 2:
        return people
    entries = []
    for person in people:
        found = person.pred_instances
        x1, y1, x2, y2 = np.asarray(found.bboxes[0], np.float64)
        points = np.column_stack([found.keypoints[0], found.keypoint_scores[0]])
        area = _BODY * (x2 - x1) * (y2 - y1)
        entries.append(dict(keypoints=points, score=instance_score(person), area=area))
    kept = oks_nms(entries, oks_thr, sigmas=np.asarray(sigmas))
    return [people[index] for index in sorted(kept)]


def follow(people: Iterable[PoseDataSample], size: tuple[int, ...]) -> Boxes:
    """Boxes for the next frame of a film: the extent of the poses in this one, and a margin.

    Args:
        people: Of this frame.
        size: Width and height of the frames.

    Returns:
        The boxes and the scores that they had when they were detected. The box of a person with
        too few good keypoints stays where it was. People who have left the frame are left out,
        and so is all but one of those who have become the same.
    """
    boxes, scores, ranks = [], [], []
    for person in people:
        found = person.pred_instances
        good = np.asarray(found.keypoint_scores[0]) >= _GOOD
        box = np.asarray(found.bboxes[0], np.float32)
        if good.sum() >= max(2, _ENOUGH * len(good)):
            points = np.asarray(found.keypoints[0], np.float32)[good]
            low, high = points.min(axis=0), points.max(axis=0)
            margin = _MARGIN * (high - low)
            box = np.concatenate([low - margin, high + margin])
        boxes.append(box)
        scores.append(float(found.bbox_scores[0]))
        ranks.append(instance_score(person))
    moved = np.array(boxes, np.float32).reshape(-1, 4)
    usable = np.flatnonzero(usable_boxes(moved, size))
    ranked = torch.tensor(ranks, dtype=torch.float32)[usable]
    kept = usable[np.sort(nms(torch.from_numpy(moved[usable]), ranked, _SAME).numpy())]
    return moved[kept], np.array(scores, np.float32)[kept]


class _Feed:
    """Detects ahead, a batch at a time, and hands out images, boxes and scores in step.

    Attributes:
        waiting: Frames that were handed out; whoever gets a frame's people takes it from the left.
    """

    def __init__(self, frames: Iterable[Frame], detector: PersonDetector, size: int) -> None:
        self.waiting: deque[Frame] = deque()
        self._frames, self._detector, self._size = iter(frames), detector, size
        self._latest: Boxes | None = None

    def images(self) -> Iterator[np.ndarray]:
        while batch := deque(itertools.islice(self._frames, self._size)):
            found = deque(self._detector.detect([frame.pixels for frame in batch]))
            while batch:  # nothing but `waiting` may hold a frame that is done
                self._latest = found.popleft()
                self.waiting.append(batch.popleft())
                yield self.waiting[-1].pixels
        self._latest = None

    def boxes(self) -> Iterator[np.ndarray]:
        while self._latest is not None:
            yield self._latest[0]

    def scores(self) -> Iterator[np.ndarray]:
        while self._latest is not None:
            yield self._latest[1]
