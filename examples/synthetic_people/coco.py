"""Labels in COCO's JSON format."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .anatomy import KEYPOINT_NAMES
from .scene import Person

#: COCO's skeleton: pairs of joints, counted from 1.
SKELETON = (
    (16, 14),
    (14, 12),
    (17, 15),
    (15, 13),
    (12, 13),
    (6, 12),
    (7, 13),
    (6, 7),
    (6, 8),
    (7, 9),
    (8, 10),
    (9, 11),
    (2, 3),
    (1, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
    (5, 7),
)

CATEGORIES: list[dict[str, Any]] = [
    {
        'id': 1,
        'name': 'person',
        'supercategory': 'person',
        'keypoints': list(KEYPOINT_NAMES),
        'skeleton': [list(pair) for pair in SKELETON],
    }
]


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Compress a mask as COCO does: lengths of runs down the columns, as text.

    The format is that of `rleToString` in cocoapi's maskApi.c: run lengths (differences to the run
    before the last, from the fourth on) in groups of five bits, the sixth telling whether more
    follow, offset by the character "0".

    Args:
        mask: (h, w) mask.

    Returns:
        `{"size": [h, w], "counts": text}`, which pycocotools reads.
    """
    flat = mask.ravel(order='F')
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # Runs alternate and begin with zeros.
    bounds = np.concatenate([[0], [0] if flat[0] else [], edges, [flat.size]]).astype(int)
    runs = np.diff(bounds).tolist()
    text = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr((bits | 0x20 if more else bits) + 48))
    return {'size': list(mask.shape), 'counts': ''.join(text)}


def annotate(person: Person, annotation_id: int, image_id: int) -> dict[str, Any]:
    """Describe a person as a COCO annotation.

    Args:
        person: The labels of the person.
        annotation_id: Id of the annotation.
        image_id: Id of its image.

    Returns:
        The annotation. As in COCO, box, area and segmentation are those of the person's visible
        pixels.
    """
    rows, cols = np.flatnonzero(person.mask.any(1)), np.flatnonzero(person.mask.any(0))
    x, y = int(cols[0]), int(rows[0])
    keypoints: list[float | int] = []
    for kx, ky, visibility in person.keypoints.tolist():
        keypoints += [round(kx, 1), round(ky, 1), int(visibility)]
    return {
        'id': annotation_id,
        'image_id': image_id,
        'category_id': 1,
        'bbox': [x, y, int(cols[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        'area': int(np.count_nonzero(person.mask)),
        'iscrowd': 0,
        'num_keypoints': int(np.count_nonzero(person.keypoints[:, 2])),
        'keypoints': keypoints,
        'segmentation': encode_mask(person.mask),
    }
