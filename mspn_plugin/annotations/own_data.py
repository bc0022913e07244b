"""A data set of one's own: from labels as they are to a checked one in COCO's layout.

The order of the steps: labels are read (`importers`), pictures found, sets divided, faults mended
and checked by the same rules as in a run (`mend`, `keypoint_file`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mspn.drawing import LEFT, MIDDLE, RIGHT
from mspn.errors import InputError, is_text, listed

from . import records as rules
from .image_files import header_problems, upright_size
from .importers import Pictures, near_of, read_labels
from .keypoint_file import category_of, count_keypoints, image_files, record_problems, refuse
from .mend import mended, with_pictures, without_images
from .problems import Tally
from .run_data import skeleton_of_dataset
from .skeleton import mirror_of, plain, side_of, skeleton_problems

DEFAULT_SIGMA = 0.067  # the mean of COCO's seventeen
_PART = 0.2  # of the pictures, for validation, if nobody has divided them
_FEWEST = 2  # pictures
_SIDES = ('width', 'height')
_COPY = re.compile(r'\.rf\.[0-9A-Za-z]+(?=\.)')  # what Roboflow calls the copies of a picture
_SAME_SHAPE = 0.02  # by which the scales of width and height may differ


class Skeleton(NamedTuple):
    """The keypoints of a data set."""

    names: list[str]
    swaps: list[int]  # each keypoint's mirror partner, itself if it has none
    limbs: list[tuple[int, int]]
    sigmas: list[float]
    mirrored: bool = True  # whether it is known which keypoints change places in a mirror


class OwnData(NamedTuple):
    """What was made of labels: COCO's contents of 'train' and 'val', their skeleton, what was said.

    File names lead from `root`.
    """

    root: Path
    category: str
    sets: dict[str, dict[str, Any]]
    skeleton: Skeleton
    said: list[str]


def own_data(
    data: Path, *, category: str | None = None, without: Path | None = None, seed: int = 0
) -> OwnData:
    """Reads labels of any known kind and makes a checked data set of them.

    Args:
        data: A label file or a folder, see `read_labels`.
        category: The one to read, if there are several; see `category_of`.
        without: A folder to leave alone.
        seed: Of the division into training and validation, where the labels have none.

    Raises:
        InputError: The labels cannot be used.
    """
    label_sets, pictures = read_labels(data, without=without)
    said = [f'{s.place}: {s.said}' for s in label_sets if s.said]
    parts, origin = dict[str | None, dict[str, Any]](), dict[str, list[Any]]()
    swaps, names, given, limbs = None, list[str](), category, list[tuple[int, int]]()
    for label_set in label_sets:
        place, content = label_set.place, label_set.content
        try:
            number = category_of(content, category)
        except InputError as error:
            if given:
                raise InputError(f'{place}: {error}') from error
            raise InputError(
                f'{label_sets[0].place} has people of the category {category!r}, and {place} has '
                'none of that name; give labels of one kind'
            ) from error
        if not any(_is_of(person, number) for person in content['annotations']):
            labelled = filter(rules.is_labelled, content['annotations'])
            strange = {rules.id_of(person, 'category_id') for person in labelled}
            if strange := strange - set(map(rules.id_of, content['categories'])):
                raise InputError(
                    f'{place}: annotations are of the category {strange.pop()}, which the file '
                    'does not list; correct its categories'
                )
            said.append(f'{place}: nothing is labelled in {len(content["images"])} pictures')
            continue
        if number is None:
            raise InputError(f'{place}: no annotation is of a category; expected a category_id')
        chosen = next(c for c in content['categories'] if rules.id_of(c) == number)
        if category is None and isinstance(chosen.get('name'), str):
            category = chosen['name']  # of the other files too
        its = _names_of(content, chosen, said, place)
        limbs = limbs or (_limbs(chosen) if its == (names or its) else [])
        if names and its != names:
            content = _in_order(content, its, names, place, label_sets[0].place)
        names, swaps = names or its, swaps or label_set.swaps
        content = _with_found_pictures(content, pictures, place, said)
        for image in content['images']:
            real = os.path.realpath(pictures.root / image['file_name'])
            for split, other in origin.setdefault(real, []):
                if other != place and (
                    split == label_set.split or None in (split, label_set.split)
                ):
                    raise InputError(
                        f'{other} and {place} both have labels of the picture '
                        f'{image["file_name"]}; take one of them out'
                    )
            origin[real].append((label_set.split, place))
        content = _with_points(content, len(names), number)
        content = _checked(content, names, number, place, pictures.root, said)
        _merge(parts.setdefault(label_set.split, _empty(category or 'object', names)), content)
    if not names:
        raise InputError(f'{data} holds no labelled keypoints; expected some')
    sets = _divided(parts, said, seed)
    skeleton = _skeleton(names, swaps, limbs, sets['train'], said)
    root = pictures.root / _shorten_names(sets)
    own = OwnData(root, category or 'object', sets, skeleton, list(dict.fromkeys(said)))
    tally = Tally(skeleton_problems(metainfo(own)))
    if stop := tally.first_stop():
        raise InputError(f'the skeleton in {data} cannot be used: {stop[0]}; correct the labels')
    own.said.extend(f'the skeleton: {line}' for line in tally.said(by_option=True))
    return own


def _shorten_names(sets: Mapping[str, Any]) -> str:
    """Takes the folder that all pictures share out of their file names, and gives it."""
    images = [image for content in sets.values() for image in content['images']]
    shared = os.path.commonpath([os.path.dirname(image['file_name']) for image in images])
    for image in images:
        image['file_name'] = os.path.relpath(image['file_name'], shared or '.')
    return shared


def _empty(category: str, names: Sequence[str]) -> dict[str, Any]:
    return dict(
        images=[], annotations=[], categories=[dict(id=1, name=category, keypoints=list(names))]
    )


def _is_of(person: Any, number: Any) -> bool:
    return rules.is_labelled(person) and rules.id_of(person, 'category_id') == number


def _in_order(
    content: dict[str, Any], its: list[str], names: list[str], place: Path, first: Path
) -> dict[str, Any]:
    """With the keypoints in the order of another file's; an `InputError` if they are others."""
    if sorted(its) != sorted(names):
        raise InputError(
            f'{place} has the keypoints {listed(its)}, but {first} has {listed(names)}; give '
            'labels of one kind'
        )
    people = []
    for person in content['annotations']:
        points = person.get('keypoints') if isinstance(person, dict) else None
        if isinstance(points, list) and len(points) == 3 * len(its):
            order = [3 * its.index(name) for name in names]
            person = {**person, 'keypoints': [v for i in order for v in points[i : i + 3]]}
        people.append(person)
    categories = [
        {**c, 'keypoints': names} if isinstance(c, dict) and c.get('keypoints') == its else c
        for c in content['categories']
    ]
    return {**content, 'annotations': people, 'categories': categories}


def _with_points(content: dict[str, Any], count: int, number: Any) -> dict[str, Any]:
    """With keypoints, of which none is seen, for those of the category that have none: crowds."""
    none = dict(keypoints=[0] * 3 * count, num_keypoints=0)
    return {
        **content,
        'annotations': [
            person | none
            if isinstance(person, dict)
            and rules.id_of(person, 'category_id') == number
            and person.get('keypoints') in (None, [])
            else person
            for person in content['annotations']
        ],
    }


def _names_of(
    content: dict[str, Any], category: Mapping[str, Any], said: list[str], place: Path
) -> list[str]:
    """The names of the keypoints: those of the file, COCO's for 17 of people, or numbers."""
    given = category.get('keypoints')
    if isinstance(given, list) and given:
        names = [str(name).strip() for name in given]
        if len(set(names)) != len(names) or not all(names):
            raise InputError(f'{place} names keypoints twice or not at all: {listed(names, 20)}')
        if odd := [name for name in names if not is_text(name)]:
            raise InputError(f'{place} names a keypoint {ascii(odd[0])}, which is no text')
        return names
    name = category.get('name')
    count = count_keypoints(content, name if isinstance(name, str) else None)
    if count == 17 and str(category.get('name')).lower() in ('person', 'people', 'human'):
        said.append(f"{place}: 17 keypoints of people without names are taken for COCO's")
        return list(coco_sigmas())
    said.append(f'{place}: the keypoints have no names; metainfo.py calls them by numbers')
    return [f'keypoint_{i}' for i in range(1, count + 1)]


def coco_sigmas() -> dict[str, float]:
    """COCO's keypoints in their order, with the sigma of each."""
    info = skeleton_of_dataset(dict(type='CocoDataset'))
    points = [info['keypoint_info'][index]['name'] for index in range(17)]
    return dict(zip(points, info['sigmas'], strict=True))


def _with_found_pictures(
    content: dict[str, Any], pictures: Pictures, place: Path, said: list[str]
) -> dict[str, Any]:
    """With file names that lead to pictures; images without one are left out."""
    images, missing, taken = [], list[str](), dict[str, Any]()
    near = near_of(place, pictures.root)
    elsewhere = list[str]()
    for image in content['images']:
        name = image.get('file_name') if isinstance(image, dict) else None
        if (found := pictures.find(name, near)) is None:
            missing.append(str(name))
        elif found in taken:
            raise InputError(
                f'{place}: the pictures {taken[found]} and {name} both lead to '
                f'{pictures.root / found}; correct their names, or take one of them out'
            )
        else:
            taken[found] = name
            images.append({**image, 'file_name': found})
            if _is_elsewhere(str(name), found):
                elsewhere.append(f'{name} is taken to be {found}')
    if not images:
        raise InputError(
            f'{place}: none of its {len(missing)} pictures ({listed(missing, 3)}) is in '
            f'{pictures.root}, or several have their names; put them there, or give the folder '
            'that holds them and this file'
        )
    if missing:
        text = f'{len(missing)} pictures are not there, or several have that name, left out'
        said.append(f'{place}: {text}: {listed(missing, 3)}')
    if elsewhere:
        text = f'{len(elsewhere)} pictures are found by their last names alone'
        said.append(f'{place}: {text}: {listed(elsewhere, 3)}')
    return {**content, 'images': images}


def _is_elsewhere(name: str, found: str) -> bool:
    """Whether a picture lies in another folder than its name says; addresses say nothing of it."""
    folders = name.replace('\\', '/').split('/')[:-1]
    if not folders or '://' in name or name.startswith('/data/'):
        return False
    return os.path.basename(os.path.dirname(found)).lower() not in (folders[-1].lower(), '')


def _checked(
    content: dict[str, Any],
    names: Sequence[str],
    number: Any,
    place: Path,
    root: Path,
    said: list[str],
) -> dict[str, Any]:
    """Mended and checked as in a run with ``--mend``; what was done about it is said."""
    files = image_files(content, root)
    pictures = Tally(problem for file in files for problem in header_problems(file))
    content = _scaled(content, pictures, root, place, said)
    content = without_images(content, pictures.of('unreadable-image'))
    name = next(c.get('name') for c in content['categories'] if rules.id_of(c) == number)
    category = name if isinstance(name, str) else None
    tally = Tally(record_problems(content, len(names), category=category))
    if sizes := tally.of('no-image-size'):
        content = with_pictures(content, Tally(sizes), root)
        tally = Tally(record_problems(content, len(names), category=category))
    content = mended(content, tally, number, by_option=True)
    left = Tally(record_problems(content, len(names), category=category))
    content = mended(content, left, number)
    done = Tally([*pictures.of('exif-turned', 'unreadable-image'), *sizes, *tally])
    said += [f'{place}: {line}' for line in (*done.said(by_option=True), *left.said_of_lost())]
    refuse(Tally(record_problems(content, len(names))), place, len(names))
    return content


def _scaled(
    content: dict[str, Any], tally: Tally, root: Path, place: Path, said: list[str]
) -> dict[str, Any]:
    """With labels in the pixels of pictures that were made larger or smaller since.

    An `InputError` says if a picture has another shape than recorded: its labels may lie anywhere.
    """
    scales = dict[Any, list[float]]()
    images = list(content['images'])
    for problem in tally.of('image-size'):
        image = images[problem.record]
        header = upright_size(root / image['file_name'])
        size = header[0] if header else (image['width'], image['height'])
        across, down = (new / image[k] for new, k in zip(size, _SIDES, strict=True))
        if abs(across / down - 1) > _SAME_SHAPE:
            raise InputError(
                f'{place}: {problem}; if the labels are right on the picture as it is shown, '
                'upright, `mspn check --mend FILE` writes the right sizes for you'
            )
        scales[image['id']] = [across, down]
        images[problem.record] = {**image, 'width': size[0], 'height': size[1]}
    if not scales:
        return content
    said.append(f'{place}: {len(scales)} pictures have another size than recorded, labels scaled')
    people = []
    for person in content['annotations']:
        if scale := scales.get(rules.id_of(person, 'image_id')):
            person = dict(person)
            for key, factors in (('bbox', scale), ('keypoints', [*scale, 1])):
                with contextlib.suppress(KeyError, TypeError, OverflowError):  # said later
                    pairs = zip(person[key], itertools.cycle(factors), strict=False)
                    person[key] = [value * factor for value, factor in pairs]
            with contextlib.suppress(KeyError, TypeError, OverflowError):
                person['area'] = person['area'] * scale[0] * scale[1]
        people.append(person)
    return {**content, 'images': images, 'annotations': people}


def _merge(into: dict[str, Any], content: Mapping[str, Any]) -> None:
    """Adds a content, with ids of its own; only what is used of each record stays."""
    numbers = dict[Any, int]()
    by_name = {image['file_name']: image['id'] for image in into['images']}
    for image in content['images']:
        name = image['file_name']
        if (number := by_name.get(name)) is None:
            number = by_name[name] = len(into['images']) + 1
            kept = dict(id=number, file_name=name, width=image['width'], height=image['height'])
            into['images'].append(kept)
        numbers[image['id']] = number
    for person in content['annotations']:
        points = person['keypoints']
        kept = dict(
            id=len(into['annotations']) + 1,
            image_id=numbers[person['image_id']],
            category_id=1,
            bbox=person['bbox'],
            area=person.get('area') or 0,
            iscrowd=int(person.get('iscrowd') or 0),
            num_keypoints=rules.count_labelled(points),
            keypoints=points,
        )
        into['annotations'].append(kept)


def _divided(
    parts: dict[str | None, dict[str, Any]], said: list[str], seed: int
) -> dict[str, dict[str, Any]]:
    """The sets 'train' and 'val', as the labels have them, or divided by picture."""
    whole = parts.pop(None, None)
    if whole and 'train' not in parts:
        parts['train'] = whole
    elif whole:
        said.append(f'{len(whole["images"])} pictures of files of neither set are for training')
        _merge(parts['train'], whole)
    if 'train' not in parts:
        raise InputError(f'there are no labels for training, only for {", ".join(map(str, parts))}')
    if 'test' in parts and 'val' not in parts:
        parts['val'] = parts.pop('test')
        said.append('the pictures for testing are taken for validation')
    if 'test' in parts:
        said.append(f'the {len(parts["test"]["images"])} pictures for testing are left out')
    if 'val' in parts:
        both = {i['file_name'] for i in parts['train']['images']}
        both &= {i['file_name'] for i in parts['val']['images']}
        if both:
            said.append(
                f'{len(both)} pictures are in training and validation, which flatters the result: '
                f'{listed(sorted(both), 3)}'
            )
        return {split: parts[split] for split in ('train', 'val')}
    train = parts['train']
    labelled = {p['image_id'] for p in train['annotations'] if p['num_keypoints']}
    names = {i['id']: _COPY.sub('', i['file_name']) for i in train['images'] if i['id'] in labelled}
    order = list(dict.fromkeys(names[number] for number in sorted(labelled)))
    if len(order) < _FEWEST:
        raise InputError(
            f'there is {len(order)} picture with labels; expected at least {_FEWEST}, one to learn '
            'from and one to test with'
        )
    random.Random(seed).shuffle(order)
    chosen = set(order[: max(1, round(_PART * len(order)))])
    kept = {number for number, name in names.items() if name in chosen}
    said.append(f'{len(kept)} of {len(labelled)} pictures, taken at random, are for validation')
    if len(order) < len(labelled):
        said.append('copies that Roboflow has made of one picture are in the same set')
    sets = dict[str, dict[str, Any]]()
    for split, wanted in (('train', lambda n: n not in kept), ('val', lambda n: n in kept)):
        part = dict(
            images=[image for image in train['images'] if wanted(image['id'])],
            annotations=[p for p in train['annotations'] if wanted(p['image_id'])],
        )
        _merge(sets.setdefault(split, {**train, 'images': [], 'annotations': []}), part)
    return sets


def _skeleton(
    names: list[str],
    swaps: list[int] | None,
    limbs: list[tuple[int, int]],
    train: Mapping[str, Any],
    said: list[str],
) -> Skeleton:
    """Mirror partners, limbs and sigmas, as the labels have them, or as they can be found."""
    mirrored = swaps is not None
    if swaps is None:
        alike = list(map(plain, names))
        partners = [mirror_of(name, alike) for name in alike]
        swaps = [alike.index(p) if p else i for i, p in enumerate(partners)]
        swaps = [j if swaps[j] == i else i for i, j in enumerate(swaps)]  # of two alike neither
        pairs = [f'{names[i]} / {names[j]}' for i, j in enumerate(swaps) if i < j]
        mirrored = bool(pairs)
        said.append(
            f'mirror pairs, by the names: {listed(pairs)}; see metainfo.py'
            if mirrored
            else 'nobody says which keypoints are left and which right, so pictures are not '
            'mirrored; if you do (flip_idx of a data.yaml, names as left_... and right_...), start '
            'again'
        )
    if not limbs or max(map(max, limbs)) >= len(names):
        limbs = nearest_limbs(train, len(names))
        said.append(
            f'limbs, which the labels lack, link keypoints that are near each other: {len(limbs)}; '
            'they are for drawing only; see metainfo.py'
        )
    known = {plain(name): sigma for name, sigma in coco_sigmas().items()}
    sigmas = [known.get(plain(name), DEFAULT_SIGMA) for name in names]
    others = [n for n in names if plain(n) not in known]
    if others:
        said.append(
            f"sigmas, by which the evaluation judges distances, are COCO's mean of {DEFAULT_SIGMA} "
            f'for {listed(others, 5)}; see metainfo.py'
        )
    return Skeleton(names, swaps, limbs, sigmas, mirrored)


def _limbs(category: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The limbs that a category lists, from 0; COCO counts keypoints from 1, some tools from 0."""
    links = category.get('skeleton')
    pairs = [p for p in links if isinstance(p, list)] if isinstance(links, list) else []
    pairs = [p for p in pairs if len(p) == 2 and all(type(e) is int and 0 <= e < 10_000 for e in p)]
    lowest = 0 if any(0 in pair for pair in pairs) else 1
    return [(a - lowest, b - lowest) for a, b in pairs if a != b]


def nearest_limbs(content: Mapping[str, Any], count: int) -> list[tuple[int, int]]:
    """Limbs that link all keypoints, each with one that is near: the least spanning tree.

    Its distances are the medians over all people who have both keypoints, as parts of their boxes.
    """
    people = [p for p in content['annotations'] if p['num_keypoints']][:2000]
    points = np.array([p['keypoints'] for p in people], float).reshape(-1, count, 3)
    sizes = np.array([max(*p['bbox'][2:], 1) for p in people], float)
    points[points[..., 2] == 0] = np.nan
    places = points[..., :2] / sizes[:, None, None]
    distances = np.full((count, count), 10.0)  # of keypoints that nobody has together
    for i in range(count):
        apart = np.linalg.norm(places - places[:, i : i + 1], axis=2)
        seen = np.isfinite(apart).any(axis=0)
        distances[i, seen] = np.nanmedian(apart[:, seen], axis=0)
    linked, limbs = [0], list[tuple[int, int]]()
    while len(linked) < count:
        rest = [k for k in range(count) if k not in linked]
        block = distances[np.ix_(linked, rest)]
        a, b = np.unravel_index(block.argmin(), block.shape)
        limbs.append((linked[a], rest[b]))
        linked.append(rest[b])
    return limbs


def metainfo(data: OwnData) -> dict[str, Any]:
    """The skeleton as MMPose's ``dataset_info``."""
    names, swaps, limbs, sigmas, _ = data.skeleton
    colours = dict(left=LEFT, right=RIGHT)

    def colour(*ends: int) -> list[int]:
        sides = {side for end in ends if (side := side_of(names[end]))}
        blue_green_red = colours[sides.pop()] if len(sides) == 1 else MIDDLE
        return list(blue_green_red[::-1])

    points = {
        i: dict(name=name, id=i, color=colour(i), type='', swap=names[j] if j != i else '')
        for i, (name, j) in enumerate(zip(names, swaps, strict=True))
    }
    links = {
        i: dict(link=(names[a], names[b]), id=i, color=colour(a, b))
        for i, (a, b) in enumerate(limbs)
    }
    return dict(
        dataset_name=data.category,
        keypoint_info=points,
        skeleton_info=links,
        joint_weights=[1.0] * len(names),
        sigmas=[round(float(sigma), 4) for sigma in sigmas],
    )


def literal(value: Any) -> str:
    """A value as Python in a config, where MMEngine replaces what stands in double braces."""
    if isinstance(value, str):
        return repr(value).replace('{', '\\x7b').replace('}', '\\x7d')
    if isinstance(value, (list, tuple)):
        inner = ', '.join(map(literal, value))
        return f'[{inner}]' if isinstance(value, list) else f'({inner})'
    return repr(value)


def metainfo_text(data: OwnData) -> str:
    """The skeleton as a Python file, to be read and corrected."""
    info = metainfo(data)
    lines = [
        '# Made by `mspn new`. To be looked through: swap names the mirror partner of a keypoint,',
        '# which flipped pictures need; a sigma is how far apart two careful people put it, as a',
        '# part of the size of the whole; links are for drawing.',
        'dataset_info = dict(',
        f'    dataset_name={literal(info["dataset_name"])},',
    ]
    for table in ('keypoint_info', 'skeleton_info'):
        lines.append(f'    {table}={{')
        for number, entry in info[table].items():
            items = ', '.join(f'{key}={literal(value)}' for key, value in entry.items())
            lines.append(f'        {number}: dict({items}),')
        lines.append('    },')
    lines += [f'    {key}={info[key]},' for key in ('joint_weights', 'sigmas')]
    return '\n'.join([*lines, ')']) + '\n'
