"""Command line: `python -m synthetic_people ROOT`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from . import make_synthetic_people


def _summary(path: Path) -> str:
    content = json.loads(path.read_text(encoding='utf-8'))
    annotations = content['annotations']
    flags = Counter(flag for annotation in annotations for flag in annotation['keypoints'][2::3])
    joints = max(sum(flags.values()), 1)
    shares = ', '.join(
        f'{100 * flags[flag] / joints:.0f}% {name}'
        for flag, name in ((2, 'visible'), (1, 'covered'), (0, 'outside'))
    )
    return f'{len(content["images"])} images, {len(annotations)} people, joints: {shares}'


def _show_progress(done: int, total: int) -> None:
    if done == total or done % 20 == 0:
        end = '\n' if done == total or not sys.stderr.isatty() else '\r'
        print(f'{done}/{total} images', end=end, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data set and tell what it holds.

    Args:
        argv: Arguments, by default those of the process.

    Returns:
        The exit status: 0, or 2 if the folder or a number cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog='python -m synthetic_people',
        description="Draw synthetic people, a small data set in COCO's format.",
    )
    parser.add_argument('root', type=Path, help='folder to write to')
    parser.add_argument(
        '--train', type=int, default=400, help='number of training images (default: %(default)s)'
    )
    parser.add_argument(
        '--val', type=int, default=80, help='number of validation images (default: %(default)s)'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed (default: %(default)s)')
    parser.add_argument('--workers', type=int, help='number of processes (default: one per core)')
    options = parser.parse_args(argv)
    started = time.monotonic()
    try:
        paths = make_synthetic_people(
            options.root,
            num_train=options.train,
            num_val=options.val,
            seed=options.seed,
            workers=options.workers,
            progress=_show_progress,
        )
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{paths.root} is complete ({time.monotonic() - started:.1f} s)')
    print(f'  {paths.train_annotations}: {_summary(paths.train_annotations)}')
    print(f'  {paths.val_annotations}: {_summary(paths.val_annotations)}')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
