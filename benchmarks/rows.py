"""A row of the table, and what a group of rows is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch

from .timing import Times

if TYPE_CHECKING:
    from .bench import Bench


@dataclass(frozen=True)
class Row:
    """One thing that both sides did.

    Attributes:
        key: A short name.
        what: What was done.
        unit: What the figures count: ``'ms'``, ``'samples/s'``, ``'kB'`` ...
        stock: MMPose's figure; ``None`` if it was not measured.
        ours: This package's figure.
        more_is_better: Whether a higher figure is better, as for samples per second.
        bar: The ratio that is aimed at; ``None`` if there is none.
        operations: Floating-point operations per second that the figures amount to, MMPose's and
            ours; ``None`` where that means nothing.
        peak: The machine's matrix product with the same kind of numbers, in the same unit.
        spread: Largest minus smallest measurement as a share of the median, of both.
        note: What else there is to say.
        times: All measurements, in seconds.
    """

    key: str
    what: str
    unit: str
    stock: float | None
    ours: float | None
    more_is_better: bool = False
    bar: float | None = None
    operations: tuple[float | None, float | None] = (None, None)
    peak: float | None = None
    spread: tuple[float | None, float | None] = (None, None)
    note: str = ''
    times: dict[str, Times] = field(default_factory=dict)

    @property
    def is_size(self) -> bool:
        """Whether the figures are sizes, which are compared by ours / stock."""
        return self.unit.endswith('B')

    @property
    def ratio(self) -> float | None:
        """How many times as fast this package is; of sizes, this package's share of MMPose's."""
        if self.stock is None or self.ours is None or not self.stock or not self.ours:
            return None
        upside_down = self.is_size or self.more_is_better
        return self.ours / self.stock if upside_down else self.stock / self.ours

    @property
    def reached(self) -> bool | None:
        """Whether the bar is reached; ``None`` without a bar or a ratio."""
        if self.bar is None or self.ratio is None:
            return None
        return self.ratio <= self.bar if self.is_size else self.ratio >= self.bar

    @property
    def fractions(self) -> tuple[float | None, float | None]:
        """Share of the peak that MMPose and this package reach."""
        if not self.peak:
            return (None, None)
        stock, ours = self.operations
        peak = self.peak
        return (stock and stock / peak, ours and ours / peak)


def timed_row(
    key: str,
    what: str,
    times: dict[str, Times],
    *,
    unit: str,
    per: float = 1.0,
    stock: str = 'stock',
    ours: str = 'ours',
    bar: float | None = None,
    operations: float | None = None,
    peak: float | None = None,
    note: str = '',
) -> Row:
    """A row from the times of two sides.

    Args:
        key: A short name.
        what: What was done.
        times: Seconds per call, by side.
        unit: ``'ms'`` or ``'us'`` for the time of one of ``per``, anything that ends in ``'/s'``
            for how many of ``per`` a second.
        per: How many samples, people or steps one call does.
        stock: Name of MMPose's side; it may be absent.
        ours: Name of this package's.
        bar: The ratio that is aimed at.
        operations: Floating-point operations of one call.
        peak: The machine's.
        note: What else there is to say.
    """
    per_second = unit.endswith('/s')
    factor = {'ms': 1e3, 'us': 1e6, 's': 1.0}.get(unit, 1.0)

    def figure(side: str) -> float | None:
        if side not in times:
            return None
        seconds = times[side].median / per
        return 1 / seconds if per_second else seconds * factor

    def rate(side: str) -> float | None:
        return operations / times[side].median if operations and side in times else None

    sides = (stock, ours)
    spread = tuple(times[side].spread if side in times else None for side in sides)
    return Row(
        key,
        what,
        unit,
        figure(stock),
        figure(ours),
        more_is_better=per_second,
        bar=bar,
        operations=(rate(stock), rate(ours)),
        peak=peak,
        spread=(spread[0], spread[1]),
        note=note,
        times={side: times[side] for side in sides if side in times},
    )


def no_gpu(key: str, what: str, unit: str, bar: float | None = None) -> Row:
    """The place of a row that needs a GPU."""
    note = 'measured with --device cuda' if torch.cuda.is_available() else 'no CUDA device'
    return Row(key, what, unit, None, None, bar=bar, note=note)


class Group:
    """Rows that share their preparation.

    Every group's `check` runs before any group's `measure`.

    Attributes:
        name: What ``--rows`` selects it by.
        title: A headline.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def check(self) -> str:
        """Compares what both sides give.

        Returns:
            What was compared, in a few words.

        Raises:
            CheckFailed: They differ.
        """
        raise NotImplementedError

    def measure(self) -> Iterable[Row]:
        """Times both sides."""
        raise NotImplementedError
