"""Scores of a detector that mean the same after every training."""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mspn.media import decode
from mspn.runtime import DetectorModel
from mspn_plugin.checkpoints.files import read_state_dict

SCORE, PRECISION = 0.3, 0.8  # the threshold of `mspn predict`, and how many boxes there are people


def shift_of(detector: Path, annotations: Path, images: Path) -> float:
    """What to add to a detector's logits: `PRECISION` of its boxes from `SCORE` on are then people.

    The order of the boxes, and so AP, stays. A detector that is never so sure is left as it is.

    Args:
        detector: An ONNX file of ``mspn export --detector``.
        annotations: Boxes of people who were not trained on, in COCO's layout; crowds count for
            nothing.
        images: The folder of the pictures.
    """
    model, found = DetectorModel(detector, score_thr=0.01, nms_thr=0.65), []  # as AP is measured
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        (person,) = truth.getCatIds(['person'])
        for number, image in truth.imgs.items():
            file = images / image['file_name']
            ((boxes, scores),) = model.detect([decode(file, str(file))])
            boxes[:, 2:] -= boxes[:, :2]
            for box, score in zip(boxes.tolist(), scores.tolist(), strict=True):
                entry = dict(image_id=number, category_id=person, bbox=box, score=score)
                found.append(entry)
        if not found:
            return 0.0
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.params.catIds, evaluation.params.iouThrs = [person], np.array([0.5])
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        evaluation.evaluate()
    scores, right, left_out = (
        np.concatenate([np.ravel(image[what]) for image in evaluation.evalImgs if image])
        for what in ('dtScores', 'dtMatches', 'dtIgnore')
    )
    scores, right = scores[left_out == 0], right[left_out == 0] > 0
    order = np.argsort(-scores, kind='stable')
    precision = right[order].cumsum() / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(precision >= PRECISION)
    return _logit(SCORE) - _logit(scores[order][enough[-1]]) if len(enough) else 0.0


def shifted(checkpoint: Path, shift: float, out: Path) -> Path:
    """Writes a checkpoint of RTMDet with another bias of its scores; gives its path."""
    state = dict(read_state_dict(str(checkpoint)))
    for name, value in state.items():
        if 'rtm_cls' in name and name.endswith('bias'):
            state[name] = value + shift
    torch.save(dict(state_dict=state), out)
    return out


def _logit(score: float) -> float:
    return math.log(score / (1 - score))
