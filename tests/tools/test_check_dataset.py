"""tools/check_dataset.py: a summary, a report, and a status that a script can use."""

import json

import pytest
from runs import TINY


@pytest.fixture
def run(call_tool, capsys):
    def run(*arguments):
        try:
            status = call_tool('check_dataset', *arguments) or 0
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def data(people):
    return people / 'annotations' / 'person_keypoints_val2017.json', people / 'val2017'


def test_a_good_data_set(run, data, tmp_path):
    report = tmp_path / 'report.json'
    status, text, _ = run(*data, '--config', TINY, '--report', report)
    assert status == 0 and '0 errors, 0 warnings' in text and '3 images' in text
    content = json.loads(report.read_text())
    assert content['counts']['images'] == 3 and content['errors'] == content['warnings'] == {}
    assert list(tmp_path.iterdir()) == [report]


def test_faults_are_named_and_change_the_status(run, data, tmp_path):
    content = json.loads(data[0].read_text())
    content['annotations'][0]['bbox'] = [0, 0, -1, 5]
    content['annotations'][1]['keypoints'][2] = 7
    content['images'][2]['file_name'] = 'no\n\x1b[31mred.jpg'  # not a control code on the terminal
    path, report = tmp_path / 'people.json', tmp_path / 'report.json'
    path.write_text(json.dumps(content))
    status, text, _ = run(path, data[1], '--report', report, '--jobs', 1)
    assert status == 1 and '3 errors' in text and 'the visibility 7 at keypoint 0' in text
    first = content['annotations'][0]['id']
    assert f'annotation {first} has the bbox [0, 0, -1, 5], which is empty' in text
    assert '\x1b' not in text and 'no\\n\\x1b[31mred.jpg' in text
    errors = json.loads(report.read_text())['errors']
    counts = {kind: entry['count'] for kind, entry in errors.items()}
    assert counts == {'lost-person': 1, 'visibility': 1, 'missing-image': 1}


def test_a_skeleton_of_ones_own(run, data, tmp_path):
    metainfo = tmp_path / 'hands.py'
    keypoints = dict(keypoint_info={0: dict(name='a', swap='b')}, skeleton_info={})
    metainfo.write_text(f'dataset_info = {dict(keypoints, sigmas=[], joint_weights=[1.0])}')
    status, text, _ = run(*data, '--metainfo', metainfo, '--no-decode')
    assert status == 1 and '"a" is mirrored to "b", which is no keypoint' in text
    assert 'sigmas has 0 values' in text and 'expected 3: x, y, visibility of 1' in text


def test_bad_options_and_files(run, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (('broken.py', 'dataset_info = 1 / 0'), ('empty.py', '')):
        (tmp_path / name).write_text(text)
    for arguments, words in (
        ([*data, '--jobs', 0], '0 is not a whole number from 1 on'),
        ([*data, '--metainfo', 'no.py'], 'no.py does not exist'),
        ([*data, '--metainfo', 'broken.py'], 'division by zero'),
        ([*data, '--metainfo', 'empty.py'], 'defines no dataset_info'),
        ([*data, '--config', 'no'], 'the config no does not exist'),
        ([*data, '--report', 'no/report.json'], 'the folder no does not exist'),
        (['no.json', data[1]], 'no.json does not exist'),
        ([data[0], 'no'], 'no does not exist'),
    ):
        status, _, errors = run(*arguments)
        assert status == 2 and 'error: ' in errors and words in errors


def test_the_photographs_are_clean(run, real_data):
    for part in ('train', 'val'):
        annotations = real_data / 'annotations' / f'person_keypoints_{part}2017.json'
        status, text, _ = run(annotations, real_data / f'{part}2017', '--config', TINY)
        assert status == 0 and '0 errors, 0 warnings' in text, text
