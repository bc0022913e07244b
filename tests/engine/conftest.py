"""Training runs that last a second or two, and what they leave behind."""

import pytest
import torch
from runs import SMALL, TINY
from torch.utils._pytree import tree_leaves


@pytest.fixture
def train(call_tool, people, quick):
    """Calls tools/train.py on synthetic people: a small network, batches of two, two workers.

    Options of these that contain one of the texts in ``drop`` are left out.
    """

    def call(work, *options, arguments=(), data=people, config=TINY, drop=()):
        usual = [*SMALL, *(option for option in quick if 'train_dataloader' not in option)]
        usual += ['train_dataloader.batch_size=2', 'train_dataloader.num_workers=2']
        usual += ['train_cfg.max_epochs=3', 'train_cfg.val_interval=3']
        kept = [option for option in usual if not any(text in option for text in drop)]
        paths = ['--data-root', data, '--gt-boxes', '--work-dir', work, *arguments]
        call_tool('train', config, *paths, '--cfg-options', *kept, *options)

    return call


@pytest.fixture
def differences():
    """Gives the largest difference between two checkpoints' numbers, part by part."""

    def numbers(node):
        leaves = [v for v in tree_leaves(node) if isinstance(v, torch.Tensor | int | float)]
        return [torch.as_tensor(leaf, dtype=torch.double) for leaf in leaves]

    def compare(first, second, *more):
        a, b = (torch.load(path, map_location='cpu') for path in (first, second))
        found = {}
        for part in ('state_dict', 'optimizer', 'param_schedulers', *more):
            pairs = list(zip(numbers(a[part]), numbers(b[part]), strict=True))
            assert pairs
            found[part] = max(float((x - y).abs().max()) for x, y in pairs)
        return found

    return compare
