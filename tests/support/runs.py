"""Runs that last seconds, and what they say when they end at once."""

import os

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

TINY = 'mspn-tiny_1xb16-20e_coco-128x96'
SMALL = [
    'model.backbone.stem_channels=8',
    'model.backbone.base_channels=4',
    *(f'model.{part}.unit_channels=8' for part in ('backbone', 'neck', 'head')),
]
"""Options for a network of a few thousand weights."""
NO_WORKERS = [
    f'{loader}_dataloader.{setting}'
    for loader in ('train', 'val', 'test')
    for setting in ('num_workers=0', 'persistent_workers=False')
]
"""Options for loaders that stay in this process."""


def sentence(capsys, call, *arguments, **options):
    """Calls a tool, expects it to end with one sentence and status 2, and gives the sentence."""
    with pytest.raises(SystemExit) as caught:
        call(*arguments, **options)
    assert caught.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith('error: ') and 'Traceback' not in message
    return message


def logged(work):
    """All that the runs in a folder wrote into their logs."""
    return '\n'.join(path.read_text() for path in work.rglob('*.log'))


class Line(BaseModel):
    """Two weights and a bias to train; it predicts what it is given."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, inputs, mode):
        if mode == 'predict':
            return list(inputs)
        return dict(loss=self.layer(torch.stack(inputs)).square().mean(), acc=torch.tensor(0.5))


def train_on(data, work, model, *, batch_size=1, optimizer=None, val_evaluator=None, **settings):
    """Trains a model on tensors with MMEngine's runner, and gives the runner."""
    loader = dict(dataset=[dict(inputs=value) for value in data], batch_size=batch_size)
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
    if val_evaluator is not None:
        settings.update(val_dataloader=loader, val_cfg={}, val_evaluator=val_evaluator)
    settings.setdefault('optim_wrapper', {})['optimizer'] = optimizer or dict(type='SGD', lr=0.01)
    settings.update(work_dir=str(work), train_dataloader=loader, default_scope='mmpose')
    runner = Runner(model, experiment_name=f'{work.name}-{os.urandom(4).hex()}', **settings)
    runner.train()
    return runner
