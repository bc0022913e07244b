"""The demo from beginning to end on a handful of people, and what it takes up again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from demo.__main__ import same_run


@pytest.mark.slow
def test_demo_writes_numbers_pictures_and_a_report(people, tmp_path):
    out = tmp_path / 'out'
    command = [sys.executable, '-P', '-m', 'demo', '--epochs', '1', '--data', people, '--out', out]
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2] / 'examples'))
    printed = subprocess.check_output(command, env=environment, text=True)
    assert len(json.loads((out / 'metrics.json').read_text())) == 10
    assert 'The data' in (out / 'report.html').read_text()
    overview = cv2.imread(str(out / 'pictures' / 'overview.jpg'))
    assert overview.shape[0] >= 480 and overview.std() > 10
    assert len(list((out / 'pictures').glob('*_poses.jpg'))) == 3
    for line in ('coco/AP ', 'mim train mspn_plugin', 'mim train mmdet', 'AP with detected boxes'):
        assert line in printed
    assert len(list((out / 'detected' / 'pictures').glob('*.jpg'))) == 3
    run = json.loads((out / 'training' / 'run.json').read_text())
    assert (run['epochs'], run['data']) == (1, str(people))


def test_only_the_same_training_is_taken_up_again(tmp_path):
    work = tmp_path / 'training'
    assert not same_run(work, {'epochs': 1})
    (work / 'epoch_1.pth').write_text('weights')
    assert same_run(work, {'epochs': 1})
    assert not same_run(work, {'epochs': 2})
    assert not (work / 'epoch_1.pth').exists()
    assert [path.read_text() for path in tmp_path.glob('training-*/epoch_1.pth')] == ['weights']
