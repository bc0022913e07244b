"""One reader and one checker of annotation files, for a run's data and for `mspn check`."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mspn.errors import InputError, listed
from mspn.json_files import read_json, shown
from mspn.media import IMAGE_SUFFIXES

from . import records as rules
from .image_files import ImageFile, image_file_problems
from .problems import ERRORS, KINDS, Problem, Tally
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


def category_of(content: Mapping[str, Any], name: str | None = None) -> Any:
    """The id of the category whose keypoints are read, or ``None`` if there is no usable one.

    Args:
        content: Of a COCO keypoint file.
        name: Of the category. Of several of that name, or without one of all, it is the first
            that lists keypoints and that an annotation with keypoints names, or else one for which
            one of the two is so, or the first.

    Raises:
        InputError: There is none of that name.
    """
    categories = {rules.id_of(c): c for c in content['categories'] if rules.id_of(c) is not None}
    if name is not None:
        names = listed([shown(category.get('name')) for category in categories.values()])
        categories = {n: c for n, c in categories.items() if c.get('name') == name}
        if not categories:
            raise InputError(f'--category: there is no {shown(name)}; there are {names or "none"}')
    with_names = [n for n, c in categories.items() if has_points(c)]
    labelled = (rules.id_of(a, 'category_id') for a in content['annotations'] if has_points(a))
    known = [number for number in dict.fromkeys(labelled) if number in categories]
    both = (number for number in with_names if number in known)
    return next(itertools.chain(both, with_names if not known else known, categories), None)


def has_points(annotation: Any) -> bool:
    """Whether a record has a list of keypoints with something in it."""
    points = annotation.get('keypoints') if isinstance(annotation, dict) else None
    return isinstance(points, list) and bool(points)


def check_annotations(
    path: Path,
    num_keypoints: int,
    names: list[str] | None = None,
    *,
    remedy: str = REMEDY,
    category: str | None = None,
    allow: Collection[str] = (),
) -> tuple[dict[str, Any], Tally]:
    """Reads a COCO keypoint file for a model of so many keypoints, whose names may be given.

    Returns its content, and its problems, of which none stops a run. An `InputError` says what to
    do if there is no such file, or names the first problem that does, unless its kind is allowed.
    """
    content = read_keypoint_file(path, remedy=remedy)
    try:
        tally = Tally(record_problems(content, num_keypoints, names, category=category))
    except InputError as error:
        raise InputError(f'{path}: {error}') from error
    refuse(tally, path, num_keypoints, allow)
    return content, tally


def refuse(tally: Tally, path: Path, num_keypoints: int, allow: Collection[str] = ()) -> None:
    """Raises an `InputError` with the first problem that stops a run, if there is one."""
    if stop := tally.first_stop(allow):
        problem, count = stop
        more = f' (and so have {count - 1:,} more)' if count > 1 else ''
        mend = KINDS[problem.kind].remedy
        if problem.kind == 'keypoint-count':
            mend += f", or the head's num_keypoints, which is {num_keypoints}"
        raise InputError(f'{path}: {problem}{more}; {mend}')


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
    category: str | None = None,
    jobs: int = 1,
    decode: bool = True,
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[Tally, dict[str, int]]:
    """Checks a COCO keypoint data set: records, skeleton, and images in the folder of that name.

    Without a `skeleton`, MMPose's ``metainfo``, the keypoints of the file are counted; `category`
    is the name of the one to read, otherwise `category_of` finds it. `jobs` processes decode the
    images; without `decode` they only have to be there. `progress` is called with the number of
    images done so far.

    Returns what is wrong, and how many images, annotations, people and keypoints there are. An
    `InputError` says if file or folder cannot be used, or decoding ends a process.
    """
    content = read_keypoint_file(annotations)
    if not images.is_dir():
        mend = f'give the folder that the file names in {annotations} start from'
        raise InputError(f'the image folder {images} does not exist; {mend}')
    tally = Tally(skeleton_problems(skeleton) if skeleton is not None else ())
    names = keypoint_names(skeleton or {})
    num_keypoints = len(names) or count_keypoints(content, category)
    tally.extend(record_problems(content, num_keypoints, names, category=category))
    files = image_files(content, images)
    tally.extend(image_file_problems(files, jobs=jobs, decode=decode, progress=progress))
    known = {os.path.normpath(file.path) for file in files}
    for folder in filter(os.path.isdir, sorted(set(map(os.path.dirname, known)))):
        for path in sorted({os.path.join(folder, name) for name in os.listdir(folder)} - known):
            stem, suffix = os.path.splitext(os.path.basename(path))
            if suffix.lower() in IMAGE_SUFFIXES and stem[0] != '.':
                tally.append(Problem('unused-file', path, 'is not in the annotation file'))
    numbers = {part: len(content[part]) for part in ('images', 'annotations')}
    people = sum(map(rules.is_labelled, content['annotations']))
    return tally, numbers | dict(people=people, keypoints=num_keypoints)


def image_files(
    content: Mapping[str, Any], folder: Path, place: Callable[[str], str] = str
) -> list[ImageFile]:
    """The images of a file whose names can be used, in a folder at the place for a name."""
    files = []
    for index, image in enumerate(content['images']):
        if isinstance(image, dict) and not rules.file_name_problem(image.get('file_name')):
            number = shown(image['id']) if 'id' in image else f'record {index}'
            name = f'image {number} ({image["file_name"]})'
            path = folder / place(image['file_name'])
            files.append(ImageFile(name, path, rules.size_of(image), index))
    return files


def count_keypoints(content: Mapping[str, Any], category: str | None = None) -> int:
    """How many keypoints a file has: as its category lists them, or else its first annotation."""
    number = category_of(content, category)
    parts = (('categories', 'id', 1), ('annotations', 'category_id', 3))
    for part, key, each in parts:
        for record in content[part]:
            if rules.id_of(record, key) == number and has_points(record):
                return max(1, len(record['keypoints']) // each)
    return 17


def record_problems(
    content: dict[str, Any],
    num_keypoints: int,
    names: list[str] | None = None,
    *,
    category: str | None = None,
) -> Iterator[Problem]:
    """Checks all records of a file by themselves, against each other and the keypoints' names.

    Of annotations of other categories than the chosen one nothing else is checked.
    """
    chosen, categories = category_of(content, category), set[Any]()
    for index, entry in enumerate(content['categories']):
        found, number = list[rules.Found](), rules.id_of(entry)
        if number is None or not isinstance(entry.get('name'), str):
            kind = 'category-record' if number is None else 'nameless-category'
            found.append((kind, f'is {shown(entry)}; expected an object with id and name'))
        if number in categories:
            found.append(('category', 'is there more than once'))
        elif number is not None and number == chosen:
            if isinstance(theirs := entry.get('keypoints'), list):
                found.extend(rules.name_problems(theirs, names or []))
        categories |= {number} - {None}
        yield from _named('category', entry, index, found)
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
    ids, left, reasons = set[Any](), list[Any](), collections.Counter[str]()
    for index, person in enumerate(content['annotations']):
        own, its = rules.id_of(person), rules.id_of(person, 'category_id')
        if its is not None and its != chosen:
            text = f'is of category {its}'
            if its in categories:
                yield from _named('annotation', person, index, [('other-category', text)])
            else:
                text += ', which the file does not list'
                yield from _named('annotation', person, index, [('unknown-category', text)])
            continue
        found = list(rules.person_problems(person, sizes, num_keypoints))
        if own in ids:  # COCO's API keeps only one
            found.append(('duplicate-annotation-id', f'is in the list again as number {index}'))
        yield from _named('annotation', person, index, found)
        ids |= {own} - {None}
        if rules.is_labelled(person):
            labelled.add(shown(person.get('image_id')))
            kinds = [k for k, _ in found if k == 'labelled-crowd' or k in ERRORS]
            if kinds:
                why = KINDS[kinds[0]]
                reasons.update([f'{why.meaning}; {why.remedy}'.removesuffix('; ')])
            else:
                left.append((person, sizes[person['image_id']]))
    if unit := rules.unit_problem(left):
        yield Problem('units', 'the file', unit)
    if not labelled:
        yield Problem('no-labels', 'the file', 'has no person with a labelled keypoint')
    elif not left:
        text = '; '.join(f'{count:,} {meaning}' for meaning, count in reasons.items())
        yield Problem('no-labels', 'the file', f'leaves nobody to learn from: {text}')
    for number in (number for number in sizes if str(number) not in labelled):
        yield Problem('nothing-labelled', f'image {number}', 'has no labelled person')


def _named(what: str, record: Any, index: int, found: Iterable[rules.Found]) -> list[Problem]:
    has_id = isinstance(record, dict) and 'id' in record
    name = f'{what} {shown(record["id"])}' if has_id else f'{what} record {index}'
    return [Problem(kind, name, text, index) for kind, text in found]
