"""Trains a model with MMEngine's runner; `mim train mspn_plugin CONFIG` calls it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mspn.errors import InputError
from mspn.models import known, weights_of

from ..engine.bf16 import cpu_has_bf16
from ..engine.start import check_weights_fit, newest_whole_checkpoint
from .run_config import check_labels, errors_end_the_run, make_config


def apply_options(cfg: Config, args: argparse.Namespace) -> None:
    """Applies the options that only training has."""
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.pop('save_best', None)
    if args.amp:
        use_mixed_precision(cfg.optim_wrapper, args.amp)
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise InputError(f'--auto-scale-lr: {args.config} has no auto_scale_lr setting')
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        if args.resume != 'auto':
            cfg.load_from = args.resume


def use_mixed_precision(wrapper: Any, dtype: str) -> None:
    """Lets the network compute in fp16 or bf16 while it learns."""
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


def run(args: argparse.Namespace) -> None:
    """Checks what was given, then trains."""
    cfg = make_config(args)
    apply_options(cfg, args)
    with errors_end_the_run(cfg.work_dir):
        check_labels(cfg, args, ('train',) if args.no_validate else ('train', 'val'))
        begin_where_told(cfg, args)
        Runner.from_cfg(cfg).train()
