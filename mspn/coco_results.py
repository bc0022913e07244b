"""People in COCO's format of keypoint results, and a file of them that is valid at any moment."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from mmpose.structures import PoseDataSample

from mspn_plugin.apis.people import instance_score

from .errors import InputError

PERSON = 1
"""COCO's category of people."""

_PIXEL_DECIMALS = 3
_SCORE_DECIMALS = 5


def coco_results(people: Iterable[PoseDataSample], image_id: int) -> list[dict[str, Any]]:
    """Writes the people of an image as COCO's keypoint results.

    Args:
        people: People, as `infer_people` gives them.
        image_id: The image's id in the annotation file.

    Returns:
        For each person ``image_id``, ``category_id``, ``keypoints`` (x and y in image pixels and
        the score, 3K numbers), ``score`` (the box's times the mean of the keypoints') and ``bbox``
        (x, y, width, height in image pixels). ``pycocotools.coco.COCO.loadRes`` takes them.

    Raises:
        InputError: A person's numbers are not finite.
    """
    results = []
    for person in people:
        found = person.pred_instances
        keypoints = np.round(np.asarray(found.keypoints[0], np.float64), _PIXEL_DECIMALS)
        scores = np.round(np.asarray(found.keypoint_scores[0], np.float64), _SCORE_DECIMALS)
        x1, y1, x2, y2 = np.asarray(found.bboxes[0], np.float64)
        box = np.round([x1, y1, x2 - x1, y2 - y1], _PIXEL_DECIMALS)
        numbers = np.column_stack([keypoints, scores]).ravel()
        if not np.isfinite(numbers).all():
            raise InputError(
                f'the keypoints of a person in image {image_id} are not finite numbers; the '
                "model's weights are probably damaged, so take another checkpoint"
            )
        results.append(
            dict(
                image_id=image_id,
                category_id=PERSON,
                keypoints=numbers.tolist(),
                score=round(instance_score(person), _SCORE_DECIMALS),
                bbox=box.tolist(),
            )
        )
    return results


class ResultsFile:
    """A JSON list that grows in a file beside its place and is moved there when it is complete.

    As a context manager. The growing file is a valid list after every `write`. If the block ends
    with an exception, or the process is killed, it stays under its own name, `partial`, unless it
    is empty; the file at `path`, if any, is then as it was.

    Attributes:
        path: Where the complete list goes; a file there is replaced.
        partial: Where it grows: ``results.partial.json`` for ``results.json``.
        count: The entries written so far.
    """

    _END = b'\n]\n'

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(f'{self.path.stem}.partial{self.path.suffix}')
        self.count = 0
        self._size = 0  # without the closing bracket

    def __enter__(self) -> ResultsFile:
        self.partial.write_bytes(b'')
        self.count = self._size = 0
        self._append(b'[')
        return self

    def write(self, entries: Iterable[dict[str, Any]]) -> None:
        """Adds entries, all or none.

        Args:
            entries: What JSON can hold.

        Raises:
            ValueError: A number is not finite, for which JSON has no notation.
            OSError: The file cannot be written.
        """
        lines = [json.dumps(entry, allow_nan=False) for entry in entries]
        if not lines:
            return
        self._append((',\n' if self.count else '\n').encode() + ',\n'.join(lines).encode())
        self.count += len(lines)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            os.replace(self.partial, self.path)
            return
        with contextlib.suppress(OSError):
            self._append(b'')  # over what an interrupted or failed write may have left
            if not self.count:
                self.partial.unlink()

    def _append(self, text: bytes) -> None:
        with self.partial.open('r+b') as file:
            file.seek(self._size)
            file.write(text + self._END)
            file.truncate()
        self._size += len(text)
