"""COCO 2014 in the folders of the original MSPN, read as they lie.

::

    gt_json/train_val_minus_minival_2014.json    made by tools/make_coco2014_split.py,
    gt_json/minival_2014.json                    if they are not there
    det_json/minival_2014_det.json               detected boxes
    train2014/  val2014/                         images, or both in a folder images/
"""

from __future__ import annotations

import os.path as osp
from typing import Any

import numpy as np
from mmengine.fileio import get_local_path, load
from mmengine.logging import print_log
from mmengine.utils import is_list_of
from mmpose.registry import DATASETS
from mmpose.structures.bbox import bbox_xywh2xyxy
from xtcocotools.coco import COCO

from mspn.errors import InputError

from .coco import CocoPersonDataset

PERSON = 1
"""COCO's category of people."""

_DETECTION_FIELDS = ('image_id', 'category_id', 'bbox', 'score')


def image_path(file_name: str) -> str:
    """Where an image of COCO 2014 lies inside the image folder.

    Args:
        file_name: Its name in an annotation file, such as ``COCO_val2014_000000000042.jpg``.

    Returns:
        The name with its folder, ``train2014`` or ``val2014``; a name that has one stays.
    """
    if '/' in file_name:
        return file_name
    return f'{"val2014" if "val2014" in file_name else "train2014"}/{file_name}'


@DATASETS.register_module()
class Coco2014Dataset(CocoPersonDataset):
    """COCO 2014 keypoints, with images in two folders; parameters as MMPose's ``CocoDataset``.

    ``data_prefix['img']`` is the folder above ``train2014`` and ``val2014``. ``bbox_file`` is a
    path by itself (MMPose does not put it below ``data_root``): a JSON list of records with
    ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and ``score``. Its records of
    other categories and of images that the annotation file does not list are left out.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """Reads the annotation file, or the detected boxes if there are any.

        Returns:
            One record per person.

        Raises:
            InputError: The file of detected boxes is something else, or has none to use.
        """
        data_list = super().load_data_list()
        folder = self.data_prefix['img']
        for record in data_list:
            name = osp.basename(record['img_path'])
            if record['img_path'] == osp.join(folder, name):
                record['img_path'] = osp.join(folder, image_path(name))
        return data_list

    def _load_detection_results(self) -> list[dict[str, Any]]:
        with get_local_path(self.ann_file) as path:
            self.coco = COCO(path)
        self._metainfo['CLASSES'] = self.coco.loadCats(self.coco.getCatIds())
        detections = self._read_detections()
        known = [box for box in detections if box['image_id'] in self.coco.imgs]
        people = [box for box in known if box['category_id'] == PERSON]
        counts = (
            f'{len(detections) - len(known)} boxes of images that {self.ann_file} does not list '
            f'and {len(known) - len(people)} of other categories'
        )
        if not people:
            raise InputError(
                f'the {len(detections)} boxes in {self.bbox_file} are {counts}; give a file with '
                'detected people of those images'
            )
        print_log(f'{self.bbox_file}: {len(people)} people; left out: {counts}', 'current')
        return [self._record(box, index) for index, box in enumerate(people)]

    def _read_detections(self) -> list[dict[str, Any]]:
        # named: MMEngine would run a file whose name ends in .pkl
        detections = load(self.bbox_file, file_format='json')
        if not is_list_of(detections, dict) or not all(
            field in box for box in detections for field in _DETECTION_FIELDS
        ):
            raise InputError(
                f'{self.bbox_file} is no file of detected boxes; expected a JSON list of objects '
                f'with {", ".join(_DETECTION_FIELDS)}'
            )
        return detections

    def _record(self, box: dict[str, Any], index: int) -> dict[str, Any]:
        """A detected person as MMPose's pipelines want it, with keypoints that mean nothing."""
        image = self.coco.imgs[box['image_id']]
        num_keypoints = self.metainfo['num_keypoints']
        return dict(
            id=index,
            img_id=box['image_id'],
            img_path=osp.join(self.data_prefix['img'], image['file_name']),
            img_shape=(image['height'], image['width']),
            bbox=bbox_xywh2xyxy(np.asarray(box['bbox'][:4], np.float32).reshape(1, 4)),
            bbox_score=np.asarray(box['score'], np.float32).reshape(1),
            keypoints=np.zeros((1, num_keypoints, 2), np.float32),
            keypoints_visible=np.ones((1, num_keypoints), np.float32),
        )
