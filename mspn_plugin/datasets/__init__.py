"""Data sets, their pipelines' steps and their batches; importing this registers them."""

from . import body, loading, transforms  # noqa: F401
