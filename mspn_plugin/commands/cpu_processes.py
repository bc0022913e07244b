"""Several processes without a GPU: what MMEngine's launchers do only with CUDA."""

from __future__ import annotations

import os
import subprocess

import torch
from mmengine.config import Config
from torch import distributed

from mspn.errors import InputError

_NAMES = dict(
    slurm=dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    mpi=dict(
        RANK='OMPI_COMM_WORLD_RANK',
        WORLD_SIZE='OMPI_COMM_WORLD_SIZE',
        LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK',
    ),
)
"""What the launchers call the variables that torch reads."""

_DEFAULT_PORT = '29500'  # as MMEngine


def join_processes(cfg: Config) -> None:
    """Connects the processes of a distributed run on a machine without CUDA, with gloo.

    MMEngine sets a CUDA device in every launcher and gives it to the wrapper of the model, which
    fails without one. Where there is CUDA, or one process, MMEngine does all and this nothing.

    Args:
        cfg: The config of the run; ``launcher`` says what started the processes. The wrapper of the
            model is set to one without devices.

    Raises:
        InputError: The environment is not that of the launcher.
    """
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    cfg.setdefault('model_wrapper_cfg', dict(type='MMDistributedDataParallel'))
    for key, value in dict(
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    ).items():
        cfg.model_wrapper_cfg.setdefault(key, value)
    if cfg.get('sync_bn') is not None:
        raise InputError(
            'sync_bn needs GPUs: torch has no SyncBatchNorm for CPUs; train without it'
        )
    if distributed.is_initialized():
        return
    _read_environment(cfg.launcher)
    distributed.init_process_group('gloo')


def _read_environment(launcher: str) -> None:
    names = _NAMES.get(launcher, {})
    for ours, theirs in names.items():
        if theirs in os.environ:
            os.environ[ours] = os.environ[theirs]
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ and 'SLURM_NODELIST' in os.environ:
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        hosts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        os.environ['MASTER_ADDR'] = hosts[0]
    if names:
        os.environ.setdefault('MASTER_PORT', _DEFAULT_PORT)
    missing = [
        name
        for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
        if name not in os.environ
    ]
    if missing:
        how = dict(
            pytorch='torchrun --nproc_per_node N tools/train.py ... --launcher pytorch',
            slurm='srun --ntasks N python tools/train.py ... --launcher slurm',
            mpi='mpirun -np N -x MASTER_ADDR=host python tools/train.py ... --launcher mpi',
        )
        raise InputError(
            f'--launcher {launcher}: the environment lacks {", ".join(missing)}; start with '
            f'`{how[launcher]}`, or leave out --launcher to run one process'
        )
