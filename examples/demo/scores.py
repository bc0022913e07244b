"""What a file of predicted poses scores, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def pose_ap(annotations: Path, results: Path) -> float:
    """AP over OKS 0.50:0.95 of a results file.

    Args:
        annotations: A COCO keypoint file.
        results: Predictions in COCO's keypoint results format.
    """
    if not json.loads(results.read_text(encoding='utf-8')):
        return 0.0  # pycocotools cannot read an empty list
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), 'keypoints')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
