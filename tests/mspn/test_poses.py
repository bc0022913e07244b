"""People as numbers: suppression, similarity, and what comes out as JSON, arrays and pictures."""

import json

import numpy as np
import pytest
import torch
from mmpose.evaluation.functional.nms import oks_iou
from torchvision.ops import nms as torch_nms

from mspn.poses import People, Pose, nms, object_keypoint_similarity

META = dict(
    keypoint_id2name={0: 'nose', 1: 'left_eye', 2: 'right_eye'},
    keypoint_name2id=dict(nose=0, left_eye=1, right_eye=2),
    num_keypoints=3,
    skeleton_links=[(0, 1), (0, 2)],
    sigmas=np.array([0.1, 0.2, 0.3]),
)


def person(seed, track=None):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 40, 2)
    box = np.concatenate([low, low + rng.uniform(20, 50, 2)]).astype(np.float32)
    points, scores = rng.uniform(0, 90, (3, 2)), rng.uniform(0.5, 1.5, 3)
    return Pose(points.astype(np.float32), scores.astype(np.float32), box, 0.8, track=track)


@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.65, 1.0])
def test_suppression_is_torchvisions(threshold):
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 80, (60, 2))
    boxes = np.hstack([low, low + rng.uniform(5, 40, (60, 2))]).astype(np.float32)
    scores = rng.permutation(60).astype(np.float32)
    wanted = torch_nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert nms(boxes, scores, threshold).tolist() == wanted.tolist()
    assert nms(np.zeros((0, 4)), np.zeros(0), threshold).tolist() == []


def test_similarity_is_mmposes():
    first, *others = (person(seed) for seed in range(6))
    flat = [np.column_stack([p.keypoints, p.scores]).ravel() for p in (first, *others)]
    areas = [0.53 * np.prod(p.box[2:] - p.box[:2]) for p in (first, *others)]
    wanted = oks_iou(flat[0], np.array(flat[1:]), areas[0], np.array(areas[1:]), META['sigmas'])
    found = object_keypoint_similarity(first, others, META['sigmas'])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert object_keypoint_similarity(first, [first], META['sigmas']) == pytest.approx(1)
    assert object_keypoint_similarity(first, [], META['sigmas']).shape == (0,)


def test_people_are_a_sequence_with_arrays_json_and_a_picture():
    people = People([person(0), person(1, track=7)], META)
    assert len(people) == 2 and [p.track for p in people] == [None, 7]
    assert people.boxes.shape == (2, 4) and people.keypoints.shape == (2, 3, 2)
    assert people.keypoint_scores.shape == (2, 3) and people.names[1] == 'left_eye'
    np.testing.assert_allclose(people.scores, [p.score for p in people])
    first, second = json.loads(people.to_json())
    assert first['keypoints']['nose'] == pytest.approx(
        [*people.keypoints[0, 0].tolist(), people.keypoint_scores[0, 0]], abs=1e-3
    )
    assert 'track' not in first and second['track'] == 7
    results = people.to_coco(5)
    assert [entry.get('track_id') for entry in results] == [None, 7]
    assert {entry['image_id'] for entry in results} == {5}
    picture = np.zeros((100, 120, 3), np.uint8)
    assert people.draw(picture).any() and not picture.any()
    nobody = People([], META)
    assert nobody.boxes.shape == (0, 4) and nobody.keypoints.shape == (0, 3, 2)
    assert nobody.to_json() == '[]' and isinstance(people[:1], People)
