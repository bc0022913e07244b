"""The same person from frame to frame: numbers that stay, and keypoints that tremble less.

Shapes: N people, T tracks, K keypoints.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .poses import Pose

_PATIENCE = 60  # frames for which somebody who is not seen keeps the number
_LEAST = 0.15  # likeness below which two poses are not of one person
_CONFIRMED = 2  # frames in which somebody must be seen to outlive a gap
_STEADY = 0.7  # of a velocity that is kept when a new one is measured
_SLOWING = 0.9  # of the expected velocity with every frame in which somebody is not seen
_STEADIER = 0.5  # cut-off of speeds in Hz
_REACH = 3.0  # keypoints' tolerance of a frame's movement, in units of COCO's constants


@dataclass
class _Track:
    """Where a person was last, and how he or she moves, in pixels a frame."""

    number: int
    pose: Pose
    velocity: np.ndarray  # (2,)
    seen: int = 1  # frames
    unseen: int = 0  # frames since

    def expected(self) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints and box, moved on to the next frame; who is not seen slows down."""
        way = self.velocity * (1 - _SLOWING ** (self.unseen + 1)) / (1 - _SLOWING)
        return self.pose.keypoints + way, np.asarray(self.pose.box) + np.tile(way, 2)


class Tracker:
    """Gives the people of a film numbers, frame by frame.

    Poses are assigned to where the people of the frames before are expected, so that the sum of
    their likeness is as large as it can be. It is half the similarity of keypoints, with room for
    movement, and half the overlap of boxes. Made after SORT (Bewley et al., 2016), with poses.

    Args:
        sigmas: COCO's constant of each keypoint ``(K,)``.
        patience: For how many frames somebody who is not seen keeps the number.
    """

    def __init__(self, sigmas: Sequence[float], *, patience: int = _PATIENCE) -> None:
        self._variances = (2 * _REACH * np.asarray(sigmas, np.float64)) ** 2
        self._patience = patience
        self._tracks: list[_Track] = []
        self._numbers = itertools.count(1)

    def update(self, people: Sequence[Pose]) -> list[Pose]:
        """Takes the people of the next frame, and gives them with their numbers in ``track``."""
        likeness = self._likeness(people)
        numbered: list[Pose | None] = [None] * len(people)
        for row, column in _assign(likeness):
            if likeness[row, column] < _LEAST:
                continue
            track, pose = self._tracks[row], people[column]
            way = (_middle(pose) - _middle(track.pose)) / (track.unseen + 1)
            kept = _STEADY if track.seen > 1 else 0.0
            track.velocity = kept * track.velocity + (1 - kept) * way
            track.pose, track.seen, track.unseen = pose, track.seen + 1, -1
            numbered[column] = dataclasses.replace(pose, track=track.number)
        for column, pose in enumerate(people):
            if numbered[column] is None:
                track = _Track(next(self._numbers), pose, np.zeros(2), unseen=-1)
                self._tracks.append(track)
                numbered[column] = dataclasses.replace(pose, track=track.number)
        for track in self._tracks:
            track.unseen += 1
        self._tracks = [
            track
            for track in self._tracks
            if track.unseen <= (self._patience if track.seen >= _CONFIRMED else 0)
        ]
        return [pose for pose in numbered if pose is not None]

    def _likeness(self, people: Sequence[Pose]) -> np.ndarray:
        """How alike the tracks and the people are, from 0 to 1: ``(T, N)``."""
        if not self._tracks or not people:
            return np.zeros((len(self._tracks), len(people)))
        expected = [track.expected() for track in self._tracks]
        points, boxes = (
            np.array(values, np.float64)[:, None] for values in zip(*expected, strict=True)
        )
        seen = np.array([person.keypoints for person in people], np.float64)
        theirs = np.array([person.box for person in people], np.float64)
        areas, their_areas = (np.prod(b[..., 2:] - b[..., :2], axis=-1) for b in (boxes, theirs))
        size = 0.5 * np.maximum((areas + their_areas) / 2, 1.0)
        # The longer somebody has not been seen, the further away he or she may be.
        spread = (1 + np.array([track.unseen for track in self._tracks]) / 5)[:, None, None]
        error = ((seen - points) ** 2).sum(axis=-1) / self._variances / size[..., None] / 2 / spread
        low = np.maximum(boxes[..., :2], theirs[:, :2])
        high = np.minimum(boxes[..., 2:], theirs[:, 2:])
        shared = np.prod((high - low).clip(0), axis=-1)
        overlap = shared / np.maximum(areas + their_areas - shared, 1e-9)
        likeness: np.ndarray = (np.exp(-error).mean(axis=-1) + overlap) / 2
        return likeness


def _middle(pose: Pose) -> np.ndarray:
    """Where a person is: the keypoints' mean, each as much as it is sure."""
    weights = np.clip(pose.scores - 0.5, 1e-3, None)
    middle: np.ndarray = np.average(pose.keypoints, axis=0, weights=weights)
    return middle


def _assign(likeness: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows and columns with the largest sum: the Hungarian method, by shortest paths."""
    if not likeness.size:
        return []
    if likeness.shape[0] > likeness.shape[1]:
        return [(row, column) for column, row in _assign(likeness.T)]
    cost = 1 - likeness
    rows, columns = cost.shape
    of_row, of_column = np.zeros(rows + 1), np.zeros(columns + 1)  # what each has been lowered by
    owner = np.full(columns + 1, -1)  # of each column its row; the last column is the start
    for row in range(rows):
        owner[columns], column = row, columns
        shortest, before = np.full(columns, np.inf), np.full(columns, columns)
        visited = np.zeros(columns + 1, bool)
        while owner[column] >= 0:
            visited[column] = True
            reduced = cost[owner[column]] - of_row[owner[column]] - of_column[:columns]
            better = ~visited[:columns] & (reduced < shortest)
            shortest[better], before[better] = reduced[better], column
            free = np.where(visited[:columns], np.inf, shortest)
            nearest = int(free.argmin())
            step = free[nearest]
            of_row[owner[visited]] += step
            of_column[visited] -= step
            shortest[~visited[:columns]] -= step
            column = nearest
        while column != columns:
            owner[column] = owner[before[column]]
            column = before[column]
        owner[columns] = -1
    return [(int(owner[column]), column) for column in range(columns) if owner[column] >= 0]


class Smoother:
    """Takes the trembling out of tracked keypoints: a One-Euro filter (Casiez et al., 2012).

    The slower a keypoint moves, the more it is smoothed. Speeds count in sizes of the person.

    Args:
        strength: From 0, nothing, to 1.
        frame_rate: Frames a second.
        beta: How quickly smoothing ends as speed grows.
    """

    def __init__(self, strength: float, *, frame_rate: float = 25.0, beta: float = 4.0) -> None:
        self._strength, self._rate, self._beta = strength, frame_rate, beta
        self._last: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # positions and speeds by track

    def update(self, people: Sequence[Pose]) -> list[Pose]:
        """Takes the people of the next frame, who have numbers, and gives them smoothed."""
        if self._strength <= 0:
            return list(people)
        slowest = self._rate * 0.5 * (0.02**self._strength)  # cut-off at rest, in Hz
        smoothed, now = [], {}
        for person in people:
            points = np.asarray(person.keypoints, np.float64)
            if person.track in self._last:
                before, speed = self._last[person.track]
                size = max(float(np.ptp(np.asarray(person.box).reshape(2, 2), axis=0).max()), 1.0)
                change = (points - before) * self._rate / size
                speed = speed + _share(_STEADIER, self._rate) * (change - speed)
                fast = np.hypot(speed[:, 0], speed[:, 1])[:, None]
                points = before + _share(slowest + self._beta * fast, self._rate) * (
                    points - before
                )
            else:
                speed = np.zeros_like(points)
            if person.track is not None:
                now[person.track] = (points, speed)
            smoothed.append(dataclasses.replace(person, keypoints=points.astype(np.float32)))
        self._last = now
        return smoothed


def _share(cutoff: float | np.ndarray, rate: float) -> float | np.ndarray:
    """How much of a new value counts, for a cut-off frequency in Hz."""
    angle = 2 * np.pi * cutoff / rate
    return angle / (angle + 1)
