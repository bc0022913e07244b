"""Overlap and non-maximum suppression of axis-aligned boxes.

Shapes: N boxes as ``(x1, y1, x2, y2)`` in pixels. ``offset`` is 0 or 1: the width of a box is
``x2 - x1 + offset`` (1 for coordinates that name whole pixels, as in MMDetection 1).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision import ops

from ._tensors import widen

_NAIVE, _LINEAR, _GAUSSIAN = 0, 1, 2


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Keeps the best box of every group of boxes that overlap by more than the threshold.

    Args:
        boxes: (N, 4).
        scores: (N,).
        iou_threshold: A box is dropped if its overlap with a better one is greater.
        offset: 0 or 1, see above.

    Returns:
        Indices (M,) of the boxes kept, best first, int64.
    """
    boxes = widen(boxes)
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    if boxes.dtype == torch.float32:
        # mmcv compares in float32; 0.6 as float64 is less than an overlap of 0.6 as float32.
        iou_threshold = float(np.float32(iou_threshold))
    return ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lowers the scores of overlapping boxes instead of dropping the boxes (Soft-NMS).

    Ties are broken as mmcv does it, by where its swaps have put the boxes; so the order of the
    rest is kept in step with that.

    Args:
        boxes: (N, 4), on the CPU, where mmcv brings all arguments.
        scores: (N,).
        dets: (N, 5), filled in place: the first M rows become the boxes and new scores, best first.
        iou_threshold: Where the methods 0 and 1 begin to act.
        sigma: Width of method 2.
        min_score: Boxes whose new score is lower are dropped.
        method: 0 sets scores to 0, 1 multiplies them by 1 - overlap, 2 by exp(-overlap^2 / sigma).
        offset: 0 or 1, see above.

    Returns:
        Indices (M,) of the boxes kept, int64.
    """
    boxes = widen(boxes)
    rows = torch.cat((boxes, scores.to(boxes.dtype)[:, None]), 1)
    rest = rows.detach().numpy()  # numpy: several times faster than torch on arrays this small
    index = np.arange(len(rest))
    i = 0
    while i < len(rest):
        best = i + int(rest[i:, 4].argmax())
        rest[[i, best]] = rest[[best, i]]
        index[[i, best]] = index[[best, i]]
        tail = rest[i + 1 :]
        overlap = _overlaps(rest[i], tail, offset)
        if method == _GAUSSIAN:
            tail[:, 4] *= np.exp(-(overlap**2) / sigma)
        elif method in (_NAIVE, _LINEAR):
            weight = 1 - overlap if method == _LINEAR else np.zeros_like(overlap)
            tail[:, 4] *= np.where(overlap >= np.float32(iou_threshold), weight, 1)
        else:
            raise ValueError(f'method must be 0 (naive), 1 (linear) or 2 (gaussian), got {method}')
        low = tail[:, 4] < min_score
        if low.any():
            order = np.concatenate((np.arange(i + 1), i + 1 + _after_dropping(low)))
            rest, index = rest[order], index[order]
        i += 1
    dets[: len(rest)] = torch.from_numpy(rest).to(dets.dtype)
    return torch.from_numpy(index)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups boxes by the better box that suppresses them.

    Args:
        dets: Boxes and scores (N, 5), on the CPU, where mmcv brings them.
        iou_threshold: A box joins the group of a better one if they overlap by this much or more.

    Returns:
        One list of indices per group, the best box first.
    """
    rows = widen(dets).detach().numpy()
    left = np.argsort(-rows[:, 4], kind='stable')
    groups = []
    while len(left):
        best, left = left[0], left[1:]
        joins = _overlaps(rows[best], rows[left], 0) >= np.float32(iou_threshold)
        groups.append([int(best), *left[joins].tolist()])
        left = left[~joins]
    return groups


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Fills `ious` with the overlap of boxes, each with each or pair by pair.

    Args:
        bboxes1: (M, 4).
        bboxes2: (N, 4); M = N if `aligned`.
        ious: (M, N), or (M,) if `aligned`; filled in place.
        mode: 0 divides the intersection by the union, 1 by the area of the first box.
        aligned: Whether box i is compared with box i only.
        offset: 0 or 1, see above.
    """
    first, second = widen(bboxes1), widen(bboxes2)
    if not aligned:
        first = first[:, None]
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:4], second[..., 2:4])
    shared = (high - low + offset).clamp(min=0).prod(-1)
    whole = (first[..., 2:4] - first[..., :2] + offset).prod(-1)
    if mode == 0:
        whole = whole + (second[..., 2:4] - second[..., :2] + offset).prod(-1) - shared
    ious.copy_(shared / whole)


def _overlaps(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    """Returns intersection over union (N,) of one box and N others; 0 for two empty boxes."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:4], others[:, 2:4])
    width_height = np.maximum(high - low + offset, 0)
    shared = width_height[:, 0] * width_height[:, 1]
    area = (box[2] - box[0] + offset) * (box[3] - box[1] + offset)
    areas = (others[:, 2] - others[:, 0] + offset) * (others[:, 3] - others[:, 1] + offset)
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.nan_to_num(shared / (area + areas - shared), nan=0.0)


def _after_dropping(low: np.ndarray) -> np.ndarray:
    """Returns where the kept elements come from when the last one fills each hole in turn."""
    count = int((~low).sum())
    order = np.arange(count)
    holes = np.flatnonzero(low[:count])
    fillers = count + np.flatnonzero(~low[count:])
    order[holes] = fillers[::-1]
    return order
