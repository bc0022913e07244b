"""Keypoint evaluation behind the name xtcocotools; where the real one imports, against that."""

import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO as PlainCOCO
from pycocotools.cocoeval import COCOeval as PlainEval

from mspn_plugin.compat import coco_api

GAP = coco_api.install()

from xtcocotools.coco import COCO  # noqa: E402
from xtcocotools.cocoeval import COCOeval  # noqa: E402

SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
# (end of the file's name, use_area) -> the stats of `perturbed` under the real xtcocotools 1.14.3
GOLDEN = {
    ('', True): '.39938 .56326 .4079 .6054 .32077 .58972 .71262 .6028 .61429 .55031',
    ('', False): '.40373 .56403 .41171 .59605 .34496 .59252 .71495 .60748 .60398 .57126',
    ('_official', True): '.31821 .46289 .32517 .61612 .31022 .60265 .7351 .61589 .614 .58039',
    ('_official', False): '.32465 .45929 .33224 .61707 .34339 .60927 .7351 .62252 .61848 .60182',
}


def synthetic_dataset(*, first_id=1):
    """People of known boxes, a fifth of them without keypoints, some crowds."""
    random = np.random.RandomState(7)
    images = [{'id': 10 + i, 'width': 640, 'height': 480} for i in range(12)]
    annotations = []
    for number in range(40):
        x, y, w, h = random.uniform([0, 0, 20, 30], [400, 300, 200, 170]).round(2)
        points = random.uniform([x, y], [x + w, y + h], (17, 2)).round(2)
        seen = random.randint(0, 3, 17) * (random.rand() > 0.2)
        area, crowd = round(w * h * random.uniform(0.3, 0.9), 3), int(random.rand() < 0.1)
        place = dict(id=first_id + number, image_id=10 + number % 12, category_id=1)
        place |= dict(bbox=[x, y, w, h], area=area, iscrowd=crowd)
        keypoints = np.column_stack([points, seen]).ravel().tolist()
        annotations.append(place | dict(keypoints=keypoints, num_keypoints=int((seen == 2).sum())))
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])


def perturbed(dataset):
    """Detections made from the annotations: misses, duplicates, small and large errors."""
    random = np.random.RandomState(3)
    found = []
    for record in dataset['annotations']:
        _, _, w, h = record['bbox']
        for copy_number in range(random.choice([0, 1, 1, 1, 1, 2])):
            spread = random.choice([0.002, 0.01, 0.03, 0.08]) * math.sqrt(w * h)
            score = round(random.uniform(0.3, 1) - 0.3 * copy_number, 4)
            silent = random.rand() < 0.05
            points = np.array(record['keypoints'], dtype=float).reshape(-1, 3)
            points[:, :2] += random.normal(0, spread, (len(points), 2))
            points[:, 2] = random.uniform(0.1, 1, len(points)) * (not silent)
            if random.rand() < 0.05:
                points[:, :2] = points[::-1, :2]
            place = {key: record[key] for key in ('image_id', 'category_id')}
            found.append(dict(place, score=score, keypoints=points.round(3).ravel().tolist()))
    return found


def indexed(truth, dataset):
    truth.dataset = dataset
    truth.createIndex()
    return truth


def stats_of(coco_eval):
    coco_eval.evaluate()
    coco_eval.accumulate()
    coco_eval.summarize()
    return coco_eval.stats.tolist()


def evaluate(dataset, detections, tmp_path, sigmas=None, use_area=True, iou_type='keypoints'):
    truth = indexed(COCO(), dataset)
    (tmp_path / 'dt.json').write_text(json.dumps(detections))
    found = truth.loadRes(str(tmp_path / 'dt.json'))
    coco_eval = COCOeval(truth, found, iou_type, sigmas, use_area)
    coco_eval.params.useSegm = None
    return stats_of(coco_eval)


def test_stats_are_those_of_the_real_xtcocotools(tmp_path, real_data):
    for (suffix, use_area), wanted in GOLDEN.items():
        file = real_data / 'annotations' / f'person_keypoints_val2017{suffix}.json'
        dataset = json.loads(file.read_text())
        stats = evaluate(dataset, perturbed(dataset), tmp_path, None, use_area)
        assert stats == pytest.approx([float(number) for number in wanted.split()], abs=6e-6)


@pytest.mark.parametrize('use_area', [True, False])
def test_stats_are_those_of_pycocotools_on_records_in_its_form(use_area, tmp_path):
    detections = perturbed(dataset := synthetic_dataset())
    before = json.dumps(dataset)
    stats = evaluate(dataset, detections, tmp_path, SIGMAS, use_area)
    assert json.dumps(dataset) == before or not GAP.active
    for record in dataset['annotations']:
        record['num_keypoints'] = sum(v > 0 for v in record['keypoints'][2::3])
        record['area'] = record['area'] if use_area else math.prod(record['bbox'][2:]) * 0.53
    truth = indexed(PlainCOCO(), dataset)
    found = truth.loadRes([d for d in detections if any(d['keypoints'][2::3])])
    assert stats == stats_of(PlainEval(truth, found, 'keypoints')) and 0.1 < stats[0] < 0.9


def test_ids_of_zero_missing_iscrowd_and_no_detection_at_all(tmp_path):
    ids = (1, 0, -5) if GAP.active else (1, 0)  # the real one takes ids below 0 for "no match"
    found = [synthetic_dataset(first_id=first) for first in ids]
    first, *others = [evaluate(people, perturbed(people), tmp_path) for people in found]
    assert all(stats == first for stats in others)
    detections = perturbed(dataset := synthetic_dataset())
    for record in dataset['annotations']:
        record['iscrowd'] = 0
    expected = evaluate(dataset, detections, tmp_path)
    for record in dataset['annotations']:
        del record['iscrowd'], record['num_keypoints']
    assert evaluate(dataset, detections, tmp_path) == expected
    assert dataset['annotations'][0]['iscrowd'] is False
    if GAP.active:  # the real one fails here
        assert evaluate(dataset, [], tmp_path) == [0.0] * 10


@pytest.mark.skipif(not GAP.active, reason='the real xtcocotools is installed')
def test_readable_errors(tmp_path):
    detections = perturbed(dataset := synthetic_dataset())
    for kind in ('keypoints_wholebody', 'keypoints_crowd'):
        with pytest.raises(NotImplementedError, match=f"'{kind}' .*needs the real xtcocotools"):
            evaluate(dataset, detections, tmp_path, iou_type=kind)
    with pytest.raises(ValueError, match='6 sigmas, but a record of image 10 has 17 keypoints'):
        evaluate(dataset, detections, tmp_path, np.ones(6))
    bare = [{k: v for k, v in a.items() if k != 'area'} for a in dataset['annotations']]
    with pytest.raises(ValueError, match='has no "area"; evaluate with use_area=False'):
        evaluate({**dataset, 'annotations': bare}, detections, tmp_path)
