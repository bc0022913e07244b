"""Annotation and detection files with anything in them: what can be used, or one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from mmpose.registry import DATASETS
from mutations import VALUES, json_files

from mspn.detections import read_detections
from mspn.poses import check_boxes
from mspn_plugin.annotations import keypoint_file

KEYPOINTS = [5, 5, 2, 0, 0, 0, 9.5, 9, 1] + [1, 2, 2] * 14
PERSON = dict(category_id=1, bbox=[2, 3, 20, 20], num_keypoints=16, area=200.0, iscrowd=0)
COCO = dict(
    images=[dict(id=i, file_name=f'{i}/a.jpg', width=40, height=20 + 10 * i) for i in (1, 2)],
    annotations=[dict(PERSON, id=11 + i, image_id=i, keypoints=KEYPOINTS) for i in (1, 2)],
    categories=[dict(id=1, name='person', keypoints=['a', 'b'], skeleton=[])],
)
MPII_PERSON = dict(image='015601864.jpg', center=[594.0, 257.0], scale=3.0)
MPII = [dict(MPII_PERSON, joints=[[620.0, 394.0]] * 16, joints_vis=[1] * 16)]
DETECTIONS = [
    dict(category_id=1, image_id=image, bbox=[10.5, 20, 30, 40.25], score=score)
    for image, score in ((7, 0.9), (7, 1), (8, 0.25), (9, 0))
]


@pytest.fixture(scope='module')
def path(folder):
    (folder / 'images').mkdir()
    return folder / 'labels.json'


@pytest.fixture(autouse=True)
def _no_other_files(path):
    yield
    assert sorted(p.name for p in path.parent.iterdir()) == ['images', 'labels.json']


def load(kind, path, **options):
    """What a run does with a file that was found good."""
    options.update(ann_file=str(path), data_prefix=dict(img=str(path.parent / 'images')))
    dataset = DATASETS.build(dict(type=kind, pipeline=[], **options))
    return [dataset[index] for index in range(len(dataset))]


@given(content=json_files(COCO))
def test_coco(content, path, trial, capsys):
    path.write_bytes(content)
    found = trial(keypoint_file.check_annotations, path, 17)
    if found is not None:  # then MMPose's own reader must not stumble
        found = found[0]
        people = trial(load, 'CocoDataset', path, test_mode=True)
        assert len(people) <= len(found['annotations'])
        for person in people:
            assert person['img_path'].startswith(str(path.parent / 'images'))
            assert '..' not in Path(person['img_path']).parts
        assert len(trial(load, 'CocoPersonDataset', path)) == len(people)
    capsys.readouterr()


@given(content=json_files(MPII))
def test_mpii(content, path, trial, capsys):
    path.write_bytes(content)
    found = trial(keypoint_file.check_mpii_annotations, path, 16)
    if found is not None:
        assert len(trial(load, 'MegviiMpiiDataset', path)) == len(found)
    capsys.readouterr()


@given(content=json_files(DETECTIONS))
def test_boxes_or_a_sentence(content, path, trial):
    path.write_bytes(content)
    found = trial(read_detections, path)
    if found is None:
        return
    # No entry is lost: what is in the list is a box or counted as another category.
    assert len(found) + found.other_categories == len(json.loads(content.decode('utf-8-sig')))
    for image, (boxes, scores) in found.by_image.items():
        assert type(image) is int and len(boxes) == len(scores) > 0
        assert np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        assert ((scores >= 0) & (scores <= 1)).all()


@given(boxes=VALUES, scores=VALUES)
def test_boxes_from_a_program(boxes, scores, path, trial):
    found = trial(check_boxes, boxes, scores, (640, 480), 'image 1')
    path.touch()
    if found is not None:
        assert found[0].dtype == found[1].dtype == np.float32 and np.isfinite(found[0]).all()
