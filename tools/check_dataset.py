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

from mspn.errors import exit_with_sentence, printable
from mspn_plugin import InputError
from mspn_plugin.annotations import Tally, check_dataset
from mspn_plugin.annotations.skeleton import skeleton_of_config, skeleton_of_file


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', type=Path, help='the COCO keypoint file')
    parser.add_argument('images', type=Path, help='the folder that its file names start from')
    skeleton = parser.add_mutually_exclusive_group()
    skeleton.add_argument(
        '--metainfo',
        type=Path,
        metavar='FILE',
        help='check this skeleton too: a Python file with dataset_info, which is run',
    )
    skeleton.add_argument(
        '--config',
        metavar='CONFIG',
        help='check the skeleton of this config too: its path, or the name of one of this package',
    )
    parser.add_argument('--report', type=Path, metavar='FILE', help='write all of it as JSON')
    parser.add_argument(
        '--jobs',
        type=int,
        default=len(os.sched_getaffinity(0))
        if hasattr(os, 'sched_getaffinity')
        else os.cpu_count(),
        metavar='N',
        help='processes that decode images (default: %(default)s, one per core)',
    )
    parser.add_argument(
        '--decode',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='decode the images, or only look whether they are there',
    )
    return parser.parse_args()


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


@exit_with_sentence
def main() -> None:
    """Checks what was given, and says what is wrong with it."""
    args = parse_arguments()
    if args.jobs < 1:
        raise InputError(f'--jobs is {args.jobs}; expected at least 1')
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
    raise SystemExit(1 if tally.num_errors else 0)


if __name__ == '__main__':
    main()
