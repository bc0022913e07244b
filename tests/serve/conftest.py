"""A service that several tests ask."""

import pytest
from serving import PHOTOS, Running


@pytest.fixture(scope='session')
def photo() -> bytes:
    return (PHOTOS / 'astronaut.jpg').read_bytes()


@pytest.fixture(scope='module')
def running():
    running = Running('--no-page', '--max-mb', '4', '--max-megapixels', '3', '--max-people', '50')
    yield running
    assert 'Traceback' not in running.end()
