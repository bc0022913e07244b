"""The tools with files of anything: results, or one sentence and status 2; never a traceback."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import json_files, mutated_bytes, mutated_json

MINDSPORE = Path(__file__).resolve().parents[1] / 'data' / 'mindspore_small.ckpt'


@pytest.fixture
def run(call_tool, capfd, folder, trial):
    def run(*arguments):
        capfd.readouterr()
        try:
            status = trial(call_tool, *arguments) or 0
        except SystemExit as error:
            status = error.code
        text, errors = capfd.readouterr()
        assert status in (0, 1, 2) and 'Traceback' not in text + errors
        if status == 2:
            assert errors.strip().splitlines()[-1].startswith('error: ')
        assert '\x1b' not in text and '\0' not in text + errors
        assert not list(folder.rglob('canary')) and not list(folder.rglob('.*.partial'))
        return status

    return run


@pytest.fixture(scope='module')
def annotations(people):
    content = json.loads((people / 'annotations/person_keypoints_val2017.json').read_text())
    (first, *_), crowd = content['images'], content['annotations']
    content['annotations'] = [person for person in crowd if person['image_id'] == first['id']][:2]
    return dict(content, images=[first])


@given(data=st.data())
def test_check_dataset(data, annotations, folder, people, run):
    path, report = folder / 'people.json', folder / 'report.json'
    report.unlink(missing_ok=True)
    path.write_bytes(data.draw(json_files(annotations)))
    options = ['--no-decode', '--report', report]
    status = run('check_dataset', path, people / 'val2017', *options)
    assert report.exists() == (status in (0, 1))
    if status != 2:
        content = json.loads(report.read_text(), parse_constant=pytest.fail)  # no NaN
        assert bool(content['errors']) == status


@given(data=st.data())
def test_convert_checkpoint(data, folder, run):
    path, target = folder / 'weights', folder / 'converted.pth'
    target.unlink(missing_ok=True)
    torch.save({'stage0.upsample.up1.u_skip.conv.weight': torch.zeros(2, 2, 1, 1)}, path)
    seed = data.draw(st.sampled_from([path.read_bytes(), MINDSPORE.read_bytes()]))
    path.write_bytes(data.draw(mutated_bytes(seed)))
    assert target.exists() == (run('convert_checkpoint', path, target) == 0)


# Each case loads a network.
@settings(max_examples=max(20, settings().max_examples // 20))
@given(data=st.data())
def test_infer(data, folder, people, untrained_models, run):
    """Every usable detection has its result, however odd the rest of the file is."""
    *_, config, weights = untrained_models
    entry = dict(category_id=1, bbox=[9, 9, 60, 90], score=0.9)
    entries = [dict(entry, image_id=image) for image in (7, 8)]
    path, out = folder / 'detections.json', folder / 'out'
    path.write_bytes(data.draw(mutated_json(json.dumps(entries))))
    options = ['--det-file', path, '--out', out, '--device', 'cpu', '--overwrite']
    if run('infer', config, weights, people / 'val2017', *options) == 0:
        found = json.loads((out / 'results.json').read_text())
        given_boxes = json.loads(path.read_bytes().decode('utf-8-sig'))
        usable = [e for e in given_boxes if e['category_id'] == 1 and e['image_id'] in (7, 8, 9)]
        assert len(found) <= len(usable)
        assert len(list(out.glob('*.jpg'))) == 3
        if given_boxes == entries:
            assert len(found) == 2
