"""The rows, their bars, and the table: as Markdown, as JSON and as a chart."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import matplotlib
import torch

matplotlib.use('Agg')  # files only, no display needed

from matplotlib import pyplot as plt

BARS = {
    'data': 1.6,
    'bytes': 0.2,
    'ohkm': 5,
    'decode': 4,
    'train': 1.25,
    'inference': 1.5,
    'people': 1.5,
    'evaluation': 1.8,
}
"""The ratios to keep, by the row's key: for two stages on a CPU."""

_PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmpose', 'numpy', 'opencv-python-headless')
_HEAD = (
    '| | stock MMPose | mspn_plugin | unit | ratio | bar | spread | note |\n'
    '|---|---:|---:|---|---:|---:|---:|---|'
)


@dataclass(frozen=True)
class Row:
    """One thing that both sides did; less is better."""

    key: str
    what: str
    unit: str  # s, ms, us or kB
    stock: list[float]  # all measurements; empty if there are none
    ours: list[float]
    note: str = ''
    bar: float | None = None  # the ratio to keep

    @property
    def ratio(self) -> float | None:
        """How many times as fast this package is; of bytes, this package's share of MMPose's."""
        if not self.stock:
            return None
        stock, ours = median(self.stock), median(self.ours)
        return ours / stock if self.unit == 'kB' else stock / ours

    def cells(self) -> list[str]:
        """The row as the table has it."""
        ratio, bar = '-' if self.ratio is None else f'{self.ratio:.3g}x', '-'
        if self.ratio is not None and self.bar is not None:
            less = self.unit == 'kB'
            met = self.ratio <= self.bar if less else self.ratio >= self.bar
            bar = f'{"<=" if less else ">="} {self.bar:g}x {"yes" if met else "**no**"}'
        figures, spreads = zip(*map(_figure_and_spread, (self.stock, self.ours)), strict=True)
        return [self.what, *figures, self.unit, ratio, bar, ' / '.join(spreads), self.note]


def timed_row(
    key: str,
    what: str,
    seconds: dict[str, list[float]],
    *,
    unit: str = 'ms',
    per: int = 1,
    ours: str = 'ours',
    note: str = '',
) -> Row:
    """A row from the seconds of one call, by side; ``per`` says how many samples one call does."""
    factor = {'s': 1.0, 'ms': 1e3, 'us': 1e6}[unit] / per
    sides = ([factor * value for value in seconds.get(side, [])] for side in ('stock', ours))
    return Row(key, what, unit, *sides, note)


def as_markdown(facts: dict[str, str], rows: Sequence[Row]) -> str:
    """Facts about the machine, and the table."""
    lines = [f'- {name}: {value}' for name, value in facts.items()]
    return '\n'.join([*lines, '', _HEAD, *(f'| {" | ".join(r.cells())} |' for r in rows)]) + '\n'


def write(facts: dict[str, str], rows: Sequence[Row], folder: Path) -> None:
    """Writes ``benchmark.md``, ``benchmark.json`` with every measurement, and ``ratios.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'benchmark.md').write_text(as_markdown(facts, rows), encoding='utf-8')
    entries = [dict(asdict(row), ratio=row.ratio) for row in rows]
    content = json.dumps(dict(facts=facts, rows=entries), indent=1)
    (folder / 'benchmark.json').write_text(content + '\n', encoding='utf-8')
    _plot(rows, folder / 'ratios.png')


def _plot(rows: Sequence[Row], path: Path) -> None:
    """Draws how many times as fast every row is, and its bar."""
    timed = [row for row in rows if row.ratio and row.unit != 'kB'][::-1]
    figure, axis = plt.subplots(figsize=(7, 0.32 * len(timed) + 1.1))
    lengths = axis.barh(range(len(timed)), [row.ratio for row in timed], color='#c44e52')
    axis.bar_label(lengths, fmt='%.3gx', padding=4, fontsize=8)
    axis.set_yticks(range(len(timed)), [row.what for row in timed], fontsize=8)
    for place, row in enumerate(timed):
        if row.bar:
            axis.plot([row.bar] * 2, [place - 0.4, place + 0.4], color='black')
    axis.axvline(1, color='gray', linewidth=1)
    axis.set_xlabel('times as fast as stock MMPose; black: the bar')
    axis.margins(x=0.12)
    figure.savefig(path, dpi=100, bbox_inches='tight')
    plt.close(figure)


def device_name(device: torch.device) -> str:
    """The name of a GPU or of the processor, as far as the system tells it."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    info = Path('/proc/cpuinfo')
    lines = info.read_text(encoding='utf-8').splitlines() if info.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return f'{names[0]}, {len(names)} cores' if names else platform.machine()


def machine_facts(device: torch.device, threads: int) -> dict[str, str]:
    """What the figures were measured on, by name."""
    return {
        'date': time.strftime('%Y-%m-%d'),
        'device': device_name(device),
        'threads': f'{threads}, instructions {torch.backends.cpu.get_cpu_capability()}',
        'system': f'{platform.system()} {platform.machine()}, Python {platform.python_version()}',
        'packages': ', '.join(f'{name} {version(name)}' for name in _PACKAGES),
    }


def _figure_and_spread(values: Sequence[float]) -> tuple[str, str]:
    """The median; the largest minus the smallest measurement as a share of it."""
    if not values:
        return '-', '-'
    middle = median(values)
    figure = f'{middle:,.0f}' if middle >= 1000 else f'{middle:.3g}'
    return figure, f'{(max(values) - min(values)) / middle:.0%}'
