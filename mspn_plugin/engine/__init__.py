"""Hooks for the stock runner, and checks before it starts. Importing this registers the hooks."""

from .deferred_log import DeferredRuntimeInfoHook
from .fused_test import FusedTestHook
from .memory_format import ChannelsLastHook

__all__ = ['ChannelsLastHook', 'DeferredRuntimeInfoHook', 'FusedTestHook']
