"""MMPose's top-down steps with the same results for less time.

Each draws the random numbers that MMPose's step draws, so a seed gives the same sample.
"""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.registry import FUNCTIONS
from mmpose.datasets import transforms as stock
from mmpose.registry import TRANSFORMS
from scipy.special import ndtr, ndtri
from torch.utils.data import default_collate


@TRANSFORMS.register_module()
class LoadPersonImage(stock.LoadImage):
    """MMPose's ``LoadImage``; the people of one image can share it.

    With `keep` the last image is kept, read-only, for the next person of it, unless the file has
    changed. It pays where an image's people follow one another, as in evaluation.
    """

    def __init__(self, keep: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.keep = keep
        self._last: tuple[Any, np.ndarray] | None = None

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Sets ``img`` ``(h, w, 3)`` BGR, ``img_shape``, ``ori_shape``, as ``LoadImage`` does."""
        path = results.get('img_path', '')
        if not self.keep or 'img' in results or not os.path.isfile(path):
            return super().transform(results)
        state = path, os.stat(path).st_mtime_ns, os.stat(path).st_size
        if not self._last or self._last[0] != state:
            if (loaded := super().transform(dict(results))) is None:
                return None
            loaded['img'].setflags(write=False)
            self._last = state, loaded['img']
        image = self._last[1]
        return results | dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])


@TRANSFORMS.register_module()
class FastBBoxTransform(stock.RandomBBoxTransform):
    """MMPose's ``RandomBBoxTransform`` without SciPy's slow way to the truncated normal."""

    @staticmethod
    def _truncnorm(low: float = -1.0, high: float = 1.0, size: tuple[int, ...] = ()) -> Any:
        """As SciPy's ``truncnorm.rvs``: the same uniform numbers, through the inverse."""
        uniform = np.random.uniform(size=size)
        return np.float32(ndtri(ndtr(low) + uniform * (ndtr(high) - ndtr(low))))


@TRANSFORMS.register_module()
class FastTopdownAffine(stock.TopdownAffine):
    """MMPose's ``TopdownAffine``, for which a flipped image costs no more than another.

    MMPose flips an image by a view that runs backwards. OpenCV cannot read one, and a copy of it
    takes far longer than the crop; to flip the original is a tenth of that.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Cuts the box out of ``img``, as ``TopdownAffine`` does."""
        image = results['img']
        if isinstance(image, np.ndarray) and image.ndim == 3 and image[:, ::-1].flags.c_contiguous:
            results['img'] = cv2.flip(image[:, ::-1], 1)
        return super().transform(results)


@TRANSFORMS.register_module()
class FastPackPoseInputs(stock.PackPoseInputs):
    """MMPose's ``PackPoseInputs`` without its copies; OpenCV takes the channels apart.

    Without `pack_annotation`, samples do not carry ``raw_ann_info``, which no training needs.
    """

    def __init__(self, pack_annotation: bool = True, **settings: Any) -> None:
        super().__init__(**settings)
        left_out = '' if pack_annotation else 'raw_ann_info'
        self.meta_keys: Any = [key for key in self.meta_keys if key != left_out]

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Makes a sample for loaders and models: ``inputs`` ``(3, h, w)`` and ``data_samples``."""
        image = results.get('img')
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] > 4:
            return super().transform(results)
        rest = {key: results[key] for key in results if key not in self.meta_keys}
        packed = super().transform({**rest, 'img': np.empty((1, 1, 1), np.uint8)})
        for key in self.meta_keys:
            if key in results:  # as set_metainfo does, but that copies every list
                packed['data_samples'].set_field(results[key], key, field_type='metainfo')
        planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
        for channel, plane in enumerate(planes):
            cv2.extractChannel(image, channel, plane)
        packed['inputs'] = torch.from_numpy(planes)
        return packed


@FUNCTIONS.register_module()
def collate_people(samples: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
    """Stacks the images, and lays the labels of all samples in one piece of memory each.

    A worker passes every tensor's memory to the main process by itself, which takes longer than
    to copy 17 keypoints. The samples' ``inputs`` are of one shape ``(3, h, w)``. What else comes is
    the ``_scope_`` that MMEngine passes on from an ``mspn_plugin::`` config.
    """
    people = [sample['data_samples'] for sample in samples]
    labels: list[Any] = [person.get('gt_instance_labels') for person in people]
    if all(label is not None for label in labels):
        for key in labels[0].keys():
            values = [label.get(key) for label in labels]
            if all(torch.is_tensor(value) and value.shape == values[0].shape for value in values):
                for label, value in zip(labels, default_collate(values), strict=True):
                    label.set_field(value, key)
    inputs = default_collate([sample['inputs'] for sample in samples])
    return dict(inputs=inputs, data_samples=people)
