"""Detection files: every entry is checked, the faults have an index, and large files are quick."""

import json
import re
import time
from math import inf as INF
from math import nan as NAN

import numpy as np
import pytest

from mspn.detections import read_detections
from mspn_plugin import InputError

GOOD = dict(category_id=1, image_id=7, bbox=[10, 20, 30.5, 40], score=0.9)


def read(folder, content, **options):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / 'detections.json').write_bytes(content)
    return read_detections(folder / 'detections.json', **options)


def test_boxes_by_image_in_the_order_of_the_file(tmp_path):
    other = dict(GOOD, image_id=3, bbox=[-5, 0, 10, 10], score=1, segmentation=[])
    entries = [GOOD, other, dict(GOOD, category_id=18), dict(GOOD, bbox=[1, 2, 3, 4], score=0)]
    found = read(tmp_path, entries)
    assert list(found.by_image) == [7, 3] and found.other_categories == 1 and len(found) == 3
    boxes, scores = found.by_image[7]
    assert boxes.dtype == scores.dtype == np.float32
    assert boxes.tolist() == [[10, 20, 40.5, 60], [1, 2, 4, 6]]
    assert scores.tolist() == [np.float32(0.9), 0]
    assert found.by_image[3][0].tolist() == [[-5, 0, 5, 10]]
    others = read(tmp_path, entries, category_id=18)
    assert list(others.by_image) == [7] and others.other_categories == 3


def test_an_empty_list_and_a_byte_order_mark_are_allowed(tmp_path):
    assert read(tmp_path, []).by_image == {}
    assert len(read(tmp_path, b'\xef\xbb\xbf' + json.dumps([GOOD]).encode())) == 1


MALFORMED = [
    ('bbox', 'is not a list of 4 numbers', [1, 2, 3], '1 2 3 4', {'x': 1}),
    ('bbox', 'is not 4 finite', *([1, 2, 3, v] for v in ('4', True, None, NAN, INF, 10**400))),
    ('bbox', 'width or height that is not above 0', [1, 2, 0, 4], [1, 2, 3, -4]),
    ('bbox', 'too small for where it lies', [100, 2, 1e-9, 4]),
    ('score', 'is not a number from 0 to 1', 1.01, -0.1, 10**400, NAN, '0.9', True),
    ('image_id', 'is a text, expected an integer', '7', '../../x'),
    ('image_id', 'is not an integer', 7.0, 7.5, True),
    ('image_id', 'expected an integer', ['../../x'], None),
    ('category_id', 'is a text', '1'),
]


def test_a_malformed_entry_is_named(tmp_path):
    entries = [([1, 2], r'\[1, 2\] is not an object'), (None, 'null is not an object')]
    for key in GOOD:
        entries.append(({k: GOOD[k] for k in GOOD if k != key}, f'{key} is missing'))
    for key, words, *values in MALFORMED:
        for value in values:
            shown = re.escape(json.dumps(value)[:9].rstrip(']}'))
            entries.append((dict(GOOD, **{key: value}), f'{key} {shown}.*{words}'))
    entries.append((dict(GOOD, category_id=2, score=5), 'score 5'))  # other categories as well
    for entry, words in entries:
        with pytest.raises(InputError, match=f'has 1 entry that cannot .*entry 17: .*{words}'):
            read(tmp_path, [GOOD] * 17 + [entry])


def test_the_first_ten_faults_are_named_and_the_others_counted(tmp_path):
    with pytest.raises(InputError, match='25 entries that cannot') as caught:
        read(tmp_path, [GOOD, *[dict(GOOD, score=2)] * 25])
    text = str(caught.value)
    assert text.count('entry ') == 10 and 'entry 10: ' in text and 'entry 11' not in text
    assert text.endswith('; and 15 more') and '\n' not in text


def test_other_files_are_refused(tmp_path):
    for content, words in (
        ({'annotations': []}, 'holds an object, not a list'),
        (3, 'holds a number, not a list'),
        ('boxes', 'holds a text, not a list'),
        (None, 'holds null, not a list'),
        (b'[{"image_id": 1,', 'cannot be read as JSON'),
        (b'', 'cannot be read as JSON'),
        (b'[' * 100_000, 'cannot be read as JSON'),
        (b'["\xff\xfe"]', 'is not UTF-8'),
    ):
        with pytest.raises(InputError, match=f'detections.json.*{words}.*expected a JSON list'):
            read(tmp_path, content)
    for name, words in (('no.json', 'no.json does not exist'), ('', 'is a folder')):
        with pytest.raises(InputError, match=words):
            read_detections(str(tmp_path / name))


def test_a_hundred_thousand_entries(tmp_path):
    boxes = np.random.default_rng(0).uniform(1, 600, (100_000, 4)).round(2).tolist()
    entries = [dict(GOOD, image_id=i // 9, bbox=box) for i, box in enumerate(boxes)]
    begin = time.perf_counter()
    found = read(tmp_path, entries)
    assert len(found) == 100_000 and len(found.by_image) == 11_112
    assert time.perf_counter() - begin < 8  # 2 s on a free core; the tests share theirs
