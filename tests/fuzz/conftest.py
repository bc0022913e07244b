"""A few cases, always the same ones; `make nightly` sets MSPN_FUZZ_CASES and tries others."""

import os
import signal
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, settings

from mspn_plugin import InputError

CASES = int(os.environ.get('MSPN_FUZZ_CASES', 0))
SECONDS = 30  # of which a case takes a hundredth; the machine may be busy

# No deadline: trial() has a limit that holds on a busy machine, too.
QUIET = dict(database=None, deadline=None, suppress_health_check=list(HealthCheck))
COUNT = dict(max_examples=CASES or 120, derandomize=not CASES)
settings.register_profile('fuzz', print_blob=True, **COUNT, **QUIET)
settings.load_profile('fuzz')


class Hang(BaseException):
    """A case took too long; no handler of errors may swallow it."""


@pytest.fixture(scope='module')
def trial():
    """Runs one case: returns its result, or ``None`` if it was refused in one good sentence."""

    def trial(function, *arguments, **options):
        before = signal.signal(signal.SIGALRM, Mock(side_effect=Hang(f'more than {SECONDS} s')))
        signal.alarm(SECONDS)
        try:
            return function(*arguments, **options)
        except InputError as error:
            assert 10 < len(str(error)) < 5000, error
            return None
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    return trial


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('fuzz')
