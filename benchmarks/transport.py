"""How much a data loader's worker sends to the main process."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Shipment:
    """Bytes of one batch.

    Attributes:
        piped: Bytes of the pickled batch without the tensors' values, which go through a pipe.
        shared: Bytes of the tensors, which lie in memory that both processes share.
        images: The part of ``shared`` that is the network's input.
    """

    piped: int
    shared: int
    images: int

    @property
    def total(self) -> int:
        """All bytes."""
        return self.piped + self.shared

    @property
    def besides_images(self) -> int:
        """All bytes but those of the images: targets, labels and what is known of the sample."""
        return self.total - self.images


class _Counter(pickle.Pickler):
    """Pickles, but counts tensors instead of storing them."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.DEFAULT_PROTOCOL)
        self.storages: dict[int, int] = {}

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, Tensor):
            return NotImplemented
        storage = obj.untyped_storage()
        self.storages[storage.data_ptr()] = storage.nbytes()
        return str, (f'{storage.data_ptr()} {tuple(obj.shape)} {obj.dtype}',)


def shipment(batch: dict[str, Any]) -> Shipment:
    """Counts what a worker would send.

    Args:
        batch: A collated batch, with ``inputs`` and ``data_samples``.
    """
    file = io.BytesIO()
    counter = _Counter(file)
    counter.dump(batch)
    inputs = batch['inputs']
    images = [inputs] if isinstance(inputs, Tensor) else inputs
    return Shipment(
        piped=len(file.getvalue()),
        shared=sum(counter.storages.values()),
        images=sum(image.untyped_storage().nbytes() for image in images),
    )
