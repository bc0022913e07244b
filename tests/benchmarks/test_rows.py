"""Ratios, bars, shares of the peak; bytes that a worker sends."""

from __future__ import annotations

import multiprocessing

import pytest
import torch

from benchmarks.peak import matrix_peak, operations
from benchmarks.rows import Row, timed_row
from benchmarks.timing import Times
from benchmarks.transport import shipment

TIMES = {'stock': Times((2.0, 3.0, 10.0)), 'ours': Times((1.5, 1.5, 1.5))}


def test_time_and_rate_give_the_same_ratio():
    options = dict(per=4, bar=2.0, operations=6e9, peak=8e9)
    time = timed_row('a', 'a', TIMES, unit='ms', **options)
    rate = timed_row('a', 'a', TIMES, unit='images/s', **options)
    assert (time.stock, time.ours) == (750, 375)
    assert (rate.stock, rate.ours) == pytest.approx((4 / 3, 8 / 3))
    assert time.ratio == pytest.approx(2) and rate.ratio == pytest.approx(2)
    assert time.reached and rate.reached
    assert time.fractions == rate.fractions == (0.25, 0.5)
    assert time.spread == (pytest.approx(8 / 3), 0)


def test_of_a_size_less_is_better():
    row = Row('a', 'a', 'kB', 1000.0, 150.0, bar=0.2)
    assert row.ratio == 0.15 and row.reached
    assert not Row('a', 'a', 'kB', 1000.0, 250.0, bar=0.2).reached
    assert Row('a', 'a', 'ms', None, None, bar=2).reached is None


def test_operations_of_a_product_and_the_peak():
    a = torch.ones(3, 4)
    assert operations(lambda: a @ a.T) == 2 * 3 * 4 * 3
    assert matrix_peak(torch.device('cpu'), size=16, repeats=1) > 0


def test_bytes_are_those_that_another_process_gets():
    image, target = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(5, 100)
    batch = dict(inputs=[image], data_samples=[dict(target=target, name='x' * 1000)])
    sent = shipment(batch)
    assert sent.images == 192 and sent.shared == 192 + 2000
    # Without tensors everything goes through the pipe.
    plain = dict(batch, inputs=[], data_samples=['x' * 1000])
    pipe = len(multiprocessing.reduction.ForkingPickler.dumps(plain))
    assert abs(shipment(plain).total - pipe) < 20
    assert 1000 < sent.piped < 1600
    assert sent.besides_images == sent.piped + 2000
