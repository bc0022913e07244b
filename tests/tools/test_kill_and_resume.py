"""A training that is killed again and again ends with the weights of one that was not."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from runs import SMALL, TINY, logged

REPOSITORY = Path(__file__).resolve().parents[2]

# A disk so slow that half a file is there long enough to be met.
SLOW_DISK = """
import os, runpy, sys, time
fsync = os.fsync
os.fsync = lambda descriptor: (time.sleep(0.1), fsync(descriptor))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def command(work, people, epochs):
    return [
        sys.executable, '-W', 'ignore', '-c', SLOW_DISK, str(REPOSITORY / 'tools' / 'train.py'),
        TINY, '--data-root', str(people), '--gt-boxes', '--work-dir', str(work), '--resume',
        '--cfg-options', *SMALL, 'train_dataloader.batch_size=2', 'train_dataloader.num_workers=1',
        'val_dataloader.num_workers=0', 'train_cfg.val_interval=4', 'randomness.seed=3',
        'default_hooks.checkpoint.interval=1', f'train_cfg.max_epochs={epochs}',
    ]  # fmt: skip


def written(work):
    return max((int(path.stem.split('_')[1]) for path in work.glob('epoch_*.pth')), default=0)


def wait(process, condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate()[1]
        time.sleep(0.002)


def killed_and_resumed(work, people, kills, epochs, seed):
    """Kills a training so many times, every other time while it saves; gives what was met."""
    draw, half_files = random.Random(seed), 0
    pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for kill in range(kills + 1):
        before = written(work)
        process = subprocess.Popen(command(work, people, epochs), **pipes)
        if kill < kills:
            wait(process, lambda: written(work) > before)  # noqa: B023
            if kill % 2 == 0:
                wait(process, lambda: any(work.glob('.*.partial')))
            time.sleep(draw.uniform(0, 1.0 if kill % 2 else 0.05))
            assert process.poll() is None, 'it was over before it was killed'
            process.send_signal(signal.SIGKILL)
            half_files += any(work.glob('.*.partial'))
        error = process.communicate(timeout=300)[1].decode()
        assert process.returncode == (-signal.SIGKILL if kill < kills else 0), error
    return half_files


def check(work, people, call_tool, *, kills, epochs, seed=0):
    whole, torn = work / 'whole', work / 'torn'
    arguments = command(whole, people, epochs)
    call_tool('train', *arguments[arguments.index(TINY) :])
    assert killed_and_resumed(torn, people, kills, epochs, seed) > 0
    logs = logged(torn)
    assert logs.count('resumed epoch: ') == kills and 'which was only half written' in logs
    assert not list(torn.glob('.*.partial'))
    a, b = (torch.load(run / f'epoch_{epochs}.pth') for run in (whole, torn))
    for name, value in b['state_dict'].items():
        torch.testing.assert_close(a['state_dict'][name], value, rtol=0, atol=1e-6)
    moments = (run['optimizer']['state'].values() for run in (a, b))
    for one, other in zip(*moments, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    kept = [sorted(path.name for path in run.glob('*.pth')) for run in (whole, torn)]
    assert set(kept[0]) <= set(kept[1])  # the last three and the best; a kill may leave old ones


@pytest.mark.slow
def test_killed_twice(people, call_tool, tmp_path):
    check(tmp_path, people, call_tool, kills=2, epochs=8)


@pytest.mark.nightly
def test_killed_twenty_times(people, call_tool, tmp_path):
    check(tmp_path, people, call_tool, kills=20, epochs=60, seed=time.time_ns())
