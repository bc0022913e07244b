"""Training runs that last a second or two, and what they leave behind."""

from __future__ import annotations

import pytest
import torch
from runs import SMALL, TINY


@pytest.fixture
def small() -> list[str]:
    """Options for a network of a few thousand weights, batches of two, and two workers."""
    return [
        *SMALL,
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=2',
        'val_dataloader.num_workers=0',
        'test_dataloader.num_workers=0',
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=3',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=1',
        'log_processor.window_size=1',
        'randomness.seed=3',
    ]


@pytest.fixture
def train(call_tool, people, small):
    """Calls tools/train.py on synthetic people; further options go after those of `small`.

    Options of `small` that contain one of the texts in ``drop`` are left out.
    """

    def call(work, *options, arguments=(), data=people, config=TINY, drop=()):
        kept = [option for option in small if not any(text in option for text in drop)]
        paths = ['--data-root', data, '--gt-boxes', '--work-dir', work, *arguments]
        call_tool('train', config, *paths, '--cfg-options', *kept, *options)

    return call


@pytest.fixture
def differences():
    """Gives the largest difference between two checkpoints' numbers, part by part."""

    def numbers(node):
        if isinstance(node, torch.Tensor):
            yield node.double()
        elif isinstance(node, (int, float)):
            yield torch.tensor(node, dtype=torch.double)
        elif isinstance(node, dict):
            for key in sorted(node, key=str):
                yield from numbers(node[key])
        elif isinstance(node, (list, tuple)):
            for value in node:
                yield from numbers(value)

    def compare(first, second, parts=('state_dict', 'optimizer', 'param_schedulers')):
        a, b = (torch.load(path, map_location='cpu') for path in (first, second))
        found = {}
        for part in parts:
            pairs = list(zip(numbers(a[part]), numbers(b[part]), strict=True))
            assert pairs
            found[part] = max(float((x - y).abs().max()) for x, y in pairs)
        return found

    return compare
