"""Pictures of poses: each thing that a reader of a picture relies on is looked up in its pixels."""

import dataclasses

import cv2
import numpy as np
import pytest
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from mspn.drawing import LEFT, MIDDLE, RIGHT, draw_people, limb_colour, overlay_heatmaps
from mspn.errors import InputError
from mspn.poses import Pose

COCO = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/coco.py'))
MPII = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/mpii.py'))
GREY = 128
SURE, UNSURE = 1.4, 0.5
SHOULDERS = {'left_shoulder': (300, 200), 'right_shoulder': (100, 200)}


def canvas(width=400, height=400):
    return np.full((height, width, 3), GREY, np.uint8)


def person(points, *, meta=COCO, score=SURE, box=(50, 50, 350, 350), box_score=1.0):
    """A person of whom the network found only ``points``: name -> (x, y) or (x, y, score)."""
    keypoints = np.full((meta['num_keypoints'], 2), np.nan, np.float32)
    scores = np.zeros(meta['num_keypoints'], np.float32)
    for name, (x, y, *own) in points.items():
        index = meta['keypoint_name2id'][name]
        keypoints[index] = x, y
        scores[index] = own[0] if own else score
    return Pose(keypoints, scores, np.array(box, np.float32), box_score)


def arm(side, x, **kwargs):
    """An upright upper arm, so that row 200 crosses its limb in the middle."""
    return person({f'{side}_shoulder': (x, 100), f'{side}_elbow': (x, 300)}, **kwargs)


def draw(*people, meta=COCO, **options):
    return draw_people(canvas(), people, meta, **options)


def painted(picture):
    """Where a picture differs from the grey it was drawn on."""
    return np.abs(picture.astype(int) - GREY).max(axis=2) > 3


def near(found, colour):
    np.testing.assert_allclose(found, colour, atol=20)


@pytest.mark.parametrize('meta', [COCO, MPII], ids=['coco', 'mpii'])
def test_a_limb_has_the_colour_of_its_side(meta):
    for side, colour in (('left', LEFT), ('right', RIGHT)):
        near(draw(arm(side, 200, meta=meta), meta=meta)[200, 200], colour)
    of = meta['keypoint_name2id']
    mpii = [('pelvis', 'left_hip', LEFT), ('right_shoulder', 'upper_neck', RIGHT)]
    mpii += [('pelvis', 'thorax', MIDDLE)]
    for start, end, colour in mpii if meta is MPII else [('left_hip', 'right_hip', MIDDLE)]:
        assert limb_colour(of[start], of[end], meta) == colour
    if meta is COCO:
        near(draw(person(SHOULDERS))[200, 200], MIDDLE)


def test_keypoints_without_sides_have_the_colours_of_their_metainfo():
    red, green = [250, 10, 20], [30, 220, 40]  # as MMPose has them: red first
    keypoints = {i: dict(name=n, id=i, type='', swap='', color=red) for i, n in enumerate('ab')}
    skeleton = {0: dict(link=('a', 'b'), id=0, color=green)}
    more = dict(dataset_name='own', joint_weights=[1, 1], sigmas=[0.1, 0.1], paper_info={})
    meta = parse_pose_metainfo(dict(keypoint_info=keypoints, skeleton_info=skeleton, **more))
    someone = person({'a': (200, 100, 1.0), 'b': (200, 300, 1.0)}, meta=meta)
    picture = draw(someone, meta=meta).astype(int)
    np.testing.assert_allclose(picture[200, 200], green[::-1], atol=25)
    assert picture[100, 200, 2] > picture[100, 200, :2].max() + 40  # lighter, but red


def test_sides_stay_apart_for_colour_blind_people():
    # Machado et al. (2009), severity 1: what protanopes, deuteranopes and tritanopes see, in
    # linear red, green, blue.
    views = [
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    ]
    linear = [(np.array(c[::-1]) / 255) ** 2.2 for c in (LEFT, RIGHT, MIDDLE)]
    for view in views:
        seen = [np.clip(view @ c, 0, 1) ** (1 / 2.2) for c in linear]
        lab = cv2.cvtColor(np.float32([seen]), cv2.COLOR_RGB2LAB)[0]
        apart = [np.linalg.norm(lab[i] - lab[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert min(apart) > 30  # a difference of 2.3 is just noticeable


def test_scores_decide_what_is_drawn_and_how_faintly():
    points = {'left_shoulder': (100, 100, 0.9), 'left_elbow': (100, 300, 0.6)}
    someone = person(points | {'nose': (300, 60, 0.6)})
    found = painted(draw(someone, keypoint_thr=0.7))
    rows, columns = np.nonzero(found)
    assert found[100, 100] and max(np.ptp(rows), np.ptp(columns)) < 20  # the shoulder, a disc
    assert not painted(draw(someone, keypoint_thr=1.0)).any()
    sure, unsure = arm('left', 100, box_score=0.9), arm('right', 300, box_score=0.2)
    options = dict(boxes=True, scores=True, person_thr=0.05)
    assert np.array_equal(draw(unsure, **options), draw())
    both, alone = draw(unsure, sure, **options), draw(sure, **options)
    assert painted(both).any() and not np.array_equal(both, alone)  # it is number 1, not number 0
    # What is less sure is fainter.
    pictures = [draw(arm('left', 200, score=score)) for score in (UNSURE, 0.7, 0.9, SURE)]
    contrast = [np.abs(picture[200, 200].astype(int) - GREY).sum() for picture in pictures]
    assert contrast[0] > 10  # an untrained network's people are there all the same
    assert contrast == sorted(contrast) and contrast[-1] > 4 * contrast[0]
    half = person({'left_shoulder': (200, 100, SURE), 'left_elbow': (200, 300, UNSURE)})
    # As the less certain end is.
    np.testing.assert_array_equal(draw(half)[200, 200], pictures[0][200, 200])
    wrists = [draw(person({'left_wrist': (200, 200, score)})) for score in (0.55, 0.9, SURE)]
    for values in ([painted(w).sum() for w in wrists], [w[200, 200].min() for w in wrists]):
        assert values == sorted(set(values))  # larger and whiter


def widths(size):
    """Pixels of a limb and of its outline across row ``size`` of a person ``2 * size`` high."""
    points = {'left_shoulder': (size, 0.2 * size), 'left_elbow': (size, 1.8 * size)}
    someone = person(points, box=(0, 0, 2 * size, 2 * size))
    row = draw_people(canvas(2 * size, 2 * size), [someone], COCO)[size].astype(int)
    return (np.abs(row - LEFT).max(axis=1) < 60).sum(), (row.max(axis=1) < 90).sum()


def test_lines_and_outlines_grow_with_the_person_and_show_on_any_background():
    limbs, outlines = zip(*(widths(size) for size in (20, 150, 400)), strict=True)
    for values in (limbs, outlines):
        assert values == tuple(sorted(set(values)))
    assert limbs[0] >= 1 and limbs[-1] < 20
    for plain in (0, 128, 255):
        image = np.full((400, 400, 3), plain, np.uint8)
        column = draw_people(image, [person(SHOULDERS)], COCO)[:, 200].mean(axis=1)
        assert column.max() - column.min() > 120


def test_smaller_people_lie_over_larger_ones_and_the_rest_stays_as_it_is():
    small = arm('right', 200, box=(150, 90, 250, 310))
    large = arm('left', 200, box=(0, 0, 400, 400))
    large.keypoints[COCO['keypoint_name2id']['nose']] = 200, 20
    for people in ([small, large], [large, small]):
        near(draw(*people)[200, 200], RIGHT)
    image, someone = canvas(), arm('left', 200)
    before = someone.keypoints.copy()
    picture = draw_people(image, [someone], COCO, boxes=True, scores=True)
    assert (image == GREY).all() and picture.shape == image.shape and picture.dtype == np.uint8
    np.testing.assert_array_equal(someone.keypoints, before)
    plain = draw_people(image, [], COCO)
    assert plain is not image and (plain == GREY).all()


def test_boxes_and_scores_are_drawn_when_asked_for():
    someone = arm('left', 200, box=(60, 80, 340, 330), box_score=0.5)
    plain, boxed, scored, both = (
        painted(draw(someone, boxes=boxes, scores=scores))
        for boxes, scores in ((False, False), (True, False), (False, True), (True, True))
    )
    edge = (slice(150, 300), 340)
    assert not plain[edge].any() and not scored[edge].any() and not plain[:79].any()
    assert boxed[edge].all() and both[edge].all()
    label = [picture[60:78].any(axis=0).sum() for picture in (boxed, scored, both)]
    assert 0 < label[0] < label[1] < label[2]  # '0', '0.04' and both
    outside = arm('left', 200, box=(395, -50, 900, 300))  # the label stays inside
    assert painted(draw(outside, scores=True))[:15, 370:].any()


@pytest.mark.parametrize('box', [(50, 50, 350, 350), (np.nan,) * 4, (-1e9, -1e9, 1e9, 1e9)])
@pytest.mark.parametrize('far', [np.nan, np.inf, -1e30, 1e9, 1000])
def test_points_far_outside_do_no_harm(far, box):
    someone, wrist = arm('left', 200, box=box), COCO['keypoint_name2id']['left_wrist']
    someone.keypoints[wrist], someone.scores[wrist] = (far, 200), SURE
    near(draw(someone, boxes=True, scores=True)[200, 200], LEFT)


def test_what_lies_outside_is_not_seen_and_no_skeleton_is_needed():
    beyond = person({'left_shoulder': (200, 200), 'left_elbow': (450, 200)})
    near(draw(beyond)[200, 399], LEFT)  # but the limb of a point just outside
    outside = person({'left_shoulder': (500, 500), 'left_elbow': (600, 500)})
    for nobody in (person({}), outside, arm('left', 200, score=np.nan)):
        assert not painted(draw(nobody)).any()
    found = painted(draw(arm('left', 200), meta=dict(COCO, skeleton_links=[])))
    assert found[100, 200] and found[300, 200] and not found[200, 200]


def test_refusals():
    someone, images = arm('left', 200), (None, np.zeros((4, 4)), np.zeros((4, 4, 3), np.float32))
    for call, arguments, words in (
        (draw_people, (canvas(), [someone], MPII), '17 keypoints, but meta is for 16'),
        (overlay_heatmaps, (canvas(), [someone]), 'output_heatmaps'),
        *((draw_people, (image, [], COCO), 'expected') for image in images),
        *((overlay_heatmaps, (image, []), 'expected') for image in images),
    ):
        with pytest.raises(InputError, match=words):
            call(*arguments)


def with_heatmaps(cells, *, center=(200, 200), scale=(150, 200), height=255.0):
    """A person with one heatmap for each of ``cells``, a peak at x, y of each."""
    y, x = np.mgrid[:64, :48]
    maps = [height * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8) for u, v in cells]
    half = 0.5 * np.array(scale)
    region = np.concatenate([center - half, center + half])
    return dataclasses.replace(arm('left', 200), heatmaps=np.float32(maps), region=region)


def rise(*people):
    return np.abs(overlay_heatmaps(canvas(), people).astype(float) - GREY).sum(axis=2)


@pytest.mark.parametrize('scale', [(150, 200), (75, 100), (33, 44)])
@pytest.mark.parametrize('cell', [(10, 50), (30, 20)])
def test_a_heatmap_peaks_where_its_keypoint_is(cell, scale):
    found = rise(with_heatmaps([cell], scale=scale))
    # As the decoder and MMPose's estimator turn a cell into image pixels.
    keypoint = (np.array(cell) + 0.5) * 4 / (192, 256) * scale + 200 - 0.5 * np.array(scale)
    rows, columns = np.nonzero(found)
    centre = [np.average(places, weights=found[rows, columns]) for places in (columns, rows)]
    np.testing.assert_allclose(centre, keypoint, atol=0.3)


def test_the_overlay_shows_everybody_translucent_and_follows_the_height():
    people = [
        with_heatmaps([(10, 10), (40, 50)]),
        *(with_heatmaps([(24, 32)], center=(x, 20)) for x in (380, 900)),  # at the edge, beyond it
        with_heatmaps([(10, 10)], height=0.0),  # who overlaps hides nobody
    ]
    found = rise(*people)
    for x, y in ((158, 133), (252, 258), (382, 22)):
        assert found[y, x] > 0.8 * found.max()
    assert found[200, 200] == found[380, 20] == 0  # between the peaks the image is as it was
    for others in (people[::-1], people[:-1]):
        np.testing.assert_array_equal(found, rise(*others))
    assert not rise().any()
    y, x = np.mgrid[:400, :400]
    checked = np.where((x + y)[..., None] % 2, np.uint8(200), np.uint8(60)).repeat(3, axis=2)
    picture = overlay_heatmaps(checked, [with_heatmaps([(23.5, 31.5)])]).astype(int)
    assert np.abs(picture[200, 200] - picture[200, 201]).min() > 15
    heights = (0, 3, 40, 100, 255, 400)
    rises = [rise(with_heatmaps([(24, 32)], height=height)).max() for height in heights]
    assert rises[:2] == [0, 0] and rises[2:5] == sorted(rises[2:5])
    assert rises[5] == rises[4]  # a map may exceed 255
