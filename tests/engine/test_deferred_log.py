"""The hook logs the same numbers as MMEngine's own, and reads them only when they are logged."""

import pytest
import torch
from mmengine.hooks import Hook
from runs import Line, train_on
from torch.utils._python_dispatch import TorchDispatchMode


class CountReads(TorchDispatchMode, Hook):
    """Notes in which iterations values are transferred to Python."""

    priority = 'HIGHEST'
    iteration = -1  # before training

    def __init__(self):
        super().__init__()
        self.reads = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if '_local_scalar_dense' in func.name():
            self.reads.append(self.iteration)
        return func(*args, **(kwargs or {}))

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.iteration = runner.iter


def train(work, hook, *, interval=4, save_at=1000):
    torch.manual_seed(0)
    saving = dict(type='CheckpointHook', by_epoch=False, interval=save_at)
    hooks = dict(runtime_info=dict(type=hook), checkpoint=saving)
    hooks['logger'] = dict(type='LoggerHook', interval=interval)
    settings = dict(train_cfg=dict(by_epoch=True, max_epochs=2), default_hooks=hooks)
    with CountReads() as counter:
        runner = train_on(torch.randn(10, 2), work, Line(), custom_hooks=[counter], **settings)
    return runner.message_hub.get_scalar('train/loss')._log_history.tolist(), counter.reads


def test_same_history_with_fewer_reads(tmp_path):
    stock, stock_reads = train(tmp_path / 'stock', 'RuntimeInfoHook')
    ours, our_reads = train(tmp_path / 'ours', 'DeferredRuntimeInfoHook')
    assert len(ours) == 20 and ours == pytest.approx(stock)
    # Two epochs of ten iterations: only where the logger reads, and at the end of an epoch.
    assert set(stock_reads) >= set(range(20))
    assert set(our_reads) <= {-1, 3, 7, 9, 11, 13, 15, 17, 19}


def test_a_checkpoint_between_two_logs_holds_the_whole_history(tmp_path):
    train(tmp_path, 'DeferredRuntimeInfoHook', interval=1000, save_at=3)
    history = torch.load(tmp_path / 'iter_3.pth')['message_hub']['log_scalars']['train/loss']
    assert len(history._log_history) == 3
