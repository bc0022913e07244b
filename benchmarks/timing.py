"""Times ways of doing the same, taking turns, so that a drift of the machine is fair."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Seconds of one call, measured several times.

    Attributes:
        seconds: Every measurement, in order.
        calls: Calls that each measurement is the mean of.
    """

    seconds: tuple[float, ...]
    calls: int = 1

    @property
    def median(self) -> float:
        """The figure to compare."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Largest minus smallest measurement, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median if self.median else 0.0


def clock(device: torch.device | None = None) -> float:
    """Seconds, after whatever the device was given to do is done."""
    if device is not None and device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def alternate(
    sides: Mapping[str, Work],
    repeats: int,
    *,
    device: torch.device | None = None,
    warm_up: int = 1,
    least_time: float = 0.0,
) -> dict[str, Times]:
    """Calls every side in turn, A B A B, and times each.

    Args:
        sides: What to call, by name.
        repeats: Measurements of each side.
        device: Waits for this device before it looks at the clock.
        warm_up: Turns that do not count.
        least_time: Seconds; a measurement is the mean of as many calls as last this long.

    Returns:
        The times by name.

    Raises:
        ValueError: ``repeats`` is not positive.
    """
    if repeats < 1:
        raise ValueError(f'repeats is {repeats}, expected at least 1')

    def measure(work: Work, calls: int) -> float:
        start = clock(device)
        for _ in range(calls):
            work()
        return (clock(device) - start) / calls

    calls = dict.fromkeys(sides, 1)
    for turn in range(warm_up):
        for name, work in sides.items():
            seconds = measure(work, 1)
            if turn == warm_up - 1:
                calls[name] = max(1, math.ceil(least_time / max(seconds, 1e-7)))
    seconds_of: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            seconds_of[name].append(measure(work, calls[name]))
    return {name: Times(tuple(values), calls[name]) for name, values in seconds_of.items()}
