"""Less memory for more time: parts of a network that are computed again for their gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def computed_twice(module: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Calls a function of a module and keeps only its input for the backward pass.

    The second computation leaves the running statistics of the normalisations alone, so that
    training takes the same steps as without.

    Args:
        module: Whose normalisations the function uses.
        function: Any function of a tensor.
        x: Its argument.
    """
    return checkpoint(
        function,
        x,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _same_statistics(module)),
    )


@contextlib.contextmanager
def _same_statistics(module: nn.Module) -> Iterator[None]:
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None  # so that nothing counts
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = count
