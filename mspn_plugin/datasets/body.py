"""COCO and MPII people in top-down mode, also with the labels and folders of the original MSPN.

MMPose's inferencer takes its detector of people for data sets of a module called ``body``.
"""

from __future__ import annotations

import collections
import json
import os.path as osp
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import get_text
from mmengine.logging import print_log
from mmpose.datasets.datasets import CocoDataset, MpiiDataset
from mmpose.registry import DATASETS

from mspn.detections import read_detections
from mspn.errors import InputError
from mspn.json_files import no_garbage_collection

_SHARED = 'dataset_name upper_body_ids lower_body_ids flip_pairs dataset_keypoint_weights'
_SHARED += ' flip_indices skeleton_links'  # what every sample is told, as by MMPose


@DATASETS.register_module()
class CocoPersonDataset(CocoDataset):
    """COCO keypoints; parameters as MMPose's ``CocoDataset``, and in top-down mode the same people.

    What differs: outlines (``segmentation``, most of the file) are left out of the records, no
    index of the file is built, detected boxes of one image follow one another, and what samples
    carry about the data set (``flip_indices`` and so on) is shared: no step may change it in place.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """Reads the annotation file, or the detected boxes if any: a record for each person."""
        with no_garbage_collection():
            people: list[dict[str, Any]] = super().load_data_list()
        if self.bbox_file:
            first = {image: i for i, image in enumerate(dict.fromkeys(p['img_id'] for p in people))}
            people.sort(key=lambda person: first[person['img_id']])
        return people

    def _load_annotations(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        if self.data_mode != 'topdown':  # bottom-up pipelines want the outlines
            return super()._load_annotations()
        content, images = self._read()
        annotations, people = collections.defaultdict[Any, list[Any]](list), []
        for annotation in content.get('annotations', ()):
            annotations[annotation['image_id']].append(annotation)
        for image in images.values():
            if image['id'] % self.sample_interval == 0:
                image['img_path'] = osp.join(self.data_prefix['img'], image['file_name'])
                for annotation in annotations[image['id']]:
                    raw = dict(raw_ann_info=annotation, raw_img_info=image)
                    people.append(self.parse_data_info(raw))
        return list(filter(None, people)), []

    def _read(self) -> tuple[dict[str, Any], dict[Any, dict[str, Any]]]:
        """The annotation file, and its images by id."""
        content = json.loads(get_text(self.ann_file))
        if 'categories' in content:
            self._metainfo['CLASSES'] = content['categories']
        return content, {image['id']: image for image in content['images']}

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> dict[str, Any] | None:
        """Makes the record of a person from ``raw_ann_info`` and ``raw_img_info``.

        As by MMPose, but without ``segmentation``, and ``None`` for whom it filters out later.
        """
        if self.data_mode != 'topdown':
            return super().parse_data_info(raw_data_info)
        image, given = raw_data_info['raw_img_info'], raw_data_info['raw_ann_info']
        # Some exporters write null for what they do not know.
        known = {k: v for k, v in given.items() if v is not None and k != 'segmentation'}
        labelled = {'bbox', 'keypoints'} <= known.keys() and known.get('num_keypoints') != 0
        if known.setdefault('iscrowd', 0) or not labelled:
            return None
        (x, y, w, h), last_x, last_y = known['bbox'], image['width'] - 1, image['height'] - 1
        # NumPy's clip does the same in thirty times the time.
        x1, y1 = min(max(x, 0), last_x), min(max(y, 0), last_y)
        x2, y2 = min(max(x + w, 0), last_x), min(max(y + h, 0), last_y)
        joints = np.array(known['keypoints'], np.float32).reshape(1, -1, 3)
        count = known.get('num_keypoints', np.count_nonzero(joints[..., :2].max(axis=2)))
        record = dict(
            img_id=known['image_id'],
            img_path=image['img_path'],
            bbox=np.array([[x1, y1, x2, y2]], np.float32),
            bbox_score=np.ones(1, np.float32),
            num_keypoints=count,
            keypoints=joints[..., :2].copy(),
            keypoints_visible=np.minimum(1, joints[..., 2]),
            area=np.array(known.get('area', max((x2 - x1) * (y2 - y1) * 0.53, 1.0)), np.float32),
            iscrowd=known['iscrowd'],
            id=known['id'],
            category_id=np.array(known['category_id']),
            raw_ann_info=known,
        )
        return record | ({'crowd_index': image['crowdIndex']} if 'crowdIndex' in image else {})

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The record of a person by number, with the facts that pipelines need."""
        record: dict[str, Any] = BaseDataset.get_data_info(self, idx)
        # MMPose copies them for every sample.
        return record | {key: self._metainfo[key] for key in _SHARED.split()}


def image_path(file_name: str) -> str:
    """Adds its folder to the name of an image of COCO 2014, unless that has one."""
    folder = 'val2014' if 'val2014' in file_name else 'train2014'
    return file_name if '/' in file_name else f'{folder}/{file_name}'


@DATASETS.register_module()
class Coco2014Dataset(CocoPersonDataset):
    """COCO 2014 in the folders of the original MSPN; parameters as MMPose's ``CocoDataset``.

    ::

        gt_json/train_val_minus_minival_2014.json    made by tools/make_coco2014_split.py,
        gt_json/minival_2014.json                    if they are not there
        det_json/minival_2014_det.json               detected boxes
        train2014/  val2014/                         images, or both in a folder images/

    ``data_prefix['img']`` is the folder above ``train2014`` and ``val2014``. ``bbox_file``, a path
    by itself as in MMPose, is for `read_detections`. Boxes of other categories and of images that
    are not listed are left out; an `InputError` says so if none is left.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """As `CocoPersonDataset` does, with the folder of each image."""
        people, folder = super().load_data_list(), osp.join(self.data_prefix['img'], '')
        for record in people:
            inner = record['img_path'].removeprefix(folder)
            record['img_path'] = osp.join(folder, image_path(inner))
        return people

    def _load_detection_results(self) -> list[dict[str, Any]]:
        _, images = self._read()
        found, people = read_detections(self.bbox_file), list[dict[str, Any]]()
        nothing = np.zeros((1, self.metainfo['num_keypoints'], 2), np.float32)
        for number, boxes_and_scores in found.by_image.items():
            for box, score in zip(*boxes_and_scores, strict=True) if number in images else ():
                image = images[number]
                person = dict(
                    id=len(people),
                    img_id=number,
                    img_path=osp.join(self.data_prefix['img'], image['file_name']),
                    img_shape=(image['height'], image['width']),
                    bbox=box[None],
                    bbox_score=score[None],
                    keypoints=nothing,
                    keypoints_visible=nothing[..., 0] + 1,
                )
                people.append(person)
        counts = f'{len(found) - len(people)} boxes of images that {self.ann_file} does not list'
        counts += f' and {found.other_categories} of other categories'
        if not people:
            text = (
                f'the {len(found) + found.other_categories} boxes in {self.bbox_file} are {counts}'
            )
            raise InputError(f'{text}; give a file with detected people of those images')
        print_log(f'{self.bbox_file}: {len(people)} people; left out: {counts}', 'current')
        return people


@DATASETS.register_module()
class MegviiMpiiDataset(MpiiDataset):
    """MPII whose training joints lie where they are; parameters as MMPose's ``MpiiDataset``.

    MPII counts pixels from 1. MMPose makes the boxes count from 0, but not the joints, so a model
    would learn to be off by a pixel. In training, this class makes the joints count from 0 too, and
    sets the visibility of labelled joints to 2, as the original does: MPII does not tell occluded
    ones apart. In tests both stay: ``MpiiPCKAccuracy`` adds 1 to the predictions.
    """

    def _load_annotations(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        people, images = super()._load_annotations()
        for person in () if self.test_mode else people:
            person['keypoints'] = person['keypoints'] - 1
            person['keypoints_visible'] = 2 * np.float32(person['keypoints_visible'] > 0)
        return people, images
