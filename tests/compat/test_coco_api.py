"""Keypoint evaluation behind the name xtcocotools.

Three independent witnesses: the numbers of the real xtcocotools 1.14.3 (GOLDEN, made by running the
generators of this file under it, with numpy 1.26 in Python 3.11), a second implementation of AP in
plain loops, and, where the real xtcocotools imports, this whole file runs against it.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mspn_plugin.compat import coco_api

GAP = coco_api.install()

from xtcocotools.coco import COCO  # noqa: E402
from xtcocotools.cocoeval import COCOeval  # noqa: E402

ours_only = pytest.mark.skipif(not GAP.active, reason='the real xtcocotools is installed')

DATA = Path(__file__).resolve().parents[2].parent / 'shared' / 'data' / 'coco' / 'annotations'
FILES = {
    'val': DATA / 'person_keypoints_val2017.json',
    'official': DATA / 'person_keypoints_val2017_official.json',
}
COCO_SIGMAS = (
    np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
)
PARTS = {'foot_kpts': 6, 'face_kpts': 68, 'lefthand_kpts': 21, 'righthand_kpts': 21}
PART_SIGMAS = {
    'body': COCO_SIGMAS,
    'foot': np.full(6, 0.07),
    'face': np.full(68, 0.02),
    'lefthand': np.full(21, 0.03),
    'righthand': np.full(21, 0.04),
}
PART_SIGMAS['wholebody'] = np.concatenate(list(PART_SIGMAS.values()))

# (data, evaluation type, use_area) -> the stats of the real xtcocotools
# fmt: off
GOLDEN = {
    ('val', 'keypoints', True): [
        0.39938, 0.56326, 0.4079, 0.6054, 0.32077, 0.58972, 0.71262, 0.6028, 0.61429, 0.55031
    ],
    ('val', 'keypoints', False): [
        0.40373, 0.56403, 0.41171, 0.59605, 0.34496, 0.59252, 0.71495, 0.60748, 0.60398, 0.57126
    ],
    ('official', 'keypoints', True): [
        0.31821, 0.46289, 0.32517, 0.61612, 0.31022, 0.60265, 0.7351, 0.61589, 0.614, 0.58039
    ],
    ('official', 'keypoints', False): [
        0.32465, 0.45929, 0.33224, 0.61707, 0.34339, 0.60927, 0.7351, 0.62252, 0.61848, 0.60182
    ],
    ('synthetic', 'keypoints_body', True): [
        0.69921, 0.77317, 0.77317, 0.64655, 0.81757, 0.74, 0.8, 0.8, 0.65789, 1.0
    ],
    ('synthetic', 'keypoints_foot', True): [
        0.65431, 0.68113, 0.68113, 0.62738, 0.75321, 0.744, 0.76, 0.76, 0.66316, 1.0
    ],
    ('synthetic', 'keypoints_face', True): [
        0.35739, 0.51689, 0.36959, 0.33363, 0.45585, 0.504, 0.64, 0.52, 0.37368, 0.91667
    ],
    ('synthetic', 'keypoints_lefthand', True): [
        0.52123, 0.77317, 0.4833, 0.49196, 0.6091, 0.616, 0.8, 0.6, 0.53158, 0.88333
    ],
    ('synthetic', 'keypoints_righthand', True): [
        0.63946, 0.77317, 0.68224, 0.58554, 0.78255, 0.708, 0.8, 0.76, 0.61579, 1.0
    ],
    ('synthetic', 'keypoints_wholebody', True): [
        0.43559, 0.77317, 0.36959, 0.4195, 0.50985, 0.56, 0.8, 0.52, 0.45263, 0.9
    ],
    ('synthetic', 'keypoints', False): [
        0.69667, 0.77317, 0.73849, 0.64176, 0.82082, 0.736, 0.8, 0.76, 0.65263, 1.0
    ],
    ('synthetic', 'keypoints_wholebody', False): [
        0.44349, 0.77317, 0.36959, 0.42446, 0.51993, 0.56, 0.8, 0.52, 0.45789, 0.88333
    ],
    ('synthetic', 'keypoints_crowd', False): [
        0.69667, 0.77317, 0.73849, 0.736, 0.8, 0.76, 0.8814, 0.4925, 0.9283
    ],
}
# fmt: on


def synthetic_dataset(fields, sizes, *, first_id=1):
    """People of known boxes, a fifth of them without keypoints, some crowds."""
    # RandomState and not a Generator: its numbers are frozen for ever.
    random = np.random.RandomState(7)
    images = [{'id': 10 + i, 'width': 640, 'height': 480, 'crowdIndex': i / 12} for i in range(12)]
    annotations = []
    for image in images:
        for _ in range(random.randint(1, 6)):
            x, y, w, h = random.uniform([0, 0, 20, 30], [400, 300, 200, 170]).round(2)
            record = {
                'id': first_id + len(annotations),
                'image_id': image['id'],
                'category_id': 1,
                'bbox': [x, y, w, h],
                'area': round(w * h * random.uniform(0.3, 0.9), 3),
                'iscrowd': int(random.rand() < 0.1),
            }
            empty = random.rand() < 0.2
            for field, size in zip(fields, sizes, strict=True):
                points = random.uniform([x, y], [x + w, y + h], (size, 2)).round(2)
                seen = random.randint(0, 3, size) * (not empty)
                record[field] = np.column_stack([points, seen]).ravel().tolist()
            record['num_keypoints'] = sum(v == 2 for v in record['keypoints'][2::3])
            annotations.append(record)
    return {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'person'}],
    }


def perturbed(dataset, fields):
    """Detections made from the annotations: misses, duplicates, small and large errors."""
    random = np.random.RandomState(3)
    found = []
    for record in dataset['annotations']:
        _, _, w, h = record['bbox']
        for copy_number in range(random.choice([0, 1, 1, 1, 1, 2])):
            spread = random.choice([0.002, 0.01, 0.03, 0.08]) * math.sqrt(w * h)
            detection = {
                'image_id': record['image_id'],
                'category_id': record['category_id'],
                'score': round(random.uniform(0.3, 1) - 0.3 * copy_number, 4),
            }
            silent = random.rand() < 0.05
            for field in fields:
                points = np.array(record[field], dtype=float).reshape(-1, 3)
                points[:, :2] += random.normal(0, spread, (len(points), 2))
                points[:, 2] = random.uniform(0.1, 1, len(points)) * (not silent)
                if random.rand() < 0.05:
                    points[:, :2] = points[::-1, :2]
                detection[field] = points.round(3).ravel().tolist()
            found.append(detection)
    return found


def load(name):
    """Returns the annotations and the detections of one of the data sets of this file."""
    if name in FILES:
        if not FILES[name].is_file():
            pytest.skip(f'{FILES[name]} is missing')
        return (dataset := json.loads(FILES[name].read_text())), perturbed(dataset, ['keypoints'])
    fields = ['keypoints', *PARTS]
    dataset = synthetic_dataset(fields, [17, *PARTS.values()])
    return dataset, perturbed(dataset, fields)


def evaluate(dataset, detections, tmp_path, iou_type='keypoints', sigmas=None, use_area=True):
    """Runs what MMPose's CocoMetric runs, files included."""
    (tmp_path / 'gt.json').write_text(json.dumps(dataset))
    (tmp_path / 'dt.json').write_text(json.dumps(detections))
    truth = COCO(str(tmp_path / 'gt.json'))
    coco_eval = COCOeval(
        truth, truth.loadRes(str(tmp_path / 'dt.json')), iou_type, sigmas, use_area
    )
    coco_eval.params.useSegm = None
    coco_eval.evaluate()
    coco_eval.accumulate()
    coco_eval.summarize()
    return coco_eval.stats.tolist()


CASES = [
    *((name, 'keypoints', use_area) for name in ('val', 'official') for use_area in (True, False)),
    *(('synthetic', f'keypoints_{part}', True) for part in PART_SIGMAS),
    ('synthetic', 'keypoints', False),
    ('synthetic', 'keypoints_wholebody', False),
    ('synthetic', 'keypoints_crowd', False),
]


@pytest.mark.parametrize(('name', 'iou_type', 'use_area'), CASES)
def test_stats_are_those_of_the_real_xtcocotools(name, iou_type, use_area, tmp_path):
    sigmas = PART_SIGMAS.get(iou_type.removeprefix('keypoints_'))
    stats = evaluate(*load(name), tmp_path, iou_type, sigmas, use_area)
    assert stats == pytest.approx(GOLDEN[name, iou_type, use_area], abs=6e-6)


def reference_stats(dataset, detections, sigmas, use_area):
    """The ten COCO numbers from their definition, one person and one threshold at a time."""
    people = []
    for record in dataset['annotations']:
        points = np.array(record['keypoints'], dtype=float).reshape(-1, 3)
        _, _, w, h = record['bbox']
        people.append(
            {
                'image': record['image_id'],
                'points': points,
                'area': record['area'] if use_area else 0.53 * w * h,
                'box': record['bbox'],
                'crowd': bool(record.get('iscrowd', 0)),
                'empty': not (points[:, 2] > 0).any(),
            }
        )
    found = []
    for record in detections:
        points = np.array(record['keypoints']).reshape(-1, 3)
        if (points[:, 2] > 0).any():
            area = np.ptp(points[:, 0]) * np.ptp(points[:, 1])
            found.append((record['image_id'], record['score'], points, area))

    def similarity(points, person):
        if person['empty']:  # distance to the box, enlarged to three times its size
            x, y, w, h = person['box']
            dx = np.maximum(0, np.maximum(x - w - points[:, 0], points[:, 0] - x - 2 * w))
            dy = np.maximum(0, np.maximum(y - h - points[:, 1], points[:, 1] - y - 2 * h))
            counted = np.full(len(points), True)
        else:
            dx, dy = (points[:, :2] - person['points'][:, :2]).T
            counted = person['points'][:, 2] > 0
        scale = 2 * person['area'] * (2 * np.asarray(sigmas)) ** 2
        return np.exp(-(dx**2 + dy**2) / scale)[counted].mean()

    def precision_and_recall(threshold, low, high):
        verdicts, total = [], 0  # (score, is a true positive) of each detection that counts
        for image in sorted({image['id'] for image in dataset['images']}):
            here = [p for p in people if p['image'] == image]
            ignored = [p['crowd'] or p['empty'] or not low <= p['area'] <= high for p in here]
            total += ignored.count(False)
            taken = [False] * len(here)
            candidates = sorted((d for d in found if d[0] == image), key=lambda d: -d[1])[:20]
            for _, score, points, area in candidates:
                best = None
                for wanted in (False, True):  # first the people who count, then the others
                    best_oks = threshold
                    for i, person in enumerate(here):
                        if ignored[i] != wanted or (taken[i] and not person['crowd']):
                            continue
                        oks = similarity(points, person)
                        if oks >= best_oks:
                            best, best_oks = i, oks
                    if best is not None:
                        break
                if best is not None:
                    taken[best] = True
                    if not ignored[best]:
                        verdicts.append((score, True))
                elif low <= area <= high:
                    verdicts.append((score, False))
        verdicts.sort(key=lambda v: -v[0])
        hits = np.cumsum([hit for _, hit in verdicts])
        precision, recall = hits / np.arange(1, len(hits) + 1), hits / total
        at = [precision[recall >= r].max(initial=0) for r in np.linspace(0, 1, 101)]
        return np.mean(at), recall[-1]

    sizes = {'all': (0, 1e10), 'medium': (32**2, 96**2), 'large': (96**2, 1e10)}
    thresholds = np.linspace(0.5, 0.95, 10)
    tables = {
        size: np.array([precision_and_recall(t, *limits) for t in thresholds])
        for size, limits in sizes.items()
    }
    every, medium, large = (tables[size].mean(axis=0) for size in sizes)
    half, strict = tables['all'][0], tables['all'][5]
    return [value for k in (0, 1) for value in (every[k], half[k], strict[k], medium[k], large[k])]


@pytest.mark.parametrize('use_area', [True, False])
@pytest.mark.parametrize('name', ['official', 'synthetic'])
def test_stats_are_those_of_an_independent_implementation(name, use_area, tmp_path):
    dataset, detections = load(name)
    stats = evaluate(dataset, detections, tmp_path, use_area=use_area)
    assert stats == pytest.approx(
        reference_stats(dataset, detections, COCO_SIGMAS, use_area), abs=1e-9
    )


def test_stats_are_those_of_pycocotools_where_it_can_evaluate(tmp_path):
    from pycocotools.coco import COCO as PlainCOCO
    from pycocotools.cocoeval import COCOeval as PlainEval

    dataset, detections = load('synthetic')
    detections = [d for d in detections if any(d['keypoints'][2::3])]
    for record in dataset['annotations']:
        record['num_keypoints'] = sum(v > 0 for v in record['keypoints'][2::3])
    stats = evaluate(dataset, detections, tmp_path, sigmas=COCO_SIGMAS)
    truth = PlainCOCO(str(tmp_path / 'gt.json'))
    plain = PlainEval(truth, truth.loadRes(str(tmp_path / 'dt.json')), 'keypoints')
    plain.evaluate()
    plain.accumulate()
    plain.summarize()
    assert stats == plain.stats.tolist()


def test_mmpose_metric_reports_these_numbers(tmp_path):
    pytest.importorskip('mmpose')
    from mmpose.evaluation.metrics import CocoMetric

    dataset, detections = load('val')
    meta = {'num_keypoints': 17, 'sigmas': COCO_SIGMAS}
    metric = CocoMetric(ann_file=str(FILES['val']), score_mode='bbox', nms_mode='none')
    metric.dataset_meta = {**meta, 'dataset_name': 'coco'}
    for number, detection in enumerate(detections):
        points = np.array(detection['keypoints']).reshape(1, 17, 3)
        instances = {'keypoints': points[..., :2], 'keypoint_scores': points[..., 2]}
        sample = {
            'id': number,
            'img_id': detection['image_id'],
            'pred_instances': instances,
            'gt_instances': {'bbox_scores': np.array([detection['score']])},
        }
        metric.process([], [sample])
    reported = metric.evaluate(size=len(detections))
    assert list(reported) == [
        f'coco/{name}'
        for name in 'AP|AP .5|AP .75|AP (M)|AP (L)|AR|AR .5|AR .75|AR (M)|AR (L)'.split('|')
    ]
    assert list(reported.values()) == pytest.approx(GOLDEN['val', 'keypoints', True], abs=6e-6)


def test_an_annotation_id_of_zero_is_a_person_like_any_other(tmp_path):
    fields, sizes = ['keypoints'], [17]
    expected = None
    for first_id in (1, 0, -5):
        dataset = synthetic_dataset(fields, sizes, first_id=first_id)
        stats = evaluate(dataset, perturbed(dataset, fields), tmp_path)
        expected = expected or stats
        # The real one takes every id below 0 for "no match", so only 0 is compared there.
        if GAP.active or first_id >= 0:
            assert stats == expected


def test_annotations_are_not_changed_by_an_evaluation(tmp_path):
    dataset, detections = load('synthetic')
    truth = COCO()
    truth.dataset = dataset
    truth.createIndex()
    before = json.dumps(dataset)
    found = truth.loadRes(detections)
    for _ in range(2):
        coco_eval = COCOeval(truth, found, 'keypoints', COCO_SIGMAS, False)
        coco_eval.evaluate()
    if GAP.active:
        assert json.dumps(dataset) == before


def test_missing_iscrowd_counts_as_zero_and_no_detection_at_all_gives_zero(tmp_path):
    dataset, detections = load('synthetic')
    for record in dataset['annotations']:
        record['iscrowd'] = 0
    expected = evaluate(dataset, detections, tmp_path)
    for record in dataset['annotations']:
        del record['iscrowd'], record['num_keypoints']
    assert evaluate(dataset, detections, tmp_path) == expected
    assert evaluate(dataset, [], tmp_path) == [0.0] * 10


@ours_only
def test_readable_errors(tmp_path):
    dataset, detections = load('synthetic')
    with pytest.raises(ValueError, match="iouType is 'keypoints_tail'; expected one of"):
        evaluate(dataset, detections, tmp_path, 'keypoints_tail')
    with pytest.raises(ValueError, match='17 sigmas, but a record of image 10 has 6 keypoints'):
        evaluate(dataset, detections, tmp_path, 'keypoints_foot')
    bare = [{k: v for k, v in a.items() if k != 'area'} for a in dataset['annotations']]
    with pytest.raises(ValueError, match='has no "area"; evaluate with use_area=False'):
        evaluate({**dataset, 'annotations': bare}, detections, tmp_path)
    bare = [{k: v for k, v in d.items() if k != 'foot_kpts'} for d in detections]
    with pytest.raises(ValueError, match='needs the field "foot_kpts"'):
        evaluate(dataset, bare, tmp_path, 'keypoints_foot', np.ones(6))
    bare = [{k: v for k, v in i.items() if k != 'crowdIndex'} for i in dataset['images']]
    with pytest.raises(ValueError, match='needs the "crowdIndex" of every image'):
        evaluate({**dataset, 'images': bare}, detections, tmp_path, 'keypoints_crowd')
