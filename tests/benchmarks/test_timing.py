"""Taking turns: the order, the median, the number of calls."""

from __future__ import annotations

import pytest

from benchmarks import timing
from benchmarks.timing import Times, alternate


@pytest.fixture
def slow_clock(monkeypatch):
    """A clock that only work moves: the list of seconds that the next calls take."""
    now = [0.0]
    monkeypatch.setattr(timing.time, 'perf_counter', lambda: now[0])

    def work(name, seconds, log):
        def call():
            log.append(name)
            now[0] += seconds.pop(0) if isinstance(seconds, list) else seconds

        return call

    return work


def test_sides_take_turns_and_the_warm_up_does_not_count(slow_clock):
    log: list[str] = []
    sides = {'a': slow_clock('a', [9, 1, 5, 2], log), 'b': slow_clock('b', [9, 4, 4, 4], log)}
    times = alternate(sides, 3)
    assert log == ['a', 'b'] * 4
    assert times['a'].seconds == (1, 5, 2) and times['a'].median == 2
    assert times['a'].spread == pytest.approx(2) and times['b'].spread == 0


def test_short_work_is_called_until_it_lasts(slow_clock):
    log: list[str] = []
    times = alternate({'a': slow_clock('a', 0.25, log)}, 2, least_time=1.0)
    assert times['a'] == Times((0.25, 0.25), calls=4) and len(log) == 1 + 2 * 4


def test_no_repeats_are_refused():
    with pytest.raises(ValueError, match='repeats is 0'):
        alternate({}, 0)
