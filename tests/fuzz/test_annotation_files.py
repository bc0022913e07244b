"""Annotation files with anything in them: a data set that loads, or one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpose.registry import DATASETS
from mutations import VALUES, mutated_bytes, mutated_json

from mspn_plugin.annotations.keypoint_file import (
    check_annotations,
    check_dataset,
    check_mpii_annotations,
)
from mspn_plugin.annotations.problems import ERRORS

COCO = json.dumps(
    dict(
        images=[
            dict(id=1, file_name='a.jpg', width=40, height=30),
            dict(id=2, file_name='b/c.jpg', width=20, height=50),
        ],
        annotations=[
            dict(
                id=11 + image,
                image_id=image,
                category_id=1,
                bbox=[2, 3, 20, 20],
                keypoints=[5, 5, 2, 0, 0, 0, 9.5, 9, 1] + [1, 2, 2] * 14,
                num_keypoints=16,
                area=200.0,
                iscrowd=0,
            )
            for image in (1, 2)
        ],
        categories=[dict(id=1, name='person', keypoints=['a', 'b'], skeleton=[])],
    )
)
MPII = json.dumps(
    [
        dict(
            image='015601864.jpg',
            center=[594.0, 257.0],
            scale=3.0,
            joints=[[620.0, 394.0]] * 16,
            joints_vis=[1] * 16,
        )
    ]
)
OTHERS = st.one_of(
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b'[' * 100_000, b'{"a":' * 50_000, b'9' * 5000, b'']),
)


def files(text):
    return st.one_of(mutated_json(text), mutated_bytes(text.encode()), OTHERS)


@pytest.fixture(scope='module')
def path(folder):
    (folder / 'images').mkdir()
    return folder / 'people.json'


def load(kind, path, **options):
    """What a run does with a file that was found good."""
    dataset = DATASETS.build(
        dict(
            type=kind,
            ann_file=str(path),
            data_prefix=dict(img=str(path.parent / 'images')),
            pipeline=[],
            **options,
        )
    )
    return [dataset[index] for index in range(len(dataset))]


@given(content=files(COCO))
def test_coco(content, path, trial, capsys):
    path.write_bytes(content)
    found = trial(check_annotations, path, 17)
    if found is not None:  # then MMPose's own reader must not stumble
        people = trial(load, 'CocoDataset', path, test_mode=True)
        assert len(people) <= len(found['annotations'])
        for person in people:
            assert person['img_path'].startswith(str(path.parent / 'images'))
            assert '..' not in Path(person['img_path']).parts
    capsys.readouterr()


@given(content=files(MPII))
def test_mpii(content, path, trial, capsys):
    path.write_bytes(content)
    found = trial(check_mpii_annotations, path, 16)
    if found is not None:
        assert len(trial(load, 'MegviiMpiiDataset', path)) == len(found)
    capsys.readouterr()


@given(content=files(COCO))
def test_the_check_of_a_data_set(content, path, trial):
    path.write_bytes(content)
    found = trial(check_dataset, path, path.parent / 'images', decode=False)
    if found is not None:
        tally, _ = found
        json.dumps(tally.record(), allow_nan=False).encode('utf-8')
        assert all(isinstance(line, str) for line in tally.lines())
        assert tally.count_of(ERRORS) >= 1  # there are no images
    assert sorted(p.name for p in path.parent.iterdir()) == ['images', 'people.json']
