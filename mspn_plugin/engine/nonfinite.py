"""Steps with infinite or undefined losses or gradients are left out, and too many end the run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor, nn
from torch.optim import Optimizer

from mspn.errors import InputError, listed

from .atomic_io import WHOLE_FILES


class _Step(NamedTuple):
    """One iteration; its numbers stay on the device until they are read."""

    iteration: int
    rate: float
    losses: dict[str, Tensor]
    norm: Tensor | None  # of the gradients; None if the optimiser was not called
    bad: Tensor | None
    loss_bad: Tensor | None  # of any process
    due: bool  # whether this iteration was to change the weights


@HOOKS.register_module()
class SkipNonFiniteHook(Hook):
    """Leaves the weights as they are where a loss or a gradient is not finite.

    Such a step changes neither weights nor the optimiser's moments, and normalisation statistics
    that it spoiled are put back. After ``max_in_a_row`` of them the run ends with a checkpoint of
    the unspoiled weights and a sentence that says which loss it was, when, at which learning rate
    and after which last finite loss. It works with MMEngine's ``OptimWrapper`` and
    ``AmpOptimWrapper`` and any optimizer, with accumulated gradients, and with several processes,
    which leave out the same steps. A run with several optimizers is left alone.

    On a GPU a fused optimizer, as all of the configs have, leaves out the step on the device, and
    the numbers are read once in ``max_in_a_row`` iterations; other optimizers make the CPU wait for
    each step's gradients. Steps that the loss scaler of fp16 training leaves out while it looks for
    a scale are its own affair and do not count.

    Args:
        max_in_a_row: How many bad steps in a row end the run.
    """

    priority = 'HIGH'  # before anything takes the statistics for good

    def __init__(self, max_in_a_row: int = 10) -> None:
        if max_in_a_row < 1:
            raise ValueError(f'max_in_a_row is {max_in_a_row}, expected at least 1')
        self.max_in_a_row = max_in_a_row
        self.skipped = 0
        """Steps left out so far."""
        self._in_a_row = 0
        self._first: tuple[_Step, list[str], float] | None = None
        self._last_good = 'there was no finite loss before'
        self._pending: list[_Step] = []
        self._handles: list[Any] = []
        self._active = self._lent = False
        self._forget()

    def _forget(self) -> None:
        self._losses: dict[str, Tensor] = {}
        self._norm: Tensor | None = None
        self._bad: Tensor | None = None
        self._loss_bad: Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        """Listens to the model's losses and the optimizers' steps."""
        self._active = isinstance(runner.optim_wrapper, OptimWrapper)
        if not self._active:
            return
        self._optimizer = runner.optim_wrapper.optimizer
        self._handles = [
            runner.model.register_forward_hook(self._see_losses),
            self._optimizer.register_step_pre_hook(self._before_step),
            self._optimizer.register_step_post_hook(self._after_step),
        ]
        self._statistics = [b for b in runner.model.buffers() if b.is_floating_point()]
        self._kept = [buffer.clone() for buffer in self._statistics]
        on_cpu = all(p.device.type == 'cpu' for p in runner.model.parameters())
        self._every = 1 if on_cpu else self.max_in_a_row

    def _see_losses(self, model: nn.Module, inputs: Any, losses: Any) -> None:
        """Notes the losses of a forward pass; a step may follow several of them."""
        if not model.training or not isinstance(losses, dict):
            return
        for name, value in losses.items():
            if 'loss' in name:
                parts = value if isinstance(value, (list, tuple)) else [value]
                self._losses[name] = torch.stack([p.detach().float().mean() for p in parts]).sum()
        if self._losses:
            bad = ~torch.stack(list(self._losses.values())).sum().isfinite()
            self._bad = bad if self._bad is None else self._bad | bad
            self._loss_bad = self._bad

    @torch.no_grad()
    def _before_step(self, optimizer: Any, *_: Any) -> None:
        gradients = [
            p.grad
            for group in optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]
        if not gradients:
            return
        self._norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        bad = ~self._norm.isfinite()
        if self._bad is not None:
            bad = bad | self._bad
        flag = bad.float()
        if is_distributed():  # gradients are shared, losses are not
            all_reduce(flag, op='max')
        self._bad = flag.bool()
        if _skips_on_device(optimizer):
            given = getattr(optimizer, 'found_inf', None)  # from a loss scaler
            # Under this name torch's fused optimizers look for it.
            optimizer.found_inf = flag if given is None else torch.maximum(flag, given)
            self._lent = given is None
        elif flag.item():
            for group in optimizer.param_groups:
                for parameter in group['params']:
                    parameter.grad = None  # which every optimizer passes over

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        if self._lent:
            self._lent = False
            del optimizer.found_inf

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Ends the run if the last steps were bad; now that the last one is complete."""
        self._stop_if_hopeless(runner)
        if self._active and runner.optim_wrapper.should_update():  # it did, in the last iteration
            self._forget()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Notes the step, and reads the notes now and then."""
        if not self._active:
            return
        loss_bad = self._loss_bad
        if loss_bad is not None and is_distributed():  # so that all processes judge alike
            flag = loss_bad.float()
            all_reduce(flag, op='max')
            loss_bad = flag.bool()
        self._pending.append(
            _Step(
                runner.iter + 1,
                self._optimizer.param_groups[0]['lr'],
                dict(self._losses),
                self._norm,
                self._bad,
                loss_bad,
                runner.optim_wrapper.should_update(),
            )
        )
        if len(self._pending) >= self._every:
            self._read(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Reads what is left before the statistics are shared or used."""
        self._read(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Reads what is left before the statistics are used."""
        self._read(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Reads what is left, and puts restored statistics into the checkpoint too."""
        if self._read(runner):
            model = getattr(runner.model, 'module', runner.model)
            for name, buffer in model.named_buffers():
                if name in checkpoint['state_dict']:
                    checkpoint['state_dict'][name] = buffer.cpu()

    def after_train(self, runner: Runner) -> None:
        """Says how many steps were left out."""
        if not self._active:
            return
        self._read(runner)
        for handle in self._handles:
            handle.remove()
        if self.skipped:
            runner.logger.warning(
                f'{self.skipped} steps were left out: a loss or a gradient was not finite'
            )
        self._stop_if_hopeless(runner)

    def _read(self, runner: Runner) -> bool:
        """Reads the notes in one transfer; gives whether statistics were put back."""
        if not self._pending:
            return False
        pending, self._pending = self._pending, []
        scalars = [
            value.float().reshape(())
            for step in pending
            for value in (*step.losses.values(), step.norm, step.bad, step.loss_bad)
            if value is not None
        ]
        numbers = iter(torch.stack(scalars).tolist() if scalars else [])
        any_bad = False
        for step in pending:
            losses = {name: next(numbers) for name in step.losses}
            norm = next(numbers) if step.norm is not None else math.nan
            bad = bool(next(numbers)) if step.bad is not None else False
            loss_bad = bool(next(numbers)) if step.loss_bad is not None else False
            any_bad |= bad or not math.isfinite(norm)
            if not step.due:
                continue
            bad |= step.norm is None  # a loss scaler did not call the optimizer
            if bad and not loss_bad:
                scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
                if scaler is not None and scaler.get_scale() > 1:
                    continue  # it will try a smaller one
            self._judge(runner, step, losses, norm, bad)
        return self._mend_statistics(runner, any_bad)

    def _judge(
        self, runner: Runner, step: _Step, losses: dict[str, float], norm: float, bad: bool
    ) -> None:
        total = sum(losses.values())
        if not bad:
            self._in_a_row = 0
            self._last_good = (
                f'the last finite loss was {total:.6g} at iteration {step.iteration} with a '
                f'gradient norm of {norm:.6g}'
            )
            return
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row == 1:
            names = [f'{name} was {v}' for name, v in losses.items() if not math.isfinite(v)]
            self._first = (step, names or ['the losses of this process were finite'], norm)
            runner.logger.warning(
                f'iteration {step.iteration}: {listed(self._first[1])}, the gradient norm {norm}; '
                'the step is left out'
            )

    @torch.no_grad()
    def _mend_statistics(self, runner: Runner, any_bad: bool) -> bool:
        mended = 0
        if any_bad:
            for buffer, kept in zip(self._statistics, self._kept, strict=True):
                if not buffer.isfinite().all():
                    buffer.copy_(kept)
                    mended += 1
        if self._statistics:
            torch._foreach_copy_(self._kept, self._statistics)
        return mended > 0

    def _stop_if_hopeless(self, runner: Runner) -> None:
        if self._in_a_row < self.max_in_a_row or self._first is None:
            return
        step, names, norm = self._first
        name = f'stopped_iter_{runner.iter}.pth'
        runner.save_checkpoint(
            runner.work_dir,
            name,
            meta=dict(epoch=runner.epoch, iter=runner.iter),
            backend_args=dict(backend=WHOLE_FILES),
        )
        path = Path(runner.work_dir) / name
        raise InputError(
            f'the training stopped at iteration {runner.iter} (epoch {runner.epoch + 1}): '
            f'{self._in_a_row} steps in a row had a loss or gradient that was not finite and were '
            f'left out; the first was iteration {step.iteration}, where {listed(names)}, the '
            f'gradient norm was {norm} and the learning rate {step.rate:.6g}; {self._last_good}; '
            f'the weights from before are in {path}; lower the learning rate or limit gradients '
            '(optim_wrapper.clip_grad.max_norm), check the data with tools/check_dataset.py, and '
            f'go on with --resume {path}'
        )


def _skips_on_device(optimizer: Optimizer) -> bool:
    """Whether the optimizer itself reads ``found_inf``, as for a loss scaler, without a wait."""
    group = optimizer.param_groups[0]
    return bool(group.get('fused')) and group['params'][0].device.type != 'cpu'
