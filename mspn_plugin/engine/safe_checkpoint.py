"""Checkpoints that survive whatever ends the process."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import all_reduce_params, is_distributed, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from mspn.atomic_io import PARTIAL, write_whole

from ..checkpoints.files import hand_over
from .start import newest_whole_checkpoint

_REMEDY = 'make room or mend the disk, then go on with --resume'


class WholeFileBackend(LocalBackend):
    """MMEngine's backend for local files, with a ``put`` that cannot leave half a file."""

    def put(self, obj: Any, filepath: Any) -> None:
        """Writes bytes; an `InputError` says why that is not possible."""
        write_whole(filepath, bytes(obj), remedy=_REMEDY)


register_backend('whole_files', WholeFileBackend, force=True)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, which loses nothing when the process dies at any moment.

    - A file is written under another name, synced to the disk and then renamed, so that it is whole
      or not there (on S3 and the like: as the stock hook writes it).
    - An old checkpoint, or the previous best one, is removed after the new one is in its place, and
      ``last_checkpoint`` is written last, so it names a whole file.
    - Resuming without a named file takes the newest checkpoint that is not damaged, and removes
      what was half written. A validation that the end of the process cut short is done first.
    - With several processes the file holds the mean of their normalisation statistics.
    - Of equal APs the one with the smaller ``coco/error`` is the best, where that is measured.

    Parameters as in MMEngine.
    """

    file_backend: Any

    def before_run(self, runner: Runner) -> None:
        """Chooses the file to resume from, if the user did not."""
        if runner._resume and runner._load_from is None:
            if found := newest_whole_checkpoint(Path(runner.work_dir)):
                runner._load_from = str(found[0])
                hand_over(runner._load_from, found[1])

    def before_train(self, runner: Runner) -> None:
        """Clears up, and does the validation that was due when the checkpoint was written."""
        super().before_train(runner)
        if type(self.file_backend) is LocalBackend and self.file_client_args is None:
            self.backend_args = dict(backend='whole_files')
            if is_main_process():
                folders = {Path(self.out_dir), Path(runner.work_dir)}
                for half in (path for folder in folders for path in folder.glob(f'.*{PARTIAL}')):
                    half.unlink(missing_ok=True)
                    runner.logger.warning(f'removed {half}, which was only half written')
        validated = runner.message_hub.runtime_info.get('validated')
        if runner._resume and runner.iter != validated and _validation_is_due(runner):
            runner.logger.info('the validation after the checkpoint is repeated')
            # That there is one makes the best score part of it.
            self.last_ckpt = runner.message_hub.get_info('last_ckpt')
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Keeps the best checkpoint."""
        runner.message_hub.update_info('validated', runner.iter)
        super().after_val_epoch(runner, metrics)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        runner.call_hook('before_collecting_statistics')
        if is_distributed():
            all_reduce_params(runner.model.buffers(), op='mean')
        with self._removing_late():
            super()._save_checkpoint_with_step(runner, step, meta)
            if is_main_process():  # the note again, synced to the disk
                note = Path(runner.work_dir) / 'last_checkpoint'
                write_whole(note, str(self.last_ckpt).encode(), remedy=_REMEDY)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        if 'coco/AP' in metrics and 'coco/error' in metrics:  # of equal APs the smaller error
            tie = 1e-6 * min(metrics['coco/error'], 1)
            metrics = {**metrics, 'coco/AP': metrics['coco/AP'] - tie}
        with self._removing_late():
            super()._save_best_checkpoint(runner, metrics)

    @contextlib.contextmanager
    def _removing_late(self) -> Iterator[None]:
        """Lets what is written within the block be there before what it replaces is removed."""
        own, waiting = self.file_backend, dict[str, Callable[[str], None]]()
        self.file_backend = late = copy.copy(own)
        late.remove = lambda path: waiting.update({path: own.remove})
        late.rmtree = lambda path: waiting.update({path: own.rmtree})
        try:
            yield
        finally:
            self.file_backend = own
        best = {getattr(self, 'best_ckpt_path', None)}
        best.update(getattr(self, 'best_ckpt_path_dict', {}).values())
        for path, remove in waiting.items():
            if path not in best:
                remove(path)


def _validation_is_due(runner: Runner) -> bool:
    loop = runner.train_loop
    if runner.val_loop is None or not loop.iter:
        return False
    if hasattr(loop, 'dataloader_iterator'):  # it counts iterations
        now, end = loop.iter, loop.max_iters
    elif loop.iter == loop.epoch * len(loop.dataloader):
        now, end = loop.epoch, loop.max_epochs
    else:  # within an epoch
        return False
    return now >= loop.val_begin and (now % loop.val_interval == 0 or now == end)
