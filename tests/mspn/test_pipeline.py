"""Frames in, people out: in batches, one at a time, and with boxes that follow the poses."""

import numpy as np
import pytest
import torch
from mmpose.apis import init_model

from mspn.batches import WHOLE_IMAGE, Item, in_batches
from mspn.errors import InputError
from mspn.media import Frame
from mspn.pipeline import distinct, follow, people_in_frames
from mspn.poses import Pose
from mspn_plugin import get_config
from mspn_plugin.apis import PosePredictor
from mspn_plugin.commands.predict import Poses


@pytest.fixture(scope='module')
def model():
    return init_model(get_config('mspn-tiny_1xb16-20e_coco-128x96'), device='cpu')


@pytest.fixture(scope='module')
def predictor(model):
    return Poses(PosePredictor(model))


def make_frames(count):
    rng = np.random.default_rng(0)
    for index in range(count):
        yield Frame(f'f{index}', index, rng.integers(0, 256, (60, 80, 3), np.uint8))


class Detector:
    """Finds as many people in a frame as ``counts`` says; notes the sizes of its batches."""

    def __init__(self, *counts):
        self.counts, self.batches = list(counts), []

    def __call__(self, frames):
        self.batches.append(len(frames))
        numbers = [self.counts.pop(0) for _ in frames]
        boxes = [np.float32([0, 0, 40, 50]) + np.outer(range(n), [3, 2, 3, 2]) for n in numbers]
        return [(box, np.linspace(1, 0.5, len(box), dtype=np.float32)) for box in boxes]


COUNTS = (2, 0, 5, 1, 0, 0, 3)


@pytest.mark.parametrize('batch_size', [1, 4, 64])
@pytest.mark.parametrize('find_batch', [1, 3, 20])
def test_batches_change_nothing(model, batch_size, find_batch):
    find, predictor = Detector(*COUNTS), Poses(PosePredictor(model, batch_size=batch_size))
    found = list(people_in_frames(make_frames(7), find, predictor, find_batch=find_batch))
    one_by_one = people_in_frames(make_frames(7), Detector(*COUNTS), predictor, at_once=True)
    for (frame, people), (same, expected), count in zip(found, one_by_one, COUNTS, strict=True):
        assert frame.name == same.name and np.array_equal(frame.pixels, same.pixels)
        assert len(people) == len(expected) == count
        for person, other in zip(people, expected, strict=True):
            np.testing.assert_allclose(person.keypoints, other.keypoints, atol=0.01)
            np.testing.assert_allclose(person.box, other.box)
            np.testing.assert_allclose(person.box_score, other.box_score)
    assert sum(find.batches) == 7 and max(find.batches) == min(find_batch, 7)


def test_large_images_do_not_wait_for_a_full_batch(monkeypatch):
    monkeypatch.setattr('mspn.batches._MOST_PIXELS', 250)
    images = [np.zeros((10, 10, 3), np.uint8)] * 7
    sizes = list[int]()

    def run(crops):
        sizes.append(len(crops))
        return crops

    found = in_batches(map(Item, images), lambda index, item: [index], run, batch_size=64)
    assert [people for _, people in found] == [[index] for index in range(7)]
    assert sizes == [3, 3, 1]


def test_a_camera_no_frames_and_low_scores(model, predictor):
    frames = make_frames(9)
    results = people_in_frames(frames, Detector(1, 1), predictor, at_once=True)
    assert next(results)[0].id == 0 and next(frames).id == 1  # nothing is read ahead
    assert list(people_in_frames(iter(()), Detector(), predictor)) == []
    strict = Poses(PosePredictor(model, score_thr=99))
    for find, poses in ((Detector(0, 0), predictor), (Detector(5, 5), strict)):
        assert [people for _, people in people_in_frames(make_frames(2), find, poses)] == [[], []]


def test_boxes_follow_between_detections(predictor):
    find = Detector(2, 3, 1)
    found = list(people_in_frames(make_frames(7), find, predictor, find_every=3))
    assert find.batches == [1, 1, 1]
    assert [len(found[index][1]) for index in (0, 3, 6)] == [2, 3, 1]
    for (_, before), (frame, people) in zip(found, found[1:], strict=False):
        if frame.id % 3:
            boxes, scores = follow(before, (80, 60))
            assert len(people) == len(boxes)
            for person, box, score in zip(people, boxes, scores, strict=True):
                np.testing.assert_allclose(person.box, box)
                np.testing.assert_allclose(person.box_score, score)


def person(points, scores, *, box=(10, 20, 50, 90), box_score=0.8):
    return Pose(*(np.array(values, np.float32) for values in (points, scores, box)), box_score)


CORNERS = [(30, 40), (70, 40), (30, 140), (70, 140)]


def test_a_box_is_the_extent_of_the_good_keypoints_and_who_left_is_not_followed():
    stray = person([*CORNERS, (500, 500)], [1, 1, 1, 0.7, 0.55])
    boxes, scores = follow([stray], (640, 480))
    np.testing.assert_allclose(boxes, [[24, 25, 76, 155]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.8])
    lost = person(CORNERS, [1, 0.5, 0.5, 0.5])  # its box stays
    assert follow([lost], (640, 480))[0].tolist() == [[10, 20, 50, 90]]
    left = person(np.array(CORNERS) - (80, 0), [1, 1, 1, 1])
    boxes, scores = follow([left, person(CORNERS, [1, 1, 1, 1])], (640, 480))
    assert len(boxes) == len(scores) == 1 and boxes[0, 0] == 24
    boxes, scores = follow([left], (640, 480))
    assert boxes.shape == (0, 4) and scores.shape == (0,)
    assert follow([], (640, 480))[0].shape == (0, 4)


def test_one_person_with_two_boxes_or_found_twice_is_one(model):
    unsure = person(CORNERS, [0.7] * 4, box_score=0.5)
    sure = person(np.array(CORNERS) + 1, [1.0] * 4, box_score=0.9)
    beside = person(np.array(CORNERS) + (30, 0), [1.0] * 4, box_score=0.7)
    _, scores = follow([unsure, beside, sure], (640, 480))
    np.testing.assert_allclose(scores, [0.7, 0.9])
    sigmas = model.dataset_meta['sigmas']
    points = np.stack([np.linspace(15, 45, 17), np.linspace(25, 85, 17)], axis=1)
    scores = [0.9] * 17
    better = person(points, scores, box_score=0.8)
    worse = person(points + 0.5, scores, box=(12, 22, 50, 90), box_score=0.7)
    other = person(points + 30, scores, box=(40, 50, 80, 120), box_score=0.3)
    assert distinct([worse, other, better], sigmas, 0.9) == [other, better]
    assert distinct([worse, other, better], sigmas, 1.0) == [worse, other, better]
    assert distinct([worse], sigmas, 0.0) == [worse] and distinct([], sigmas, 0.5) == []


def test_a_full_device_is_a_sentence(predictor, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError('too much')

    monkeypatch.setattr(PosePredictor, '_run', full)
    image = np.zeros((9, 9, 3), np.uint8)
    for call in (
        lambda: predictor.predict(image, WHOLE_IMAGE),
        lambda: list(predictor.stream([Item(image, WHOLE_IMAGE)])),
    ):
        with pytest.raises(InputError, match='give a smaller --batch-size'):
            call()
