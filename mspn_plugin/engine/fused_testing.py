"""Tests with a faster copy of the model."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import nn

from ..models.fused import fused


@HOOKS.register_module()
class FusedTestHook(Hook):
    """Lets the test loop run a copy of the model with its normalisations folded in.

    The results are the same up to rounding. The runner has its own model back after the test.
    """

    def __init__(self) -> None:
        self._own: nn.Module | None = None

    def before_test_epoch(self, runner: Runner) -> None:
        """Puts the copy in the model's place."""
        self._own = runner.model.eval()  # as the loop does, but it does so later
        # No gradients: the wrapper that shares them between processes is not needed.
        model = self._own.module if is_model_wrapper(self._own) else self._own
        runner.model = fused(model)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Puts the model back."""
        runner.model = self._own
