"""Steps with infinite or undefined losses or gradients are left out, and too many end the run."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor

from mspn.errors import InputError, listed


@HOOKS.register_module()
class SkipNonFiniteHook(Hook):
    """Leaves the weights as they are where a loss or a gradient is not finite.

    Such a step changes neither weights nor the optimizer's moments, in any process, and
    normalisation statistics that it spoiled are put back. On a GPU this needs a fused optimizer, as
    all of the configs have: it leaves the step out by itself, and the flags are read once in
    ``max_in_a_row`` steps. While a loss scaler (fp16) looks for its scale, only losses count.

    Args:
        max_in_a_row: After how many such steps in a row the run ends with a sentence.
    """

    priority = 'HIGH'  # before anything takes the statistics for good

    def __init__(self, max_in_a_row: int = 10) -> None:
        if max_in_a_row < 1:
            raise ValueError(f'max_in_a_row is {max_in_a_row}, expected at least 1')
        self.max_in_a_row = max_in_a_row
        self.skipped = self._in_a_row = 0
        self._first = ''  # of those in a row
        self._flags: list[Tensor] = []  # of this step: not 0 where something is not finite
        self._pending: list[tuple[int, float, dict[str, Any], Tensor]] = []
        self._handles: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        """Listens to the model's losses and the optimizer's steps."""
        on_cpu = next(runner.model.parameters()).is_cpu
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        self._by_itself = getattr(optimizer, '_step_supports_amp_scaling', False)
        if optimizer is None or not (on_cpu or self._by_itself):
            why = 'the optimizer is not fused; set optim_wrapper.optimizer.fused=True'
            runner.logger.warning(f'steps that are not finite are not left out: {why}')
            return
        self._every = 1 if on_cpu else self.max_in_a_row
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        self._scaled = scaler is not None and scaler.is_enabled()
        self._statistics = [b for b in runner.model.buffers() if b.is_floating_point()]
        self._kept = [buffer.clone() for buffer in self._statistics]
        self._handles = [
            runner.model.register_forward_hook(self._see_losses),
            optimizer.register_step_pre_hook(self._before_step),
        ]

    @torch.no_grad()
    def _see_losses(self, model: Any, inputs: Any, losses: Any) -> None:
        if model.training and isinstance(losses, dict):
            total, _ = getattr(model, 'module', model).parse_losses(losses)
            flag = (~total.isfinite()).float()
            all_reduce(flag, op='max')  # gradients are shared between processes, losses are not
            self._flags.append(flag)

    @torch.no_grad()
    def _before_step(self, optimizer: Any, *_: Any) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group['params']]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if gradients and not self._scaled:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            self._flags.append((~norm.isfinite()).float())
        if self._flags and self._by_itself:  # it looks for this name, which a scaler may have set
            given = [optimizer.found_inf] if self._scaled else []
            optimizer.found_inf = torch.stack([*self._flags, *given]).amax()
        elif any(self._flags):
            optimizer.zero_grad()  # every optimizer passes over weights without a gradient

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Notes the step, and reads the notes now and then."""
        if self._flags and runner.optim_wrapper.should_update():
            rate = runner.optim_wrapper.optimizer.param_groups[0]['lr']
            # Detached, or the graphs of all pending steps would stay in memory.
            losses = {n: torch.as_tensor(v).detach() for n, v in outputs.items() if 'loss' in n}
            flag = torch.stack(self._flags).amax()
            self._pending.append((runner.iter + 1, rate, losses, flag))
            self._flags = []
            if len(self._pending) >= self._every:
                self.after_train_epoch(runner)

    def after_train(self, runner: Runner) -> None:
        """Says how many steps were left out."""
        self.after_train_epoch(runner)
        for handle in self._handles:
            handle.remove()
            vars(runner.optim_wrapper.optimizer).pop('found_inf', None)
        if self.skipped:
            runner.logger.warning(f'{self.skipped} steps were left out: they were not finite')

    @torch.no_grad()
    def after_train_epoch(self, runner: Runner) -> None:
        """Reads the flags in one transfer, puts the statistics right, and judges."""
        pending, self._pending = self._pending, []
        flags = torch.stack([flag for *_, flag in pending]).tolist() if pending else []
        if pending and self._statistics:
            for buffer, kept in zip(self._statistics, self._kept, strict=True):
                if any(flags) and not buffer.isfinite().all():
                    buffer.copy_(kept)
            torch._foreach_copy_(self._kept, self._statistics)
        for (iteration, rate, losses, _), bad in zip(pending, flags, strict=True):
            self._in_a_row = self._in_a_row + 1 if bad else 0
            self.skipped += bool(bad)
            if self._in_a_row == 1:
                wrong = [f'{n} was {float(v)}' for n, v in losses.items() if not v.isfinite().all()]
                what = listed(wrong) or 'the losses of this process were finite but no gradient'
                self._first = f'iteration {iteration}, where {what} (learning rate {rate:.6g})'
                runner.logger.warning(f'a step is left out: {self._first}')
            if self._in_a_row >= self.max_in_a_row:
                last = runner.message_hub.runtime_info.get('last_ckpt')
                then = f'go on with --resume {last}' if last else 'start anew: none was saved'
                raise InputError(
                    f'the training stopped at iteration {iteration}: {self._in_a_row} steps in a '
                    'row had a loss or gradient that was not finite and were left out; the first '
                    f'was {self._first}; lower the learning rate or limit gradients (optim_wrapper.'
                    f'clip_grad.max_norm), check the data with tools/check_dataset.py, and {then}'
                )

    # Before the statistics are used or saved.
    before_val_epoch = before_collecting_statistics = after_train_epoch
