"""Runs the groups of rows: every check first, then the times."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mspn.errors import InputError

from .bench import Bench
from .machine import describe
from .report import Report
from .rows import Group, Row
from .rows_data import DataPath
from .rows_evaluation import Evaluation
from .rows_heatmaps import Decoding, Targets
from .rows_inference import Inference
from .rows_losses import Losses
from .rows_people import People
from .rows_training import Training
from .settings import Settings

GROUPS: tuple[type[Group], ...] = (
    DataPath,
    Targets,
    Losses,
    Decoding,
    Training,
    Inference,
    People,
    Evaluation,
)
"""All groups, in the order of the table."""


def select(names: Sequence[str] | None) -> list[type[Group]]:
    """Groups by their names; all of them if there are no names.

    Raises:
        InputError: There is no such group.
    """
    known = {group.name: group for group in GROUPS}
    for name in names or ():
        if name not in known:
            raise InputError(f'--rows: there are no rows {name!r}; choose from {", ".join(known)}')
    return [group for name, group in known.items() if not names or name in names]


def run(
    settings: Settings,
    names: Sequence[str] | None = None,
    *,
    say: Callable[[str], None] = print,
    groups: Sequence[type[Group]] | None = None,
) -> Report:
    """Checks both sides, times them and gives the table.

    Args:
        settings: How to run.
        names: Which groups; all if absent.
        say: Called with a line of progress at a time.
        groups: The groups themselves, instead of their names.

    Returns:
        The report.

    Raises:
        CheckFailed: The two sides disagree; nothing was timed.
        InputError: There is no such group, or something else cannot be used.
    """
    chosen = list(groups) if groups is not None else select(names)
    with tempfile.TemporaryDirectory(prefix='mspn-benchmark-') as folder:
        bench = Bench(settings, Path(folder))
        with bench.threads(settings.threads):
            ready = []
            for group in chosen:
                ready.append(group(bench))
                say(f'same results: {ready[-1].check()}')
            tables: list[tuple[str, list[Row]]] = []
            for one in ready:
                start = time.monotonic()
                rows = []
                for row in one.measure():
                    rows.append(row)
                    say(line(row))
                tables.append((one.title, rows))
                say(f'       {one.title}: {time.monotonic() - start:.0f} s')
    facts = describe(settings.device, settings.threads)
    facts['amounts'] = f'{settings.sizes.name}, {settings.repeats} measurements of each side'
    return Report(facts, bench.peaks, tables)


def line(row: Row) -> str:
    """A row in one line, for the terminal."""
    if row.ratio is None:
        return f'{row.what}: {row.note}'
    mark = '' if row.reached is None else ' (reached)' if row.reached else ' (MISSED)'
    bar = '' if row.bar is None else f', bar {row.bar:g}x{mark}'
    return f'{row.what}: {row.stock:.4g} -> {row.ours:.4g} {row.unit}, {row.ratio:.2f}x{bar}'
