"""Writing the synthetic people to disk, in the layout of COCO that MMPose's configs expect."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .coco import CATEGORIES, annotate
from .scene import make_scene

#: Raised whenever the same parameters give other pictures or labels.
VERSION = 2
MARKER = 'synthetic_people.json'
JPEG_QUALITY = 90


@dataclass(frozen=True)
class SyntheticPeople:
    """Where a data set lies.

    Attributes:
        root: Its folder, the `data_root` of a config.
        train_annotations: COCO JSON of the training images.
        val_annotations: COCO JSON of the validation images.
        train_images: Folder of the training images.
        val_images: Folder of the validation images.
    """

    root: Path
    train_annotations: Path
    val_annotations: Path
    train_images: Path
    val_images: Path

    @classmethod
    def at(cls, root: str | os.PathLike[str]) -> SyntheticPeople:
        """Name the files of a data set in the folder `root`."""
        root = Path(root)
        annotations = root / 'annotations'
        return cls(
            root,
            annotations / 'person_keypoints_train2017.json',
            annotations / 'person_keypoints_val2017.json',
            root / 'train2017',
            root / 'val2017',
        )


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
    for name, value, least in (
        ('num_train', num_train, 1),
        ('num_val', num_val, 1),
        ('seed', seed, 0),
    ):
        if value < least:
            raise ValueError(f'{name} must be at least {least}, got {value}.')
    paths = SyntheticPeople.at(root)
    recipe = {'version': VERSION, 'num_train': num_train, 'num_val': num_val, 'seed': seed}
    if _is_complete(paths, recipe):
        return paths
    _claim(paths.root, recipe)
    for stale in (paths.train_annotations, paths.val_annotations):
        stale.unlink(missing_ok=True)
    splits = [
        (paths.train_images, 0, num_train, 1),
        (paths.val_images, 1, num_val, num_train + 1),
    ]
    jobs = [
        (folder, split, index, first_id + index)
        for folder, split, count, first_id in splits
        for index in range(count)
    ]
    for folder in (paths.train_images, paths.val_images, paths.train_annotations.parent):
        folder.mkdir(parents=True, exist_ok=True)
    records = []
    for done, record in enumerate(_run(partial(_write_image, seed), jobs, workers), start=1):
        records.append(record)
        if progress is not None:
            progress(done, len(jobs))
    _write_annotations(paths.train_annotations, records[:num_train], recipe)
    _write_annotations(paths.val_annotations, records[num_train:], recipe)
    return paths


def _is_complete(paths: SyntheticPeople, recipe: dict[str, int]) -> bool:
    splits = (
        (paths.train_annotations, paths.train_images, recipe['num_train']),
        (paths.val_annotations, paths.val_images, recipe['num_val']),
    )
    return all(
        _read_recipe(labels) == recipe and sum(1 for _ in images.glob('*.jpg')) == count
        for labels, images, count in splits
    )


def _read_recipe(path: Path) -> dict[str, int] | None:
    """The recipe that a marker or an annotation file holds, None if it holds none."""
    try:
        recipe = json.loads(path.read_text(encoding='utf-8'))['info']['recipe']
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return recipe if isinstance(recipe, dict) else None


def _claim(root: Path, recipe: dict[str, int]) -> None:
    """Mark a folder as this data set's, or refuse it."""
    if root.exists() and not root.is_dir():
        raise ValueError(f'{root} is a file; name a folder for the synthetic people.')
    found = _read_recipe(root / MARKER)
    if found is None and root.is_dir() and any(root.iterdir()):
        raise ValueError(
            f'{root} is not empty and holds no synthetic people; nothing was written. '
            'Name another folder.'
        )
    if found is not None and found != recipe:
        raise ValueError(
            f'{root} holds synthetic people made with {found}, not with {recipe}; nothing was '
            'written. Name another folder, or delete this one.'
        )
    root.mkdir(parents=True, exist_ok=True)
    _write_json(root / MARKER, {'info': _info(recipe)})


def _info(recipe: dict[str, int]) -> dict[str, Any]:
    return {
        'description': "Synthetic people in COCO's format, drawn by mspn_plugin for its demo.",
        'version': str(VERSION),
        'recipe': recipe,
    }


def _run(
    work: Callable[[tuple[Path, int, int, int]], dict[str, Any]],
    jobs: Iterable[tuple[Path, int, int, int]],
    workers: int | None,
) -> Iterator[dict[str, Any]]:
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield from map(work, jobs)
        return
    # Forked workers need not import the whole package again, which takes as long as dozens of
    # pictures. OpenCV hangs in them if its threads live on here, so they are ended before.
    method = 'fork' if sys.platform == 'linux' else 'spawn'
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ProcessPoolExecutor(workers, multiprocessing.get_context(method)) as pool:
            yield from pool.map(work, jobs, chunksize=4)
    finally:
        cv2.setNumThreads(threads)


def _write_image(seed: int, job: tuple[Path, int, int, int]) -> dict[str, Any]:
    """Draw and save one image; return its COCO entry and its annotations, which have no ids yet."""
    folder, split, index, image_id = job
    scene = make_scene(np.random.default_rng((seed, split, index)))
    name = f'{image_id:012d}.jpg'
    bgr = np.ascontiguousarray(scene.image[..., ::-1])
    encoded, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise RuntimeError(f'OpenCV could not encode {name} as JPEG.')
    (folder / name).write_bytes(data.tobytes())
    height, width = scene.image.shape[:2]
    return {
        'image': {'id': image_id, 'file_name': name, 'width': width, 'height': height},
        'annotations': [annotate(person, 0, image_id) for person in scene.people],
    }


def _write_annotations(path: Path, records: list[dict[str, Any]], recipe: dict[str, int]) -> None:
    annotations = [annotation for record in records for annotation in record['annotations']]
    # Ids are unique over both files: those of an image are 100 times its own, and up.
    for record in records:
        for number, annotation in enumerate(record['annotations']):
            annotation['id'] = 100 * record['image']['id'] + number
    content = {
        'info': _info(recipe),
        'licenses': [],
        'images': [record['image'] for record in records],
        'annotations': annotations,
        'categories': CATEGORIES,
    }
    _write_json(path, content)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file so that it is there completely or not at all."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.write_text(json.dumps(content, separators=(',', ':')), encoding='utf-8')
    temporary.replace(path)
