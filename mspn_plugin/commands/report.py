"""Says in one HTML file what a training has learned and where it fails."""

from __future__ import annotations

import argparse
from pathlib import Path

from mspn.atomic_io import write_whole
from mspn.errors import InputError, listed

from ..reports.page import page
from ..reports.runs import load_run


def run(args: argparse.Namespace) -> None:
    """Loads one run or two, predicts what is not predicted yet, and writes the page."""
    if len(args.runs) > 2:
        raise InputError(f'{len(args.runs)} runs are given; a report is of one, or compares two')
    if args.checkpoint and len(args.runs) > 1:
        raise InputError('--checkpoint is for a report of one run')
    runs = [load_run(given, args.checkpoint) for given in args.runs]
    names = [run.skeleton.names for run in runs]
    if names[0] != names[-1]:
        raise InputError(
            f'{args.runs[0]} has the keypoints {listed(names[0], 5)}, but {args.runs[-1]} has '
            f'{listed(names[-1], 5)}; a comparison needs one skeleton'
        )
    out: Path = args.out or runs[0].folder / 'report.html'
    if not out.absolute().parent.is_dir():
        raise InputError(f'--out: the folder {out.parent} does not exist; create it')
    write_whole(
        out, page(runs).encode(errors='backslashreplace'), remedy='give another file with --out'
    )
    print(f'written: {out} ({out.stat().st_size / 1e6:.1f} MB)')
