"""What training and evaluation share: a config made from their options."""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from torch import distributed

from mspn.errors import InputError
from mspn.models import weights_of

from ..zoo import get_config

_SPLITS = ('train', 'val', 'test')
_FILES = ('ann_file', 'bbox_file', 'headbox_file')  # settings that may name a file by its full path


def read_config(name: str) -> Config:
    """Reads a config file, given by its path or as the name of a config of this package."""
    try:
        path = name if Path(name).is_file() else get_config(name)
    except InputError as error:
        raise InputError(
            f'the config {name} does not exist ({error}); give the path or name of one'
        ) from error
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is a program, so anything can happen in it
        raise InputError(f'{path} cannot be read as an MMEngine config: {error}') from error


def with_weights(config: str, checkpoint: str | None, kind: str = 'pose') -> tuple[str, str]:
    """A config and a checkpoint; without one, those of the model that has the config's name."""
    if checkpoint is not None:
        return config, checkpoint
    try:
        return weights_of(config, kind)
    except InputError as error:
        raise InputError(f'no checkpoint is given; {error}') from error


def override(cfg: Config, options: Sequence[str] | None, name: str) -> None:
    """Applies ``--cfg-options``, which are ``KEY=VALUE``, to a config of that name."""
    settings = {}
    for option in options or ():
        key, equals, value = option.partition('=')
        if not equals or not key:
            raise InputError(f'--cfg-options: {option!r} is no setting; expected KEY=VALUE')
        settings[key] = DictAction._parse_iterable(value)
    try:
        cfg.merge_from_dict(settings)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f'--cfg-options do not fit {name}: {error}') from error


def _tables(node: Any) -> Iterator[dict[str, Any]]:
    """Every table inside a part of a config."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for inner in node if isinstance(node, (list, tuple)) else ():
        yield from _tables(inner)


def _set_data_root(cfg: Config, new: str) -> None:
    """Sets the root of all data sets, and moves the files along that are named with the old one."""
    cfg.data_root = new
    for split in _SPLITS:
        tables = [*_tables(cfg.get(f'{split}_dataloader'))]
        roots = {f'{table["data_root"]}/' for table in tables if table.get('data_root')}
        roots = {root.replace('//', '/') for root in roots}
        for table in [*tables, *_tables(cfg.get(f'{split}_evaluator'))]:
            if 'data_root' in table:
                table['data_root'] = new
            for key, old in itertools.product(_FILES, roots):
                if str(table.get(key)).startswith(old):
                    table[key] = new + str(table[key]).removeprefix(old)


def _guard_images(cfg: Config, option: str, splits: Sequence[str], **settings: Any) -> None:
    guards = [
        table
        for split in splits
        for table in _tables(cfg.get(f'{split}_dataloader'))
        if str(table.get('type')).endswith('GuardedLoading')
    ]
    if not guards:
        raise InputError(
            f'{option}: the {" and ".join(splits)} pipelines have no GuardedLoading step; put '
            "dict(type='GuardedLoading', step=...) in place of the step that loads an image"
        )
    for guard in guards:
        guard.update(settings)


def make_config(args: argparse.Namespace) -> Config:
    """Reads the config that the options name and applies those that all runs have.

    Raises:
        InputError: The config cannot be read, has no place for an option, or needs a launcher.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    if args.data_root:
        _set_data_root(cfg, f'{Path(args.data_root)}/')
    if args.gt_boxes:
        for table in _tables([cfg.get(f'{split}_dataloader') for split in ('val', 'test')]):
            if 'bbox_file' in table:
                table['bbox_file'] = None
    override(cfg, args.cfg_options, args.config)
    if 'head' not in cfg.get('model', {}):
        raise InputError(f'{args.config} describes no pose model; expected model.head in it')
    for loader in filter(None, [cfg.get(f'{split}_dataloader') for split in _SPLITS]):
        if loader.get('batch_sampler') and 'drop_last' in loader:
            loader.batch_sampler.drop_last = loader.pop('drop_last')  # torch wants it there only
        if not loader.get('num_workers'):  # torch refuses these without workers
            loader.pop('persistent_workers', None)
            loader.pop('prefetch_factor', None)
    if getattr(args, 'bad_images', None) is not None:
        _guard_images(cfg, '--bad-images', ['train'], budget=args.bad_images)
    if args.blank_bad_images:
        _guard_images(cfg, '--blank-bad-images', ['val', 'test'], on_bad_image='blank')
    default = Path('work_dirs') / Path(args.config).stem
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(default)
    join_processes(cfg)
    return cfg


def join_processes(cfg: Config) -> None:
    """Connects the processes of a distributed run with gloo where there is no CUDA.

    MMEngine sets a CUDA device in every launcher and gives it to the wrapper of the model, which
    the config then replaces. With CUDA, or for one process, MMEngine does all and this nothing.

    Raises:
        InputError: The environment is not that of torchrun, or `sync_bn` is asked for.
    """
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    if cfg.get('sync_bn') is not None:
        raise InputError('sync_bn needs GPUs: torch has it for them only; train without it')
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    cfg.model_wrapper_cfg = {**wrapper, **cfg.get('model_wrapper_cfg', {})}
    try:
        distributed.init_process_group('gloo')
    except ValueError as error:
        raise InputError(
            f'--launcher {cfg.launcher}: {error}; without a GPU start with torchrun (or set RANK, '
            'WORLD_SIZE, MASTER_ADDR and MASTER_PORT), or leave out --launcher to run one process'
        ) from error
