"""Results in COCO's format, and a file of them that is valid whenever the run ends."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

from mspn.coco_results import ResultsFile, coco_results
from mspn_plugin import InputError


def make_person(keypoints, scores, box=(10, 20, 40, 60.5), box_score=0.5):
    person = PoseDataSample()
    person.pred_instances = InstanceData(
        keypoints=np.array([keypoints], np.float32),
        keypoint_scores=np.array([scores], np.float32),
        bboxes=np.array([box], np.float32),
        bbox_scores=np.array([box_score], np.float32),
    )
    return person


def test_one_person():
    person = make_person([[1.23456, 2], [3, 4.00049]], [0.8, 1 / 3])
    result = coco_results([person], 42)
    assert result == [
        dict(
            image_id=42,
            category_id=1,
            keypoints=[1.235, 2, 0.8, 3, 4, 0.33333],
            score=0.28333,
            bbox=[10, 20, 30, 40.5],
        )
    ]
    assert json.loads(json.dumps(result)) == result  # plain Python numbers
    assert coco_results([], 1) == []


@pytest.mark.parametrize('where', ['keypoints', 'scores'])
def test_numbers_that_are_not_finite_are_refused(where):
    person = make_person(
        [[np.nan if where == 'keypoints' else 1, 2]], [np.nan if where == 'scores' else 1]
    )
    with pytest.raises(InputError, match='image 42 are not finite'):
        coco_results([person], 42)


def test_the_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / 'results.json'
    path.write_text('of an earlier run')
    with ResultsFile(str(path)) as results:
        assert results.partial == tmp_path / 'results.partial.json'
        assert json.loads(results.partial.read_text()) == []
        for count in (2, 0, 1):
            results.write([dict(number=results.count + i) for i in range(count)])
            # Valid after every step, so even if the process is killed.
            assert len(json.loads(results.partial.read_text())) == results.count
        assert path.read_text() == 'of an earlier run'
    assert json.loads(path.read_text()) == [dict(number=i) for i in range(3)]
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_list_is_a_result(tmp_path):
    with ResultsFile(tmp_path / 'results.json'):
        pass
    assert json.loads((tmp_path / 'results.json').read_text()) == []


@pytest.mark.parametrize('reason', [ValueError, KeyboardInterrupt])
def test_what_was_finished_is_kept(tmp_path, reason):
    results = ResultsFile(tmp_path / 'results.json')
    with pytest.raises(reason), results:
        results.write([dict(number=1)])
        raise reason
    assert list(tmp_path.iterdir()) == [results.partial]
    assert json.loads(results.partial.read_text()) == [dict(number=1)]


def test_an_interrupted_write_leaves_a_valid_list(tmp_path):
    results = ResultsFile(tmp_path / 'results.json')
    with pytest.raises(OSError), results:
        results.write([dict(number=1)])
        with results.partial.open('ab') as file:  # as a full disk would
            file.write(b'"half an en')
        raise OSError
    assert json.loads(results.partial.read_text()) == [dict(number=1)]


def test_entries_of_a_write_are_all_or_none(tmp_path):
    results = ResultsFile(tmp_path / 'results.json')
    with pytest.raises(ValueError), results:
        results.write([dict(number=1), dict(number=float('nan'))])
    assert list(tmp_path.iterdir()) == []  # and nothing is kept of nothing
