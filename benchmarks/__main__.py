"""Times MMPose's own MSPN and this package, side by side: `make bench`.

With the same weights, images, boxes, batches and numbers of workers. Before anything is timed both
sides must give the same results.
"""

from __future__ import annotations

import argparse
import os
import re
import time
import warnings
from pathlib import Path

import torch

from benchmarks.machine import device_name
from benchmarks.material import find_data
from benchmarks.plots import plot_ratios, plot_scale
from benchmarks.report import put_between_markers
from benchmarks.run import GROUPS, run
from benchmarks.scale import measure_scale
from benchmarks.settings import QUICK, Settings, Sizes
from mspn.errors import exit_with_sentence
from mspn_plugin import InputError


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    names = ', '.join(group.name for group in GROUPS)
    parser = argparse.ArgumentParser(description='Time stock MMPose against this package.')
    parser.add_argument('--rows', nargs='+', metavar='NAME', help=f'some of: {names}')
    parser.add_argument(
        '--scale', action='store_true', help='measure and plot cost against work instead'
    )
    parser.add_argument('--quick', action='store_true', help='less of everything, in minutes')
    parser.add_argument('--repeats', type=int, help='measurements of each side (default: 5)')
    parser.add_argument('--stages', type=int, choices=range(1, 5), default=2)
    parser.add_argument(
        '--data-root',
        type=Path,
        metavar='FOLDER',
        help='images in the layout of COCO 2017 (default: data/coco, or synthetic people)',
    )
    parser.add_argument(
        '--detections', type=Path, metavar='FILE', help='detected boxes (default: annotated ones)'
    )
    parser.add_argument('--device', help='cpu, cuda or cuda:1 (default: a GPU if there is one)')
    parser.add_argument('--threads', type=int, help='of a CPU (default: one per core)')
    parser.add_argument(
        '--out', type=Path, metavar='FOLDER', help='(default: benchmark/<device>-<date>)'
    )
    parser.add_argument(
        '--document', type=Path, metavar='FILE', help='also put the result into docs/performance.md'
    )
    return parser.parse_args()


def make_settings(args: argparse.Namespace) -> Settings:
    """Turns the command line into settings."""
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    name = re.sub(r'\W+', '-', device_name(device)).strip('-').lower()
    out = args.out or Path('benchmark') / f'{name}-{time.strftime("%Y%m%d")}'
    sizes = QUICK if args.quick else Sizes()
    return Settings(
        device=device,
        threads=args.threads or os.cpu_count() or 1,
        repeats=args.repeats or (2 if args.quick else 5),
        data_root=find_data(args.data_root, out.parent),
        detections=args.detections,
        out=out,
        sizes=sizes.with_stages(args.stages),
    )


@exit_with_sentence
def main() -> None:
    """Checks, measures, writes."""
    warnings.filterwarnings('ignore')
    args = parse_arguments()
    if args.document and not args.document.is_file():
        raise InputError(f'--document: {args.document} does not exist')
    settings = make_settings(args)
    start = time.monotonic()
    kind = settings.device.type
    if args.scale:
        scale = measure_scale(settings)
        written = [scale.write(settings.out), *plot_scale(scale, settings.out)]
        if args.document:
            plot_scale(scale, args.document.parent)
            put_between_markers(args.document, f'scale on {kind}', scale.markdown())
    else:
        report = run(settings, args.rows)
        written = [*report.write(settings.out), plot_ratios(report, settings.out)]
        if args.document:
            put_between_markers(args.document, f'table on {kind}', report.markdown())
            plot_ratios(report, args.document.parent)
        print(f'\n{report.markdown()}')
    print(f'{time.monotonic() - start:.0f} s; written: {", ".join(map(str, written))}')


if __name__ == '__main__':
    main()
