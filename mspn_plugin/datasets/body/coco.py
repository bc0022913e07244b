"""COCO people in top-down mode: read in seconds, small in memory, cheap to hand out."""

from __future__ import annotations

import json
import os.path as osp
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.fileio import get_text
from mmpose.datasets.datasets import CocoDataset
from mmpose.registry import DATASETS

from mspn.json_files import no_garbage_collection

_SHARED = (
    'dataset_name',
    'upper_body_ids',
    'lower_body_ids',
    'flip_pairs',
    'dataset_keypoint_weights',
    'flip_indices',
    'skeleton_links',
)
"""What every sample is told about the data set, as by MMPose."""


@DATASETS.register_module()
class CocoPersonDataset(CocoDataset):
    """COCO keypoints; parameters as MMPose's ``CocoDataset``, and in top-down mode the same people.

    What differs: outlines (``segmentation``, most of the file) are left out of the records, no
    index of the file is built, detected boxes of one image follow one another (see
    `LoadPersonImage`), and the facts about the data set that samples carry (``flip_indices`` and
    so on) are shared by all samples; a transform must not change them in place.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """Reads the annotation file, or the detected boxes if there are any.

        Returns:
            One record per person.
        """
        with no_garbage_collection():
            data_list: list[dict[str, Any]] = super().load_data_list()
        if self.bbox_file:
            first: dict[Any, int] = {}
            for position, record in enumerate(data_list):
                first.setdefault(record['img_id'], position)
            data_list.sort(key=lambda record: first[record['img_id']])
        return data_list

    def _load_annotations(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        if self.data_mode != 'topdown':  # bottom-up pipelines want the outlines
            people, images = super()._load_annotations()
            return people, images
        content = json.loads(get_text(self.ann_file))
        if 'categories' in content:
            self._metainfo['CLASSES'] = content['categories']
        annotations: dict[Any, list[dict[str, Any]]] = {}
        for annotation in content.get('annotations', ()):
            annotations.setdefault(annotation['image_id'], []).append(annotation)
        people = []
        for image in {image['id']: image for image in content['images']}.values():
            if image['id'] % self.sample_interval:
                continue
            image['img_path'] = osp.join(self.data_prefix['img'], image['file_name'])
            for annotation in annotations.get(image['id'], ()):
                raw = dict(raw_ann_info=annotation, raw_img_info=image)
                if (record := self.parse_data_info(raw)) is not None:
                    people.append(record)
        return people, []

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> dict[str, Any] | None:
        """Makes the record of a person.

        Args:
            raw_data_info: ``raw_ann_info`` and ``raw_img_info``, an annotation and its image.

        Returns:
            The fields that MMPose's ``CocoDataset`` gives, but no ``segmentation``. ``None`` for a
            crowd and for a person without labels, whom that class filters out later.
        """
        if self.data_mode != 'topdown':
            other: dict[str, Any] | None = super().parse_data_info(raw_data_info)
            return other
        annotation, image = raw_data_info['raw_ann_info'], raw_data_info['raw_img_info']
        if 'bbox' not in annotation or 'keypoints' not in annotation:
            return None
        crowd = annotation.setdefault('iscrowd', 0)
        if crowd or annotation.get('num_keypoints') == 0:
            return None
        left, top, width, height = annotation['bbox']
        last_x, last_y = image['width'] - 1, image['height'] - 1
        # NumPy's clip does the same in thirty times the time.
        x1, y1 = min(max(left, 0), last_x), min(max(top, 0), last_y)
        x2, y2 = min(max(left + width, 0), last_x), min(max(top + height, 0), last_y)
        joints = np.array(annotation['keypoints'], np.float32).reshape(1, -1, 3)
        area = annotation.get('area')
        if area is None:
            area = max((x2 - x1) * (y2 - y1) * 0.53, 1.0)
        record = dict(
            img_id=annotation['image_id'],
            img_path=image['img_path'],
            bbox=np.array([[x1, y1, x2, y2]], np.float32),
            bbox_score=np.ones(1, np.float32),
            num_keypoints=annotation.get('num_keypoints'),
            keypoints=joints[..., :2].copy(),
            keypoints_visible=np.minimum(1, joints[..., 2]),
            area=np.array(area, np.float32),
            iscrowd=crowd,
            id=annotation['id'],
            category_id=np.array(annotation['category_id']),
            raw_ann_info={key: annotation[key] for key in annotation if key != 'segmentation'},
        )
        if record['num_keypoints'] is None:
            record['num_keypoints'] = np.count_nonzero(record['keypoints'].max(axis=2))
        if 'crowdIndex' in image:
            record['crowd_index'] = image['crowdIndex']
        return record

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The record of a person, with the facts about the data set that pipelines need.

        Args:
            idx: The person's number.
        """
        record: dict[str, Any] = BaseDataset.get_data_info(self, idx)
        for key in _SHARED:
            record[key] = self._metainfo[key]  # MMPose copies them for every sample
        return record
