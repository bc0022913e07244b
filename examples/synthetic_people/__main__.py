"""Command line: `python -m synthetic_people ROOT`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from . import make_synthetic_people


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data set and tell what it holds; the exit status is 2 for an unusable argument."""
    parser = argparse.ArgumentParser(
        prog='python -m synthetic_people',
        description="Draw synthetic people, a small data set in COCO's format.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='folder to write to')
    parser.add_argument('--train', type=int, default=400, help='number of training images')
    parser.add_argument('--val', type=int, default=80, help='number of validation images')
    parser.add_argument('--seed', type=int, default=0, help='seed')
    parser.add_argument('--workers', type=int, help='number of processes; None for one per core')
    args = parser.parse_args(argv)
    size = {'num_train': args.train, 'num_val': args.val, 'seed': args.seed}
    try:
        paths = make_synthetic_people(args.root, **size, workers=args.workers)
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for path in (paths.train_annotations, paths.val_annotations):
        content = json.loads(path.read_text(encoding='utf-8'))
        flags = Counter(f for person in content['annotations'] for f in person['keypoints'][2::3])
        print(
            f'{path}: {len(content["images"])} images, {len(content["annotations"])} people; '
            f'joints: {flags[2]} visible, {flags[1]} covered, {flags[0]} outside'
        )
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
