"""Splits COCO 2014 as the original MSPN does: train + val without minival, and minival.

The original was trained on the first and tested on the second, 5000 images of val2014.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mspn.json_files import read_json
from mspn_plugin import InputError

TRAIN, VAL = 'person_keypoints_train2014.json', 'person_keypoints_val2014.json'
TRAINING, MINIVAL = 'train_val_minus_minival_2014.json', 'minival_2014.json'


def read_text(path: Path, what: str) -> str:
    """Reads a file that the user named."""
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{what} {path} cannot be read ({error}); give a file that can') from error


def read_annotations(path: Path) -> dict[str, Any]:
    """Reads one of COCO's annotation files."""
    expected = 'get annotations_trainval2014.zip from cocodataset.org and unpack it'
    content = read_json(path, 'the annotation file', expected="COCO's", remedy=expected)
    fields = dict(images=('id', 'file_name'), annotations=('id', 'image_id'), categories=())
    if not isinstance(content, dict) or not all(
        isinstance(content.get(part), list)
        and all(
            isinstance(record, dict) and set(names) <= record.keys() for record in content[part]
        )
        for part, names in fields.items()
    ):
        raise InputError(
            f'{path} is not a COCO annotation file (an object with the lists images, annotations '
            f'and categories); {expected}'
        )
    return content


def read_ids(path: Path) -> list[int]:
    """Reads image ids, from a JSON list or from lines of text."""
    text = read_text(path, 'the list of minival ids')
    try:
        ids = json.loads(text) if text.lstrip().startswith(('[', '{')) else text.split()
        if not isinstance(ids, list) or any(isinstance(i, (bool, float)) for i in ids):
            raise ValueError(text[:40])
        numbers = [int(i) for i in ids]
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f'{path} is no list of image ids ({error}); expected a JSON list of whole numbers, or '
            'a text file with one per line'
        ) from error
    if not numbers:
        raise InputError(f'{path} holds no image ids; expected those of the minival images')
    return numbers


def check_ids(ids: Collection[int], train: dict[str, Any], val: dict[str, Any]) -> None:
    """Sees that minival is a part of val, and that train and val share nothing."""
    known = {image['id'] for image in val['images']}
    unknown = [i for i in ids if i not in known]
    if unknown:
        raise InputError(
            f'{len(unknown)} of {len(ids)} minival ids are not among the {len(known)} images of '
            f'{VAL}, the first one is {unknown[0]}; give ids of val2014 images'
        )
    for part in ('images', 'annotations'):
        shared = {r['id'] for r in train[part]} & {r['id'] for r in val[part]}
        if shared:
            raise InputError(
                f'{TRAIN} and {VAL} share the ids of {len(shared)} {part}, such as {min(shared)}; '
                "give COCO's own files of 2014"
            )


def split(
    ids: Collection[int], train: dict[str, Any], val: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides the records.

    Args:
        ids: Images of the minival set.
        train: Content of the annotation file of train2014.
        val: Content of the annotation file of val2014.

    Returns:
        Train and val without minival, and minival; what is no list of images or annotations, such
        as the categories, is that of train and that of val.
    """
    minival = set(ids)
    rest, small = dict(train), dict(val)
    for part, key in (('images', 'id'), ('annotations', 'image_id')):
        rest[part] = train[part] + [r for r in val[part] if r[key] not in minival]
        small[part] = [r for r in val[part] if r[key] in minival]
    return rest, small


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a file that is there as a whole or not at all."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open('w', encoding='utf-8') as file:
            json.dump(content, file)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f'{path} cannot be written ({error}); choose another --out') from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    print(f'{path}: {len(content["images"])} images, {len(content["annotations"])} annotations')


def run(args: argparse.Namespace) -> None:
    """Checks what was given, then writes both files."""
    paths = [args.out / 'gt_json' / name for name in (TRAINING, MINIVAL)]
    for path in paths:
        if path.exists() and not args.overwrite:
            raise InputError(f'{path} exists already; choose another --out, or add --overwrite')
    ids = list(dict.fromkeys(read_ids(args.minival_ids)))
    train, val = (read_annotations(args.annotations / name) for name in (TRAIN, VAL))
    check_ids(ids, train, val)
    for path, content in zip(paths, split(ids, train, val), strict=True):
        write(path, content)
