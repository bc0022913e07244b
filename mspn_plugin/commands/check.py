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
from ..annotations.mend import write_mended
from ..annotations.problems import ERRORS, WARNINGS
from ..annotations.run_data import skeleton_of_config, skeleton_of_file
from .run_config import read_config


def run(args: argparse.Namespace) -> int:
    """Checks what was given, and says what is wrong with it; 1 if there are errors."""
    for option, path in (('--report', args.report), ('--mend', args.mend)):
        if path and not path.parent.is_dir():
            raise InputError(f'{option}: the folder {path.parent} does not exist; create it')
        if path and path.exists() and path.samefile(args.annotations):
            raise InputError(f'{option}: {path} is the file to be checked; give another one')
    skeleton = skeleton_of_file(args.metainfo) if args.metainfo else None
    if args.config:
        skeleton = skeleton_of_config(read_config(args.config))
    begin = time.monotonic()
    with tqdm(unit='image', file=sys.stderr, disable=None) as bar:
        options = dict(jobs=args.jobs, decode=args.decode, progress=lambda n: bar.update(n - bar.n))
        options.update(skeleton=skeleton, category=args.category)
        tally, counts = check_dataset(args.annotations, args.images, **options)
    what = '{:,} images, {:,} annotations, {:,} labelled people of {:,} keypoints'
    print(what.format(*counts.values()), *map(printable, tally.lines()), sep='\n')
    if args.report:
        report = json.dumps(dict(counts=counts, **tally.record()), indent=2) + '\n'
        write_whole(args.report, report.encode(), remedy='give another file with --report')
        print(f'written: {args.report}')
    if args.mend:
        write_mended(args.annotations, args.images, tally, args.category, args.mend)
        print(f'written, with what could be mended: {args.mend}')
    errors, warnings = tally.count_of(ERRORS), tally.count_of(WARNINGS)
    print(f'{errors:,} errors, {warnings:,} warnings in {time.monotonic() - begin:.1f} s')
    return 1 if errors else 0
