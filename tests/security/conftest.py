"""A canary, and files that would make it if anything in them ran."""

import pytest
from evil import WRITERS, checkpoint, gadgets


@pytest.fixture
def canary(tmp_path):
    """A path at which nothing must ever be; the test fails if something is."""
    path = tmp_path / 'canary'
    yield path
    assert not path.exists(), 'something in a file was run'


@pytest.fixture
def malicious(tmp_path, canary):
    """Writes a malicious checkpoint; returns its path and the name that must be refused."""

    def write(kind='os.system', place='meta', writer='zip', name='evil.pth'):
        evil, refused = gadgets(canary)[kind]
        path = tmp_path / name
        WRITERS[writer](checkpoint(evil, place), path)
        return path, refused

    return write
