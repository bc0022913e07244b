"""Files of detected boxes, in the format of COCO, checked as a whole before their first use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .json_files import read_json, shown

_NAMED = 10  # entries that a message names; it counts the others
_PIXELS = 1e9  # no coordinate comes near it, and float32 holds it
_EXAMPLE = '[{"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}, ...]'


@dataclass(frozen=True)
class Detections:
    """Detected boxes, and how many entries of other categories were left out.

    Each image id has boxes ``(N, 4)``, x1 y1 x2 y2 in image pixels, and scores ``(N,)`` from 0 to
    1, both float32 and in the order of the file.
    """

    by_image: dict[int, tuple[np.ndarray, np.ndarray]]
    other_categories: int

    def __len__(self) -> int:
        return sum(len(scores) for _, scores in self.by_image.values())


def read_detections(path: str | Path, *, category_id: int = 1) -> Detections:
    """Reads a file of detected boxes, and keeps those of a category; in COCO 1 is the person.

    The file is a JSON list of objects with ``category_id``, ``image_id``, ``bbox`` (x, y, width,
    height in image pixels) and ``score`` (0 to 1), as COCO's detection results are.

    Raises an `InputError` if it is absent or something else, or some of its entries are malformed;
    the message names the first ten of them by their index, which counts from 0.
    """
    path, expected = Path(path), 'a JSON list of detections in the format of COCO'
    entries = read_json(path, 'the detection file', expected=expected, mark=True)
    if not isinstance(entries, list):
        kind = {dict: 'an object', str: 'a text', type(None): 'null'}.get(type(entries), 'a number')
        raise InputError(f'{path} holds {kind}, not a list; expected {expected}: {_EXAMPLE}')
    texts = ((index, _problem(entry)) for index, entry in enumerate(entries))
    if problems := [f'entry {index}: {text}' for index, text in texts if text]:
        more = [f'and {len(problems) - _NAMED} more'] if len(problems) > _NAMED else []
        count = f'{len(problems)} {"entry" if len(problems) == 1 else "entries"}'
        mend = 'cannot be used, counted from 0; correct or remove them'
        raise InputError(f'{path} has {count} that {mend}: {"; ".join(problems[:_NAMED] + more)}')
    kept = [entry for entry in entries if entry['category_id'] == category_id]
    boxes = np.array([entry['bbox'] for entry in kept], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]  # in float32, as MMPose's readers do
    scores = np.array([entry['score'] for entry in kept], np.float32)
    rows: dict[int, list[int]] = {}
    for row, entry in enumerate(kept):
        rows.setdefault(entry['image_id'], []).append(row)
    by_image = {image: (boxes[mine], scores[mine]) for image, mine in rows.items()}
    return Detections(by_image, len(entries) - len(kept))


def _problem(entry: Any) -> str | None:
    """What is wrong with an entry; JSON has few types, and a bool is not a number."""
    if type(entry) is not dict:
        return f'{shown(entry)} is not an object'
    for key in ('category_id', 'image_id', 'bbox', 'score'):
        if key not in entry:
            return f'{key} is missing'
        if key.endswith('_id') and type(entry[key]) is not int:
            kind = 'a text' if type(entry[key]) is str else 'not an integer'
            return f'{key} {shown(entry[key])} is {kind}, expected an integer'
    box, score = entry['bbox'], entry['score']
    if type(box) is not list or len(box) != 4:
        return f'bbox {shown(box)} is not a list of 4 numbers'
    # One comparison also refuses NaN, the infinities and integers of a thousand digits.
    if not all(type(value) in (int, float) and -_PIXELS < value < _PIXELS for value in box):
        return f'bbox {shown(box)} is not 4 finite numbers of pixels'
    if box[2] <= 0 or box[3] <= 0:
        return f'bbox {shown(box)} has a width or height that is not above 0'
    x, y, width, height = np.array(box, np.float32)
    if x + width <= x or y + height <= y:
        return f'bbox {shown(box)} is too small for where it lies'
    if type(score) not in (int, float) or not 0 <= score <= 1:
        return f'score {shown(score)} is not a number from 0 to 1'
    return None
