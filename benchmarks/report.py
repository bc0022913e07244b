"""The table: as Markdown, as JSON, and in a document between two markers."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from mspn.errors import InputError

from .rows import Row

_HEAD = (
    '| | stock MMPose | mspn_plugin | unit | ratio | bar | of the peak | spread | note |\n'
    '|---|---:|---:|---|---:|---:|---:|---:|---|'
)


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that was measured.

    Attributes:
        facts: About the machine, by name.
        peaks: Operations per second of large matrix products, by kind of numbers.
        tables: Rows under their headlines.
    """

    facts: dict[str, str]
    peaks: dict[str, float]
    tables: list[tuple[str, list[Row]]]

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return [row for _, rows in self.tables for row in rows]

    def markdown(self) -> str:
        """Facts and tables as Markdown."""
        facts = '\n'.join(f'- {name}: {value}' for name, value in self.facts.items())
        peaks = ', '.join(
            f'{kind} {value / 1e9:,.0f} GFLOP/s' for kind, value in self.peaks.items()
        )
        parts = [facts + (f'\n- matrix products reach: {peaks}' if peaks else ''), _HEAD]
        for title, rows in self.tables:
            body = '\n'.join(_markdown_row(row) for row in rows)
            parts[-1] += f'\n| **{title}** | | | | | | | | |\n{body}'
        return '\n\n'.join(parts) + '\n'

    def as_json(self) -> dict[str, Any]:
        """The same for programs, with every single measurement."""
        rows = []
        for title, group in self.tables:
            for row in group:
                entry = dataclasses.asdict(row)
                entry['times'] = {side: list(times.seconds) for side, times in row.times.items()}
                rows.append(
                    dict(
                        entry,
                        group=title,
                        ratio=row.ratio,
                        reached=row.reached,
                        fraction_of_peak=row.fractions,
                    )
                )
        return dict(facts=self.facts, peaks=self.peaks, rows=rows)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Writes ``benchmark.md`` and ``benchmark.json`` and gives their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        table, numbers = folder / 'benchmark.md', folder / 'benchmark.json'
        table.write_text(self.markdown(), encoding='utf-8')
        numbers.write_text(json.dumps(self.as_json(), indent=1) + '\n', encoding='utf-8')
        return table, numbers


def put_between_markers(document: Path, name: str, text: str) -> None:
    """Replaces what stands between ``<!-- NAME -->`` and ``<!-- end of NAME -->``.

    Args:
        document: A Markdown file.
        name: The markers' name.
        text: What is to stand there.

    Raises:
        InputError: The file is not there or has no such markers.
    """
    start, end = f'<!-- {name} -->', f'<!-- end of {name} -->'
    old = document.read_text(encoding='utf-8') if document.is_file() else ''
    pattern = re.escape(start) + '.*?' + re.escape(end)
    if not re.search(pattern, old, re.S):
        raise InputError(f'{document} has no lines {start} and {end}, between which to write')
    new = re.sub(pattern, lambda _: f'{start}\n\n{text.strip()}\n\n{end}', old, flags=re.S)
    document.write_text(new, encoding='utf-8')


def number(value: float | None) -> str:
    """A figure as the tables write it."""
    if value is None:
        return '-'
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'


def _markdown_row(row: Row) -> str:
    ratio = '-'
    if row.ratio is not None:
        ratio = f'{row.ratio:.3g}x' if row.is_size else f'{row.ratio:.2f}x'
    bar = '-'
    if row.bar is not None:
        bar = f'{"<=" if row.is_size else ">="} {row.bar:g}x'
        if row.reached is not None:
            bar += ' yes' if row.reached else ' **no**'
    fractions = _pair(row.fractions, '{:.0%}')
    spread = _pair(row.spread, '{:.0%}')
    cells = (
        row.what,
        number(row.stock),
        number(row.ours),
        row.unit,
        ratio,
        bar,
        fractions,
        spread,
        row.note,
    )
    return f'| {" | ".join(cells)} |'


def _pair(values: tuple[float | None, float | None], form: str) -> str:
    if values == (None, None):
        return ''
    return ' / '.join('-' if value is None else form.format(value) for value in values)
