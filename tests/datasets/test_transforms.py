"""The augmentation against the recipe's numbers, to five standard deviations of the sample."""

import math
import random

import numpy as np
import pytest
from mmcv.transforms.utils import cache_random_params
from mmpose.registry import TRANSFORMS

from mspn_plugin import InputError

N = 4000
MARGINS = dict(type='BoxMargins', width=1.05, height=1.05, width_extra=0.6, height_extra=0.8)
HALF_BODY = dict(type='HalfBodyBox', upper_body_ids=list(range(13)))
UNIFORM = dict(type='UniformBoxTransform')
SPREAD = np.random.default_rng(0).uniform(0, 100, (1, 17, 2)).astype(np.float32)
TWOS = np.full((1, 17), 2.0, np.float32)


@pytest.fixture(autouse=True)
def _seed():
    np.random.seed(7)


def person(visible=TWOS, joints=SPREAD):
    return dict(
        bbox=np.array([[10, 20, 110, 220]], np.float32),
        bbox_center=np.array([[60, 120]], np.float32),
        bbox_scale=np.array([[100, 200]], np.float32),
        keypoints=joints,
        keypoints_visible=visible,
    )


def size(result):
    return result['bbox_scale'].tolist()


def many(settings, make=person):
    """`N` results of a step, each on a new person: sizes, centres, and all that is in them."""
    transform = TRANSFORMS.build(settings)
    results = [transform.transform(make()) for _ in range(N)]
    both = [np.concatenate([r[f'bbox_{key}'] for r in results]) for key in ('scale', 'center')]
    return *both, results


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
    assert abs(np.mean(hits) - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / len(hits))


def test_training_margins_have_the_recipes_distribution():
    sizes, centers, _ = many(MARGINS, lambda: {'bbox': person()['bbox']})
    assert np.all(centers == [60, 120])
    factors = sizes / [100, 200]
    assert_uniform(factors[:, 0], 1.05, 1.05 * 1.6)
    assert_uniform(factors[:, 1], 1.05, 1.05 * 1.8)
    assert_independent(*factors.T)


def test_test_margins_are_fixed_draw_no_numbers_and_take_the_data_sets_own_box():
    before = np.random.get_state()[1].copy()
    transform = TRANSFORMS.build(dict(type='BoxMargins', width=1.09, height=1.135))
    given = dict(bbox_center=np.array([[3, 4]]), bbox_scale=np.array([[200, 1000]]))
    for more, center, scale in (({}, [60, 120], [109, 227]), (given, [3, 4], [218, 1135])):
        result = transform.transform(dict(more, bbox=person()['bbox']))
        size, place = result['bbox_scale'], result['bbox_center'].tolist()
        assert np.allclose(size, [scale]) and size.dtype == np.float32 and place == [center]
    assert np.array_equal(np.random.get_state()[1], before)


BOXES = [
    ({}, (0.8 * 0.75, 0.8 * 1.25), 45, 0.5, 0),
    (dict(scale=(0.75, 1.25), rotation=60), (0.75, 1.25), 60, 0.5, 0),
    (dict(rotate_prob=0.2, shift=0.1), (0.6, 1.0), 45, 0.2, 0.1),
]


@pytest.mark.parametrize(('settings', 'scale', 'rotation', 'probability', 'shift'), BOXES)
def test_distribution_is_the_recipes(settings, scale, rotation, probability, shift):
    sizes, centers, results = many(UNIFORM | settings)
    factors, ways = sizes / [100, 200], centers - [60, 120]
    assert np.allclose(factors[:, 0], factors[:, 1])
    assert_uniform(factors[:, 0], *scale)
    angles = np.stack([result['bbox_rotation'] for result in results])[:, 0]
    assert_probability(angles != 0, probability)
    assert_uniform(angles[angles != 0], -rotation, rotation)
    assert_independent(factors[:, 0], np.abs(angles))
    assert ways.any() == bool(shift) and centers.dtype == np.float32
    if shift:
        assert_uniform(ways[:, 0], -shift * 100, shift * 100)
        assert_uniform(ways[:, 1], -shift * 200, shift * 200)
        assert_independent(*ways.T)


def reference_half_body(joints, visible, upper_ids, upper_first):
    """The rule of the original, written down a second time; the branch it takes, and the box."""
    upper = [tuple(j) for i, j in enumerate(joints) if visible[i] > 0 and i in upper_ids]
    lower = [tuple(j) for i, j in enumerate(joints) if visible[i] > 0 and i not in upper_ids]
    if len(upper) + len(lower) <= 3:
        return 'few labels', None
    branch, chosen = ('lower', lower) if len(lower) > 3 else ('upper instead', upper)
    if upper_first and len(upper) > 3:
        branch, chosen = 'upper', upper
    if len(chosen) < 3:
        return 'few joints', None
    (left, top), (right, bottom) = np.min(chosen, axis=0), np.max(chosen, axis=0)
    return branch, ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


def test_half_body_boxes_follow_the_rule_in_every_branch():
    rng, seen = np.random.default_rng(2), set()
    for index in range(600):
        upper_first = index % 2
        fixed = dict(prob=1.0, upper_prob=upper_first, width_extra=0.0, height_extra=0.0)
        labelled = rng.random((1, 17)) < rng.uniform(0, 1)
        labelled[:, 13:] = rng.random(4) < rng.choice([0.5, 0.95])
        visible = (labelled * rng.integers(1, 3, (1, 17))).astype(np.float32)
        joints = rng.uniform(0, 100, (1, 17, 2)).astype(np.float32)
        result = TRANSFORMS.build(HALF_BODY | fixed).transform(person(visible, joints))
        branch, box = reference_half_body(joints[0], visible[0], range(13), upper_first)
        seen.add(branch)
        found = (*result['bbox_center'][0], *result['bbox_scale'][0])
        assert np.allclose(found, (60, 120, 100, 200) if box is None else box, atol=1e-4), branch
    assert seen == {'few labels', 'upper', 'lower', 'upper instead', 'few joints'}


def test_half_body_probabilities_and_growth_are_the_recipes():
    assert abs(0.6915 - 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))) < 1e-4  # P(normal < 0.5)
    sizes, centers, _ = many(HALF_BODY)
    changed = np.any(sizes != [100, 200], axis=1)
    assert_probability(changed, 0.3)
    halves = {}
    for part, ids in (('upper', slice(0, 13)), ('lower', slice(13, 17))):
        first, last = SPREAD[0, ids].min(0), SPREAD[0, ids].max(0)
        halves[part] = np.isclose(centers[changed], (first + last) / 2).all(axis=1)
        growth = sizes[changed][halves[part]] / (last - first)
        assert_uniform(growth[:, 0], 1, 1.6)
        assert_uniform(growth[:, 1], 1, 1.8)
        assert_independent(*growth.T)
    assert np.all(halves['upper'] ^ halves['lower'])
    assert_probability(halves['upper'], 0.6915)


def test_half_body_leaves_degenerate_boxes_and_those_it_does_not_choose():
    one_place = person(TWOS, np.full((1, 17, 2), 5.0, np.float32))
    transform = TRANSFORMS.build(dict(HALF_BODY, prob=1.0, upper_prob=1.0))
    assert size(transform.transform(one_place)) == [[100, 200]]
    assert np.all(many(dict(HALF_BODY, prob=0.0))[0] == [100, 200])


def test_random_numbers_are_numpys_and_can_be_held():
    for settings in (MARGINS, dict(HALF_BODY, prob=1.0), dict(UNIFORM, rotate_prob=1.0)):
        transform = TRANSFORMS.build(settings)
        np.random.seed(7)
        first = size(transform.transform(person()))
        random.seed(1)
        assert size(transform.transform(person())) != first
        np.random.seed(7)
        assert size(transform.transform(person())) == first
        with cache_random_params(transform):
            assert size(transform.transform(person())) == size(transform.transform(person()))


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


def test_wrong_settings_are_explained():
    for settings, words in (
        (dict(MARGINS, width=0), 'width is 0, expected a number above 0'),
        (dict(MARGINS, height=math.inf), 'height is inf'),
        (dict(MARGINS, width_extra=-0.1), 'width_extra is -0.1'),
        (dict(MARGINS, height_extra=math.nan), 'height_extra is nan'),
        (dict(HALF_BODY, upper_body_ids=[]), r'upper_body_ids is \[\]'),
        (dict(HALF_BODY, upper_body_ids=[-1, 2]), 'upper_body_ids'),
        (dict(HALF_BODY, min_keypoints=0), 'min_keypoints is 0'),
        (dict(HALF_BODY, prob=1.5), 'prob is 1.5, expected a number from 0 to 1'),
        (dict(HALF_BODY, upper_prob=-1), 'upper_prob is -1'),
        (dict(HALF_BODY, height_extra=-1), 'height_extra is -1'),
        (dict(UNIFORM, scale=(1.0, 0.6)), 'the smaller first'),
        (dict(UNIFORM, scale=(0.0, 0.6)), 'above 0'),
        (dict(UNIFORM, rotation=200), 'rotation is 200'),
        (dict(UNIFORM, rotate_prob=2), 'rotate_prob is 2'),
        (dict(UNIFORM, shift=-0.1), 'shift is -0.1'),
    ):
        with pytest.raises(ValueError, match=words):
            TRANSFORMS.build(settings)
