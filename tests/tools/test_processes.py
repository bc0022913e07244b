"""Two processes without a GPU: the same weights in both, and the numbers of one process."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from runs import SMALL, TINY
from synthetic_people import make_synthetic_people
from torch import distributed

from mspn_plugin import InputError, get_config
from mspn_plugin.commands.run_config import join_processes, override

REPOSITORY = Path(__file__).resolve().parents[2]
LOADER = ['train_dataloader.batch_size=2', 'train_dataloader.num_workers=1']
OPTIONS = [*SMALL, *LOADER, 'default_hooks.logger.interval=1', 'randomness.seed=3']

# What each process has at the end, and what it wrote into the work folder.
SPY = """
import sys, torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpose.registry import HOOKS

@HOOKS.register_module()
class Spy(Hook):
    priority = 'LOWEST'

    def before_train(self, runner):
        self.losses, self.written = [], []
        def audit(event, arguments):
            if event == 'open' and isinstance(arguments[0], str) and arguments[1]:
                if arguments[0].startswith(runner.work_dir) and 'r' not in arguments[1]:
                    self.written.append(arguments[0])
        sys.addaudithook(audit)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(float(outputs['loss']))

    def after_train(self, runner):
        weights = {n: p.detach().clone() for n, p in runner.model.named_parameters()}
        torch.save(dict(vars(self), weights=weights), f'rank_{get_rank()}.pth')
"""


@pytest.fixture(scope='module')
def seven(tmp_path_factory):
    """Seven images of one person each."""
    folder = tmp_path_factory.mktemp('seven')
    make_synthetic_people(folder, num_train=7, num_val=7, seed=1, workers=1)
    for path in (folder / 'annotations').glob('person_keypoints_*.json'):
        content = json.loads(path.read_text())
        first = {person['image_id']: person for person in reversed(content['annotations'])}
        path.write_text(json.dumps(dict(content, annotations=list(first.values()))))
    return folder


@pytest.mark.slow
def test_torchrun_trains_one_model(seven, tmp_path):
    (tmp_path / 'spy.py').write_text(SPY)
    (tmp_path / 'spied.py').write_text(
        f'_base_ = [{get_config(TINY)!r}]\n'
        "custom_imports = dict(imports=['mspn_plugin', 'spy'], allow_failed_imports=False)\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='Spy')]\n"
    )
    work = tmp_path / 'work'
    command = [
        sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2',
        str(REPOSITORY / 'tools' / 'train.py'), 'spied.py', '--launcher', 'pytorch',
        '--data-root', str(seven), '--no-validate', '--work-dir', str(work),
        '--cfg-options', *OPTIONS, 'train_cfg.max_epochs=2',
    ]  # fmt: skip
    place = dict(cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(tmp_path), OMP_NUM_THREADS='1'))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **place)
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (torch.load(tmp_path / f'rank_{rank}.pth') for rank in (0, 1))
    assert one['losses'] != other['losses']  # they saw different people
    assert len(one['losses']) == len(other['losses']) == 4  # 7 people, 2 processes, pairs, 2 epochs
    for name, weight in one['weights'].items():
        assert torch.equal(weight, other['weights'][name])
    assert one['written'] and not other['written']
    assert len(list(work.rglob('*.log'))) == len(list(work.rglob('scalars.json'))) == 1
    saved = torch.load(work / 'epoch_2.pth')['state_dict']
    assert all(torch.equal(saved[n.removeprefix('module.')], w) for n, w in one['weights'].items())


def two_processes(call_tool, arguments):
    """The tool in two copies of this process, which saves the imports."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])

    def evaluate(rank):
        os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE='2')
        os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        call_tool('test', *arguments, '--launcher', 'pytorch')

    fork = multiprocessing.get_context('fork').Process
    workers = [fork(target=evaluate, args=(rank,)) for rank in '01']
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(200)
    assert [worker.exitcode for worker in workers] == [0, 0]


@pytest.mark.slow
def test_two_processes_evaluate_as_one(seven, call_tool, tmp_path, monkeypatch):
    """Seven people do not divide by two. The truth is what the model says, more or less."""
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(get_config(TINY))
    override(cfg, SMALL, TINY)
    torch.manual_seed(0)
    torch.save(MODELS.build(cfg.model).state_dict(), 'weights.pth')
    common = [TINY, 'weights.pth', '--gt-boxes', '--data-root', seven]

    def arguments(name, *more):
        options = [f'test_evaluator.outfile_prefix={tmp_path / name}', *SMALL, *more]
        options += ['test_dataloader.num_workers=0', 'test_dataloader.batch_size=2']
        out = ['--out', tmp_path / f'{name}.out.json', '--work-dir', tmp_path / name]
        return [*common, *out, '--cfg-options', *options]

    call_tool('test', *arguments('first'))
    said = {pose['image_id']: pose for pose in json.loads(Path('first.keypoints.json').read_text())}
    path = seven / 'annotations' / 'person_keypoints_val2017.json'
    content = json.loads(path.read_text())
    rng = np.random.default_rng(0)
    for number, person in enumerate(content['annotations']):
        points = np.array(said[person['image_id']]['keypoints']).reshape(-1, 3)
        points[:, :2] += rng.normal(0, 1 + 2 * number, (len(points), 2))
        points[:, 2] = 2
        person.update(keypoints=points.round(2).ravel().tolist(), num_keypoints=len(points))
    Path('truth.json').write_text(json.dumps(content))
    truth = f'test_evaluator.ann_file={tmp_path / "truth.json"}'

    call_tool('test', *arguments('one', truth))
    two_processes(call_tool, arguments('two', truth))
    one, two = (json.loads(Path(f'{name}.out.json').read_text()) for name in ('one', 'two'))
    assert len(one) == 10 and 0.1 < one['coco/AP'] < 0.9
    assert two == pytest.approx(one, abs=1e-9)
    found = [json.loads(Path(f'{name}.keypoints.json').read_text()) for name in ('one', 'two')]
    people = [sorted(person['image_id'] for person in run) for run in found]
    assert people[0] == people[1] and len(people[0]) == 7
    assert len(list(Path('two').rglob('*.log'))) == 1


@pytest.fixture
def alone(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


def test_a_launcher_that_was_not_used(alone):
    for settings, words in (
        (dict(launcher='pytorch'), '--launcher pytorch: .*RANK.*or leave out --launcher'),
        (dict(launcher='slurm'), '--launcher slurm: .*RANK.*or leave out --launcher'),
        (dict(launcher='pytorch', sync_bn='torch'), 'sync_bn needs GPUs'),
    ):
        with pytest.raises(InputError, match=words):
            join_processes(Config(settings))


def test_with_cuda_or_alone_all_is_left_to_mmengine(alone, monkeypatch):
    for cfg in (Config(dict(launcher='none')), Config(dict(launcher='pytorch', sync_bn='torch'))):
        join_processes(cfg)
        assert 'model_wrapper_cfg' not in cfg and not distributed.is_initialized()
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
