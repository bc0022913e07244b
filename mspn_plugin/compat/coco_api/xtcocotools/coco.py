"""`COCO` with what MMPose relies on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO as _PycocoCOCO


class COCO(_PycocoCOCO):
    """An annotation file in COCO format.

    It differs from pycocotools in that annotations may lack ``iscrowd``, which is then False, as
    xtcocotools fills it. And a list of results may be empty, where the original fails too: a model
    that finds nobody has AP 0, which is no error.
    """

    def createIndex(self) -> None:
        """Builds the look-up tables of images, categories and annotations."""
        for annotation in self.dataset.get('annotations', ()):
            annotation.setdefault('iscrowd', False)
        super().createIndex()

    def loadRes(self, resFile: Any) -> Any:
        """Loads detections, to be evaluated against this annotation file.

        Args:
            resFile: The path of a JSON file, a list of records or a ``(N, 7)`` array.

        Returns:
            A COCO object that holds the detections, and the images and categories of this one.
        """
        if isinstance(resFile, str | Path):
            resFile = json.loads(Path(resFile).read_text(encoding='utf-8'))
        if not isinstance(resFile, list) or resFile:
            return super().loadRes(resFile)
        results = COCO()
        results.dataset = {**self.dataset, 'annotations': []}
        results.createIndex()
        return results
