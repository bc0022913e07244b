"""Kinds of errors and their cost, against an independent computation on constructed poses."""

import math

import numpy as np
import pytest

from mspn_plugin.reports.analysis import (
    KINDS,
    Skeleton,
    ap_of_groups,
    confidence,
    error_kinds,
    evaluate,
    keypoint_table,
    match,
    mended,
)

SIGMAS = np.array([0.05, 0.06, 0.06, 0.08])
SKELETON = Skeleton(['nose', 'left_hand', 'right_hand', 'belly'], np.array([0, 2, 1, 3]), SIGMAS)
PLACES = np.array([[100.0, 50], [60, 100], [140, 100], [100, 120]])
AREA = 6000.0


def person(number, image=1, shift=0.0, flags=(2, 2, 2, 2), **changes):
    points = PLACES + shift
    keypoints = [v for (x, y), flag in zip(points, flags, strict=True) for v in (x, y, flag)]
    record = dict(id=number, image_id=image, category_id=1, bbox=[50 + shift, 40 + shift, 100, 90])
    count = sum(flag > 0 for flag in flags)
    record |= dict(area=AREA, iscrowd=0, num_keypoints=count, keypoints=keypoints)
    return {**record, **changes}


def found(points, image=1, score=1.0):
    keypoints = [v for x, y in points for v in (float(x), float(y), 0.9)]
    return dict(image_id=image, category_id=1, keypoints=keypoints, score=score)


def content(*people):
    images = [dict(id=i, width=500, height=500) for i in {p['image_id'] for p in people}]
    category = dict(id=1, name='person', keypoints=SKELETON.names)
    return dict(images=images, annotations=list(people), categories=[category])


def off(index, similarity):
    """How far, in pixels, a keypoint lies that has this similarity."""
    return math.sqrt(-2 * math.log(similarity) * AREA) * 2 * SIGMAS[index]


def moved(index, similarity):
    points = PLACES.copy()
    points[index, 0] += off(index, similarity)
    return points


def kinds_of(points, *people):
    (pair,), alone = match(content(*people), [found(points)], SKELETON)
    assert len(alone) == len(people) - 1
    return pair.kinds


@pytest.mark.parametrize('index', range(4))
@pytest.mark.parametrize(
    ('similarity', 'kind'),
    [(1.0, None), (0.86, None), (0.84, 'jitter'), (0.51, 'jitter'), (0.49, 'miss'), (0.01, 'miss')],
)
def test_a_keypoint_at_some_distance(index, similarity, kind):
    kinds = kinds_of(moved(index, similarity), person(1))
    assert kinds[index] == kind and not any(k for i, k in enumerate(kinds) if i != index)


def test_on_the_mirror_partner_or_on_somebody_else():
    points = PLACES.copy()
    points[1] = PLACES[2]
    assert kinds_of(points, person(1)) == [None, 'inversion', None, None]
    points[[1, 2]] = PLACES[[2, 1]]
    assert kinds_of(points, person(1)) == [None, 'inversion', 'inversion', None]
    for index in (1, 2):  # the same hand of the other, and the other one
        points = PLACES.copy()
        points[1] = PLACES[index] + 200
        assert kinds_of(points, person(1), person(2, shift=200.0))[1] == 'swap'
    points = PLACES.copy()
    points[0] = PLACES[1]  # on a keypoint of another kind
    assert kinds_of(points, person(1)) == ['miss', None, None, None]


def test_what_is_not_labelled_is_no_error():
    points = PLACES.copy()
    points[1] = (400, 400)
    kinds = kinds_of(points, person(1, flags=(2, 0, 2, 2)))
    assert kinds == [None] * 4
    points[1] = PLACES[2]  # the partner is not labelled: not known to be confused
    assert kinds_of(points, person(1, flags=(2, 2, 0, 2)))[1] == 'miss'


def test_poses_choose_people_in_the_order_of_their_scores():
    a, b, crowd = person(1), person(2, shift=8.0), person(3, shift=60.0, iscrowd=1)
    poses = [
        found(PLACES + 4, score=0.5),
        found(PLACES + 2, score=0.9),
        found(PLACES + 60, score=0.1),  # for the crowd
    ]
    pairs, alone = match(content(a, b, crowd), poses, SKELETON)
    assert [(p.truth['id'], p.found['score']) for p in pairs] == [(1, 0.9), (2, 0.5)] and not alone
    pairs, alone = match(content(a, b), [found(PLACES + 400)], SKELETON)
    assert not pairs and [p['id'] for p in alone] == [1, 2]


def average_precision(similarities):
    """AP of a pose for each person, the highest score first: from the definition alone."""
    aps = []
    for threshold in np.arange(0.5, 0.951, 0.05):
        right = np.array(similarities) >= threshold
        recall, precision, best = [], [], []
        for n in range(1, len(right) + 1):
            recall.append(right[:n].sum() / len(right))
            precision.append(right[:n].mean())
        for level in np.linspace(0, 1, 101):
            reached = [p for r, p in zip(recall, precision, strict=True) if r >= level - 1e-12]
            best.append(max(reached, default=0))
        aps.append(np.mean(best))
    return float(np.mean(aps))


def oks(points):
    squared = ((points - PLACES) ** 2).sum(axis=1)
    return float(np.exp(-squared / (2 * AREA * (2 * SIGMAS) ** 2)).mean())


def inverted():
    points = PLACES.copy()
    points[[1, 2]] = PLACES[[2, 1]]
    return points


def swapped():
    points = moved(0, 0.95)
    points[3] = PLACES[3] + 200  # the belly of the person beside
    return points


CASES = {
    'jitter': moved(0, 0.61),
    'inversion': inverted(),
    'miss': moved(3, 0.001),
    'swap': swapped(),
}


@pytest.mark.parametrize('kinds', [*((kind,) for kind in KINDS), KINDS, ('jitter', 'miss')])
def test_what_mending_each_kind_would_give(kinds):
    people, poses, wrong = [], [], []
    for number, kind in enumerate([*kinds, None], 1):
        image = number
        people.append(person(10 * number, image))
        points = CASES.get(kind, PLACES)
        poses.append(found(points, image, score=1 - number / 100))
        wrong.append((kind, points))
        if kind == 'swap':  # somebody beside, found well, last
            people.append(person(10 * number + 1, image, shift=200.0))
    beside = [p for p in people if p['id'] % 10]
    poses += [found(PLACES + 200, p['image_id'], score=0.1) for p in beside]
    data = content(*people)
    pairs, alone = match(data, poses, SKELETON)
    assert not alone
    table = error_kinds(data, poses, pairs, SIGMAS)
    order = [oks(points) for _, points in wrong] + [1.0] * len(beside)
    assert evaluate(data, poses, SIGMAS)['AP'] == pytest.approx(average_precision(order), abs=1e-9)
    labelled = 4 * len(people)
    for kind in KINDS:
        count = {'inversion': 2}.get(kind, 1) if kind in kinds else 0
        assert table[kind]['count'] == count
        assert table[kind]['part'] == pytest.approx(count / labelled)
        better = [1.0 if its == kind else oks(points) for its, points in wrong] + [1.0] * len(
            beside
        )
        if count:
            assert table[kind]['ap'] == pytest.approx(average_precision(better), abs=1e-9)
        else:
            assert 'ap' not in table[kind]
    before = [list(p['keypoints']) for p in poses]
    mended(poses, pairs, kinds[0])
    assert before == [p['keypoints'] for p in poses]  # nothing in place


def test_errors_of_keypoints():
    people = [person(n, n) for n in (1, 2, 3)]
    distances = (3.0, 10.0, 50.0)
    poses = []
    for number, distance in enumerate(distances, 1):
        points = PLACES.copy()
        points[3, 1] += distance
        poses.append(found(points, number))
    pairs, _ = match(content(*people), poses, SKELETON)
    row = keypoint_table(pairs, SKELETON)[3]
    assert row['name'] == 'belly' and row['seen'] == 3
    assert row['mean'] == pytest.approx(21) and row['median'] == pytest.approx(10)
    assert row['part'] == pytest.approx(0.1) and row['pck'] == pytest.approx(2 / 3)
    assert row['score'] == pytest.approx(0.9)
    assert sum(row[kind] for kind in KINDS) == sum(d > off(3, 0.85) for d in distances)
    assert keypoint_table([], SKELETON)[0] == dict(name='nose', seen=0, **dict.fromkeys(KINDS, 0))
    groups = confidence(pairs, bins=2)
    assert sum(count for _, _, count in groups) == 12


def test_groups_count_others_neither_as_found_nor_as_missed():
    small = person(1, 1, area=900.0, bbox=[50, 40, 40, 40])
    few = person(2, 2, flags=(2, 0, 0, 0))
    large = person(3, 3)
    poses = [found(PLACES, n) for n in (1, 3)] + [found(PLACES + 300, 2, score=0.5)]
    data = content(small, few, large)
    groups = ap_of_groups(data, poses, match(data, poses, SKELETON)[0], SIGMAS)
    sizes = {name: (count, ap) for name, count, ap in groups['size of the box, in pixels']}
    assert sizes['up to 64 x 64'] == (1, pytest.approx(1)) and sizes['larger'] == (0, -1)
    assert sizes['to 128 x 128'][0] == 2 and 0.3 < sizes['to 128 x 128'][1] < 0.7
    counts = [(count, round(ap, 3)) for _, count, ap in groups['labelled keypoints']]
    assert counts == [(1, 0.0), (0, -1), (2, 1.0)]


def test_without_any_pose():
    data = content(person(1))
    assert evaluate(data, [], SIGMAS)['AP'] == 0
    pairs, alone = match(data, [], SKELETON)
    assert not pairs and len(alone) == 1
    assert error_kinds(data, [], pairs, SIGMAS)['jitter'] == dict(count=0, part=0.0)


def test_people_of_other_groups_do_not_count_against_a_group():
    people, poses = [], []
    for number in range(1, 21):
        is_small = number % 2
        size = dict(area=900.0, bbox=[50, 40, 40, 40]) if is_small else {}
        people.append(person(number, number, **size))
        points = PLACES if is_small else PLACES + off(0, 0.3) * np.array([1, 0])
        poses.append(found(points, number, score=1 - number / 100))
    data = content(*people)
    groups = ap_of_groups(data, poses, match(data, poses, SKELETON)[0], SIGMAS)
    rows = {name: ap for name, _, ap in groups['size of the box, in pixels']}
    assert rows['up to 64 x 64'] == pytest.approx(1) and rows['to 128 x 128'] < 0.1


def test_what_a_keypoint_is_nearest_to_counts():
    near = Skeleton(['left_eye', 'right_eye'], np.array([1, 0]), np.array([0.06, 0.06]))
    eyes = dict(person(1), keypoints=[100, 50, 2, 108, 50, 2], num_keypoints=2)
    exchanged = found([(108, 50), (100, 50)])
    ((pair,), _) = match(content(eyes), [exchanged], near)
    assert pair.kinds == ['inversion', 'inversion']
    ((pair,), _) = match(content(eyes), [found([(100, 50), (108, 50)])], near)
    assert pair.kinds == [None, None]


def test_labels_without_num_keypoints():
    people = [dict(person(1)), dict(person(2, 2, flags=(0, 0, 0, 0)), num_keypoints=3)]
    people[0].pop('num_keypoints')
    pairs, alone = match(content(*people), [found(PLACES)], SKELETON)
    assert len(pairs) == 1 and not alone
