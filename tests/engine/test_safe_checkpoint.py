"""Checkpoints are whole or not there; damage, half files and full disks lose nothing."""

import errno
import itertools
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from runs import Line, logged, sentence, train_on

from mspn.atomic_io import write_whole
from mspn_plugin import InputError, get_config
from mspn_plugin.commands.run_config import errors_end_the_run
from mspn_plugin.engine.start import newest_whole_checkpoint

AVERAGED = [
    'mspn-small_1xb32-26e_coco-256x192',
    'rtmdet-lite0_1xb16-60e_person-416x416',
]


class Scores(Evaluator):
    """Gives a score that is known before for each validation; ``None`` kills the run."""

    def __init__(self, *scores):
        super().__init__([])
        self.scores, self.calls = list(scores), 0

    def evaluate(self, size):
        self.calls += 1
        if self.scores[0] is None:
            raise KeyboardInterrupt
        return dict(AP=self.scores.pop(0))


def run(work, *, epochs=5, scores=None, resume=False, load_from=None, **hook):
    torch.manual_seed(0)
    return train_on(
        torch.randn(2, 2), work, Line(), val_evaluator=scores,
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        default_hooks=dict(checkpoint=dict(type='SafeCheckpointHook', interval=1, **hook)),
        resume=resume, load_from=load_from,
    )  # fmt: skip


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != '.py' and path.is_file())


def test_old_files_are_there_until_the_new_one_is_whole(tmp_path, monkeypatch):
    seen = []

    def spy(path, content, **options):
        path = Path(path)
        seen.append((path.name, names(path.parent) if path.parent.is_dir() else []))
        write_whole(path, content, **options)
        assert not list(path.parent.glob('.*partial'))

    monkeypatch.setattr('mspn_plugin.engine.safe_checkpoint.write_whole', spy)
    scores = Scores(0.1, 0.2, 0.3, 0.2, 0.3)
    run(tmp_path / 'run', scores=scores, max_keep_ckpts=2, save_best='AP', rule='greater')
    before = dict(reversed(seen))  # the first time that each was written
    for number in (3, 4, 5):
        two_before = {f'epoch_{number - 2}.pth', f'epoch_{number - 1}.pth'}
        assert two_before <= set(before[f'epoch_{number}.pth'])
    assert 'best_AP_epoch_1.pth' in before['best_AP_epoch_2.pth']
    # The note comes after the file it names.
    assert [name for name, _ in seen][-2:] == ['epoch_5.pth', 'last_checkpoint']
    kept = ['best_AP_epoch_3.pth', 'epoch_4.pth', 'epoch_5.pth', 'last_checkpoint']
    assert names(tmp_path / 'run') == kept
    assert (tmp_path / 'run' / 'last_checkpoint').read_text().endswith('epoch_5.pth')


@pytest.mark.parametrize('how', ['half', 'empty', 'a byte', 'gone', 'no training state'])
def test_a_damaged_file_falls_back_loudly(tmp_path, how):
    whole = run(tmp_path / 'run', epochs=3)
    newest = tmp_path / 'run' / 'epoch_3.pth'
    content, weights = newest.read_bytes(), torch.load(newest)['state_dict']
    if how == 'a byte':
        place = content.index(weights['layer.weight'].numpy().tobytes())
        newest.write_bytes(content[:place] + b'\x55' + content[place + 1 :])
        torch.load(newest)  # torch does not notice
    elif how == 'no training state':
        torch.save(dict(state_dict=weights), newest)
    elif how == 'gone':
        newest.unlink()
    else:
        newest.write_bytes(content[: len(content) // 2] if how == 'half' else b'')
    half = tmp_path / 'run' / '.epoch_3.pth.partial'
    half.write_bytes(content[:100])
    again, text = run(tmp_path / 'run', epochs=3, resume=True), logged(tmp_path)
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
    options = dict(epochs=3, save_best='AP', rule='greater')
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / 'run', scores=Scores(0.1, None), **options)
    again = Scores(0.9, 0.3)
    run(tmp_path / 'run', scores=again, resume=True, **options)
    assert again.calls == 2
    assert 'best_AP_epoch_2.pth' in names(tmp_path / 'run')
    done, best = Scores(None), str(tmp_path / 'run/epoch_2.pth')
    run(tmp_path / 'run', scores=done, resume=True, load_from=best, **dict(options, epochs=2))
    assert done.calls == 0  # it was the best, so the file knows that it was validated


@pytest.mark.slow
def test_a_full_disk(train, tmp_path, capsys, monkeypatch):
    written, fsync, work = itertools.count(1), os.fsync, tmp_path / 'work'

    def full(descriptor):
        fsync(descriptor)
        if next(written) > 4:  # a checkpoint and the note, each with its folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    error = sentence(capsys, train, work, arguments=['--no-validate'])
    assert all(part in error for part in ('No space left on device', 'untouched', '--resume'))
    assert [path.name for path in work.glob('*epoch_*')] == ['epoch_1.pth']  # no partial one
    assert newest_whole_checkpoint(work)[0] == work / 'epoch_1.pth'


def test_other_writes_to_a_full_disk_end_with_a_sentence_too(tmp_path):
    words = 'scalars.json cannot be written .No space'
    with pytest.raises(InputError, match=words), errors_end_the_run(str(tmp_path)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'scalars.json')
    with pytest.raises(PermissionError), errors_end_the_run(str(tmp_path)):
        raise PermissionError(errno.EACCES, 'no')


@pytest.mark.parametrize('config', AVERAGED)
def test_the_best_checkpoint_holds_the_averaged_weights_that_were_validated(tmp_path, config):
    hooks = Config.fromfile(get_config(config)).custom_hooks
    average = next(hook for hook in hooks if hook['type'] == 'EMAHook')
    validated = []

    class Seen(Line):
        def forward(self, inputs, mode):
            if mode == 'predict' and not validated:
                validated.append(self.layer.weight.detach().clone())
            return super().forward(inputs, mode)

    torch.manual_seed(0)
    checkpoint = dict(type='SafeCheckpointHook', save_best='AP', rule='greater')
    run = train_on(
        torch.randn(9, 2), tmp_path / 'run', Seen(), val_evaluator=Scores(0.5),
        train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=1),
        custom_hooks=[average], default_hooks=dict(checkpoint=checkpoint),
    )  # fmt: skip
    best, last = (torch.load(tmp_path / 'run' / f'{n}.pth') for n in ('best_AP_epoch_1', 'epoch_1'))
    for content in best, last:
        assert torch.equal(content['state_dict']['layer.weight'], validated[0])
    assert not torch.equal(run.model.layer.weight, validated[0])
