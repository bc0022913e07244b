"""Detection files: every entry is checked, the faults have an index, and large files are quick."""

import json
import time

import numpy as np
import pytest

from mspn.detections import read_detections
from mspn_plugin import InputError

GOOD = dict(category_id=1, image_id=7, bbox=[10, 20, 30.5, 40], score=0.9)


@pytest.fixture
def write(tmp_path):
    def write(content):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / 'detections.json').write_bytes(content)
        return tmp_path / 'detections.json'

    return write


def test_boxes_by_image_in_the_order_of_the_file(write):
    second = dict(GOOD, image_id=3, bbox=[-5, 0, 10, 10], score=1, segmentation=[])
    entries = [GOOD, second, dict(GOOD, category_id=18), dict(GOOD, bbox=[1, 2, 3, 4], score=0)]
    found = read_detections(write(entries))
    assert list(found.by_image) == [7, 3] and found.other_categories == 1 and len(found) == 3
    boxes, scores = found.by_image[7]
    assert boxes.dtype == scores.dtype == np.float32
    assert boxes.tolist() == [[10, 20, 40.5, 60], [1, 2, 4, 6]]
    assert scores.tolist() == [np.float32(0.9), 0]
    assert found.by_image[3][0].tolist() == [[-5, 0, 5, 10]]
    others = read_detections(write(entries), category_id=18)
    assert list(others.by_image) == [7] and others.other_categories == 3
    assert read_detections(str(write([]))).by_image == {}
    assert len(read_detections(write(b'\xef\xbb\xbf' + json.dumps([GOOD]).encode()))) == 1


@pytest.mark.parametrize(
    ('entry', 'words'),
    [
        ([1, 2], r'\[1, 2\] is not an object'),
        (None, 'null is not an object'),
        *(({k: GOOD[k] for k in GOOD if k != key}, f'{key} is missing') for key in GOOD),
        (dict(GOOD, bbox=[1, 2, 3]), r'bbox \[1, 2, 3\] is not a list of 4 numbers'),
        (dict(GOOD, bbox='1 2 3 4'), 'bbox "1 2 3 4" is not a list of 4 numbers'),
        *(
            (dict(GOOD, bbox=[1, 2, 3, value]), 'is not 4 finite numbers')
            for value in ('4', True, None, float('nan'), float('inf'), 10**400)
        ),
        (dict(GOOD, bbox=[1, 2, 0, 4]), 'width or height that is not above 0'),
        (dict(GOOD, bbox=[1, 2, 3, -4]), 'width or height that is not above 0'),
        (dict(GOOD, bbox=[100, 2, 1e-9, 4]), 'too small for where it lies'),
        *(
            (dict(GOOD, score=value), f'score {json.dumps(value)[:9]}.* not a number from 0 to 1')
            for value in (1.01, -0.1, 10**400, float('nan'), '0.9', True)
        ),
        (dict(GOOD, image_id='7'), 'image_id "7" is a text, expected an integer'),
        (dict(GOOD, image_id=7.0), 'image_id 7.0 is not an integer'),
        (dict(GOOD, image_id=True), 'image_id true is not an integer'),
        (dict(GOOD, category_id='1'), 'category_id "1" is a text'),
        (dict(GOOD, category_id=2, score=5), 'score 5'),  # other categories are checked, too
    ],
)
def test_a_malformed_entry_is_named(write, entry, words):
    path = write([GOOD] * 17 + [entry])
    with pytest.raises(InputError, match=f'has 1 entry that cannot be used.*entry 17: .*{words}'):
        read_detections(path)


def test_the_first_ten_faults_are_named_and_the_others_counted(write):
    path = write([GOOD, *[dict(GOOD, score=2)] * 25])
    with pytest.raises(InputError, match='25 entries that cannot') as caught:
        read_detections(path)
    text = str(caught.value)
    assert text.count('entry ') == 10 and 'entry 10: ' in text and 'entry 11' not in text
    assert text.endswith('; and 15 more') and '\n' not in text


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ({'annotations': []}, 'holds an object, not a list'),
        (3, 'holds a number, not a list'),
        ('boxes', 'holds a text, not a list'),
        (None, 'holds null, not a list'),
        *((text, 'cannot be read as JSON') for text in (b'[{"image_id": 1,', b'', b'[' * 100_000)),
        (b'["\xff\xfe"]', 'is not UTF-8'),
    ],
)
def test_other_files_are_refused(write, content, words):
    with pytest.raises(InputError, match=f'detections.json.*{words}.*expected a JSON list'):
        read_detections(write(content))


def test_no_file_at_all(tmp_path):
    for path, words in (
        (tmp_path / 'no.json', 'no.json does not exist'),
        (tmp_path, 'is a folder'),
    ):
        with pytest.raises(InputError, match=words):
            read_detections(path)


def test_a_hundred_thousand_entries(write):
    boxes = np.random.default_rng(0).uniform(1, 600, (100_000, 4)).round(2).tolist()
    path = write([dict(GOOD, image_id=i // 9, bbox=box) for i, box in enumerate(boxes)])
    begin = time.perf_counter()
    found = read_detections(path)
    assert len(found) == 100_000 and len(found.by_image) == 11_112
    assert time.perf_counter() - begin < 8  # 2 s on a free core; the tests share theirs
