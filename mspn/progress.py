"""One line that says how far a run is and how fast, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

_EVERY = (0.2, 30.0)  # seconds between lines: on a terminal, where they replace each other; else


class Progress:
    """Counts frames and people; as a context manager it ends with a last line.

    Args:
        total: Frames in all, if known.
        what: What a frame is called.
    """

    def __init__(self, total: int | None, what: str = 'frames') -> None:
        self._total, self._what = total, what
        self.frames = self.people = 0
        self._start = self._shown = time.perf_counter()

    @property
    def rate(self) -> str:
        """People a second so far."""
        return f'{self.people / max(time.perf_counter() - self._start, 1e-9):.1f} people/s'

    def add(self, people: int) -> None:
        """Counts a frame with so many people."""
        self.frames, self.people = self.frames + 1, self.people + people
        terminal = sys.stderr.isatty()
        now = time.perf_counter()
        if now - self._shown >= _EVERY[not terminal]:
            self._shown = now
            self._show(end='' if terminal else '\n')

    def _show(self, end: str) -> None:
        frames = f'{self.frames}/{self._total}' if self._total else f'{self.frames}'
        left = ''
        if self._total and 0 < self.frames < self._total:
            each = (time.perf_counter() - self._start) / self.frames
            seconds = round(each * (self._total - self.frames))
            left = f', {seconds // 60}:{seconds % 60:02d} left'
        line = f'{frames} {self._what}, {self.people} people, {self.rate}{left}'
        start = '\r\x1b[K' if sys.stderr.isatty() else ''
        print(f'{start}{line}', end=end, file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: Any) -> None:
        self._show(end='\n')
