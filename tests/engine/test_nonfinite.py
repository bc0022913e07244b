"""Steps that are not finite change nothing, are counted, and in a row end the run."""

import itertools
import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from runs import train_on
from torch import nn

from mspn_plugin import InputError
from mspn_plugin.engine import SkipNonFiniteHook


class Model(BaseModel):
    """A loss of three parts, with statistics that a bad input spoils."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs, mode):
        found = self.layer(self.norm(torch.stack(inputs)))
        losses = dict(loss_a=found.square().mean(), loss_b=[found.abs().mean()] * 2)
        return dict(losses, acc=torch.tensor(math.nan))  # no loss, so nobody's business


class Watch(Hook):
    priority = 'LOWEST'

    def __init__(self):
        self.weights, self.statistics = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.weights.append(runner.model.layer.weight.detach().clone())
        self.statistics.append(runner.model.norm.running_mean.clone())

    def changed(self):
        return [not torch.equal(a, b) for a, b in itertools.pairwise(self.weights)]


def run(work, bad, *, count=8, every=None, started=None, max_in_a_row=10, **settings):
    torch.manual_seed(0)
    data = torch.randn(2 * count, 3)
    for step, value in bad.items():
        data[2 * step, 0] = value
    hook, watch = SkipNonFiniteHook(max_in_a_row), Watch()

    def before_train(runner):
        hook._every = every or hook._every  # as on a GPU, where flags are read now and then
        if started:
            started(runner, hook)

    watch.before_train = before_train  # after the hook's own
    saving = dict(type='SafeCheckpointHook', interval=3, by_epoch=False, save_last=True)
    runner = train_on(
        data, work, Model(), batch_size=2, train_cfg=dict(by_epoch=True, max_epochs=1),
        optimizer=dict(type='Adam', lr=0.01, **settings.pop('adam', {})),
        default_hooks=dict(checkpoint=saving), custom_hooks=[hook, watch], **settings,
    )  # fmt: skip
    return runner, hook, watch


@pytest.mark.parametrize('every', [None, 5])
@pytest.mark.parametrize('fused', [False, True])  # the second leaves steps out by itself
@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_bad_steps_change_nothing(tmp_path, value, fused, every):
    adam = dict(fused=fused)
    runner, hook, watch = run(tmp_path, {2: value, 5: value}, adam=adam, every=every)
    assert hook.skipped == 2 and watch.changed() == [True, False, True, True, False, True, True]
    assert not hasattr(runner.optim_wrapper.optimizer, 'found_inf')
    for name in ('iter_3.pth', 'iter_6.pth', 'iter_8.pth'):
        saved = torch.load(tmp_path / name)
        assert all(value.isfinite().all() for value in saved['state_dict'].values())
    assert {int(state['step']) for state in saved['optimizer']['state'].values()} == {6}
    if every is None:
        assert all(mean.isfinite().all() for mean in watch.statistics)
        assert torch.equal(watch.statistics[1], watch.statistics[2])


def test_good_steps_are_those_of_a_run_without_the_hook(tmp_path):
    with_hook, *_ = run(tmp_path / 'with', {})
    torch.manual_seed(0)
    data, model = torch.randn(16, 3).view(8, 2, 3), Model()
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for batch in data:
        found = model(list(batch), 'loss')
        adam.zero_grad()
        (found['loss_a'] + sum(found['loss_b'])).backward()
        adam.step()
    for ours, plain in zip(with_hook.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain)


def test_accumulated_gradients_and_rows_that_a_good_step_breaks(tmp_path):
    _, hook, watch = run(tmp_path / 'a', {2: math.nan}, optim_wrapper=dict(accumulative_counts=2))
    assert hook.skipped == 1
    assert watch.changed() == [True, False, False, False, True, False, True]
    _, hook, _ = run(tmp_path / 'b', dict.fromkeys((1, 2, 4, 5), math.inf), max_in_a_row=3)
    assert hook.skipped == 4
    with pytest.raises(ValueError, match='expected at least 1'):
        SkipNonFiniteHook(max_in_a_row=0)


def test_many_in_a_row_end_the_run_with_a_diagnosis(tmp_path):
    with pytest.raises(InputError) as caught:
        run(tmp_path, dict.fromkeys(range(3, 8), math.nan), count=12, max_in_a_row=4)
    text = str(caught.value)
    parts = ['stopped at iteration 7: 4 steps in a row', 'the first was iteration 4', 'rate 0.01']
    for part in (*parts, 'loss_a was nan, loss_b was nan', f'--resume {tmp_path / "iter_6.pth"}'):
        assert part in text
    assert 'acc' not in text.split('where')[1].split('(')[0]
    saved = torch.load(tmp_path / 'iter_6.pth')
    assert all(value.isfinite().all() for value in saved['state_dict'].values())


def test_a_gradient_alone_is_enough(tmp_path, monkeypatch):
    def forward(self, inputs, mode):
        found = self.layer(self.norm(torch.stack(inputs))).mean()
        return dict(loss=torch.sqrt(found * 0))  # 0, and the slope there is infinite

    monkeypatch.setattr(Model, 'forward', forward)
    with pytest.raises(InputError, match='losses of this process were finite but no gradient'):
        run(tmp_path, {}, max_in_a_row=2)


def test_gradients_under_a_loss_scaler_do_not_count(tmp_path):
    def started(runner, hook):
        hook._scaled = True  # it then does not call the optimizer, until it finds its scale
        runner.optim_wrapper.optimizer.step = lambda: None
        runner.model.layer.weight.register_hook(lambda gradient: gradient * math.inf)

    _, hook, watch = run(tmp_path, {}, max_in_a_row=2, started=started)
    assert hook.skipped == 0 and not any(watch.changed())
