"""COCO's evaluation, and beside it how far keypoints are from their places on average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import METRICS


@METRICS.register_module()
class CocoErrorMetric(CocoMetric):
    """MMPose's ``CocoMetric``, whose numbers include ``error``, for evaluations with given boxes.

    It is the mean distance of all labelled keypoints to where they are found, as a part of the
    longer side of their box. Where several checkpoints reach the same AP, `SafeCheckpointHook`
    keeps the one with the smallest. Parameters as in MMPose.
    """

    def process(self, data_batch: Sequence[Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Keeps what a batch's people need, as MMPose does, and their labels."""
        before = len(self.results)
        super().process(data_batch, data_samples)
        for (pred, _), sample in zip(self.results[before:], data_samples, strict=True):
            if 'raw_ann_info' not in sample:  # of a detected box
                continue
            truth = np.array(sample['raw_ann_info']['keypoints'], float).reshape(-1, 3)
            labelled = truth[:, 2] > 0
            points = np.asarray(pred['keypoints'], float).reshape(-1, 2)
            apart = np.linalg.norm(points - truth[:, :2], axis=1)[labelled]
            side = max(*sample['raw_ann_info']['bbox'][2:], 1.0)
            pred['error'] = (float(apart.sum() / side), len(apart))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """The ten numbers of COCO and the error."""
        errors = [pred.pop('error') for pred, _ in results if 'error' in pred]
        numbers: dict[str, float] = super().compute_metrics(results)
        if errors and not self.format_only:
            total, count = np.array(errors, float).sum(axis=0)
            numbers['error'] = float(total / max(count, 1))
        return numbers
