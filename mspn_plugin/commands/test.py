"""Evaluates a checkpoint with MMEngine's runner; `mim test mspn_plugin CONFIG` calls it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mspn.atomic_io import write_whole
from mspn.errors import InputError

from ..engine.start import check_weights_fit
from .run_config import check_labels, errors_end_the_run, make_config, with_weights


def run(args: argparse.Namespace) -> None:
    """Checks what was given, then evaluates."""
    if args.out and not args.out.parent.is_dir():
        raise InputError(f'--out: the folder {args.out.parent} does not exist; create it first')
    if args.out and args.out.is_dir():
        raise InputError(f'--out: {args.out} is a folder; give the name of a file')
    args.config, checkpoint = with_weights(args.config, args.checkpoint)
    cfg = make_config(args)
    if not args.work_dir:  # the records of a training there stay as they are
        cfg.work_dir = str(Path(cfg.work_dir) / 'test')
    cfg.load_from = checkpoint
    with errors_end_the_run(cfg.work_dir):
        check_labels(cfg, args, ('test',))
        check_weights_fit(checkpoint, cfg.model)
        metrics = Runner.from_cfg(cfg).test()
    if args.out and is_main_process():
        content = json.dumps(metrics, indent=2) + '\n'
        write_whole(args.out, content.encode(), remedy='give another file with --out')
