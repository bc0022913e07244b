"""Keypoint evaluation behind the name xtcocotools, and who answers for that name.

Independent witnesses: the numbers of the real xtcocotools 1.14.3 (GOLDEN, made by running
`perturbed` under it, with numpy 1.26 in Python 3.11), pycocotools on records that the test brings to its form,
and, where the real xtcocotools imports, this whole file runs against it.
"""

import importlib
import json
import math
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO as PlainCOCO
from pycocotools.cocoeval import COCOeval as PlainEval

from mspn_plugin.compat import coco_api

GAP = coco_api.install()

from mmpose.evaluation.metrics import CocoMetric  # noqa: E402
from xtcocotools.coco import COCO  # noqa: E402
from xtcocotools.cocoeval import COCOeval  # noqa: E402

ours_only = pytest.mark.skipif(not GAP.active, reason='the real xtcocotools is installed')

DATA = Path(__file__).resolve().parents[2].parent / 'shared' / 'data' / 'coco' / 'annotations'
FILES = {
    'val': DATA / 'person_keypoints_val2017.json',
    'official': DATA / 'person_keypoints_val2017_official.json',
}
THOUSANDTHS = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
COCO_SIGMAS = np.array(THOUSANDTHS) / 1000
# (data, use_area) -> the stats of the real xtcocotools
# fmt: off
GOLDEN = {
    ('val', True): [
        0.39938, 0.56326, 0.4079, 0.6054, 0.32077, 0.58972, 0.71262, 0.6028, 0.61429, 0.55031
    ],
    ('val', False): [
        0.40373, 0.56403, 0.41171, 0.59605, 0.34496, 0.59252, 0.71495, 0.60748, 0.60398, 0.57126
    ],
    ('official', True): [
        0.31821, 0.46289, 0.32517, 0.61612, 0.31022, 0.60265, 0.7351, 0.61589, 0.614, 0.58039
    ],
    ('official', False): [
        0.32465, 0.45929, 0.33224, 0.61707, 0.34339, 0.60927, 0.7351, 0.62252, 0.61848, 0.60182
    ],
}
# fmt: on


def synthetic_dataset(*, first_id=1):
    """People of known boxes, a fifth of them without keypoints, some crowds."""
    random = np.random.RandomState(7)
    images = [{'id': 10 + i, 'width': 640, 'height': 480} for i in range(12)]
    annotations = []
    for number in range(40):
        x, y, w, h = random.uniform([0, 0, 20, 30], [400, 300, 200, 170]).round(2)
        points = random.uniform([x, y], [x + w, y + h], (17, 2)).round(2)
        seen = random.randint(0, 3, 17) * (random.rand() > 0.2)
        record = {
            'id': first_id + number,
            'image_id': 10 + number % 12,
            'category_id': 1,
            'bbox': [x, y, w, h],
            'area': round(w * h * random.uniform(0.3, 0.9), 3),
            'iscrowd': int(random.rand() < 0.1),
            'keypoints': np.column_stack([points, seen]).ravel().tolist(),
            'num_keypoints': int((seen == 2).sum()),
        }
        annotations.append(record)
    categories = [{'id': 1, 'name': 'person'}]
    return {'images': images, 'annotations': annotations, 'categories': categories}


def perturbed(dataset):
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
            points = np.array(record['keypoints'], dtype=float).reshape(-1, 3)
            points[:, :2] += random.normal(0, spread, (len(points), 2))
            points[:, 2] = random.uniform(0.1, 1, len(points)) * (not silent)
            if random.rand() < 0.05:
                points[:, :2] = points[::-1, :2]
            detection['keypoints'] = points.round(3).ravel().tolist()
            found.append(detection)
    return found


def load(name):
    """Returns the annotations and the detections of one of the data sets of this file."""
    if name == 'synthetic':
        dataset = synthetic_dataset()
    elif FILES[name].is_file():
        dataset = json.loads(FILES[name].read_text())
    else:
        pytest.skip(f'{FILES[name]} is missing')
    return dataset, perturbed(dataset)


def evaluate(dataset, detections, tmp_path, sigmas=None, use_area=True, iou_type='keypoints'):
    """Runs what MMPose's CocoMetric runs, files included."""
    (tmp_path / 'gt.json').write_text(json.dumps(dataset))
    (tmp_path / 'dt.json').write_text(json.dumps(detections))
    truth = COCO(str(tmp_path / 'gt.json'))
    found = truth.loadRes(str(tmp_path / 'dt.json'))
    coco_eval = COCOeval(truth, found, iou_type, sigmas, use_area)
    coco_eval.params.useSegm = None
    coco_eval.evaluate()
    coco_eval.accumulate()
    coco_eval.summarize()
    return coco_eval.stats.tolist()


@pytest.mark.parametrize(('name', 'use_area'), GOLDEN)
def test_stats_are_those_of_the_real_xtcocotools(name, use_area, tmp_path):
    stats = evaluate(*load(name), tmp_path, None, use_area)
    assert stats == pytest.approx(GOLDEN[name, use_area], abs=6e-6)


@pytest.mark.parametrize('use_area', [True, False])
def test_stats_are_those_of_pycocotools_on_records_in_its_form(use_area, tmp_path):
    dataset, detections = load('synthetic')
    stats = evaluate(dataset, detections, tmp_path, COCO_SIGMAS, use_area)
    for record in dataset['annotations']:
        record['num_keypoints'] = sum(v > 0 for v in record['keypoints'][2::3])
        record['area'] = record['area'] if use_area else math.prod(record['bbox'][2:]) * 0.53
    truth = PlainCOCO()
    truth.dataset = dataset
    truth.createIndex()
    found = truth.loadRes([d for d in detections if any(d['keypoints'][2::3])])
    plain = PlainEval(truth, found, 'keypoints')
    plain.evaluate()
    plain.accumulate()
    plain.summarize()
    assert stats == plain.stats.tolist() and 0.1 < stats[0] < 0.9


def test_mmpose_metric_reports_these_numbers(tmp_path):
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
    names = 'AP|AP .5|AP .75|AP (M)|AP (L)|AR|AR .5|AR .75|AR (M)|AR (L)'
    assert list(reported) == [f'coco/{name}' for name in names.split('|')]
    assert list(reported.values()) == pytest.approx(GOLDEN['val', True], abs=6e-6)


def test_an_annotation_id_of_zero_is_a_person_like_any_other(tmp_path):
    expected = None
    for first_id in (1, 0, -5):
        dataset = synthetic_dataset(first_id=first_id)
        stats = evaluate(dataset, perturbed(dataset), tmp_path)
        expected = expected or stats
        # The real one takes every id below 0 for "no match", so only 0 is compared there.
        if GAP.active or first_id >= 0:
            assert stats == expected


def test_annotations_are_not_changed_by_an_evaluation():
    dataset, detections = load('synthetic')
    truth = COCO()
    truth.dataset = dataset
    truth.createIndex()
    before = json.dumps(dataset)
    COCOeval(truth, truth.loadRes(detections), 'keypoints', COCO_SIGMAS, False).evaluate()
    if GAP.active:
        assert json.dumps(dataset) == before


def test_missing_iscrowd_counts_as_false_and_no_detection_at_all_gives_zero(tmp_path):
    dataset, detections = load('synthetic')
    for record in dataset['annotations']:
        record['iscrowd'] = 0
    expected = evaluate(dataset, detections, tmp_path)
    for record in dataset['annotations']:
        del record['iscrowd'], record['num_keypoints']
    assert evaluate(dataset, detections, tmp_path) == expected
    assert COCO(str(tmp_path / 'gt.json')).dataset['annotations'][0]['iscrowd'] is False
    if GAP.active:  # the real one fails here
        assert evaluate(dataset, [], tmp_path) == [0.0] * 10


@ours_only
def test_readable_errors(tmp_path):
    dataset, detections = load('synthetic')
    for kind in ('keypoints_wholebody', 'keypoints_crowd'):
        with pytest.raises(NotImplementedError, match=f"'{kind}' .*needs the real xtcocotools"):
            evaluate(dataset, detections, tmp_path, iou_type=kind)
    with pytest.raises(ValueError, match='6 sigmas, but a record of image 10 has 17 keypoints'):
        evaluate(dataset, detections, tmp_path, np.ones(6))
    bare = [{k: v for k, v in a.items() if k != 'area'} for a in dataset['annotations']]
    with pytest.raises(ValueError, match='has no "area"; evaluate with use_area=False'):
        evaluate({**dataset, 'annotations': bare}, detections, tmp_path)


# --- who answers for the name


@ours_only
def test_modules_have_real_specs_and_installing_again_changes_nothing():
    before = list(sys.meta_path)
    assert coco_api.install() == GAP and sys.meta_path == before
    package = importlib.import_module('xtcocotools')
    assert {m.name for m in pkgutil.iter_modules(package.__path__)} == {'coco', 'cocoeval', 'mask'}
    for name in ('xtcocotools', 'xtcocotools.coco', 'xtcocotools.cocoeval', 'xtcocotools.mask'):
        assert importlib.util.find_spec(name).loader is not None
        assert importlib.import_module(name).__spec__.name == name
    assert COCO.__module__ == 'xtcocotools.coco'
    masks = sys.modules['xtcocotools.mask']
    square = masks.frPyObjects([[0, 0, 4, 0, 4, 4, 0, 4]], 8, 8)
    assert masks.decode(masks.merge(square)).sum() == masks.area(square)[0] == 16


def run_isolated(code, *folders):
    """Runs code in a fresh Python with `mspn_plugin.compat` but without the rest of it."""
    stub = (
        'import sys, types\n'
        "parent = sys.modules['mspn_plugin'] = types.ModuleType('mspn_plugin')\n"
        f'parent.__path__ = [{str(Path(coco_api.__file__).parents[2])!r}]\n'
        'from mspn_plugin.compat import coco_api\n'
    )
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, folders))}
    command = [sys.executable, '-c', stub + code]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ('body', 'expected'),
    [
        pytest.param('', 'False True True True', id='one that imports is left alone'),
        pytest.param(
            "raise ValueError('numpy.dtype size changed')",
            'True True False False',
            id='one for another numpy is replaced',
        ),
    ],
)
def test_a_real_xtcocotools(body, expected, tmp_path):
    package = tmp_path / 'xtcocotools'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / '_mask.py').write_text(body)
    for name in ('coco', 'cocoeval'):
        (package / f'{name}.py').write_text('from . import _mask\nORIGINAL = True\n')
    show = """
gap = coco_api.install()
again = coco_api.install()
from xtcocotools import coco, cocoeval
print(gap.active, again == gap, hasattr(coco, 'ORIGINAL'), hasattr(cocoeval, 'ORIGINAL'))
assert ('xtcocotools._mask' in sys.modules) == hasattr(coco, 'ORIGINAL')
"""
    assert run_isolated(show, tmp_path).strip() == expected


def test_missing_pycocotools_is_told_and_not_hidden():
    gap = run_isolated("""
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: (
    None if name in ('pycocotools', 'xtcocotools') else real(name, *rest)
)
print(coco_api.install())
""")
    assert 'active=False' in gap and 'pip install pycocotools' in gap
