"""The augmentation against the recipe's numbers, and the half-body rule against a second writing.

Every tolerance is five standard deviations of what is measured, at the size of the sample.
"""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from mmcv.transforms.utils import cache_random_params
from mmpose.registry import TRANSFORMS

from mspn_plugin import InputError

N = 4000
TRAIN_MARGINS = dict(type='BoxMargins', width=1.05, height=1.05, width_extra=0.6, height_extra=0.8)
HALF_BODY = dict(type='HalfBodyBox', upper_body_ids=list(range(13)))
SPREAD = np.random.default_rng(0).uniform(0, 100, (1, 17, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def _seed():
    np.random.seed(7)


def person(visible=None, joints=SPREAD):
    visible = np.full((1, 17), 2.0, np.float32) if visible is None else visible
    return dict(
        bbox=np.array([[10, 20, 110, 220]], np.float32),
        bbox_center=np.array([[60, 120]], np.float32),
        bbox_scale=np.array([[100, 200]], np.float32),
        keypoints=joints,
        keypoints_visible=visible,
    )


def many(transform, make=person):
    """`N` results of a transform, each on a new person."""
    return [transform.transform(make()) for _ in range(N)]


def sizes(results):
    return np.concatenate([result['bbox_scale'] for result in results])


def assert_uniform(values, low, high):
    """Within the range, up to its ends, and as often in every tenth of it."""
    assert values.min() >= low - 1e-5 and values.max() <= high + 1e-5
    near = 10 * (high - low) / len(values)
    assert values.min() < low + near and values.max() > high - near
    counts, _ = np.histogram(values, 10, (low - 1e-5, high + 1e-5))
    expected = len(values) / 10
    assert np.abs(counts - expected).max() < 5 * math.sqrt(expected * 0.9)


def assert_independent(a, b):
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(len(a))


def assert_probability(hits, wanted):
    hits = np.asarray(hits)
    assert abs(hits.mean() - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / len(hits))


def box_only():
    return {'bbox': person()['bbox']}


def test_training_margins_have_the_recipes_distribution():
    results = many(TRANSFORMS.build(TRAIN_MARGINS), box_only)
    assert all(result['bbox_center'].tolist() == [[60, 120]] for result in results)
    factors = sizes(results) / [100, 200]
    assert_uniform(factors[:, 0], 1.05, 1.05 * 1.6)
    assert_uniform(factors[:, 1], 1.05, 1.05 * 1.8)
    assert_independent(*factors.T)


def test_test_margins_are_fixed_and_draw_no_numbers():
    transform = TRANSFORMS.build(dict(type='BoxMargins', width=1.09, height=1.135))
    before = np.random.get_state()[1].copy()
    result = transform.transform(box_only())
    assert np.array_equal(np.random.get_state()[1], before)
    assert result['bbox_center'].tolist() == [[60, 120]]
    assert np.allclose(result['bbox_scale'], [[109, 227]])
    assert result['bbox_center'].dtype == result['bbox_scale'].dtype == np.float32
    assert result['bbox_center'].shape == result['bbox_scale'].shape == (1, 2)


def test_margins_take_the_data_sets_own_box():
    transform = TRANSFORMS.build(dict(type='BoxMargins', width=1.25, height=1.5))
    given = dict(bbox_center=np.array([[3, 4]]), bbox_scale=np.array([[8, 10]]))
    result = transform.transform(dict(given, bbox=np.zeros((1, 4))))
    assert result['bbox_center'].tolist() == [[3, 4]]
    assert result['bbox_scale'].tolist() == [[10, 15]]
    assert result['bbox_scale'].dtype == np.float32


@pytest.mark.parametrize(
    ('settings', 'scale', 'rotation'),
    [({}, (0.8 * 0.75, 0.8 * 1.25), 45), (dict(scale=(0.75, 1.25), rotation=60), (0.75, 1.25), 60)],
)
def test_scale_and_rotation_have_the_recipes_distribution(settings, scale, rotation):
    results = many(TRANSFORMS.build(dict(type='UniformBoxTransform', **settings)))
    factors = sizes(results) / [100, 200]
    assert np.allclose(factors[:, 0], factors[:, 1])
    assert_uniform(factors[:, 0], *scale)
    assert all(result['bbox_rotation'].shape == (1,) for result in results)
    assert all(result['bbox_center'].tolist() == [[60, 120]] for result in results)
    angles = np.concatenate([result['bbox_rotation'] for result in results])
    assert_probability(angles != 0, 0.5)
    assert_uniform(angles[angles != 0], -rotation, rotation)
    assert_independent(factors[:, 0], np.abs(angles))


def test_a_rotations_probability_and_a_shift_which_is_a_share_of_the_box_in_each_direction():
    settings = dict(type='UniformBoxTransform', rotate_prob=0.2, shift=0.1)
    results = many(TRANSFORMS.build(settings))
    assert_probability([result['bbox_rotation'][0] != 0 for result in results], 0.2)
    ways = np.concatenate([result['bbox_center'] for result in results]) - [60, 120]
    assert_uniform(ways[:, 0], -0.1 * 100, 0.1 * 100)
    assert_uniform(ways[:, 1], -0.1 * 200, 0.1 * 200)
    assert_independent(ways[:, 0], ways[:, 1])
    assert results[0]['bbox_center'].dtype == np.float32


def reference_half_body(joints, visible, upper_ids, upper_first):
    """The rule of the original, written down a second time; the branch it takes, and the box."""
    upper = [tuple(j) for i, j in enumerate(joints) if visible[i] > 0 and i in upper_ids]
    lower = [tuple(j) for i, j in enumerate(joints) if visible[i] > 0 and i not in upper_ids]
    if len(upper) + len(lower) <= 3:
        return 'few labels', None
    if upper_first and len(upper) > 3:
        branch, chosen = 'upper', upper
    elif len(lower) > 3:
        branch, chosen = 'lower', lower
    else:
        branch, chosen = 'upper instead', upper
    if len(chosen) < 3:
        return 'few joints', None
    left, right = min(x for x, _ in chosen), max(x for x, _ in chosen)
    top, bottom = min(y for _, y in chosen), max(y for _, y in chosen)
    return branch, ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


def test_half_body_boxes_follow_the_rule_in_every_branch():
    rng, seen = np.random.default_rng(2), set()
    for index in range(600):
        upper_first = index % 2
        fixed = dict(prob=1.0, upper_prob=upper_first, width_extra=0.0, height_extra=0.0)
        transform = TRANSFORMS.build({**HALF_BODY, **fixed})
        labelled = rng.random((1, 17)) < rng.uniform(0, 1)
        labelled[:, 13:] = rng.random(4) < rng.choice([0.5, 0.95])
        visible = (labelled * rng.integers(1, 3, (1, 17))).astype(np.float32)
        joints = rng.uniform(0, 100, (1, 17, 2)).astype(np.float32)
        result = transform.transform(person(visible, joints))
        branch, box = reference_half_body(joints[0], visible[0], range(13), upper_first)
        seen.add(branch)
        found = (*result['bbox_center'][0], *result['bbox_scale'][0])
        assert np.allclose(found, (60, 120, 100, 200) if box is None else box, atol=1e-4), branch
    assert seen == {'few labels', 'upper', 'lower', 'upper instead', 'few joints'}


def test_half_body_probabilities_and_growth_are_the_recipes():
    assert abs(0.6915 - 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))) < 1e-4  # P(normal < 0.5)
    results = many(TRANSFORMS.build(HALF_BODY))
    changed = [result for result in results if result['bbox_scale'].tolist() != [[100, 200]]]
    assert_probability([r['bbox_scale'].tolist() != [[100, 200]] for r in results], 0.3)
    halves = {}
    for part, ids in (('upper', slice(0, 13)), ('lower', slice(13, 17))):
        first, last = SPREAD[0, ids].min(0), SPREAD[0, ids].max(0)
        is_part = [np.allclose(r['bbox_center'], (first + last) / 2) for r in changed]
        halves[part] = np.array(is_part)
        growth = sizes([r for r, hit in zip(changed, is_part, strict=True) if hit]) / (last - first)
        assert_uniform(growth[:, 0], 1, 1.6)
        assert_uniform(growth[:, 1], 1, 1.8)
        assert_independent(*growth.T)
    assert np.all(halves['upper'] ^ halves['lower'])
    assert_probability(halves['upper'], 0.6915)


def test_half_body_counts_occluded_joints_and_leaves_degenerate_boxes():
    always = {**HALF_BODY, 'prob': 1.0, 'upper_prob': 1.0}
    transform = TRANSFORMS.build(always)
    four = np.zeros((1, 17), np.float32)
    four[0, :4] = 1
    assert transform.transform(person(four))['bbox_scale'].tolist() != [[100, 200]]
    three = four.copy()
    three[0, 3] = 0
    assert transform.transform(person(three))['bbox_scale'].tolist() == [[100, 200]]
    one_place = np.full((1, 17, 2), 5.0, np.float32)
    assert transform.transform(person(four, one_place))['bbox_scale'].tolist() == [[100, 200]]
    never = TRANSFORMS.build({**HALF_BODY, 'prob': 0.0})
    assert all(r['bbox_scale'].tolist() == [[100, 200]] for r in many(never))


@pytest.mark.parametrize(
    'settings',
    [TRAIN_MARGINS, {**HALF_BODY, 'prob': 1.0}, dict(type='UniformBoxTransform', rotate_prob=1.0)],
    ids=lambda settings: settings['type'],
)
def test_random_numbers_are_numpys_and_can_be_held(settings):
    transform = TRANSFORMS.build(settings)

    def draw():
        return transform.transform(person())['bbox_scale'].tolist()

    first = draw()
    random.seed(1)
    assert draw() != first
    np.random.seed(7)
    assert draw() == first
    with cache_random_params(transform):
        assert draw() == draw()


def test_raw_annotation_brings_back_visibility_and_the_whole_box():
    transform = TRANSFORMS.build(dict(type='RawAnnotation'))
    annotation = dict(keypoints=[5, 6, 2, 7, 8, 1, 0, 0, 0], bbox=[-3.5, 2, 10, 20])
    cut = dict(keypoints_visible=np.ones((1, 3)), bbox=np.zeros((1, 4)))
    result = transform.transform(dict(cut, raw_ann_info=annotation))
    assert result['keypoints_visible'].tolist() == [[2, 1, 0]]
    assert result['bbox'].tolist() == [[-3.5, 2, 6.5, 22]]
    assert result['keypoints_visible'].dtype == result['bbox'].dtype == np.float32
    for raw in ({}, dict(raw_ann_info=None), dict(raw_ann_info=[{}, {}])):
        with pytest.raises(InputError, match='no COCO annotation.* of a.jpg; use it in the train'):
            transform.transform(dict(img_path='a.jpg', **raw))


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        (dict(type='BoxMargins', width=0, height=1), 'width is 0, expected a number above 0'),
        (dict(type='BoxMargins', width=1, height=math.inf), 'height is inf'),
        (dict(type='BoxMargins', width=1, height=1, width_extra=-0.1), 'width_extra is -0.1'),
        (dict(type='BoxMargins', width=1, height=1, height_extra=math.nan), 'height_extra is nan'),
        ({**HALF_BODY, 'upper_body_ids': []}, r'upper_body_ids is \[\]'),
        ({**HALF_BODY, 'upper_body_ids': [-1, 2]}, 'upper_body_ids'),
        ({**HALF_BODY, 'min_keypoints': 0}, 'min_keypoints is 0'),
        ({**HALF_BODY, 'prob': 1.5}, 'prob is 1.5, expected a number from 0 to 1'),
        ({**HALF_BODY, 'upper_prob': -1}, 'upper_prob is -1'),
        ({**HALF_BODY, 'height_extra': -1}, 'height_extra is -1'),
        (dict(type='UniformBoxTransform', scale=(1.0, 0.6)), 'the smaller first'),
        (dict(type='UniformBoxTransform', scale=(0.0, 0.6)), 'above 0'),
        (dict(type='UniformBoxTransform', rotation=200), 'rotation is 200'),
        (dict(type='UniformBoxTransform', rotate_prob=2), 'rotate_prob is 2'),
        (dict(type='UniformBoxTransform', shift=-0.1), 'shift is -0.1'),
    ],
)
def test_wrong_settings_are_explained(settings, words):
    with pytest.raises(ValueError, match=words):
        TRANSFORMS.build(settings)
