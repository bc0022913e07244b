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
_KEYS = ('category_id', 'image_id', 'bbox', 'score')


@dataclass(frozen=True)
class Detections:
    """What a detection file holds.

    Attributes:
        by_image: For each image id boxes ``(N, 4)``, x1 y1 x2 y2 in image pixels, and scores
            ``(N,)`` from 0 to 1, both float32 and in the order of the file.
        other_categories: How many entries were left out because they are of another category.
    """

    by_image: dict[int, tuple[np.ndarray, np.ndarray]]
    other_categories: int

    def __len__(self) -> int:
        return sum(len(scores) for _, scores in self.by_image.values())


def read_detections(path: str | Path, *, category_id: int = 1) -> Detections:
    """Reads a file of detected boxes.

    Args:
        path: A JSON list of objects with ``category_id``, ``image_id``, ``bbox`` (x, y, width,
            height in image pixels) and ``score`` (0 to 1), as COCO's detection results are.
        category_id: The category to keep; in COCO 1 is the person.

    Returns:
        The boxes by image.

    Raises:
        InputError: The file is absent or something else, or some of its entries are malformed;
            the message names the first ten of them by their index, which counts from 0.
    """
    path = Path(path)
    entries = _read_list(path)
    _refuse(path, {i: text for i, entry in enumerate(entries) if (text := _problem(entry))})
    kept = [i for i, entry in enumerate(entries) if entry['category_id'] == category_id]
    boxes = np.array([entries[i]['bbox'] for i in kept], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes = boxes.astype(np.float32)
    lost = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    _refuse(
        path,
        {
            kept[row]: f'bbox {shown(entries[kept[row]]["bbox"])} is too small for where it lies'
            for row in np.flatnonzero(lost)
        },
    )
    scores = np.array([entries[i]['score'] for i in kept], np.float32)
    rows: dict[int, list[int]] = {}
    for row, i in enumerate(kept):
        rows.setdefault(entries[i]['image_id'], []).append(row)
    by_image = {image: (boxes[mine], scores[mine]) for image, mine in rows.items()}
    return Detections(by_image, len(entries) - len(kept))


def _read_list(path: Path) -> list[Any]:
    expected = 'a JSON list of detections in the format of COCO'
    content = read_json(path, 'the detection file', expected=expected, mark=True)
    if not isinstance(content, list):
        kinds = {dict: 'an object', str: 'a text', type(None): 'null'}
        kind = kinds.get(type(content), 'a number')
        raise InputError(
            f'{path} holds {kind}, not a list; expected {expected}: '
            '[{"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}, ...]'
        )
    return content


def _problem(entry: Any) -> str | None:
    """What is wrong with an entry; JSON has few types, and a bool is not a number."""
    if type(entry) is not dict:
        return f'{shown(entry)} is not an object'
    for key in _KEYS:
        if key not in entry:
            return f'{key} is missing'
    for key in ('category_id', 'image_id'):
        value = entry[key]
        if type(value) is not int:
            kind = ' is a text' if type(value) is str else ''
            return f'{key} {shown(value)}{kind or " is not an integer"}, expected an integer'
    box = entry['bbox']
    if type(box) is not list or len(box) != 4:
        return f'bbox {shown(box)} is not a list of 4 numbers'
    for value in box:
        # One comparison also refuses NaN, the infinities and integers of a thousand digits.
        if type(value) not in (int, float) or not -_PIXELS < value < _PIXELS:
            return f'bbox {shown(box)} is not 4 finite numbers of pixels'
    if box[2] <= 0 or box[3] <= 0:
        return f'bbox {shown(box)} has a width or height that is not above 0'
    score = entry['score']
    if type(score) not in (int, float) or not 0 <= score <= 1:
        return f'score {shown(score)} is not a number from 0 to 1'
    return None


def _refuse(path: Path, problems: dict[int, str]) -> None:
    """Raises the error that names the problems by their entries, if there are any."""
    if not problems:
        return
    named = [f'entry {index}: {text}' for index, text in list(problems.items())[:_NAMED]]
    if len(problems) > _NAMED:
        named.append(f'and {len(problems) - _NAMED} more')
    count = f'{len(problems)} {"entry" if len(problems) == 1 else "entries"}'
    raise InputError(
        f'{path} has {count} that cannot be used, counted from 0; correct or remove them: '
        + '; '.join(named)
    )
