"""Weights in the order of memory that convolutions on CPUs and tensor cores prefer."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Stores the model's weights channels-last; activations follow, results stay the same."""

    def before_run(self, runner: Runner) -> None:
        """Converts the model before training, validation or testing."""
        runner.model.to(memory_format=torch.channels_last)
