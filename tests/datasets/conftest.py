"""A tiny COCO 2014 in the folders of the original MSPN."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

WIDTH, HEIGHT = 120, 90
TRAINING, MINIVAL = 'train_val_minus_minival_2014.json', 'minival_2014.json'


def _person(rng, person_id, image_id):
    visible = rng.integers(0, 3, 17)
    visible[rng.permutation(17)[:3]] = 0, 1, 2
    joints = rng.integers([2, 2], [WIDTH - 2, HEIGHT - 2], (17, 2)) * (visible > 0)[:, None]
    left, top = rng.uniform(-5, 30, 2)
    return dict(
        id=person_id,
        image_id=image_id,
        category_id=1,
        bbox=[left, top, *rng.uniform(70, 110, 2)],  # goes beyond the image
        area=2000.0,
        iscrowd=0,
        num_keypoints=int((visible > 0).sum()),
        keypoints=np.column_stack([joints, visible]).ravel().tolist(),
    )


@pytest.fixture
def coco2014(tmp_path):
    """Three images to train on (one of val2014) and two of minival, two people in each."""
    root, rng = tmp_path / 'coco2014', np.random.default_rng(1)
    for folder in ('gt_json', 'det_json', 'train2014', 'val2014'):
        (root / folder).mkdir(parents=True)
    for name, numbers in ((TRAINING, (1, 2, 42)), (MINIVAL, (43, 44))):
        images, people = [], []
        for number in numbers:
            folder = 'train2014' if number < 3 else 'val2014'
            file = f'COCO_{folder}_{number:012}.jpg'
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            cv2.imwrite(str(root / folder / file), pixels)
            images.append(dict(id=number, file_name=file, width=WIDTH, height=HEIGHT))
            people += [_person(rng, 2 * number + i, number) for i in (0, 1)]
        categories = [dict(id=1, name='person')]
        content = dict(images=images, annotations=people, categories=categories)
        (root / 'gt_json' / name).write_text(json.dumps(content))
    return root
