"""Several processes without a GPU: what MMEngine's launchers do only with CUDA."""

from __future__ import annotations

import os

import torch
from mmengine.config import Config
from torch import distributed

from mspn.errors import InputError

# Where launchers put a process's rank, the number of processes, and its rank on its machine.
_NAMES = dict(
    slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    mpi=[f'OMPI_COMM_WORLD_{name}' for name in ('RANK', 'SIZE', 'LOCAL_RANK')],
)


def join_processes(cfg: Config) -> None:
    """Connects the processes of a distributed run with gloo where there is no CUDA.

    MMEngine sets a CUDA device in every launcher and gives it to the wrapper of the model, which
    the config then replaces. With CUDA, or for one process, MMEngine does all and this nothing.

    Raises:
        InputError: The environment is not that of the launcher, or `sync_bn` is asked for.
    """
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    if cfg.get('sync_bn') is not None:
        raise InputError('sync_bn needs GPUs: torch has it for them only; train without it')
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    cfg.model_wrapper_cfg = {**wrapper, **cfg.get('model_wrapper_cfg', {})}
    if names := _NAMES.get(cfg.launcher):
        named = dict(zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), names, strict=True))
        os.environ.update({o: os.environ[t] for o, t in named.items() if t in os.environ})
    try:
        distributed.init_process_group('gloo')
    except ValueError as error:
        raise InputError(
            f'--launcher {cfg.launcher}: {error}; start with it (torchrun, or srun or mpirun with '
            'MASTER_ADDR and MASTER_PORT set), or leave out --launcher to run one process'
        ) from error
