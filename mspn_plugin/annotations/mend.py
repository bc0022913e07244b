"""Labels put right: a copy of a file's content, without or with other values for what is wrong."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mspn.atomic_io import write_whole

from . import records as rules
from .image_files import renamed, upright_size
from .keypoint_file import category_of, count_keypoints, read_keypoint_file, record_problems
from .problems import KINDS, LEFT_OUT, Problem, Tally

_MARGIN = 0.1  # of the larger side of the keypoints' extent: there is more to a person than they
_SMALLEST = 0.02  # of the larger side of the image, for a person of one keypoint

OF_PICTURES = ('missing-image', 'image-size', 'no-image-size')  # what `with_pictures` corrects

_BY_OPTION = {'lost-person', 'hidden-person'}  # kept with other values, not left out


def mended(
    content: Mapping[str, Any],
    tally: Tally,
    category: Any,
    *,
    by_option: bool = False,
) -> dict[str, Any]:
    """A copy of a COCO keypoint file's content in which what a run says is done.

    People and annotations are left out or get areas as the table of kinds says. Nothing that was
    given is changed in place.

    Args:
        content: The content.
        tally: What is wrong with it.
        category: The id of the chosen category; annotations of others are left out.
        by_option: Whether ``--mend`` is given: boxes, areas, ids and counts that cannot be right
            are replaced by ones that can.
    """
    sizes = {rules.id_of(image): rules.size_of(image) for image in content['images']}
    left_out = {name for name, kind in KINDS.items() if kind.effect == LEFT_OUT} | {
        'other-category'
    }
    gone = left_out - (_BY_OPTION if by_option else set())
    kinds = dict[int, set[str]]()
    for problem in tally:
        if problem.name.startswith('annotation'):
            kinds.setdefault(problem.record, set()).add(problem.kind)
    highest = max((rules.id_of(a) or 0 for a in content['annotations']), default=0)
    fresh = itertools.count(max(highest, 0) + 1)
    annotations = []
    for index, person in enumerate(content['annotations']):
        its = kinds.get(index, set())
        if its & gone:
            continue
        if its and isinstance(person, dict):
            person = _person(person, its, sizes, by_option=by_option)
            if by_option and 'duplicate-annotation-id' in its:
                person['id'] = next(fresh)
        annotations.append(person)
    chosen = [c for c in content['categories'] if rules.id_of(c) == category]
    return {**content, 'annotations': annotations, 'categories': chosen}


def with_pictures(content: Mapping[str, Any], tally: Tally, images: Path) -> dict[str, Any]:
    """A copy of a content with the names and upright sizes that its pictures really have.

    Only records are changed of which `tally` says that they are wrong. The people come after this:
    whether a box is inside its image depends on it.
    """
    new = list(content['images'])
    for problem in tally.of(*OF_PICTURES):
        if rules.file_name_problem(new[problem.record].get('file_name')):
            continue
        image = new[problem.record] = dict(new[problem.record])
        path = images / image['file_name']
        if problem.kind == 'missing-image' and (other := renamed(path)):
            image['file_name'] = str(other.relative_to(images))
        if header := upright_size(images / image['file_name']):
            image['width'], image['height'] = header[0]
    return {**content, 'images': new}


def write_mended(
    annotations: Path, images: Path, tally: Tally, category: str | None, path: Path
) -> None:
    """Writes a copy of a COCO keypoint file with all mended that can be."""
    content = with_pictures(read_keypoint_file(annotations), tally, images)
    content = without_images(content, tally.of('unreadable-image'))
    again = Tally(record_problems(content, count_keypoints(content, category), category=category))
    new = mended(content, again, category_of(content, category), by_option=True)
    write_whole(path, json.dumps(new).encode(), remedy='give another file with --mend')


def without_images(content: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    """A copy of a content without the images of some problems, and without their people."""
    gone = {problem.record for problem in problems}
    images = [image for index, image in enumerate(content['images']) if index not in gone]
    left = {rules.id_of(image) for image in images}
    lost = {rules.id_of(content['images'][index]) for index in gone} - left
    people = [a for a in content['annotations'] if rules.id_of(a, 'image_id') not in lost]
    return {**content, 'images': images, 'annotations': people}


def with_category(content: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A copy of a content with one category, which now has this id."""
    categories = [{**category, 'id': number} for category in content['categories']]
    annotations = [{**a, 'category_id': number} for a in content['annotations']]
    return {**content, 'categories': categories, 'annotations': annotations}


def box_of_keypoints(keypoints: list[float], size: rules.Size) -> list[float] | None:
    """x, y, width, height around the labelled keypoints, with a margin; ``None`` without any."""
    points = [keypoints[i : i + 2] for i in range(0, len(keypoints), 3) if keypoints[i + 2]]
    if not points:
        return None
    (x1, y1), (x2, y2) = map(min, zip(*points, strict=True)), map(max, zip(*points, strict=True))
    largest = max(size) if size != rules.UNKNOWN else 0
    margin = max(_MARGIN * max(x2 - x1, y2 - y1), _SMALLEST * largest / 2, 1.0)
    x1, y1 = max(x1 - margin, 0), max(y1 - margin, 0)
    x2, y2 = min(x2 + margin, size[0]), min(y2 + margin, size[1])
    box = [round(number, 2) for number in (x1, y1, x2 - x1, y2 - y1)]
    return box if min(box[2:]) > 0 else None


def _person(
    person: dict[str, Any], kinds: set[str], sizes: Mapping[Any, rules.Size], *, by_option: bool
) -> dict[str, Any]:
    person = dict(person)
    size = sizes.get(rules.id_of(person, 'image_id'), rules.UNKNOWN)
    if by_option:
        if {'bad-box', 'lost-person'} & kinds and not {'bad-keypoints', 'keypoint-count'} & kinds:
            person['bbox'] = box_of_keypoints(person['keypoints'], size) or [0, 0, 0, 0]
        if 'iscrowd' in kinds:
            person['iscrowd'] = int(str(person['iscrowd']).strip().lower() in ('1', 'true'))
        if {'hidden-person', 'num-keypoints'} & kinds:
            person['num_keypoints'] = rules.count_labelled(person['keypoints'])
    box = rules.usable_box(person, size)
    if box and (person.get('area') is None or (by_option and not rules.is_area(person['area']))):
        person['area'] = rules.area_of(box, size)
    return person
