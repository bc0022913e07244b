"""Losses are read from the GPU when they are logged, not after every step."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """MMEngine's ``RuntimeInfoHook`` without its wait for the GPU after every iteration.

    The stock hook reads every loss value of every iteration at once, which makes the CPU wait for
    the step to finish before it can prepare the next. This one keeps the values on the device and
    reads all that are pending in a single transfer, right before the logger or a checkpoint needs
    them. The logged numbers are the same. It replaces the stock hook in a config by
    ``default_hooks = dict(runtime_info=dict(type='DeferredRuntimeInfoHook'))``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pending: list[tuple[str, Any]] = []
        self._intervals = [1]

    def before_train(self, runner: Runner) -> None:
        """Learns how often the logger reads."""
        super().before_train(runner)
        self._intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keeps the step's values, and passes all of them on when the logger is about to read."""
        for key, value in (outputs or {}).items():
            # Detached, or the graphs of all pending steps would stay in memory.
            self._pending.append(
                (f'train/{key}', value.detach() if isinstance(value, Tensor) else value)
            )
        if self.end_of_epoch(runner.train_dataloader, batch_idx) or any(
            self.every_n_inner_iters(batch_idx, interval)
            or self.every_n_train_iters(runner, interval)
            for interval in self._intervals
        ):
            self._pass_on(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Completes the history that the checkpoint holds."""
        if self._pending:
            self._pass_on(runner)
            # The runner took the history before it called this hook.
            checkpoint['message_hub'] = runner.message_hub.state_dict()

    def after_train(self, runner: Runner) -> None:
        """Passes on what is left."""
        self._pass_on(runner)
        super().after_train(runner)

    def _pass_on(self, runner: Runner) -> None:
        pending, self._pending = self._pending, []
        tensors = [value.reshape(()).float() for _, value in pending if isinstance(value, Tensor)]
        numbers = iter(torch.stack(tensors).tolist() if tensors else [])
        for key, value in pending:
            number = next(numbers) if isinstance(value, Tensor) else value
            runner.message_hub.update_scalar(key, number)
