"""Hooks for the stock runner, and checks before it starts. Importing this registers the hooks."""

from .deferred_log import DeferredRuntimeInfoHook

__all__ = ['DeferredRuntimeInfoHook']
