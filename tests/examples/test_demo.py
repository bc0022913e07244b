"""The demo from beginning to end on a handful of people, and what it takes up again."""

from __future__ import annotations

import json

import cv2
import pytest


@pytest.mark.slow
def test_demo_writes_numbers_pictures_and_a_curve(call_tool, people, tmp_path, capfd):
    out = tmp_path / 'out'
    call_tool('demo', '--data', people, '--out', out, '--epochs', '1')
    assert len(json.loads((out / 'metrics.json').read_text())) == 10
    assert cv2.imread(str(out / 'training_curve.png')).std() > 5
    overview = cv2.imread(str(out / 'pictures' / 'overview.jpg'))
    assert overview.shape[0] >= 480 and overview.std() > 10
    assert len(list((out / 'pictures').glob('*_poses.jpg'))) == 3
    printed = capfd.readouterr().out
    assert 'AP         OKS 0.50:0.95' in printed and 'mim train mspn_plugin' in printed
    assert 'mim train mmdet' in printed and 'AP with detected boxes' in printed
    detected = list((out / 'detected' / 'pictures').glob('*.jpg'))
    assert len(detected) == len(list((people / 'val2017').iterdir()))
    record = json.loads((out / 'training' / 'run.json').read_text())
    assert record['epochs'] == 1 and record['data'] == str(people)


def test_only_the_same_training_is_taken_up_again(load_tool, tmp_path):
    same_run = load_tool('demo').same_run
    work = tmp_path / 'training'
    assert not same_run(work, {'epochs': 1})
    (work / 'epoch_1.pth').write_text('weights')
    assert same_run(work, {'epochs': 1})
    assert not same_run(work, {'epochs': 2})
    assert not (work / 'epoch_1.pth').exists()
    kept = [path for path in tmp_path.iterdir() if path != work]
    assert [path.read_text() for path in kept[0].glob('*.pth')] == ['weights']
