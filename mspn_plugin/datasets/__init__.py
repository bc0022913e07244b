"""Data sets, their pipelines' steps and their batches; importing this registers them."""

from . import body, fast_transforms, guarded_loading, resumable, transforms  # noqa: F401
