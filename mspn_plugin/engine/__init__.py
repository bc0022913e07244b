"""Hooks for the stock runner, and what a run begins from. Importing this registers the hooks."""

from .bad_images import BadImagesHook
from .bf16 import CpuBf16OptimWrapper
from .deferred_log import DeferredRuntimeInfoHook
from .error_metric import CocoErrorMetric
from .fused_testing import FusedTestHook
from .nonfinite import SkipNonFiniteHook
from .repeatable import RepeatableTrainingHook
from .safe_checkpoint import SafeCheckpointHook

__all__ = ['BadImagesHook', 'CocoErrorMetric', 'CpuBf16OptimWrapper', 'DeferredRuntimeInfoHook']
__all__ += ['FusedTestHook', 'RepeatableTrainingHook', 'SafeCheckpointHook', 'SkipNonFiniteHook']
