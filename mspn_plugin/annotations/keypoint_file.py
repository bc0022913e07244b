"""One reader and one checker of annotation files, for a run's data and for `mspn check`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mspn.errors import InputError
from mspn.json_files import read_json, shown
from mspn.media import IMAGE_SUFFIXES

from . import records as rules
from .image_files import ImageFile, image_file_problems
from .problems import STOPS, Problem, Tally
from .skeleton import keypoint_names, skeleton_problems

REMEDY = 'give the folder that holds annotations/ and the images with --data-root FOLDER'


def read_keypoint_file(path: Path, *, remedy: str = '') -> dict[str, Any]:
    """Reads a file of COCO's, whose records may still be anything; otherwise an `InputError`."""
    expected = 'a COCO keypoint file: an object with the lists images, annotations and categories'
    content = read_json(path, 'the annotation file', expected=expected, remedy=remedy)
    parts = ('images', 'annotations', 'categories')
    if not isinstance(content, dict) or not all(isinstance(content.get(p), list) for p in parts):
        raise InputError(f'{path} is not a COCO annotation file; expected {expected}')
    if not content['images']:
        raise InputError(f'{path} lists no images; give an annotation file that does')
    return content


def check_annotations(path: Path, num_keypoints: int, *, remedy: str = REMEDY) -> dict[str, Any]:
    """Reads a COCO keypoint file for a model of so many keypoints.

    An `InputError` says what to do if there is none, or names the first problem of `STOPS`.
    """
    content = read_keypoint_file(path, remedy=remedy)
    for problem in record_problems(content, num_keypoints):
        if problem.kind in STOPS:
            mend = 'correct the file (tools/check_dataset.py lists all of its faults)'
            if problem.kind == 'keypoint-count':
                mend += f", or the head's num_keypoints, which is {num_keypoints}"
            raise InputError(f'{path}: {problem}; {mend}')
    return content


def check_mpii_annotations(path: Path, num_keypoints: int) -> list[Any]:
    """Reads MPII as MMPose's JSON files list it, a record for each person, in the same way."""
    expected = "a list with an object for each person, MMPose's JSON file of MPII"
    content = read_json(path, 'the annotation file', expected=expected, remedy=REMEDY)
    if not isinstance(content, list) or not content:
        raise InputError(f'{path} is no annotation file of MPII; expected {expected}')
    for index, person in enumerate(content):
        if text := rules.mpii_problem(person, num_keypoints):
            raise InputError(f'person {index} in {path} {text}; correct the file')
    return content


def check_dataset(
    annotations: Path,
    images: Path,
    *,
    skeleton: Mapping[str, Any] | None = None,
    jobs: int = 1,
    decode: bool = True,
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[Tally, dict[str, int]]:
    """Checks a COCO keypoint data set: records, skeleton, and images in the folder of that name.

    Without a `skeleton`, MMPose's ``metainfo``, the first keypoints of the file are counted. `jobs`
    processes decode the images; without `decode` they only have to be there. `progress` is called
    with the number of images done so far.

    Returns what is wrong, and how many images, annotations, people and keypoints there are. An
    `InputError` says if file or folder cannot be used, or decoding ends a process.
    """
    content = read_keypoint_file(annotations)
    if not images.is_dir():
        mend = f'give the folder that the file names in {annotations} start from'
        raise InputError(f'the image folder {images} does not exist; {mend}')
    tally = Tally(skeleton_problems(skeleton) if skeleton is not None else ())
    names = keypoint_names(skeleton or {})
    # Without names, as the first category or else the first annotation with keypoints has it.
    parts = (('categories', 1), ('annotations', 3))
    records = ((r, each) for part, each in parts for r in content[part] if isinstance(r, dict))
    lists = ((r.get('keypoints'), each) for r, each in records)
    counts = (len(points) // each for points, each in lists if isinstance(points, list))
    num_keypoints = len(names) or next(filter(None, counts), 17)
    tally.extend(record_problems(content, num_keypoints, names))
    files: list[ImageFile] = []
    for index, image in enumerate(content['images']):
        if isinstance(image, dict) and not rules.file_name_problem(image.get('file_name')):
            number = shown(image['id']) if 'id' in image else f'record {index}'
            name = f'image {number} ({image["file_name"]})'
            files.append((name, images / image['file_name'], rules.size_of(image)))
    tally.extend(image_file_problems(files, jobs=jobs, decode=decode, progress=progress))
    known = {os.path.normpath(path) for _, path, _ in files}
    for folder in filter(os.path.isdir, sorted(set(map(os.path.dirname, known)))):
        for path in sorted({os.path.join(folder, name) for name in os.listdir(folder)} - known):
            stem, suffix = os.path.splitext(os.path.basename(path))
            if suffix.lower() in IMAGE_SUFFIXES and stem[0] != '.':
                tally.append(Problem('unused-file', path, 'is not in the annotation file'))
    numbers = {part: len(content[part]) for part in ('images', 'annotations')}
    people = sum(map(rules.is_labelled, content['annotations']))
    return tally, numbers | dict(people=people, keypoints=num_keypoints)


def record_problems(
    content: dict[str, Any], num_keypoints: int, names: list[str] | None = None
) -> Iterator[Problem]:
    """Checks all records of a file by themselves, against each other and the keypoints' names."""
    categories, people = list[Any](), list[Any]()
    for index, category in enumerate(content['categories']):
        found, number = list[rules.Found](), rules.id_of(category)
        if number is None or not isinstance(category.get('name'), str):
            kind = 'category-record' if number is None else 'category'
            found.append((kind, f'is {shown(category)}; expected an object with id and name'))
        if number in categories:
            found.append(('category', 'is there more than once'))
        if number is not None:
            categories.append(number)
            if isinstance(theirs := category.get('keypoints'), list) and not people:
                found.extend(rules.name_problems(theirs, names or []))
                people.append(number)  # the first one with keypoints
        yield from _named('category', category, index, found)
    if not categories:
        yield Problem('category', 'the file', 'has no usable category; expected one for people')
    sizes, seen, labelled = dict[Any, rules.Size](), set[str](), set[str]()
    for index, image in enumerate(content['images']):
        found, number = list(rules.image_problems(image)), rules.id_of(image)
        file = image.get('file_name') if isinstance(image, dict) else None
        if number in sizes:
            text = f'is in the list again as number {index}, with the file {shown(file)}'
            found += [('duplicate-image-id', text)]
        if isinstance(file, str) and file in seen:
            found += [('duplicate-file-name', f'has the file name {shown(file)} of another image')]
        yield from _named('image', image, index, found)
        seen.add(str(file))
        if number is not None:
            sizes[number] = rules.size_of(image)
    numbers = set[Any]()
    for index, person in enumerate(content['annotations']):
        found = list(rules.person_problems(person, sizes, num_keypoints))
        number, category = rules.id_of(person), rules.id_of(person, 'category_id')
        if category not in (None, *(people or categories)[:1]):
            kind = 'other-category' if category in categories else 'unknown-category'
            found.append((kind, f'is of category {category}'))
        if number in numbers:  # COCO's API keeps only one
            found.append(('duplicate-annotation-id', f'is in the list again as number {index}'))
        yield from _named('annotation', person, index, found)
        numbers |= {number} - {None}
        if rules.is_labelled(person):
            labelled.add(shown(person.get('image_id')))
    if not labelled:
        yield Problem('no-labels', 'the file', 'has no person with a labelled keypoint')
    for number in (number for number in sizes if str(number) not in labelled):
        yield Problem('nothing-labelled', f'image {number}', 'has no labelled person')


def _named(what: str, record: Any, index: int, found: Iterable[rules.Found]) -> list[Problem]:
    has_id = isinstance(record, dict) and 'id' in record
    name = f'{what} {shown(record["id"])}' if has_id else f'{what} record {index}'
    return [Problem(kind, name, text) for kind, text in found]
