"""Times ways of doing the same, taking turns, so that a drift of the machine is fair."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping

import cv2
import torch

Work = Callable[[], object]


def alternate(
    sides: Mapping[str, Work],
    repeats: int,
    *,
    device: torch.device,
    warm_up: bool = True,
    least_time: float = 0.0,
) -> dict[str, list[float]]:
    """Calls every side in turn, A B A B, and gives the seconds of one call, all measurements.

    A measurement waits for the device, and is the mean of as many calls as last ``least_time``
    seconds. That takes a turn before those that count: ``warm_up``.
    """

    def clock() -> float:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def measure(work: Work, calls: int) -> float:
        start = clock()
        for _ in range(calls):
            work()
        return (clock() - start) / calls

    calls = dict.fromkeys(sides, 1)
    if warm_up:
        for name, work in sides.items():
            calls[name] = max(1, math.ceil(least_time / max(measure(work, 1), 1e-7)))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            seconds[name].append(measure(work, calls[name]))
    return seconds


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Gives torch and OpenCV another number of threads for a while."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count if count > 1 else 0)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
