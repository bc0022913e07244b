"""The same person keeps the number, also past others and through gaps; smoothing does not lag."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from mspn.poses import Pose
from mspn.tracking import Smoother, Tracker, _assign

SIGMAS = np.full(5, 0.07)
SHAPE = np.array([[0, -40], [-15, -10], [15, -10], [-10, 40], [10, 40]], float)


def pose(centre, rng, *, noise=1.5, score=1.0):
    points = SHAPE + centre + rng.normal(0, noise, SHAPE.shape)
    box = np.concatenate([points.min(axis=0) - 8, points.max(axis=0) + 8])
    return Pose(points.astype(np.float32), np.full(5, score, np.float32), box.astype(np.float32))


def crossing(frames=300, people=4, seed=0):
    """People who walk back and forth, each at a speed of its own, past each other.

    Who is behind somebody else is not found, and now and then somebody is missed. Each frame comes
    with the poses, in random order, and whose they are.
    """
    rng = np.random.default_rng(seed)
    for frame in range(frames):
        phase = frame * np.array([0.031, 0.024, 0.037, 0.028])[:people] + np.arange(people) * 1.7
        centres = np.stack([320 + 240 * np.sin(phase), 200 + 22.0 * np.arange(people)], axis=1)
        found = []
        for who, centre in enumerate(centres):  # the later ones are nearer
            hidden = any(abs(centre[0] - other[0]) < 14 for other in centres[who + 1 :])
            if not hidden and rng.random() > 0.03:
                found.append((who, pose(centre, rng)))
        rng.shuffle(found)
        yield [p for _, p in found], [who for who, _ in found]


def switches(numbers, owners):
    """How often a person's number is another than it was when the person was last seen."""
    last, count = {}, 0
    for frame, whose in zip(numbers, owners, strict=True):
        for number, who in zip(frame, whose, strict=True):
            count += last.setdefault(who, number) != number
            last[who] = number
    return count


@pytest.mark.parametrize('seed', range(5))
def test_four_people_who_cross_keep_their_numbers(seed):
    tracker, numbers, owners = Tracker(SIGMAS), [], []
    for people, whose in crossing(seed=seed):
        numbers.append([person.track for person in tracker.update(people)])
        owners.append(whose)
    assert switches(numbers, owners) <= 2
    assert len(set(itertools.chain(*numbers))) <= 6


def test_numbers_begin_at_one_and_end_with_patience():
    rng, tracker = np.random.default_rng(0), Tracker(SIGMAS, patience=3)
    here, there = (100, 100), (400, 100)
    assert [p.track for p in tracker.update([pose(here, rng), pose(there, rng)])] == [1, 2]
    assert [p.track for p in tracker.update([pose(there, rng), pose(here, rng)])] == [2, 1]
    for _ in range(3):
        assert tracker.update([]) == []
    assert [p.track for p in tracker.update([pose(here, rng)])] == [1]
    for _ in range(4):
        tracker.update([])
    assert [p.track for p in tracker.update([pose(here, rng)])] == [3]
    assert len(tracker._tracks) == 1  # nobody is remembered for ever


def test_the_assignment_is_the_best():
    rng = np.random.default_rng(0)
    for rows, columns in itertools.product(range(1, 7), range(1, 7)):
        likeness = rng.random((rows, columns))
        found = _assign(likeness)
        assert len(found) == len({row for row, _ in found}) == len({c for _, c in found})
        wanted = likeness[linear_sum_assignment(likeness, maximize=True)].sum()
        assert sum(likeness[pair] for pair in found) == pytest.approx(wanted)
    assert _assign(np.zeros((0, 3))) == []


def smoothed(centres, strength, noise=1.5):
    rng, tracker, smoother = np.random.default_rng(0), Tracker(SIGMAS), Smoother(strength)
    points = []
    for centre in centres:
        (person,) = smoother.update(tracker.update([pose(centre, rng, noise=noise)]))
        points.append(person.keypoints - SHAPE - centre)
    return np.array(points)[20:]


def test_smoothing_steadies_who_stands_and_hardly_lags_behind_who_walks():
    still, walk = [(200, 200)] * 120, [(100 + 6 * i, 200) for i in range(120)]
    raw, half, full = (smoothed(still, strength).std() for strength in (0, 0.5, 1))
    assert full < 0.35 * raw and full < half < 0.8 * raw
    lag = -smoothed(walk, 1, noise=0)[..., 0].mean()
    assert 0 <= lag < 6  # less than a frame
    again = smoothed(still, 0)
    np.testing.assert_allclose(again.std(), raw)
