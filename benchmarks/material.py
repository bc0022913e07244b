"""The images and boxes that both sides work on, and data set configs that point at them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from synthetic_people import make_synthetic_people

from mspn.errors import InputError

_TRAIN = 'annotations/person_keypoints_train2017.json'
_VAL = 'annotations/person_keypoints_val2017.json'
_DEFAULT = Path('data/coco')


@dataclass(frozen=True)
class Photograph:
    """An image and the people in it.

    Attributes:
        path: The image.
        boxes: ``(N, 4)`` float32: x1, y1, x2, y2 in pixels.
    """

    path: Path
    boxes: np.ndarray


def find_data(given: Path | None, folder: Path, *, images: int = 96) -> Path:
    """A folder in COCO's layout: the given one, ``data/coco``, or one with synthetic people.

    Args:
        given: What the user named.
        folder: Where synthetic people are drawn if there is nothing else.
        images: Training images to draw; as many again are for validation.

    Raises:
        InputError: The given folder has no annotations.
    """
    root = given or _DEFAULT
    if (root / _TRAIN).is_file() and (root / _VAL).is_file():
        return root
    if given is not None:
        raise InputError(
            f'--data-root: {given} has no {_TRAIN} and {_VAL}; name a folder in the layout of '
            'COCO 2017, or leave the option out to use synthetic people'
        )
    return make_synthetic_people(folder / 'people', num_train=images, num_val=images).root


def photographs(
    data_root: Path, detections: Path | None, count: int, *, least_people: int = 1
) -> list[Photograph]:
    """Validation images and their people's boxes, in the order of the images' numbers.

    Args:
        data_root: A folder in COCO's layout.
        detections: A file of detected boxes, or ``None`` for the annotated ones.
        count: How many images.
        least_people: Takes images with at least so many people; if there are none, the most
            crowded ones.
    """
    content = _read(data_root / _VAL)
    entries = _read(detections) if detections else content['annotations']
    boxes: dict[int, list[list[float]]] = {}
    for entry in entries:
        x, y, width, height = entry['bbox']
        if width > 1 and height > 1:
            boxes.setdefault(entry['image_id'], []).append([x, y, x + width, y + height])
    names = {image['id']: image['file_name'] for image in content['images']}
    people = {image: boxes[image] for image in sorted(boxes) if image in names}
    chosen = [image for image in people if len(people[image]) >= least_people]
    if not chosen:
        chosen = sorted(people, key=lambda image: -len(people[image]))
    return [
        Photograph(data_root / 'val2017' / names[image], np.array(people[image], np.float32))
        for image in chosen[:count]
    ]


def first_images(data_root: Path, detections: Path | None, count: int, folder: Path) -> tuple:
    """Writes annotations of the first validation images, and their boxes, as files of their own.

    Args:
        data_root: A folder in COCO's layout.
        detections: A file of detected boxes, or ``None``.
        count: How many images; all of them if there are not more.
        folder: Where to write.

    Returns:
        The file of annotations, the file of boxes (``None`` without ``detections``), and the
        numbers of images and of boxes.
    """
    content = _read(data_root / _VAL)
    content['images'] = sorted(content['images'], key=lambda image: image['id'])[:count]
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]
    folder.mkdir(parents=True, exist_ok=True)
    annotations = folder / 'annotations.json'
    annotations.write_text(json.dumps(content), encoding='utf-8')
    labelled = sum(1 for a in content['annotations'] if a.get('num_keypoints', 1))
    if detections is None:
        return annotations, None, len(kept), labelled
    found = [box for box in _read(detections) if box['image_id'] in kept]
    boxes = folder / 'boxes.json'
    boxes.write_text(json.dumps(found), encoding='utf-8')
    return annotations, boxes, len(kept), len(found)


def point_at(
    cfg: Config,
    data_root: Path,
    *,
    annotations: Path | None = None,
    boxes: Path | None = None,
) -> Config:
    """Lets a config read its data from a folder, in place.

    Args:
        cfg: A config of MMPose or of this package.
        data_root: A folder in COCO's layout.
        annotations: The validation annotations, if not those of the folder.
        boxes: Boxes to evaluate with; the annotated ones if absent.

    Returns:
        The same config.
    """
    root = f'{data_root}/'
    annotations = (annotations or data_root / _VAL).resolve()
    cfg.train_dataloader.dataset.update(data_root=root, ann_file=_TRAIN)
    for part in ('val', 'test'):
        dataset = cfg[f'{part}_dataloader'].dataset
        dataset.update(data_root=root, ann_file=str(annotations))
        dataset.bbox_file = None if boxes is None else str(boxes.resolve())
        cfg[f'{part}_evaluator'].ann_file = str(annotations)
    return cfg


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding='utf-8'))
