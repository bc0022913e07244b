"""MPII: joints count from 0 in training, and a perfect prediction of them scores 100 in tests."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mmpose.evaluation.metrics import MpiiPCKAccuracy
from mmpose.registry import DATASETS
from scipy.io import savemat

PEOPLE = 3


@pytest.fixture
def mpii(tmp_path):
    rng = np.random.default_rng(0)
    people = []
    for index in range(PEOPLE):
        visible = np.ones(16, int)
        visible[index] = 0
        joints = np.where(visible[:, None], rng.uniform(20, 200, (16, 2)), -1)
        people.append(
            dict(
                image=f'{index:09}.jpg',
                center=[100.0, 120.0],
                scale=1.5,
                joints=joints.tolist(),
                joints_vis=visible.tolist(),
            )
        )
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations' / 'mpii.json').write_text(json.dumps(people))
    heads = rng.uniform(0, 50, (2, 2, PEOPLE))
    savemat(tmp_path / 'annotations' / 'mpii_gt_val.mat', dict(headboxes_src=heads))
    return tmp_path


def build(root, kind='MegviiMpiiDataset', **settings):
    dataset = DATASETS.build(
        dict(
            type=kind,
            data_root=str(root),
            ann_file='annotations/mpii.json',
            data_prefix=dict(img='images/'),
            **settings,
        )
    )
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def test_training_joints_count_from_0_and_are_visible(mpii):
    ours, stock = build(mpii), build(mpii, 'MpiiDataset')
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
    labels = build(mpii)
    heads = str(mpii / 'annotations' / 'mpii_gt_val.mat')
    metric = MpiiPCKAccuracy(thr=0.001, norm_item='head')
    samples = [
        dict(
            gt_instances={k: b[k] for k in ('keypoints', 'keypoints_visible', 'head_size')},
            pred_instances=dict(keypoints=a['keypoints']),
        )
        for a, b in zip(labels, build(mpii, test_mode=True, headbox_file=heads), strict=True)
    ]
    metric.process([{}] * PEOPLE, samples)
    assert metric.evaluate(PEOPLE)['PCK'] == pytest.approx(100)
