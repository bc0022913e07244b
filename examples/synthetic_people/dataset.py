"""Writing the synthetic people to disk, in the layout of COCO that MMPose's configs expect."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_api

from .pose import KEYPOINT_NAMES
from .scene import make_scene

#: Raised whenever the same parameters give other pictures or labels.
VERSION = 3
MARKER = 'synthetic_people.json'

_SKELETON = (
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9)),
    *((8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
)
_CATEGORY = {'id': 1, 'name': 'person', 'supercategory': 'person'}
_CATEGORY |= {'keypoints': KEYPOINT_NAMES, 'skeleton': _SKELETON}

_Job = tuple[Path, tuple[int, int, int], int]  # folder of a picture, its seed and its id


@dataclass(frozen=True)
class SyntheticPeople:
    """Where a data set lies: the `data_root` of a config, and COCO's files and folders in it."""

    root: Path
    train_annotations: Path
    val_annotations: Path
    train_images: Path
    val_images: Path


def make_synthetic_people(
    root: str | os.PathLike[str],
    *,
    num_train: int = 400,
    num_val: int = 80,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SyntheticPeople:
    """Draw a small data set of people in COCO's format, for demos and tests without COCO.

    On one machine, the same parameters give the same bytes, whatever the number of workers. Files
    in place are kept if they are a complete data set with the same parameters; an interrupted run
    is started again. The annotations appear last, so a data set with annotations is complete.

    Args:
        root: Folder to write to; it is made if it does not exist.
        num_train: Number of training images, with ids from 1.
        num_val: Number of validation images, with the ids that follow.
        seed: Seed of all randomness, not negative.
        workers: Number of processes; by default one per core.
        progress: Called with (images done, images in total) after each image.

    Returns:
        The paths of the data set.

    Raises:
        ValueError: A number is out of range, or the folder holds something else.
    """
    recipe = {'version': VERSION, 'num_train': num_train, 'num_val': num_val, 'seed': seed}
    for name, value in recipe.items():
        if value < (name != 'seed'):
            raise ValueError(f'{name} must be at least {int(name != "seed")}, got {value}.')
    root = Path(root)
    labels = [root / f'annotations/person_keypoints_{split}2017.json' for split in ('train', 'val')]
    images = [root / 'train2017', root / 'val2017']
    paths, counts = SyntheticPeople(root, *labels, *images), (num_train, num_val)
    if all(_read_recipe(path) == recipe for path in labels) and all(
        len(list(folder.glob('*.jpg'))) == n for folder, n in zip(images, counts, strict=True)
    ):
        return paths
    _claim(root, recipe)
    for folder in (*images, labels[0].parent):
        folder.mkdir(exist_ok=True)
    for path in labels:
        path.unlink(missing_ok=True)
    jobs: list[_Job] = []
    for split, (folder, count) in enumerate(zip(images, counts, strict=True)):
        first = len(jobs) + 1
        jobs += [(folder, (seed, split, index), first + index) for index in range(count)]
    records = []
    for record in _run(jobs, workers or os.cpu_count() or 1):
        records.append(record)
        if progress is not None:
            progress(len(records), len(jobs))
    for path, part in zip(labels, (records[:num_train], records[num_train:]), strict=True):
        content = {'images': [image for image, _ in part], 'categories': [_CATEGORY]}
        content['annotations'] = [person for _, people in part for person in people]
        _write_json(path, recipe, licenses=[], **content)
    return paths


def _read_recipe(path: Path) -> dict[str, int] | None:
    """The recipe that a marker or an annotation file holds, None if it holds none."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))['info']['recipe']
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _claim(root: Path, recipe: dict[str, int]) -> None:
    """Mark a folder as this data set's, or refuse it."""
    if root.exists() and not root.is_dir():
        raise ValueError(f'{root} is a file; name a folder for the synthetic people.')
    root.mkdir(parents=True, exist_ok=True)
    found, remedy = _read_recipe(root / MARKER), 'nothing was written. Name another folder'
    if found is None and any(root.iterdir()):
        raise ValueError(f'{root} is not empty and holds no synthetic people; {remedy}.')
    if found not in (None, recipe):
        made = f'{root} holds synthetic people made with {found}, not with {recipe}'
        raise ValueError(f'{made}; {remedy}, or delete this one.')
    _write_json(root / MARKER, recipe)


def _write_json(path: Path, recipe: dict[str, int], **content: object) -> None:
    """Write a file so that it is there completely or not at all."""
    about = "Synthetic people in COCO's format, drawn by mspn_plugin for its demo."
    info = {'description': about, 'version': str(VERSION), 'recipe': recipe}
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.write_text(json.dumps({'info': info, **content}, separators=(',', ':')))
    temporary.replace(path)


def _run(jobs: list[_Job], workers: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    if workers == 1:
        yield from map(_write_image, jobs)
        return
    # OpenCV hangs in forked workers if its threads live on here, so they are ended before.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ProcessPoolExecutor(workers) as pool:
            yield from pool.map(_write_image, jobs, chunksize=4)
    finally:
        cv2.setNumThreads(threads)


def _write_image(job: _Job) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw and save one image; return its COCO entry and its annotations."""
    folder, seed, image_id = job
    scene = make_scene(np.random.default_rng(seed))
    name = f'{image_id:012d}.jpg'
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])
    (folder / name).write_bytes(data.tobytes())
    height, width = scene.image.shape[:2]
    people = []
    for number, person in enumerate(scene.people):
        rle = mask_api.encode(np.asfortranarray(person.mask, np.uint8))
        joints = [(x, y, int(flag)) for x, y, flag in person.keypoints.tolist()]
        entry = {
            'id': 100 * image_id + number,  # unique over both files
            'image_id': image_id,
            'category_id': 1,
            # As in COCO, box, area and segmentation are those of the visible pixels.
            'bbox': [int(value) for value in mask_api.toBbox(rle)],
            'area': int(person.mask.sum()),
            'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
            'iscrowd': 0,
            'num_keypoints': sum(flag > 0 for *_, flag in joints),
            'keypoints': [value for joint in joints for value in joint],
        }
        people.append(entry)
    return {'id': image_id, 'file_name': name, 'width': width, 'height': height}, people
