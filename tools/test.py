"""Evaluates a checkpoint with MMEngine's runner; `mim test mspn_plugin CONFIG` calls it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mspn.errors import exit_with_sentence
from mspn_plugin import InputError
from mspn_plugin.annotations.run_data import check_data
from mspn_plugin.checkpoints.match import check_weights_fit
from mspn_plugin.commands.run_config import add_options, make_config


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Evaluate an MSPN checkpoint.')
    parser.add_argument('config', help='path of a config, or the name of one of this package')
    parser.add_argument('checkpoint', help='the weights to evaluate')
    add_options(parser)
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the numbers as JSON')
    return parser.parse_args()


@exit_with_sentence
def main() -> None:
    """Checks what was given, then evaluates."""
    args = parse_arguments()
    if args.out and not args.out.parent.is_dir():
        raise InputError(f'--out: the folder {args.out.parent} does not exist; create it first')
    cfg = make_config(args)
    cfg.load_from = args.checkpoint
    check_data(cfg, ('test',))
    check_weights_fit(args.checkpoint, cfg.model)
    metrics = Runner.from_cfg(cfg).test()
    if args.out and is_main_process():
        args.out.write_text(json.dumps(metrics, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
