"""A resumed training is the uninterrupted one: same data, same augmentation, same weights."""

import itertools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from runs import TINY
from torch.utils.data import DataLoader, Dataset

from mspn_plugin import get_config
from mspn_plugin.datasets.resumable import ResumableBatchSampler
from mspn_plugin.engine import repeatable
from mspn_plugin.engine.repeatable import RepeatableTrainingHook


@HOOKS.register_module()
class NoisyWeights(Hook):
    """Stands for dropout: what it draws, it draws in the training process."""

    priority = 'VERY_LOW'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for parameter in runner.model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * np.random.rand(), alpha=1e-3)


class Draws(Dataset):
    """Gives its index and what the global generator draws."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index, np.random.rand(), torch.rand(()).item()


def seen(sampler, workers, *, skip=0, epoch=0, take=None):
    batches = ResumableBatchSampler(sampler, 3)
    batches.start_at(5, skip)
    if epoch:
        batches.sampler.set_epoch(epoch)
    loader = DataLoader(Draws(), batch_sampler=batches, num_workers=workers, collate_fn=list)
    return list(itertools.islice(loader, take))


@pytest.mark.parametrize('workers', [0, 2])
def test_what_is_drawn_depends_on_the_place_alone(workers):
    whole = seen(DefaultSampler(Draws(), seed=5), 0, epoch=1)
    assert [len(batch) for batch in whole] == [3, 3, 3, 1]
    assert sorted(index for batch in whole for index, *_ in batch) == list(range(10))
    draws = [draw for batch in whole for draw in batch]
    assert len({draw[1] for draw in draws}) == len({draw[2] for draw in draws}) == 10
    # The seed of the run counts, not that with which the sampler was made.
    assert seen(DefaultSampler(Draws(), seed=8), workers, epoch=1) == whole
    assert seen(DefaultSampler(Draws(), seed=5), workers, epoch=1, skip=2) == whole[2:]
    assert seen(DefaultSampler(Draws(), seed=5), workers, epoch=2) != whole


def test_an_endless_order_goes_on_where_it_was_and_drop_last():
    whole = seen(InfiniteSampler(Draws(), seed=5), 0, take=8)
    used = InfiniteSampler(Draws(), seed=1)
    next(iter(used))
    assert seen(used, 0, skip=6, take=2) == whole[6:]
    sampler = DefaultSampler(Draws(), seed=5)
    assert len(ResumableBatchSampler(sampler, 3)) == 4
    batches = ResumableBatchSampler(sampler, 3, drop_last=True)
    assert len(batches) == len(list(batches)) == 3


@pytest.mark.parametrize(('batch_size', 'skipped'), [(3, 2), (2, 0), (6, 0)])
def test_an_epoch_of_another_length_starts_at_its_beginning(batch_size, skipped):
    said, hub = [], MessageHub('lengths')
    hub.update_info('batches_per_epoch', 4)  # 4, 5 and 2 now
    batches = ResumableBatchSampler(DefaultSampler(Draws(), seed=5), batch_size)
    runner = SimpleNamespace(
        seed=5, iter=6, epoch=1, message_hub=hub, _randomness_cfg={}, optim_wrapper=None,
        logger=SimpleNamespace(warning=said.append),
        train_loop=SimpleNamespace(dataloader=DataLoader(Draws(), batch_sampler=batches)),
    )  # fmt: skip
    RepeatableTrainingHook().before_train(runner)
    assert len(list(batches)) == len(batches) - skipped
    assert len(said) == (batch_size != 3) and hub.get_info('batches_per_epoch') == len(batches)


def test_moments_lie_in_memory_as_weights_do(calibrated_tiny):
    """Adam's fused form relies on it, without a word."""
    model = calibrated_tiny().train()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def moments():
        return [(w, s[n]) for w, s in optimizer.state.items() for n in ('exp_avg', 'exp_avg_sq')]

    features = model.extract_feat(torch.rand(2, 3, 128, 96))
    sum(unit.square().mean() for stage in model.head(features) for unit in stage).backward()
    optimizer.step()
    assert any(not weight.is_contiguous() for weight, _ in moments())
    assert all(weight.grad.stride() == weight.stride() for weight, _ in moments())
    assert all(moment.stride() == weight.stride() for weight, moment in moments())
    before = [moment.clone() for _, moment in moments()]
    for state in optimizer.state.values():
        state.update({name: value.contiguous() for name, value in state.items()})
    assert any(moment.stride() != weight.stride() for weight, moment in moments())
    repeatable._lay_out_like_weights(OptimWrapper(optimizer))
    assert all(moment.stride() == weight.stride() for weight, moment in moments())
    assert all(torch.equal(a, b) for a, (_, b) in zip(before, moments(), strict=True))


@pytest.mark.slow
def test_resumed_by_epochs(train, differences, tmp_path):
    """With two workers that live on, noise, a moving average, and a seed made up by MMEngine."""
    config = tmp_path / 'noisy.py'
    average = dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.1)
    hooks = f"[*_base_.custom_hooks, dict(type='NoisyWeights'), {average}]"
    config.write_text(f'_base_ = [{get_config(TINY)!r}]\ncustom_hooks = {hooks}\n')
    options = dict(config=config, drop=['seed'])
    train(tmp_path / 'whole', **options)
    (tmp_path / 'part').mkdir()
    shutil.copy(tmp_path / 'whole' / 'epoch_1.pth', tmp_path / 'part')
    (tmp_path / 'part' / 'last_checkpoint').write_text('/gone/epoch_1.pth')
    train(tmp_path / 'part', arguments=['--resume'], **options)
    paths = [tmp_path / run / 'epoch_3.pth' for run in ('whole', 'part')]
    assert max(differences(*paths, 'ema_state_dict').values()) == 0
    # Something changed since, and the comparison would see it.
    assert differences(tmp_path / 'whole' / 'epoch_2.pth', paths[0])['state_dict'] > 0


@pytest.mark.slow
def test_resumed_by_iterations_without_loading_the_past_again(train, differences, tmp_path):
    cfg = Config.fromfile(get_config(TINY))
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=7, val_interval=7)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=2)
    cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    cfg.log_processor.by_epoch = False
    cfg.param_scheduler = [dict(type='LinearLR', begin=0, end=9, by_epoch=False)]
    config = tmp_path / 'iterations.py'
    cfg.dump(config)
    late = ['train_cfg.max_epochs', 'train_cfg.val_interval', 'checkpoint.interval']
    options = dict(config=config, drop=late)
    train(tmp_path / 'whole', **options)
    begin = tmp_path / 'whole' / 'iter_4.pth'
    train(tmp_path / 'part', arguments=['--resume', begin], **options)
    paths = [tmp_path / run / 'iter_7.pth' for run in ('whole', 'part')]
    assert max(differences(*paths).values()) == 0
