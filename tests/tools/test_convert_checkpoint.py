"""The converter writes what it says, in either format, and all or nothing."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpose.apis import init_model
from original_mspn import Original
from runs import sentence
from safetensors import safe_open

from mspn_plugin import get_config
from mspn_plugin.checkpoints import convert_state_dict
from mspn_plugin.checkpoints.files import read_state_dict

CONFIG = get_config('mspn50-2stg_8xb32-96ki_coco2014-256x192_megvii')


@pytest.fixture(scope='module')
def foreign(tmp_path_factory):
    """A full-size 2-stage checkpoint of the original, and the same weights by their names here."""
    torch.manual_seed(0)
    theirs = Original(2).state_dict()
    path = tmp_path_factory.mktemp('foreign') / 'iter-96000.pth'
    torch.save(dict(model=theirs), path)
    return path, convert_state_dict(theirs)[0]


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_the_result_loads_and_is_as_announced(suffix, foreign, call_tool, capsys, tmp_path):
    path, own = foreign
    target = tmp_path / f'mspn.{suffix}'
    call_tool('convert_checkpoint', path, target)
    text = capsys.readouterr().out
    count = sum(v.numel() for n, v in own.items() if n.endswith(('.weight', '.bias')))
    assert 56_000_000 < count < 57_500_000
    said = ['MSPN (Megvii, PyTorch)', 'num_stages=2, num_blocks=(3, 4, 6, 3)', f'{count:,} in ']
    said += ['mean=[103.53, 116.28, 123.675]', 'bgr_to_rgb=False', "refine='second_peak'"]
    said += [hashlib.sha256(target.read_bytes()).hexdigest()]
    assert not [words for words in said if words not in text], text
    converted = read_state_dict(str(target))
    assert converted.keys() == own.keys()
    assert all(torch.equal(converted[name], value) for name, value in own.items())
    if suffix == 'safetensors':
        with safe_open(target, 'pt') as file:
            assert file.metadata()['source'] == 'megvii'
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg = None
    model = init_model(cfg, str(target), device='cpu')
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in converted.items())
    assert list(tmp_path.iterdir()) == [target]  # nothing unfinished stays


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_time_and_memory(foreign, tmp_path):
    """Ten seconds and 1.5 GB for a 2-stage checkpoint, on whatever machine this is."""
    program = """if True:
        import re, runpy, sys, time
        import mspn_plugin.checkpoints.files
        sys.argv, begin = sys.argv[1:], time.monotonic()
        runpy.run_path(sys.argv[0], run_name='__main__')
        # Not getrusage: Linux lets a new process inherit the peak of the one that started it.
        peak = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())
        print('took', time.monotonic() - begin, int(peak[1]) / 2**20)
    """
    tool = Path(__file__).resolve().parents[2] / 'tools' / 'convert_checkpoint.py'
    command = [sys.executable, '-c', program, tool, foreign[0], tmp_path / 'mspn.pth']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, gigabytes = map(float, done.stdout.split('took ')[1].split())
    assert seconds < 10 and gigabytes < 1.5


def test_bad_input(foreign, call_tool, capsys, tmp_path):
    path, target, other = foreign[0], tmp_path / 'mspn.pth', tmp_path / 'other.pth'
    target.write_text('precious')
    torch.save({'fc.weight': torch.zeros(1)}, other)
    for words, *arguments in (
        ('ends in .pth or .safetensors', path, tmp_path / 'mspn.txt'),
        ('create it first', path, tmp_path / 'no' / 'mspn.pth'),
        ('no.pth does not exist', tmp_path / 'no.pth', tmp_path / 'new.pth'),
        ('--overwrite', path, target),
        ('of no network that is known', other, target, '--overwrite'),
    ):
        assert words in sentence(capsys, call_tool, 'convert_checkpoint', *arguments)
    assert target.read_text() == 'precious'


def test_weights_that_share_memory(foreign, call_tool, tmp_path):
    one = torch.zeros(64)
    shared = dict(foreign[1], **{f'backbone.stem.bn.{name}': one for name in ('weight', 'bias')})
    torch.save(shared, tmp_path / 'shared.pth')
    for suffix in ('pth', 'safetensors'):
        call_tool('convert_checkpoint', tmp_path / 'shared.pth', tmp_path / f'mspn.{suffix}')
        converted = read_state_dict(str(tmp_path / f'mspn.{suffix}'))
        assert all(torch.equal(converted[name], value) for name, value in shared.items())
