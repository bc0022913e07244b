"""From samples to a batch, in the worker: few tensors, so few things to hand over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import FUNCTIONS
from torch.utils.data import default_collate


@FUNCTIONS.register_module()
def collate_people(samples: Sequence[dict[str, Any]], **_: Any) -> dict[str, Any]:
    """Stacks the images, and lays the labels of all samples in one piece of memory each.

    A worker passes every tensor's memory to the main process by itself, which takes longer than
    to copy 17 keypoints. MMEngine's ``pseudo_collate`` leaves three for every sample.

    Args:
        samples: ``inputs`` of one shape ``(3, h, w)`` and ``data_samples``.
        _: The ``_scope_`` that MMEngine passes on from an ``mspn_plugin::`` config.

    Returns:
        ``inputs`` ``(B, 3, h, w)`` and the list ``data_samples``, whose labels are views.
    """
    people = [sample['data_samples'] for sample in samples]
    labels: list[Any] = [person.get('gt_instance_labels') for person in people]
    if all(label is not None for label in labels):
        for key in labels[0].keys():
            values = [label.get(key) for label in labels]
            if all(torch.is_tensor(value) and value.shape == values[0].shape for value in values):
                for label, value in zip(labels, default_collate(values), strict=True):
                    label.set_field(value, key)
    return dict(
        inputs=default_collate([sample['inputs'] for sample in samples]), data_samples=people
    )
