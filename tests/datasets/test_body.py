"""Data sets of people against MMPose's, and the original's folders and labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mmpose.evaluation.metrics import MpiiPCKAccuracy
from mmpose.registry import DATASETS
from scipy.io import savemat

from mspn_plugin import InputError
from mspn_plugin.datasets import body as module

TRAINING, MINIVAL = 'gt_json/train_val_minus_minival_2014.json', 'gt_json/minival_2014.json'
BOXES = [
    dict(image_id=44, category_id=1, bbox=[1, 2, 30, 40], score=0.9),
    dict(image_id=1, category_id=1, bbox=[1, 2, 30, 40], score=0.9),
    dict(image_id=43, category_id=18, bbox=[1, 2, 30, 40], score=0.9),
    dict(image_id=43, category_id=1, bbox=[5.5, 6, 7, 8], score=0.25),
    dict(image_id=999, category_id=3, bbox=[1, 2, 30, 40], score=0.9),
]


def build(root, **settings):
    return DATASETS.build(dict(type='Coco2014Dataset', data_root=str(root), **settings))


def stock_records(root, ann_file, **settings):
    """What MMPose reads from a copy of an annotation file whose image names have their folders."""
    content = json.loads((root / ann_file).read_text())
    for image in content['images']:
        image['file_name'] = f'{image["file_name"].split("_")[1]}/{image["file_name"]}'
    path = root / 'gt_json' / 'with_folders.json'
    path.write_text(json.dumps(content))
    prefix = dict(img=str(root))
    stock = dict(type='CocoDataset', ann_file=str(path), data_prefix=prefix, **settings)
    return records(DATASETS.build(stock))


def assert_same(ours, stock):
    for a, b in zip(ours, stock, strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - {'sample_idx'}:
            assert np.array_equal(a[key], b[key]), key
            assert getattr(a[key], 'dtype', None) == getattr(b[key], 'dtype', None), key


def records(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


@pytest.mark.parametrize('data_mode', ['topdown', 'bottomup'])
def test_training_reads_both_folders(coco2014, data_mode):
    ours = records(build(coco2014, ann_file=TRAINING, data_mode=data_mode))
    stock = stock_records(coco2014, TRAINING, data_mode=data_mode)
    if data_mode == 'topdown':  # nobody needs the outlines
        for record in stock:
            del record['segmentation']
    assert_same(ours, stock)
    assert {Path(record['img_path']).parent.name for record in ours} == {'train2014', 'val2014'}
    assert all(Path(record['img_path']).is_file() for record in ours)
    # Names that have a folder stay as they are.
    spelt_out = str(coco2014 / 'gt_json' / 'with_folders.json')
    assert_same(records(build(coco2014, ann_file=spelt_out, data_mode=data_mode)), ours)


def test_images_may_lie_one_folder_deeper(coco2014):
    (coco2014 / 'images').mkdir()
    for name in ('train2014', 'val2014'):
        (coco2014 / name).rename(coco2014 / 'images' / name)
    dataset = build(coco2014, ann_file=TRAINING, data_prefix=dict(img='images/'))
    paths = {record['img_path'] for record in records(dataset)}
    assert len(paths) == 3
    assert all(Path(path).is_file() and '/images/' in path for path in paths)


def test_detections_of_other_images_and_categories_are_left_out(coco2014, monkeypatch):
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda text, *_: lines.append(text))
    path = coco2014 / 'det_json' / 'minival_2014_det.json'
    path.write_text(json.dumps(BOXES))
    ours = build(coco2014, ann_file=MINIVAL, bbox_file=str(path), test_mode=True)
    assert [record['img_id'] for record in records(ours)] == [44, 43]
    assert all(Path(record['img_path']).is_file() for record in records(ours))
    (line,) = lines
    assert '2 people; left out: 1 boxes of images' in line and '2 of other categories' in line

    # What is left is as MMPose reads it, where it can.
    path.write_text(json.dumps([BOXES[0], BOXES[3]]))
    stock = stock_records(coco2014, MINIVAL, bbox_file=str(path), test_mode=True)
    assert_same(records(ours), stock)


@pytest.mark.parametrize(
    ('boxes', 'words'),
    [
        (BOXES[1:3], 'the 2 boxes .* are 1 boxes of images .* and 1 of other categories; give'),
        ([], 'the 0 boxes'),
        (dict(boxes=BOXES), 'holds an object, not a list; expected a JSON list'),
        ([dict(image_id=1)], 'entry 0: category_id is missing'),
    ],
)
def test_useless_detections_are_explained(coco2014, boxes, words):
    path = coco2014 / 'det_json' / 'minival_2014_det.json'
    path.write_text(json.dumps(boxes))
    with pytest.raises(InputError, match=words) as caught:
        build(coco2014, ann_file=MINIVAL, bbox_file=str(path), test_mode=True)
    assert str(path) in str(caught.value)


PEOPLE = 3


@pytest.fixture
def mpii(tmp_path):
    rng = np.random.default_rng(0)
    people = []
    for index in range(PEOPLE):
        visible = np.arange(16) != index
        joints = np.where(visible[:, None], rng.uniform(20, 200, (16, 2)), -1).tolist()
        labels = dict(joints=joints, joints_vis=visible.astype(int).tolist())
        people.append(dict(labels, image=f'{index:09}.jpg', center=[100.0, 120.0], scale=1.5))
    (tmp_path / 'mpii.json').write_text(json.dumps(people))
    heads = rng.uniform(0, 50, (2, 2, PEOPLE))
    savemat(tmp_path / 'mpii_gt_val.mat', dict(headboxes_src=heads))
    return tmp_path


def build_mpii(root, kind='MegviiMpiiDataset', **settings):
    places = dict(data_root=str(root), ann_file='mpii.json', data_prefix=dict(img='images/'))
    return records(DATASETS.build(dict(type=kind, **places, **settings)))


def test_training_joints_count_from_0_and_are_visible(mpii):
    ours, stock = build_mpii(mpii), build_mpii(mpii, 'MpiiDataset')
    assert len(ours) == PEOPLE
    for index, (a, b) in enumerate(zip(ours, stock, strict=True)):
        assert np.array_equal(a['keypoints'], b['keypoints'] - 1)
        expected = np.full((1, 16), 2)
        expected[0, index] = 0
        assert np.array_equal(a['keypoints_visible'], expected)
        assert a['keypoints_visible'].dtype == a['keypoints'].dtype == np.float32
        for key in a.keys() - {'keypoints', 'keypoints_visible'}:
            assert np.array_equal(a[key], b[key]), key


def test_a_model_that_learnt_the_training_labels_scores_100(mpii):
    labels = build_mpii(mpii)
    heads = str(mpii / 'mpii_gt_val.mat')
    metric = MpiiPCKAccuracy(thr=0.001, norm_item='head')
    samples = [
        dict(
            gt_instances={k: b[k] for k in ('keypoints', 'keypoints_visible', 'head_size')},
            pred_instances=dict(keypoints=a['keypoints']),
        )
        for a, b in zip(labels, build_mpii(mpii, test_mode=True, headbox_file=heads), strict=True)
    ]
    metric.process([{}] * PEOPLE, samples)
    assert metric.evaluate(PEOPLE)['PCK'] == pytest.approx(100)
