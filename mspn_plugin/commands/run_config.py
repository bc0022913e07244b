"""What training and evaluation share: a config made from their options."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import inspect
import itertools
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import OPTIMIZERS, init_default_scope
from torch import distributed
from torch.utils.data import DataLoader

from mspn.errors import InputError, printable
from mspn.models import weights_of

from ..annotations.run_data import DataOptions, check_data
from ..zoo import get_config, tables

# Those of torch's DataLoader, and those that MMEngine adds.
_LOADER_SETTINGS = set(inspect.signature(DataLoader).parameters)
_LOADER_SETTINGS |= {'num_batch_per_epoch', 'pin_memory_device'}
_SPLITS = ('train', 'val', 'test')
_UNKNOWN_PART = re.compile(r'(\S+) is not in the (\S+) registry')
_FILES = ('ann_file', 'bbox_file', 'headbox_file')  # settings that may name a file by its full path


def read_config(name: str) -> Config:
    """Reads a config file, given by its path or as the name of a config of this package."""
    if Path(name).is_dir():
        name = str(Path(name) / 'config.py')
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
    """A config and a checkpoint; without one, those of the model or folder of that name."""
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
        try:
            settings[key] = new = DictAction._parse_iterable(value)
        except (AssertionError, ValueError, IndexError) as error:
            text = f'{option!r} has brackets or quotes that do not close'
            raise InputError(f'--cfg-options: {text}; correct it') from error
        old: Any = dict(cfg.items())
        for part in key.split('.'):
            old = old.get(part) if isinstance(old, dict) else None
        if isinstance(old, dict) and not isinstance(new, (dict, type(None))):
            first = next(iter(old), 'KEY')
            raise InputError(
                f'--cfg-options: {key} is a table and cannot be {new!r}; set what is in it, such '
                f'as {key}.{first}=VALUE'
            )
    try:
        cfg.merge_from_dict(settings)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f'--cfg-options do not fit {name}: {error}') from error


def _set_data_root(cfg: Config, new: str) -> None:
    """Sets the root of all data sets, and moves the files along that are named with the old one."""
    cfg.data_root = new
    for split in _SPLITS:
        in_loader = [*tables(cfg.get(f'{split}_dataloader'))]
        roots = {f'{table["data_root"]}/' for table in in_loader if table.get('data_root')}
        roots = {root.replace('//', '/') for root in roots}
        for table in [*in_loader, *tables(cfg.get(f'{split}_evaluator'))]:
            if 'data_root' in table:
                table['data_root'] = new
            for key, old in itertools.product(_FILES, roots):
                if str(table.get(key)).startswith(old):
                    table[key] = new + str(table[key]).removeprefix(old)


def _guard_images(cfg: Config, option: str, splits: Sequence[str], **settings: Any) -> None:
    guards = [
        table
        for split in splits
        for table in tables(cfg.get(f'{split}_dataloader'))
        if str(table.get('type')).endswith('GuardedLoading')
    ]
    if not guards:
        raise InputError(
            f'{option}: the {" and ".join(splits)} pipelines have no GuardedLoading step; put '
            "dict(type='GuardedLoading', step=...) in place of the step that loads an image"
        )
    for guard in guards:
        guard.update(settings)


def _loaders(cfg: Config) -> dict[str, Any]:
    """The loaders of a config by their names."""
    names = (f'{split}_dataloader' for split in _SPLITS)
    return {name: cfg[name] for name in names if cfg.get(name)}


def check_settings(cfg: Config) -> None:
    """Checks the settings that are most often typed, before anything is loaded.

    Raises:
        InputError: Naming the setting, its value and what was expected.
    """
    numbers = [(f'train_cfg.{key}', 1) for key in ('max_epochs', 'max_iters', 'val_interval')]
    numbers += [(f'{name}.batch_size', 1) for name in _loaders(cfg)]
    numbers += [(f'{name}.num_workers', 0) for name in _loaders(cfg)]
    for key, lowest in numbers:
        table, _, last = key.partition('.')
        value = (cfg.get(table) or {}).get(last, lowest)
        if type(value) is not int or value < lowest:
            raise InputError(f'{key} is {value!r}; expected a whole number from {lowest} on')
    for name, loader in _loaders(cfg).items():
        if strange := loader.keys() - _LOADER_SETTINGS:
            known = ', '.join(sorted(_LOADER_SETTINGS))
            raise InputError(f'{name} has no setting {sorted(strange)[0]!r}; there are: {known}')
    if optimizer := dict((cfg.get('optim_wrapper') or {}).get('optimizer') or {}):
        kind = str(optimizer.pop('type', None))
        optimizer.pop('_scope_', None)  # of a config that is inherited from by its package's name
        if (known_one := OPTIMIZERS.get(kind)) is None:
            alike = difflib.get_close_matches(kind, OPTIMIZERS.module_dict, 3) or ['Adam', 'SGD']
            raise InputError(
                f'optim_wrapper.optimizer.type {kind!r} is no optimizer that torch or MMEngine '
                f'has; did you mean {" or ".join(alike)}?'
            )
        try:
            known_one([torch.nn.Parameter(torch.zeros(1))], **optimizer)
        except (TypeError, ValueError, RuntimeError) as error:
            text = f'{kind} cannot be made with {optimizer}: {error}'
            raise InputError(f'optim_wrapper.optimizer: {text}; correct these settings') from error
    place = Path(cfg.work_dir).absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        what = 'is no folder' if not place.is_dir() else 'cannot be written'
        raise InputError(f'--work-dir {cfg.work_dir}: {place} {what}; give another folder')


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
        for table in tables([cfg.get(f'{split}_dataloader') for split in ('val', 'test')]):
            if 'bbox_file' in table:
                table['bbox_file'] = None
    override(cfg, args.cfg_options, args.config)
    if 'head' not in cfg.get('model', {}):
        raise InputError(f'{args.config} describes no pose model; expected model.head in it')
    for loader in _loaders(cfg).values():
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
    check_settings(cfg)
    join_processes(cfg)
    return cfg


def check_labels(cfg: Config, args: argparse.Namespace, splits: tuple[str, ...]) -> None:
    """Checks the data of a run as the options say, and says what a user has to know about them.

    The config's ``data_notes`` keep it for the log and the report.
    """
    folder = Path(cfg.work_dir) / 'annotations'
    options = DataOptions(args.category, args.mend, args.allow, folder)
    if notes := check_data(cfg, splits, options):
        cfg.data_notes = notes
        print(*map(printable, notes), sep='\n', flush=True)


@contextlib.contextmanager
def errors_end_the_run(folder: str) -> Iterator[None]:
    """Turns unknown parts of a config, and what a full or broken disk does, into a sentence."""
    noisy, logging.raiseExceptions = logging.raiseExceptions, False  # a traceback for each line
    try:
        yield
    except KeyError as error:
        if (found := _UNKNOWN_PART.match(str(error.args[0] if error.args else ''))) is None:
            raise
        raise InputError(
            f'the config names {found[1]}, which is not in the registry {found[2]}; correct the '
            'name, or import the module that registers it, with custom_imports'
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise
        raise InputError(
            f'{error.filename or folder} cannot be written ({error.strerror}); the checkpoints in '
            f'{folder} are untouched; make room or mend the disk, then go on with --resume'
        ) from error
    finally:
        logging.raiseExceptions = noisy


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
