"""Trains a model with MMEngine's runner; `mim train mspn_plugin CONFIG` calls it."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from mspn_plugin import InputError
from mspn_plugin.annotations.run_data import check_data
from mspn_plugin.checkpoints.match import check_can_resume, check_weights_fit
from mspn_plugin.commands.run_config import make_config
from mspn_plugin.engine.atomic_io import disk_errors_end_the_run, newest_whole_checkpoint


def apply_options(cfg: Config, args: argparse.Namespace) -> None:
    """Applies the options that only training has."""
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.pop('save_best', None)
    if args.amp:
        import torch

        if not torch.cuda.is_available():
            raise InputError('--amp needs a CUDA device, and there is none; train without it')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        if args.amp == 'bf16':  # its numbers reach as far as those of fp32: nothing to scale
            cfg.optim_wrapper.update(dtype='bfloat16', loss_scale=dict(enabled=False))
        else:
            cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise InputError(f'--auto-scale-lr: {args.config} has no auto_scale_lr setting')
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        if args.resume != 'auto':
            cfg.load_from = args.resume


def run(args: argparse.Namespace) -> None:
    """Checks what was given, then trains."""
    cfg = make_config(args)
    apply_options(cfg, args)
    check_data(cfg, ('train',) if args.no_validate else ('train', 'val'))
    start = cfg.get('load_from')
    if cfg.get('resume') and args.resume == 'auto':
        newest = newest_whole_checkpoint(Path(cfg.work_dir))
        # Nothing to go on from: begin as the config says.
        start, cfg.resume = (str(newest), True) if newest else (start, False)
        cfg.load_from = start
    if start:
        loaded = check_weights_fit(start, cfg.model)
        if cfg.get('resume'):
            check_can_resume(loaded, start)
        del loaded
        cfg.model.backbone.init_cfg = None  # no download of what would be replaced at once
    with disk_errors_end_the_run(cfg.work_dir):
        Runner.from_cfg(cfg).train()
