"""The augmentation of the original MSPN.

The recipe is that of megvii MSPN (its COCO and MPII configs, and `JointsDataset` there); the
configs in ``_base_/datasets/`` put it together. A box is ``bbox_center`` and ``bbox_scale`` (width,
height), both ``(1, 2)`` float32 in image pixels. Every random number comes from numpy's global
generator. Each step changes and returns the dictionary that it is given. A setting outside its
range is a ValueError. K is the number of keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmpose.registry import TRANSFORMS
from mmpose.structures.bbox import bbox_xywh2xyxy, bbox_xyxy2cs

from mspn.errors import InputError


class _RandomStep(BaseTransform):
    @cache_randomness
    def _random_numbers(self, count: int) -> np.ndarray:
        return np.random.rand(count)


def _require(wanted: str, low: float, high: float = 1e9, **values: float) -> None:
    for name, value in values.items():
        if not low <= value <= high:
            raise ValueError(f'{name} is {value}, expected {wanted}')


@TRANSFORMS.register_module()
class RawAnnotation(BaseTransform):
    """Goes back to what was annotated; belongs before any flip.

    MMPose cuts visibility to 0 or 1 and boxes to the image; MSPN tells occluded joints apart.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Reads ``raw_ann_info``; an `InputError` if there is none, as of MPII and detected boxes.

        Sets ``keypoints_visible`` ``(1, K)`` to 0 (not labelled), 1 (occluded) or 2 (visible), and
        ``bbox`` ``(1, 4)`` to left, top, right, bottom in image pixels, both float32.
        """
        annotation = results.get('raw_ann_info')
        if not isinstance(annotation, dict) or not {'keypoints', 'bbox'} <= annotation.keys():
            found = 'RawAnnotation found no COCO annotation (raw_ann_info with keypoints and bbox)'
            mend = 'use it in the training pipeline of a COCO-style data set in top-down mode'
            where = f'of {results.get("img_path")}'
            raise InputError(f'{found} {where}; {mend}, and leave it out everywhere else')
        keypoints = np.asarray(annotation['keypoints'], np.float32).reshape(1, -1, 3)
        results['keypoints_visible'] = keypoints[..., 2].copy()
        results['bbox'] = bbox_xywh2xyxy(np.asarray(annotation['bbox'], np.float32).reshape(1, 4))
        return results


@TRANSFORMS.register_module()
class BoxMargins(_RandomStep):
    """Multiplies the box's width by ``width * (1 + u * width_extra)``, u in [0, 1); height alike.

    The original takes 1.05 for both, with extras of 0.6 and 0.8, and 1.09 and 1.135 in tests.
    """

    def __init__(
        self, width: float, height: float, *, width_extra: float = 0.0, height_extra: float = 0.0
    ) -> None:
        _require('a number above 0', 1e-9, width=width, height=height)
        _require('a number of at least 0', 0, width_extra=width_extra, height_extra=height_extra)
        self.margins = np.array([width, height], np.float32)
        self.extra = np.array([width_extra, height_extra], np.float32)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Sets ``bbox_center`` and ``bbox_scale``, from those that are there (MPII) or ``bbox``."""
        center, size = results.get('bbox_center'), results.get('bbox_scale')
        if center is None or size is None:
            center, size = bbox_xyxy2cs(np.asarray(results['bbox'], np.float32))
        factors = self.margins
        if self.extra.any():  # otherwise no number is drawn: tests leave the generator alone
            factors = factors * (1 + self._random_numbers(2) * self.extra)
        results['bbox_center'] = np.asarray(center, np.float32)
        results['bbox_scale'] = (np.asarray(size) * factors).astype(np.float32)
        return results


@TRANSFORMS.register_module()
class HalfBodyBox(_RandomStep):
    """Replaces the box by that of the upper or lower body, now and then. Comes after `BoxMargins`.

    The upper body's joints are taken with probability ``upper_prob`` if more than three of them
    are labelled; otherwise the lower body's if more than three of those are, and if not, the upper
    body's again. Their box grows by random factors up to 1 + ``width_extra`` and 1 +
    ``height_extra``. Fewer than three joints, or all in one point, leave the box as it is.

    Args:
        upper_body_ids: Joints of the upper body; every other one is of the lower body. For COCO,
            the original takes 0 to 12, so the hips are of the upper body only.
        min_keypoints: Labelled joints, occluded ones included, that a person must have.
        prob: Probability of a half-body box for such a person.
        upper_prob: Probability of the upper body. The original draws from a normal distribution
            and compares with 0.5, which happens to be 0.6915.
    """

    def __init__(
        self,
        upper_body_ids: Sequence[int],
        min_keypoints: int = 4,
        *,
        prob: float = 0.3,
        upper_prob: float = 0.6915,
        width_extra: float = 0.6,
        height_extra: float = 0.8,
    ) -> None:
        if not upper_body_ids or min(upper_body_ids) < 0:
            wanted = "the numbers of the upper body's joints, from 0"
            raise ValueError(f'upper_body_ids is {list(upper_body_ids)}, expected {wanted}')
        _require('a whole number of at least 1', 1, min_keypoints=min_keypoints)
        _require('a number from 0 to 1', 0, 1, prob=prob, upper_prob=upper_prob)
        _require('a number of at least 0', 0, width_extra=width_extra, height_extra=height_extra)
        self.upper_body_ids, self.min_keypoints = tuple(upper_body_ids), min_keypoints
        self.prob, self.upper_prob = prob, upper_prob
        self.extra = np.array([width_extra, height_extra], np.float32)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replaces ``bbox_center`` and ``bbox_scale``, or leaves them.

        Reads ``keypoints`` ``(1, K, 2)`` in image pixels and ``keypoints_visible`` ``(1, K)``,
        above 0 where there is a label.
        """
        draw, upper_draw, *growth = self._random_numbers(4)
        labelled = results['keypoints_visible'][0] > 0
        if draw >= self.prob or labelled.sum() < self.min_keypoints:
            return results
        in_upper = np.isin(np.arange(labelled.size), self.upper_body_ids)
        chosen, lower = labelled & in_upper, labelled & ~in_upper
        upper_first = upper_draw < self.upper_prob and chosen.sum() > 3
        if not upper_first and lower.sum() > 3:
            chosen = lower
        joints = results['keypoints'][:, chosen, :2]
        if chosen.sum() >= 3 and np.ptp(joints, axis=1).any():
            first, last = joints.min(axis=1), joints.max(axis=1)
            size = (last - first) * (1 + np.asarray(growth) * self.extra)
            results['bbox_center'] = ((first + last) / 2).astype(np.float32)
            results['bbox_scale'] = size.astype(np.float32)
        return results


@TRANSFORMS.register_module()
class UniformBoxTransform(_RandomStep):
    """Scales, rotates and moves the box, with uniformly distributed numbers.

    Args:
        scale: Smallest and largest factor for the box. The original has 0.8 * U(0.75, 1.25) for
            COCO, which is the default, and U(0.75, 1.25) for MPII.
        rotation: Largest angle in degrees to either side; 45 for COCO, 60 for MPII.
        rotate_prob: Probability of a rotation.
        shift: Largest way of the box to either side, in widths, and up or down, in heights; 0 in
            the original. A model for a detector's boxes learns from boxes that are as inexact.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.6, 1.0),
        rotation: float = 45.0,
        *,
        rotate_prob: float = 0.5,
        shift: float = 0.0,
    ) -> None:
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] < 1e9:
            raise ValueError(f'scale is {scale}, expected two numbers above 0, the smaller first')
        _require('degrees from 0 to 180', 0, 180, rotation=rotation)
        _require('a number from 0 to 1', 0, 1, rotate_prob=rotate_prob, shift=shift)
        self.scale, self.rotation = (float(scale[0]), float(scale[1])), rotation
        self.rotate_prob, self.shift = rotate_prob, shift

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Changes ``bbox_scale`` and ``bbox_center``, sets ``bbox_rotation``, ``(1,)`` degrees."""
        size, draw, angle, *way = self._random_numbers(5 if self.shift else 3)
        (low, high), scale = self.scale, results['bbox_scale']
        way = 2 * self.shift * np.array(way or 0) - self.shift  # as numpy's uniform does it
        moved = results['bbox_center'] + way * scale
        results['bbox_center'] = moved.astype(np.float32)
        results['bbox_scale'] = (scale * (low + (high - low) * size)).astype(np.float32)
        angle = 2 * self.rotation * angle - self.rotation if draw < self.rotate_prob else 0
        results['bbox_rotation'] = np.array([angle], np.float32)
        return results
