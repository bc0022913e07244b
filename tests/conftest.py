"""Shared by all tests: threads, MMPose's registries, and the data that some tests use."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch: the tests run in parallel processes, and the machine's cores are shared.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
import torch
from mmengine.registry import init_default_scope

import mspn_plugin  # noqa: F401

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _mmpose_scope():
    init_default_scope('mmpose')


@pytest.fixture(scope='session')
def real_data() -> Path:
    """A small part of COCO beside the repository; tests that need it are skipped without it."""
    folder = REPOSITORY.parent / 'shared' / 'data' / 'coco'
    if not folder.is_dir():
        pytest.skip(f'the real photographs are not at {folder}')
    return folder
