"""The most memory that some work takes, beyond what was taken before it."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS = Path('/proc/self/status')
_RESET = Path('/proc/self/clear_refs')


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Measures the peak while some work is done.

    On a GPU that is the memory of all tensors at its highest. On a CPU it is the growth of the
    process, in which memory that was given back to the allocator before does not count.

    Args:
        work: What to do; once, so call it before if its first time is different.
        device: Where it is done.

    Returns:
        Bytes; ``None`` where the system does not tell.
    """
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _RESET.write_text('5', encoding='ascii')  # forgets the highest size so far
        before = _resident('VmRSS')
        work()
        return _resident('VmHWM') - before
    except (OSError, AttributeError, TypeError):
        return None


def _resident(name: str) -> int:
    found = re.search(rf'{name}:\s+(\d+) kB', _STATUS.read_text(encoding='ascii'))
    if found is None:
        raise OSError(f'{_STATUS} has no {name}')
    return int(found[1]) * 1024
