"""Checks a COCO keypoint data set before a long run: records, images, skeleton."""

from __future__ import annotations

import argparse
import json
import sys
import time

from tqdm import tqdm

from mspn.atomic_io import write_whole
from mspn.errors import InputError, printable

from ..annotations.keypoint_file import check_dataset
from ..annotations.problems import ERRORS, WARNINGS
from ..annotations.run_data import skeleton_of_config, skeleton_of_file
from .run_config import read_config


def run(args: argparse.Namespace) -> int:
    """Checks what was given, and says what is wrong with it; 1 if there are errors."""
    if args.report and not args.report.parent.is_dir():
        raise InputError(f'--report: the folder {args.report.parent} does not exist; create it')
    skeleton = skeleton_of_file(args.metainfo) if args.metainfo else None
    if args.config:
        skeleton = skeleton_of_config(read_config(args.config))
    begin = time.monotonic()
    with tqdm(unit='image', file=sys.stderr, disable=None) as bar:
        options = dict(jobs=args.jobs, decode=args.decode, progress=lambda n: bar.update(n - bar.n))
        tally, counts = check_dataset(args.annotations, args.images, skeleton=skeleton, **options)
    what = '{:,} images, {:,} annotations, {:,} labelled people of {:,} keypoints'
    print(what.format(*counts.values()), *map(printable, tally.lines()), sep='\n')
    if args.report:
        report = json.dumps(dict(counts=counts, **tally.record()), indent=2) + '\n'
        write_whole(args.report, report.encode(), remedy='give another file with --report')
        print(f'written: {args.report}')
    errors, warnings = tally.count_of(ERRORS), tally.count_of(WARNINGS)
    print(f'{errors:,} errors, {warnings:,} warnings in {time.monotonic() - begin:.1f} s')
    return 1 if errors else 0
