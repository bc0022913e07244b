"""What stands in for the compiled functions that this package does not supply."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NoReturn

# mmcv-lite and mmcv own the same folder: installed over each other, removing one breaks both.
INSTALL_COMMAND = 'pip uninstall -y mmcv-lite && mim install "mmcv>=2.0.1,<2.2.0"'


@functools.cache
def missing_op(name: str) -> Callable[..., NoReturn]:
    """Returns a function that says which compiled operator is missing and how to get it.

    Args:
        name: The function of ``mmcv._ext``, such as ``nms_rotated``.
    """

    def raise_missing(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(
            f'mmcv._ext.{name} exists only in compiled mmcv, and mmcv-lite is installed; '
            f'mspn_plugin does not supply it. To get it: {INSTALL_COMMAND} (without a wheel '
            'for this torch, that compiles for about half an hour and needs a C++ compiler; with '
            'CUDA, the CUDA toolkit)'
        )

    raise_missing.__name__ = raise_missing.__qualname__ = name
    return raise_missing
