"""Detection files with anything in them: boxes that can be used, or one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import VALUES, mutated_bytes, mutated_json

from mspn.detections import read_detections
from mspn.poses import check_boxes
from mspn_plugin.annotations.keypoint_files import check_detections

ENTRIES = [
    dict(category_id=1, image_id=image, bbox=[10.5, 20, 30, 40.25], score=score)
    for image, score in ((7, 0.9), (7, 1), (8, 0.25), (9, 0))
]
TEXT = json.dumps(ENTRIES)
FILES = st.one_of(
    mutated_json(TEXT),
    mutated_bytes(TEXT.encode()),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.lists(VALUES, max_size=4).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    st.sampled_from([b'[' * 100_000, b'{"a":' * 50_000, b'[' * 900 + b']' * 900, b'9' * 5000]),
)


@pytest.fixture(scope='module')
def path(folder):
    return folder / 'detections.json'


@given(content=FILES)
def test_boxes_or_a_sentence(content, path, trial):
    path.write_bytes(content)
    trial(check_detections, path)
    found = trial(read_detections, path)
    assert list(path.parent.iterdir()) == [path]
    if found is None:
        return
    # No entry is lost: what is in the list is a box or counted as another category.
    assert len(found) + found.other_categories == len(json.loads(content.decode('utf-8-sig')))
    for image, (boxes, scores) in found.by_image.items():
        assert type(image) is int and len(boxes) == len(scores) > 0
        assert np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        assert ((scores >= 0) & (scores <= 1)).all()


@given(boxes=VALUES, scores=VALUES)
def test_boxes_from_a_program(boxes, scores, trial):
    found = trial(check_boxes, boxes, scores, (640, 480), 'image 1')
    if found is not None:
        assert found[0].dtype == found[1].dtype == np.float32 and np.isfinite(found[0]).all()
