"""The installed package through mim, in processes of their own, as users type it.

`mim train mspn_plugin` and `mim test mspn_plugin` run in the test of the demo.
"""

import subprocess
import sys

import pytest

from mspn_plugin import get_config

TINY = 'mspn-tiny_1xb16-20e_coco-128x96'


def mim(*arguments, cwd, fails=False):
    command = [sys.executable, '-W', 'ignore', '-m', 'mim', *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert bool(done.returncode) == fails, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_train_through_mmpose_by_path_run_and_search(people, quick, tmp_path):
    """MMPose's own training script runs a config of this package; mim finds its tools."""
    config, data = tmp_path / 'mine.py', dict(data_root=f'{people}/')
    truth = dict(ann_file=f'{people}/annotations/person_keypoints_val2017.json')
    config.write_text(
        f'_base_ = [{get_config(TINY)!r}]\n'
        f'train_dataloader = dict(dataset={data})\n'
        f'val_dataloader = test_dataloader = dict(dataset={dict(data, bbox_file=None)})\n'
        f'val_evaluator = test_evaluator = {truth}\n'
    )
    options = ['--cfg-options', *quick, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    output = mim('train', 'mmpose', config, '--work-dir', tmp_path / 'w', *options, cwd=tmp_path)
    assert 'coco/AP' in output and (tmp_path / 'w' / 'epoch_1.pth').is_file()
    said = mim('run', 'mspn_plugin', 'train', 'nowhere', cwd=tmp_path, fails=True)
    assert 'error: the config nowhere does not exist' in said
    mim('search', 'mspn_plugin', '--json', tmp_path / 'found.json', cwd=tmp_path)
    assert 'mspn50-2stg_8xb32-210e_coco-256x192' in (tmp_path / 'found.json').read_text()
