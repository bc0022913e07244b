"""How many cases each fuzz test tries, and what may come out of a case.

`make test` runs a few, the same ones every time; `make nightly` sets MSPN_FUZZ_CASES and tries
others every night. A case ends in a result or in an `InputError`, in bounded time, and runs nothing
that a file holds.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

from mspn_plugin import InputError

CASES = int(os.environ.get('MSPN_FUZZ_CASES', 0))
QUICK = 120
SECONDS = 30  # of which a case takes a hundredth; the machine may be busy

settings.register_profile(
    'fuzz',
    max_examples=CASES or QUICK,
    derandomize=not CASES,
    database=None,
    deadline=None,  # hang() has a limit that holds on a busy machine, too
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile('fuzz')


def pytest_terminal_summary(terminalreporter):
    for name, (tried, refused) in sorted(_count.items()):
        terminalreporter.write_line(f'fuzz: {name}: {tried} cases, {refused} of them refused')


_count: dict[str, list[int]] = {}


class Hang(BaseException):
    """A case took too long; no handler of errors may swallow it."""


@contextmanager
def limited(seconds=SECONDS):
    def stop(*_):
        raise Hang(f'a case took more than {seconds} s')

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope='module')
def trial(request):
    """Runs one case: returns its result, or ``None`` if it was refused in one good sentence."""
    count = _count.setdefault(request.module.__name__, [0, 0])

    def trial(function, *arguments, **options):
        count[0] += 1
        try:
            with limited():
                return function(*arguments, **options)
        except InputError as error:
            text = str(error)
            assert 10 < len(text) < 5000, text
            count[1] += 1
            return None

    return trial


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder for the files of a module; whatever appears beside them was not asked for."""
    return tmp_path_factory.mktemp('fuzz')
