"""What tools/train.py and tools/test.py share: their options, and a config made from them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from mspn.errors import InputError

from ..annotations.run_data import plain_datasets
from ..engine.bad_images import guard_loading
from ..zoo import get_config, list_configs
from .cpu_processes import join_processes


def read_config(name: str) -> Config:
    """Reads a config file.

    Args:
        name: A path, or the name of a config of this package.

    Raises:
        InputError: There is no such config, or it cannot be read.
    """
    path = name if Path(name).is_file() else None
    if path is None and not name.endswith('.py'):
        name += '.py'
    if path is None and Path(name).stem in list_configs() and Path(name).name == name:
        path = get_config(name)
    if path is None:
        raise InputError(
            f'the config {name} does not exist; give the path of a config, or one of '
            + ', '.join(list_configs())
        )
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is a program, so anything can happen in it
        raise InputError(f'{path} cannot be read as an MMEngine config: {error}') from error


def override(cfg: Config, options: Sequence[str] | None, name: str) -> None:
    """Applies ``--cfg-options`` to a config, in place.

    Args:
        cfg: The config.
        options: Settings as ``KEY=VALUE``, keys dotted; ``None`` for none.
        name: What the user called the config.

    Raises:
        InputError: A setting has no place in the config.
    """
    if not options:
        return
    settings = {}
    for option in options:
        key, equals, value = option.partition('=')
        if not equals or not key:
            raise InputError(f'--cfg-options: {option!r} is no setting; expected KEY=VALUE')
        settings[key] = DictAction._parse_iterable(value)
    try:
        cfg.merge_from_dict(settings)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f'--cfg-options do not fit {name}: {error}') from error


_FILES = ('ann_file', 'bbox_file', 'headbox_file')  # settings that may name a file by its full path


def _set_data_root(node: Any, old: str, new: str) -> None:
    """Puts ``new`` in place of ``old`` in every data root and in every path that starts with it."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(value, (dict, list)):
            _set_data_root(value, old, new)
        elif key == 'data_root':
            node[key] = new
        elif key in _FILES and isinstance(value, str) and value.startswith(old):
            node[key] = new + value.removeprefix(old)


def _data_root_of(cfg: Config, part: str) -> str:
    """Where a loader's data is now; paths that start with it move along with it."""
    for dataset in plain_datasets((cfg.get(f'{part}_dataloader') or {}).get('dataset', {})):
        if dataset.get('data_root'):
            return str(dataset['data_root']).rstrip('/') + '/'
    return '\0'  # the start of no path


def make_config(args: argparse.Namespace) -> Config:
    """Reads the config that the options name and applies them to it.

    Args:
        args: Parsed options, those of `add_options` among them.

    Returns:
        The config of the run.

    Raises:
        InputError: The config cannot be read, or a distributed run was not started as one.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    if args.data_root:
        new = str(Path(args.data_root)) + '/'
        for part in ('train', 'val', 'test'):
            old = _data_root_of(cfg, part)
            for node in (cfg.get(f'{part}_dataloader'), cfg.get(f'{part}_evaluator')):
                if node is not None:
                    _set_data_root(node, old, new)
        cfg.data_root = new
    if args.gt_boxes:
        for part in ('val', 'test'):
            if cfg.get(f'{part}_dataloader') is not None:
                for dataset in plain_datasets(cfg[f'{part}_dataloader']['dataset']):
                    dataset['bbox_file'] = None
    override(cfg, args.cfg_options, args.config)
    if 'head' not in cfg.get('model', {}):
        raise InputError(f'{args.config} describes no pose model; expected model.head in it')
    for part in ('train', 'val', 'test'):
        loader: Any = cfg.get(f'{part}_dataloader') or {}
        if loader.get('batch_sampler') and 'drop_last' in loader:
            loader.batch_sampler.drop_last = loader.pop('drop_last')  # torch wants it there only
    guard_loading(cfg, budget=getattr(args, 'bad_images', None), blank=args.blank_bad_images)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    join_processes(cfg)
    return cfg
