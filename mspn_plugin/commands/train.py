"""Trains a model with MMEngine's runner; `mim train mspn_plugin CONFIG` calls it."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mspn.atomic_io import write_whole
from mspn.cli import refuse_others
from mspn.errors import InputError, printable
from mspn.models import known, weights_of

from ..annotations.run_data import annotation_file
from ..engine.bf16 import cpu_has_bf16
from ..engine.progress_line import ProgressLine, quiet_terminal, warnings_to
from ..engine.start import check_weights_fit, newest_whole_checkpoint
from .run_config import (
    check_labels,
    check_settings,
    errors_end_the_run,
    make_config,
    override,
    read_config,
)

_OF_DETECTORS = 'config detector work_dir resume amp log report cfg_options local_rank'


def apply_options(cfg: Config, args: argparse.Namespace) -> None:
    """Applies the options that only training has."""
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.pop('save_best', None)
    if amp := args.amp or default_precision(args.config):
        use_mixed_precision(cfg.optim_wrapper, amp)
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise InputError(f'--auto-scale-lr: {args.config} has no auto_scale_lr setting')
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        if args.resume != 'auto':
            cfg.load_from = args.resume


def default_precision(config: str) -> str | None:
    """For a folder of `mspn new` bf16, where a CPU has it: it takes half of the time."""
    if Path(config).is_dir() and cpu_has_bf16() and not torch.cuda.is_available():
        print('the network computes in bf16, which this CPU has; --amp none uses 32 bits')
        return 'bf16'
    return None


def use_mixed_precision(wrapper: Any, dtype: str) -> None:
    """Lets the network compute in fp16 or bf16 while it learns."""
    if dtype == 'none':
        return
    if torch.cuda.is_available():
        wrapper.type = 'AmpOptimWrapper'
        if dtype == 'bf16':  # its numbers reach as far as those of fp32: nothing to scale
            wrapper.update(dtype='bfloat16', loss_scale=dict(enabled=False))
        else:
            wrapper.setdefault('loss_scale', 'dynamic')
    elif dtype == 'bf16' and cpu_has_bf16():
        wrapper.type = 'CpuBf16OptimWrapper'
    else:
        mend = 'give --amp bf16, or train without it' if cpu_has_bf16() else 'train without it'
        raise InputError(f'--amp {dtype} needs a CUDA device, and there is none; {mend}')


def begin_where_told(cfg: Config, args: argparse.Namespace) -> None:
    """Finds and checks the checkpoint that a run begins from, if any."""
    loaded = None
    if cfg.get('resume') and args.resume == 'auto':
        found = newest_whole_checkpoint(Path(cfg.work_dir))
        cfg.resume = found is not None  # nothing to go on from: begin as the config says
        if found:
            cfg.load_from, loaded = str(found[0]), found[1]
    if start := cfg.get('load_from'):
        if known(start, 'pose'):
            start = cfg.load_from = weights_of(start, 'pose')[1]
        check_weights_fit(start, cfg.model, loaded=loaded, resume=cfg.get('resume', False))
        cfg.model.backbone.init_cfg = None  # no download of what would be replaced at once


def train_detector(args: argparse.Namespace) -> None:
    """Trains the detector of a folder of `mspn new`, on the same boxes."""
    folder = Path(args.config)
    if not (folder / 'detector.py').is_file():
        raise InputError(f'--detector: {folder} is no folder that `mspn new` has written')
    refuse_others(args, _OF_DETECTORS, '--detector')
    from ..apis.detector import read_detector_config

    cfg = read_detector_config(folder / 'detector.py')
    cfg.work_dir = args.work_dir or cfg.work_dir
    pose = read_config(args.config)  # of the same labels
    pose.work_dir = cfg.work_dir
    check_labels(pose, args, ('train', 'val'))
    for split in ('train', 'val'):
        place = annotation_file(pose[f'{split}_dataloader'].dataset).absolute()
        cfg[f'{split}_dataloader'].dataset.ann_file = str(place)
    cfg.val_evaluator.ann_file = str(place)
    override(cfg, args.cfg_options, f'{folder}/detector.py')
    check_settings(cfg)
    if amp := args.amp or default_precision(args.config):
        use_mixed_precision(cfg.optim_wrapper, amp)
    if known(cfg.load_from, 'detector'):
        cfg.load_from = weights_of(cfg.load_from, 'detector')[1]
    if args.resume and args.resume != 'auto':
        cfg.resume, cfg.load_from = True, args.resume
    elif args.resume and (found := newest_whole_checkpoint(Path(cfg.work_dir))):
        cfg.resume, cfg.load_from = True, str(found[0])
    init_default_scope('mmdet')
    with errors_end_the_run(cfg.work_dir):
        train(cfg, quiet=not args.log)


def run(args: argparse.Namespace) -> None:
    """Checks what was given, then trains."""
    if args.detector:
        train_detector(args)
        return
    cfg = make_config(args)
    apply_options(cfg, args)
    with errors_end_the_run(cfg.work_dir):
        splits = ('train',) if args.no_validate else ('train', 'val')
        check_labels(cfg, args, (*splits, 'test') if args.report else splits)
        begin_where_told(cfg, args)
        cfg.command = shlex.join(['mspn', *args.given])
        if args.stop_after:
            stop = dict(type='EarlyStoppingHook', monitor='coco/AP', rule='greater', min_delta=1e-9)
            stop['patience'] = args.stop_after
            cfg.custom_hooks = [*cfg.get('custom_hooks', []), stop]
        train(cfg, quiet=not args.log)
    if args.report and get_world_size() > 1:
        if is_main_process():
            print(f'a report on it: mspn report {cfg.work_dir}')
    elif args.report and cfg.get('val_evaluator'):
        write_report(cfg)


def train(cfg: Config, *, quiet: bool) -> None:
    """Runs MMEngine's runner; quietly, a line says how far it is, and the log is in its file."""
    with quiet_terminal(quiet=quiet) as terminal:
        runner = Runner.from_cfg(cfg)
        if terminal:
            warnings_to(runner.logger, terminal)
            runner.register_hook(ProgressLine(terminal))
            print(f'the log is {runner.log_dir}/{runner.timestamp}.log', file=terminal)
        runner.train()


def write_report(cfg: Config) -> None:
    """Says what was learned; a report that cannot be made does not spoil the training."""
    from ..reports.page import page
    from ..reports.runs import load_run

    place = Path(cfg.work_dir) / 'report.html'
    try:
        with quiet_terminal():
            text = page([load_run(cfg.work_dir)])
        write_whole(
            place, text.encode(errors='backslashreplace'), remedy='make room, then: mspn report'
        )
    except Exception as error:  # whatever it is, the training has ended well
        print(printable(f'no report: {type(error).__name__}: {error}'))
    else:
        print(f'a report on it: {place}')
