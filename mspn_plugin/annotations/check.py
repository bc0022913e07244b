"""The whole check: an annotation file, its images, and the skeleton that a run will use."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from mspn.errors import InputError
from mspn.json_files import read_json, shown

from . import image_records as image_checks
from . import person_records as people_checks
from .image_files import ImageFile, image_file_problems
from .problems import Problem, Tally
from .skeleton import keypoint_names, skeleton_problems

_LISTS = ('images', 'annotations', 'categories')
_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def check_dataset(
    annotations: Path,
    images: Path,
    *,
    skeleton: Mapping[str, Any] | None = None,
    jobs: int = 1,
    decode: bool = True,
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[Tally, dict[str, int]]:
    """Checks a COCO keypoint data set.

    Args:
        annotations: The annotation file.
        images: The folder that its file names start from.
        skeleton: ``metainfo`` as MMPose's configs write it; without one the number of keypoints is
            that of the file's first category, or of most annotations.
        jobs: Processes to decode images with.
        decode: Whether to decode the images, or only to look whether they are there.
        progress: Called with the number of images done so far.

    Returns:
        What is wrong, and how many images, annotations, people and keypoints there are.

    Raises:
        InputError: The file or the folder cannot be used at all.
    """
    content = read_keypoint_file(annotations)
    if not images.is_dir():
        raise InputError(
            f'the image folder {images} does not exist; give the folder that the file names in '
            f'{annotations} start from'
        )
    tally = Tally()
    if skeleton is not None:
        tally.add(skeleton_problems(skeleton))
    names = keypoint_names(skeleton or {})
    num_keypoints = len(names) or _num_keypoints(content)
    tally.add(_record_problems(content, num_keypoints, names))
    files = list(_image_files(content['images'], images))
    tally.add(image_file_problems(files, jobs=jobs, decode=decode, progress=progress))
    tally.add(_unused_files(images, content['images']))
    people = [p for p in content['annotations'] if isinstance(p, dict) and _is_labelled(p)]
    counts = dict(
        images=len(content['images']),
        annotations=len(content['annotations']),
        people=len(people),
        keypoints=num_keypoints,
    )
    return tally, counts


def read_keypoint_file(path: Path) -> dict[str, Any]:
    """Reads an annotation file, whose records may still be anything.

    Args:
        path: The file.

    Raises:
        InputError: It is not COCO's, or lists no images.
    """
    expected = 'a COCO keypoint file: an object with the lists images, annotations and categories'
    content = read_json(path, 'the annotation file', expected=expected)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in _LISTS
    ):
        raise InputError(f'{path} is not a COCO annotation file; expected {expected}')
    if not content['images']:
        raise InputError(f'{path} lists no images; give an annotation file that does')
    return content


def _num_keypoints(content: dict[str, Any]) -> int:
    for category in content['categories']:
        names = category.get('keypoints') if isinstance(category, dict) else None
        if isinstance(names, list) and names:
            return len(names)
    lengths = Counter(
        len(person['keypoints']) // 3
        for person in content['annotations']
        if isinstance(person, dict) and isinstance(person.get('keypoints'), list)
    )
    return lengths.most_common(1)[0][0] if lengths else 17


def _record_problems(
    content: dict[str, Any], num_keypoints: int, names: list[str]
) -> Iterator[Problem]:
    sizes: dict[int, tuple[int, int] | None] = {}
    for index, image in enumerate(content['images']):
        found = list(image_checks.image_problems(image, index))
        yield from found
        if isinstance(image, dict) and image_checks.is_id(image.get('id')):
            sizes[image['id']] = None if found else (image['width'], image['height'])
    yield from image_checks.doubled_images(content['images'])
    first = yield from _category_problems(content['categories'], names)
    ids = [c.get('id') for c in content['categories'] if isinstance(c, dict)]
    known = {number for number in ids if image_checks.is_id(number)}
    annotations = content['annotations']
    yield from people_checks.foreign_categories(annotations, known, first)
    labelled = set()
    for index, person in enumerate(annotations):
        if isinstance(person, dict) and _is_labelled(person):
            labelled.add(shown(person.get('image_id')))
        yield from people_checks.person_problems(person, index, sizes, num_keypoints)
    yield from people_checks.doubled_annotations(annotations)
    for number in sizes:
        if str(number) not in labelled:
            yield Problem('nothing-labelled', f'image {number}', 'has no labelled person')


def _is_labelled(person: dict[str, Any]) -> bool:
    keypoints = person.get('keypoints')
    return isinstance(keypoints, list) and any(keypoints[2::3])


def _category_problems(categories: list[Any], names: list[str]) -> Generator[Problem, None, Any]:
    """Yields problems; returns the id of the people's category, the first one with keypoints."""
    ids: list[Any] = []
    people = None
    for index, category in enumerate(categories):
        number = category.get('id') if isinstance(category, dict) else None
        what = f'category {shown(number)}'
        if not image_checks.is_id(number) or not isinstance(category.get('name'), str):
            text = f'is {shown(category)}; expected an object with id and name'
            yield Problem('category', f'category record {index}', text)
            continue
        if number in ids:
            yield Problem('category', what, 'is there more than once')
        ids.append(number)
        theirs = category.get('keypoints')
        if people is None and isinstance(theirs, list):
            people = number
            yield from _name_problems(what, list(map(str, theirs)), names)
    if not ids:
        yield Problem('category', 'the file', 'has no usable category; expected one for people')
    return ids[0] if people is None and ids else people


def _name_problems(what: str, theirs: list[str], ours: list[str]) -> Iterator[Problem]:
    if not ours or [_plain(name) for name in theirs] == [_plain(name) for name in ours]:
        return
    same = sorted(map(_plain, theirs)) == sorted(map(_plain, ours))
    kind = 'keypoint-order' if same else 'keypoint-names'
    text = f'has the keypoints {shown(theirs, 200)}; the skeleton has {shown(ours, 200)}'
    yield Problem(kind, what, text)


def _plain(name: str) -> str:
    return name.lower().replace(' ', '_').replace('-', '_')


def _image_files(records: list[Any], folder: Path) -> Iterator[ImageFile]:
    for index, image in enumerate(records):
        if isinstance(image, dict) and not image_checks.file_name_problem(image.get('file_name')):
            size: Any = image.get('width'), image.get('height')
            usable = all(type(value) is int for value in size)
            name = f'{image_checks.image_name(image, index)} ({image["file_name"]})'
            yield ImageFile(name, folder / image['file_name'], size if usable else None)


def _unused_files(folder: Path, records: list[Any]) -> Iterator[Problem]:
    """Images that lie where listed images lie, and are not listed."""
    listed = {
        os.path.normpath(image['file_name'])
        for image in records
        if isinstance(image, dict) and not image_checks.file_name_problem(image.get('file_name'))
    }
    for inner in sorted({os.path.dirname(name) for name in listed}):
        place = folder / inner
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            name = os.path.normpath(os.path.join(inner, path.name))
            if path.suffix.lower() in _SUFFIXES and path.name[0] != '.' and name not in listed:
                yield Problem('unused-file', str(path), 'is not in the annotation file')
