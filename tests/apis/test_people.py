"""infer_people: what inference_topdown gives, in the caller's order, each image decoded once."""

import json

import cv2
import mmcv
import numpy as np
import pytest
from mmpose.apis import inference_topdown

from mspn_plugin import InputError
from mspn_plugin.apis import Item, PosePredictor, infer_people
from mspn_plugin.apis.predictor import pose_of


@pytest.fixture(scope='module')
def model(calibrated_tiny):
    return calibrated_tiny()


@pytest.fixture(scope='module')
def crowd(people):
    """Paths and boxes of nine synthetic images."""
    paths, boxes = [], []
    for part in ('train2017', 'val2017'):
        content = json.loads((people / f'annotations/person_keypoints_{part}.json').read_text())
        for image in content['images']:
            found = [p['bbox'] for p in content['annotations'] if p['image_id'] == image['id']]
            boxes.append(np.float32([[x, y, x + w, y + h] for x, y, w, h in found]))
            paths.append(people / part / image['file_name'])
    return paths, boxes


def assert_same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        a, b = one.pred_instances, other.pred_instances
        assert np.abs(a.keypoints - b.keypoints).max() < 0.01
        assert np.abs(a.keypoint_scores - b.keypoint_scores).max() < 1e-4
        assert np.array_equal(a.bboxes, b.bboxes)


class Counted:
    """Gives values one by one, and notes in ``read`` how many were asked for."""

    def __init__(self, values):
        self.values, self.read = iter(values), 0

    def __iter__(self):
        for value in self.values:
            self.read += 1
            yield value


@pytest.mark.parametrize('batch_size', [1, 4, 64])
def test_equals_inference_topdown_image_by_image(model, crowd, batch_size, monkeypatch):
    paths, boxes = crowd
    decoded, real = [], cv2.imdecode
    with monkeypatch.context() as patch:
        patch.setattr(cv2, 'imdecode', lambda *some: decoded.append(len(some[0])) or real(*some))
        patch.setattr(mmcv, 'imread', lambda *_, **__: pytest.fail('decoded again'))
        found = infer_people(model, paths, boxes, batch_size=batch_size)
    assert decoded == [path.stat().st_size for path in paths]  # every image once
    assert sum(map(len, found)) > 10
    for path, image_boxes, people in zip(paths, boxes, found, strict=True):
        assert_same(people, inference_topdown(model, str(path), image_boxes))
        assert all(person.img_path == str(path) for person in people)


def test_one_image_nobody_and_the_whole_image(model, crowd):
    paths, boxes = crowd
    by_path = infer_people(model, str(paths[0]), boxes[0])
    assert isinstance(by_path, list) and len(by_path) == len(boxes[0])
    assert_same(infer_people(model, cv2.imread(str(paths[0])), boxes[0].tolist()), by_path)
    assert infer_people(model, paths[0]) == []
    assert infer_people(model, paths[0], np.zeros((0, 4))) == []
    mixed = infer_people(model, paths[:4], [None, boxes[1], [], boxes[3]])
    assert [len(people) for people in mixed] == [0, len(boxes[1]), 0, len(boxes[3])]
    whole = infer_people(model, paths[:2], 'whole_image')
    height, width = cv2.imread(str(paths[1])).shape[:2]
    assert whole[1][0].pred_instances.bboxes.tolist() == [[0, 0, width, height]]
    assert_same(whole[1], inference_topdown(model, str(paths[1])))


def test_scores_and_threshold(model, crowd):
    paths, boxes = crowd
    scores = [np.linspace(0.1, 1, len(each)) for each in boxes]
    everybody = infer_people(model, paths, boxes, box_scores=scores)
    for people, given in zip(everybody, scores, strict=True):
        found = [float(person.pred_instances.bbox_scores[0]) for person in people]
        assert found == pytest.approx(given.tolist())
    marks = sorted(pose_of(person).score for people in everybody for person in people)
    threshold = marks[len(marks) // 2]
    kept = infer_people(model, paths, boxes, box_scores=scores, score_thr=threshold)
    assert sum(map(len, kept)) == sum(mark > threshold for mark in marks)
    person = everybody[0][0].pred_instances
    mean = person.bbox_scores[0] * person.keypoint_scores.mean()
    assert pose_of(everybody[0][0]).score == pytest.approx(float(mean))


@pytest.mark.parametrize(('threads', 'ahead'), [(0, 0), (1, 8), (2, 9)])
def test_an_iterator_is_read_no_further_than_a_batch_needs(model, crowd, threads, ahead):
    pixels, boxes = [cv2.imread(str(path)) for path in crowd[0]], crowd[1]
    # With nobody in sight the few that are do not wait for a full batch.
    for given, most in (([each[:1] for each in boxes] * 99, 5), ([boxes[0][:1]] + 890 * [None], 6)):
        frames = Counted(pixels * 99)
        results = infer_people(model, iter(frames), iter(given), batch_size=4, threads=threads)
        assert frames.read == 0
        assert len(next(results)) == 1 and frames.read <= most + ahead
    # A camera is not read ahead.
    frames, first = Counted(pixels), iter(each[:1] for each in boxes)
    results = infer_people(model, iter(frames), first, batch_size=1)
    assert [(len(people), frames.read) for people in results] == [(1, n + 1) for n in range(9)]


@pytest.mark.parametrize('threads', [0, 1, 3])
def test_what_came_before_an_error_is_not_lost(model, crowd, threads):
    paths, boxes = crowd

    def broken():
        yield from paths[:3]
        raise OSError('the disk is gone')

    missing = [*paths[:3], paths[0].with_name('no.jpg'), *paths[4:]]
    for images, given, error, words in (
        (iter(missing), boxes, InputError, 'image 3 .*does not exist'),
        (iter(paths), boxes[:3], InputError, 'more images than boxes'),
        (broken(), boxes, OSError, 'the disk is gone'),
    ):
        results = infer_people(model, images, given, threads=threads)
        good = [next(results) for _ in range(3)]
        with pytest.raises(error, match=words):
            next(results)
        for people, wanted in zip(good, infer_people(model, paths[:3], boxes[:3]), strict=True):
            assert_same(people, wanted)


def test_the_predictor(model, crowd):
    """Made once: `predict` for an image, `stream` for many, whose items come back."""
    predictor = PosePredictor(model, batch_size=4)
    items = [Item(path, each, key=n) for n, (path, each) in enumerate(zip(*crowd, strict=True))]
    for item, (same, people) in zip(items, predictor.stream(items), strict=True):
        assert same is item
        assert_same(people, predictor.predict(item.image, item.boxes))
    assert predictor.predict(items[0].image) == [] and list(predictor.stream([])) == []


def test_bad_input_is_explained(model, crowd, tmp_path):
    paths, boxes = crowd
    (text := tmp_path / 'text.jpg').write_text('no image')
    bad = [
        ([10, 10, np.nan, 20], 'is not finite'),
        *(([10, 10, x, 20], 'has no area') for x in (5, 10)),
        *(([x, 10, x + 9, 20], 'lies outside the image') for x in (-10, 9000)),
    ]
    name = f'box {len(boxes[1])} of image 1 .*'
    for images, given, more, words in (
        *((paths[:2], [boxes[0], [*boxes[1], box]], {}, name + words) for box, words in bad),
        (tmp_path / 'no.jpg', None, {}, 'image 0.*does not exist'),
        (tmp_path, None, {}, 'image 0.*is a folder'),
        (text, None, {}, 'image 0.*cannot be read as an image'),
        (np.zeros((4, 4), np.uint8), None, {}, r'image 0.*shape \(4, 4\)'),
        (np.zeros((4, 4, 3)), None, {}, 'image 0.*type float64'),
        (paths[:2], boxes[:1], {}, 'more images than boxes'),
        (paths[:1], boxes[:2], {}, 'more boxes or scores than images'),
        (paths[0], [[1, 2, 3]], {}, r'shape \(1, 3\); expected \(N, 4\)'),
        (paths[0], boxes[0], dict(box_scores=[0.5] * 99), 'scores of the shape'),
        (paths[0], boxes[0][:1], dict(box_scores=[1.5]), 'expected 0 to 1'),
        (paths[0], [['a', 0, 1, 1]], {}, 'not numbers'),
        (paths[0], 'everything', {}, "'whole_image'"),
        (paths[0], boxes[0], dict(batch_size=0), 'batch_size'),
    ):
        with pytest.raises(ValueError, match=words):
            infer_people(model, images, given, **more)
