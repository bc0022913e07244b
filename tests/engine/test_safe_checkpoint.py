"""Checkpoints are whole or not there; damage, half files and full disks lose nothing."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from runs import sentence
from torch import nn

from mspn.atomic_io import write_whole
from mspn_plugin import InputError
from mspn_plugin.commands.train import disk_errors_end_the_run
from mspn_plugin.engine.start import newest_whole_checkpoint


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, mode):
        if mode == 'predict':
            return list(inputs)
        return dict(loss=self.layer(torch.stack(inputs)).square().mean())


class Scores:
    """Stands for an evaluator whose score is given for each validation."""

    def __init__(self, *scores):
        self.scores = list(scores)
        self.calls = 0

    def process(self, data_samples, data_batch=None):
        pass

    def evaluate(self, size):
        self.calls += 1
        return dict(AP=self.scores.pop(0))


def run(work, *, epochs=5, scores=None, resume=False, load_from=None, wrap=None, **hook):
    torch.manual_seed(0)
    loader = dict(
        dataset=[dict(inputs=torch.randn(2)) for _ in range(2)],
        batch_size=1,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    validation = {}
    if scores:
        evaluator = Evaluator([])
        evaluator.process, evaluator.evaluate = scores.process, scores.evaluate
        validation = dict(val_dataloader=loader, val_cfg={}, val_evaluator=evaluator)
    runner = Runner(
        model=Model(),
        work_dir=str(work),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(checkpoint=dict(type='SafeCheckpointHook', interval=1, **hook)),
        default_scope='mmpose',
        experiment_name=f'{work.parent.name}-{work.name}-{os.urandom(4).hex()}',
        resume=resume,
        load_from=load_from,
        **validation,
    )
    runner.train()
    return runner


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != '.py' and path.is_file())


def test_last_and_best_are_kept_and_named(tmp_path):
    scores = Scores(0.1, 0.4, 0.3, 0.2, 0.3)
    run(tmp_path / 'run', scores=scores, max_keep_ckpts=2, save_best='AP', rule='greater')
    kept = ['best_AP_epoch_2.pth', 'epoch_4.pth', 'epoch_5.pth', 'last_checkpoint']
    assert names(tmp_path / 'run') == kept
    assert (tmp_path / 'run' / 'last_checkpoint').read_text().endswith('epoch_5.pth')


def test_old_files_are_there_until_the_new_one_is_whole(tmp_path, monkeypatch):
    seen = []
    put = write_whole

    def spy(path, content, **options):
        path = Path(path)
        seen.append((path.name, names(path.parent) if path.parent.is_dir() else []))
        put(path, content, **options)
        assert not list(path.parent.glob('.*partial'))

    monkeypatch.setattr('mspn_plugin.engine.safe_checkpoint.write_whole', spy)
    scores = Scores(0.1, 0.2, 0.3)
    options = dict(max_keep_ckpts=1, save_best='AP', rule='greater')
    run(tmp_path / 'run', epochs=3, scores=scores, **options)
    before = dict(reversed(seen))  # the first time that each was written
    assert 'epoch_1.pth' in before['epoch_2.pth'] and 'epoch_2.pth' in before['epoch_3.pth']
    assert 'best_AP_epoch_1.pth' in before['best_AP_epoch_2.pth']
    # The note comes after the file it names.
    order = [name for name, _ in seen]
    assert order[-2:] == ['epoch_3.pth', 'last_checkpoint']
    assert names(tmp_path / 'run') == ['best_AP_epoch_3.pth', 'epoch_3.pth', 'last_checkpoint']


def test_an_outdated_file_that_a_kill_left_is_removed(tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def die(path, content, **options):
        if Path(path).name == 'last_checkpoint' and content.endswith(b'epoch_3.pth'):
            raise Killed
        write_whole(path, content, **options)

    monkeypatch.setattr('mspn_plugin.engine.safe_checkpoint.write_whole', die)
    with pytest.raises(Killed):
        run(tmp_path / 'run', max_keep_ckpts=2)
    assert {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'} <= set(names(tmp_path / 'run'))
    monkeypatch.undo()
    run(tmp_path / 'run', max_keep_ckpts=2, resume=True)
    assert names(tmp_path / 'run') == ['epoch_4.pth', 'epoch_5.pth', 'last_checkpoint']


@pytest.mark.parametrize('how', ['half', 'empty', 'a byte', 'gone', 'no training state'])
def test_a_damaged_file_falls_back_loudly(tmp_path, how):
    whole = run(tmp_path / 'run', epochs=3)
    newest = tmp_path / 'run' / 'epoch_3.pth'
    content = newest.read_bytes()
    if how == 'half':
        newest.write_bytes(content[: len(content) // 2])
    elif how == 'empty':
        newest.write_bytes(b'')
    elif how == 'a byte':
        weights = torch.load(newest)['state_dict']['layer.weight'].numpy().tobytes()
        place = content.index(weights)
        newest.write_bytes(content[:place] + b'\x55' + content[place + 1 :])
        torch.load(newest)  # torch does not notice
    elif how == 'gone':
        newest.unlink()
    else:
        torch.save(dict(state_dict=torch.load(newest)['state_dict']), newest)
    half = tmp_path / 'run' / '.epoch_3.pth.partial'
    half.write_bytes(content[:100])
    again = run(tmp_path / 'run', epochs=3, resume=True)
    text = '\n'.join(path.read_text() for path in tmp_path.rglob('*.log'))
    assert 'epoch_2.pth instead of' in text and 'epoch_3.pth is damaged' in text
    assert '.epoch_3.pth.partial' in text and not half.exists()
    assert torch.equal(again.model.layer.weight, whole.model.layer.weight)
    assert newest_whole_checkpoint(tmp_path / 'run')[0] == newest


def test_what_resume_finds(tmp_path):
    assert newest_whole_checkpoint(tmp_path / 'no') is None
    run(tmp_path / 'run', epochs=2)
    moved = tmp_path / 'moved'
    shutil.move(tmp_path / 'run', moved)
    assert newest_whole_checkpoint(moved)[0] == moved / 'epoch_2.pth'
    (moved / 'last_checkpoint').unlink()  # killed before it was written
    assert newest_whole_checkpoint(moved)[0] == moved / 'epoch_2.pth'
    (moved / 'last_checkpoint').write_text('epoch_1.pth')  # killed between file and note
    os.utime(moved / 'last_checkpoint', ns=(0, 0))
    assert newest_whole_checkpoint(moved)[0] == moved / 'epoch_2.pth'
    os.utime(moved / 'last_checkpoint')  # the other file is of an earlier, longer run
    assert newest_whole_checkpoint(moved)[0] == moved / 'epoch_1.pth'
    for path in moved.glob('epoch_*.pth'):
        path.write_bytes(b'PK')
    with pytest.raises(InputError, match=r'no checkpoint in .*moved can be resumed: epoch_2.*epo'):
        newest_whole_checkpoint(moved)


def test_a_validation_that_was_cut_short_is_done_first(tmp_path):
    class Killed(Exception):
        pass

    class Dies(Scores):
        def evaluate(self, size):
            if len(self.scores) == 1:
                raise Killed
            return super().evaluate(size)

    options = dict(epochs=3, save_best='AP', rule='greater')
    with pytest.raises(Killed):
        run(tmp_path / 'run', scores=Dies(0.1, 0.9), **options)
    again = Scores(0.9, 0.3)
    run(tmp_path / 'run', scores=again, resume=True, **options)
    assert again.calls == 2
    assert 'best_AP_epoch_2.pth' in names(tmp_path / 'run')
    done = Scores()
    run(tmp_path / 'run', scores=done, resume=True, load_from=str(tmp_path / 'run/epoch_2.pth'),
        **{**options, 'epochs': 2})  # fmt: skip
    assert done.calls == 0  # it was the best, so the file knows that it was validated


@pytest.mark.slow
def test_a_full_disk(train, tmp_path, capsys, monkeypatch):
    written, fsync, work = 0, os.fsync, tmp_path / 'work'

    def full(descriptor):
        nonlocal written
        fsync(descriptor)
        written += 1
        if written > 4:  # a checkpoint and the note, each with its folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    error = sentence(capsys, train, work, arguments=['--no-validate'])
    assert 'No space left on device' in error
    assert 'untouched' in error and '--resume' in error
    assert [path.name for path in work.glob('*epoch_*')] == ['epoch_1.pth']  # no partial one
    assert newest_whole_checkpoint(work)[0] == work / 'epoch_1.pth'


def test_other_writes_to_a_full_disk_end_with_a_sentence_too(tmp_path):
    with pytest.raises(InputError, match='scalars.json cannot be written .No space'):
        with disk_errors_end_the_run(str(tmp_path)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'scalars.json')
    with pytest.raises(PermissionError):
        with disk_errors_end_the_run(str(tmp_path)):
            raise PermissionError(errno.EACCES, 'no')
