"""A small data set without a fault, for tests to put faults into."""

from __future__ import annotations

import copy
import json

import cv2
import numpy as np
import pytest

NAMES = ['nose', 'left_hand', 'right_hand']
PERSON = dict(id=11, image_id=1, category_id=1, bbox=[2, 3, 20, 20], area=200.0, iscrowd=0)
POINTS = [5, 5, 2, 0, 0, 0, 9, 9, 1], [3, 3, 2.0, 4, 4, 2, 5, 5, 2]
OTHER = dict(PERSON, id=12, image_id=2, bbox=[1.5, 2.5, 10, 10], area=60)
CONTENT = dict(
    images=[
        dict(id=1, file_name='a.jpg', width=40, height=30),
        dict(id=2, file_name='in/b.png', width=20, height=50),
    ],
    annotations=[
        dict(PERSON, keypoints=POINTS[0], num_keypoints=2),
        dict(OTHER, keypoints=POINTS[1], num_keypoints=3),
    ],
    categories=[dict(id=1, name='person', keypoints=NAMES, skeleton=[[1, 2]])],
)
SKELETON = dict(
    dataset_name='hands',
    keypoint_info={
        number: dict(name=name, id=number, swap=swap)
        for number, (name, swap) in enumerate(zip(NAMES, ('', *NAMES[:0:-1]), strict=True))
    },
    skeleton_info={0: dict(link=('nose', 'left_hand')), 1: dict(link=('nose', 'right_hand'))},
    joint_weights=[1.0, 1.0, 1.5],
    sigmas=[0.026, 0.062, 0.062],
)


class Place:
    """A data set in a folder, and what it is made from."""

    def __init__(self, folder):
        self.images, self.annotations = folder / 'images', folder / 'people.json'
        self.content, self.skeleton = copy.deepcopy((CONTENT, SKELETON))
        (self.images / 'in').mkdir(parents=True)
        random = np.random.default_rng(0)
        for image in self.content['images']:
            pixels = random.integers(0, 255, (image['height'], image['width'], 3), np.uint8)
            cv2.imwrite(str(self.images / image['file_name']), pixels)

    def write(self):
        self.annotations.write_text(json.dumps(self.content))
        return self.annotations, self.images


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)
