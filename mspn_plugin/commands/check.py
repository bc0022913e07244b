"""Checks a COCO keypoint data set before a long run: records, images, skeleton.

Status 0: nothing is wrong (there may be warnings); 1: there are errors, which break a run or make
it learn something else than the labels; 2: the input is not a data set at all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

from mspn.errors import printable
from mspn_plugin import InputError
from mspn_plugin.annotations import Tally, check_dataset
from mspn_plugin.annotations.skeleton import skeleton_of_config, skeleton_of_file


def write_report(path: Path, tally: Tally, counts: dict[str, int]) -> None:
    """Writes the report beside its place, then moves it there."""
    unfinished = path.with_name(f'.{path.name}.unfinished')
    text = json.dumps(dict(counts=counts, **tally.record()), indent=2)
    try:
        unfinished.write_text(text + '\n', encoding='utf-8')
        os.replace(unfinished, path)
    except OSError as error:
        raise InputError(f'--report {path} cannot be written: {error.strerror}') from error
    finally:
        unfinished.unlink(missing_ok=True)


def run(args: argparse.Namespace) -> int | None:
    """Checks what was given, and says what is wrong with it."""
    if args.report and not args.report.parent.is_dir():
        raise InputError(f'--report: the folder {args.report.parent} does not exist; create it')
    skeleton = None
    if args.config:
        skeleton = skeleton_of_config(args.config)
    elif args.metainfo:
        skeleton = skeleton_of_file(args.metainfo)
    begin = time.monotonic()
    with tqdm(unit='image', file=sys.stderr, disable=None) as bar:
        tally, counts = check_dataset(
            args.annotations,
            args.images,
            skeleton=skeleton,
            jobs=args.jobs,
            decode=args.decode,
            progress=lambda done: bar.update(done - bar.n),
        )
    seconds = time.monotonic() - begin
    print(
        f'{counts["images"]:,} images, {counts["annotations"]:,} annotations, {counts["people"]:,} '
        f'labelled people of {counts["keypoints"]} keypoints'
    )
    for line in tally.lines():
        print(printable(line))
    if args.report:
        write_report(args.report, tally, counts)
        print(f'written: {args.report}')
    print(f'{tally.num_errors:,} errors, {tally.num_warnings:,} warnings in {seconds:.1f} s')
    return 1 if tally.num_errors else 0
