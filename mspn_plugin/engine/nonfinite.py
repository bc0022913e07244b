"""Steps with infinite or undefined losses or gradients are left out, and too many end the run."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from mspn.errors import InputError, listed


@HOOKS.register_module()
class SkipNonFiniteHook(Hook):
    """Leaves the weights as they are where a loss or a gradient is not finite.

    Such a step changes neither weights nor the optimizer's moments, in any process, and
    normalisation statistics that it spoiled are put back. On a GPU a fused optimizer, as all of the
    configs have, leaves it out by itself, and the flags are read once in ``max_in_a_row`` steps.
    While a loss scaler (fp16) looks for its scale, only losses count.

    Args:
        max_in_a_row: After how many such steps in a row the run ends with a sentence.
        wait: Whether to look at the steps of other optimizers on a GPU too, for which the CPU
            waits for the gradients of each. Otherwise a warning says that nothing is left out.
    """

    priority = 'HIGH'  # before anything takes the statistics for good

    def __init__(self, max_in_a_row: int = 10, *, wait: bool = False) -> None:
        if max_in_a_row < 1:
            raise ValueError(f'max_in_a_row is {max_in_a_row}, expected at least 1')
        self.max_in_a_row, self.wait = max_in_a_row, wait
        self.skipped = self._in_a_row = 0
        self._first = ''  # of those in a row
        self._step: list[Any] = []  # names and values of losses, and the flags
        self._pending: list[Any] = []
        self._handles: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        """Listens to the model's losses and the optimizer's steps."""
        if not isinstance(runner.optim_wrapper, OptimWrapper):
            return
        optimizer = runner.optim_wrapper.optimizer
        self._by_itself = getattr(optimizer, '_step_supports_amp_scaling', False)
        on_cpu = all(weight.device.type == 'cpu' for weight in runner.model.parameters())
        if not (on_cpu or self._by_itself or self.wait):
            runner.logger.warning(
                'steps that are not finite are not left out; set optim_wrapper.optimizer.fused='
                'True, or SkipNonFiniteHook(wait=True), with which each step waits for the GPU'
            )
            return
        self._every = 1 if on_cpu else self.max_in_a_row
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        self._scaled = scaler is not None and scaler.is_enabled()
        self._statistics = [b for b in runner.model.buffers() if b.is_floating_point()]
        self._kept = [buffer.clone() for buffer in self._statistics]
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._handles = [
            model.register_forward_hook(self._see_losses),
            optimizer.register_step_pre_hook(self._before_step),
        ]

    @torch.no_grad()
    def _see_losses(self, model: Any, inputs: Any, losses: Any) -> None:
        if model.training and isinstance(losses, dict):
            total, values = model.parse_losses(losses)
            bad = (~total.isfinite()).float()
            all_reduce(bad, op='max')  # gradients are shared between processes, losses are not
            self._step.append((values, bad))

    @torch.no_grad()
    def _before_step(self, optimizer: Any, *_: Any) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group['params']]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if gradients and not self._scaled:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            self._step.append(({}, (~norm.isfinite()).float()))
        flags = [bad for _, bad in self._step]
        if flags and self._by_itself:  # it looks for this name, which a loss scaler may have set
            given = [optimizer.found_inf] if self._scaled else []
            optimizer.found_inf = torch.stack([*flags, *given]).amax()
        elif any(flags):
            optimizer.zero_grad()  # every optimizer passes over weights without a gradient

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Notes the step, and reads the notes now and then."""
        if self._step and runner.optim_wrapper.should_update():
            rate = runner.optim_wrapper.optimizer.param_groups[0]['lr']
            bad = torch.stack([bad for _, bad in self._step]).amax()
            self._pending.append((runner.iter + 1, rate, self._step, bad))
            self._step = []
            if len(self._pending) >= self._every:
                self._read(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Reads what is left before the statistics are shared, used or saved."""
        self._read(runner)

    before_val_epoch = before_collecting_statistics = after_train_epoch

    def after_train(self, runner: Runner) -> None:
        """Says how many steps were left out."""
        self._read(runner)
        for handle in self._handles:
            handle.remove()
            vars(runner.optim_wrapper.optimizer).pop('found_inf', None)
        if self.skipped:
            runner.logger.warning(f'{self.skipped} steps were left out: they were not finite')

    @torch.no_grad()
    def _read(self, runner: Runner) -> None:
        """Reads the flags in one transfer, puts the statistics right, and judges."""
        pending, self._pending = self._pending, []
        flags = torch.stack([bad for *_, bad in pending]).tolist() if pending else []
        for buffer, kept in zip(self._statistics, self._kept, strict=True) if any(flags) else ():
            if not buffer.isfinite().all():
                buffer.copy_(kept)
        if flags and self._statistics:
            torch._foreach_copy_(self._kept, self._statistics)
        for (iteration, rate, step, _), bad in zip(pending, flags, strict=True):
            self._in_a_row = self._in_a_row + 1 if bad else 0
            self.skipped += bool(bad)
            if bad and self._in_a_row == 1:
                losses = {
                    n: float(v) for values, _ in step for n, v in values.items() if 'loss' in n
                }
                wrong = [f'{name} was {v}' for name, v in losses.items() if not math.isfinite(v)]
                what = listed(wrong) or 'the losses of this process were finite but no gradient'
                self._first = f'iteration {iteration}, where {what} (learning rate {rate:.6g})'
                runner.logger.warning(f'a step is left out: {self._first}')
            if self._in_a_row >= self.max_in_a_row:
                last = runner.message_hub.runtime_info.get('last_ckpt')
                raise InputError(
                    f'the training stopped at iteration {iteration}: {self._in_a_row} steps in a '
                    'row had a loss or gradient that was not finite and were left out; the first '
                    f'was {self._first}; lower the learning rate or limit gradients (optim_wrapper.'
                    'clip_grad.max_norm), check the data with tools/check_dataset.py, and '
                    + (f'go on with --resume {last}' if last else 'start anew: none was saved')
                )
