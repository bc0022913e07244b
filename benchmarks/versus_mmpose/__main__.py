"""Times MMPose's own MSPN and this package, side by side: `make bench`.

With the same weights, images, boxes, batches and numbers of workers. Before anything is timed both
sides must give the same results.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mspn.errors import InputError, exit_with_sentence

from . import rows
from .report import BARS, Row, as_markdown, device_name, machine_facts, write
from .sides import Settings, Sides, find_data
from .timing import threads

_FUNCTIONS = (
    *(rows.data, rows.ohkm, rows.decode, rows.train),
    *(rows.inference, rows.people, rows.evaluation, rows.imports),
)
GROUPS = {function.__name__: function for function in _FUNCTIONS}
"""What measures the rows, by the name that ``--rows`` selects it by."""

QUICK = dict(slow_repeats=1, samples=96, photographs=2, evaluated=8, least_time=0.05)
"""Amounts for a run of minutes on two cores."""


def run(settings: Settings, names: Sequence[str] | None = None) -> list[Row]:
    """Checks both sides, times them and gives the rows of some or all of `GROUPS`.

    Raises:
        CheckFailed: The two sides disagree; nothing was timed.
        InputError: There is no such group, or something else cannot be used.
    """
    for name in names or ():
        if name not in GROUPS:
            raise InputError(f'--rows: there are no rows {name!r}; choose from {", ".join(GROUPS)}')
    measured: list[Row] = []
    has_bars = settings.stages == 2 and settings.device.type == 'cpu'
    with tempfile.TemporaryDirectory(prefix='mspn-benchmark-') as folder, threads(settings.threads):
        sides = Sides(settings, Path(folder))
        chosen = [group(sides) for name, group in GROUPS.items() if not names or name in names]
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # a GPU rounds too much
            for group in chosen:
                print(f'same results: {next(group)}', flush=True)
        for row in (row for group in chosen for row in group):
            measured.append(replace(row, bar=BARS.get(row.key) if has_bars else None))
            print(' | '.join(measured[-1].cells()), flush=True)
    return measured


@exit_with_sentence
def main() -> None:
    """Reads the command line, checks, measures, writes."""
    warnings.filterwarnings('ignore')
    about = 'Time stock MMPose against this package.'
    parser = argparse.ArgumentParser(prog='make bench', description=about)
    add = parser.add_argument
    add('--rows', nargs='+', metavar='NAME', help=f'some of: {", ".join(GROUPS)}')
    add('--quick', action='store_true', help='less of everything, in minutes')
    add('--repeats', type=int, help='measurements of each side (default: 5)')
    add('--stages', type=int, choices=range(1, 5), default=2)
    images = 'in the layout of COCO 2017 (default: data/coco, or synthetic people)'
    add('--data-root', type=Path, metavar='FOLDER', help=images)
    add('--detections', type=Path, metavar='FILE', help='detected boxes (default: annotated ones)')
    add('--device', help='cpu, cuda or cuda:1 (default: a GPU if there is one)')
    add('--threads', type=int, help='of a CPU (default: one per core)')
    add('--out', type=Path, metavar='FOLDER', help='(default: benchmark/<device>-<date>)')
    args = parser.parse_args()

    start = time.monotonic()
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    name = re.sub(r'\W+', '-', device_name(device)).strip('-').lower()
    out = args.out or Path('benchmark') / f'{name}-{time.strftime("%Y%m%d")}'
    settings = Settings(
        data_root=find_data(args.data_root, out.parent),
        detections=args.detections,
        device=device,
        threads=args.threads or os.cpu_count() or 1,
        repeats=args.repeats or (2 if args.quick else 5),
        stages=args.stages,
        **(QUICK if args.quick else {}),
    )
    measured = run(settings, args.rows)
    facts = machine_facts(device, settings.threads)
    slow = min(settings.repeats, settings.slow_repeats)
    facts['measurements'] = f'{settings.repeats} of each side, {slow} of whole processes and images'
    write(facts, measured, out)
    print(f'\n{as_markdown(facts, measured)}\n{time.monotonic() - start:.0f} s; written: {out}')


if __name__ == '__main__':
    main()
