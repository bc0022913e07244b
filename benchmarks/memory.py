"""The most memory that some work takes."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS = Path('/proc/self/status')
_RESET = Path('/proc/self/clear_refs')


def memory_in_use(device: torch.device) -> int | None:
    """Bytes in use now: of a GPU those of all tensors, of a CPU those of the process.

    Returns:
        Bytes; ``None`` where the system does not tell.
    """
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        return int(torch.cuda.memory_allocated(device))
    try:
        ctypes.CDLL(None).malloc_trim(0)  # gives back what only the allocator still holds
        return _resident('VmRSS')
    except (OSError, AttributeError, TypeError):
        return None


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Does some work, once, and gives the most bytes that were in use meanwhile.

    Args:
        work: What to do.
        device: Where it is done.

    Returns:
        Bytes, counted as `memory_in_use` does; ``None`` where the system does not tell.
    """
    memory_in_use(device)
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))
    try:
        _RESET.write_text('5', encoding='ascii')  # forgets the highest size so far
        work()
        return _resident('VmHWM')
    except OSError:
        return None


def _resident(name: str) -> int:
    found = re.search(rf'{name}:\s+(\d+) kB', _STATUS.read_text(encoding='ascii'))
    if found is None:
        raise OSError(f'{_STATUS} has no {name}')
    return int(found[1]) * 1024
