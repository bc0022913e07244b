"""One line that says how far a training is; MMEngine's log goes on into its file."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

_EVERY = 0.5  # seconds between lines on a terminal, where they replace each other


class ProgressLine(Hook):
    """Writes epoch, loss, accuracy, AP and the time that is left.

    On a terminal the line is replaced twice a second; elsewhere there is one for each validation.

    Args:
        stream: Where to.
    """

    priority = 'VERY_LOW'

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._terminal = stream, stream.isatty()
        self._begin = self._shown = 0.0
        self._first, self._ap, self._best = 0, '', ''

    def before_train(self, runner: Runner) -> None:
        """Starts the clock."""
        self._begin, self._first = time.monotonic(), runner.iter

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Writes the line, on a terminal."""
        if self._terminal and time.monotonic() - self._shown > _EVERY:
            self._write(runner, end='')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Notes the AP, and writes a line that stays where there is no terminal."""
        ap = (metrics or {}).get('coco/AP')
        if ap is not None:
            self._ap = f'  AP {ap:.3f}'
            with contextlib.suppress(KeyError):
                best = runner.message_hub.get_info('best_score')
                self._best = f' (best {max(best, ap):.3f})' if best is not None else ''
        if not self._terminal:
            self._write(runner, end='\n')

    def after_train(self, runner: Runner) -> None:
        """Ends the line."""
        if self._terminal:
            self._write(runner, end='\n')

    def _write(self, runner: Runner, end: str) -> None:
        self._shown = time.monotonic()
        done, total = runner.iter, runner.max_iters
        left = (self._shown - self._begin) / max(done - self._first, 1) * (total - done)
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        epoch = f'epoch {runner.epoch}/{runner.max_epochs}'
        words = [epoch if by_epoch else f'step {done}/{total}']
        scalars = runner.message_hub.log_scalars
        for name, key in (('loss', 'train/loss'), ('accuracy', 'train/acc_pose')):
            with contextlib.suppress(KeyError, ValueError):
                words.append(f'{name} {scalars[key].mean(10):.4g}')
        clock = f'{int(left) // 3600}:{int(left) // 60 % 60:02}:{int(left) % 60:02} left'
        start = '\r\x1b[K' if self._terminal else ''
        line = '  '.join(words) + f'{self._ap}{self._best}  {clock}'
        print(start + line, end=end, file=self._stream, flush=True)


@contextlib.contextmanager
def quiet_terminal(*, quiet: bool = True) -> Iterator[TextIO | None]:
    """Keeps MMEngine's log and the evaluation's tables off the terminal; gives the terminal."""
    if not quiet:
        yield None
        return
    with open(os.devnull, 'w', encoding='utf-8') as nowhere:
        terminal = sys.stdout
        with contextlib.redirect_stdout(nowhere):
            yield terminal


def warnings_to(logger: logging.Logger, stream: TextIO) -> None:
    """Lets what a log warns of be seen on the terminal too."""
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    # What MMEngine and MMPose deprecate in each other is not for who trains.
    handler.addFilter(lambda record: 'deprecated' not in record.getMessage())
    warnings.filterwarnings('ignore', module=r'(mmengine|mmpose|mmcv)\b')
    handler.setFormatter(logging.Formatter('\n%(message)s' if stream.isatty() else '%(message)s'))
    logger.addHandler(handler)
