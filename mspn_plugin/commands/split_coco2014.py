"""Splits COCO 2014 as the original MSPN does: train + val to train, minus 5,000 images to test."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from mspn.atomic_io import whole_file
from mspn.errors import InputError

from ..annotations.keypoint_file import check_annotations

TRAIN, VAL = 'person_keypoints_train2014.json', 'person_keypoints_val2014.json'
TRAINING, MINIVAL = 'train_val_minus_minival_2014.json', 'minival_2014.json'
_REMEDY = 'get annotations_trainval2014.zip from cocodataset.org and unpack it'


def read_ids(path: Path) -> list[int]:
    """Reads different image ids, from a JSON list or from lines of text."""
    try:
        text = path.read_text(encoding='utf-8').strip()
    except (OSError, UnicodeDecodeError) as error:
        found = f'the list of minival ids {path} cannot be read ({error})'
        raise InputError(f'{found}; give a file that can') from error
    ids = re.findall(r'\d+', text)
    if not re.fullmatch(r'\[[\d\s,]*\]|[\d\s]*', text) or any(len(i) > 18 for i in ids):
        expected = 'a JSON list of whole numbers, or a text file with one per line'
        raise InputError(f'{path} is no list of image ids; expected {expected}')
    if not ids:
        raise InputError(f'{path} holds no image ids; expected those of the minival images')
    return list(dict.fromkeys(map(int, ids)))


def run(args: argparse.Namespace) -> None:
    """Checks what was given, then writes both files."""
    paths = [args.out / 'gt_json' / name for name in (TRAINING, MINIVAL)]
    for path in () if args.overwrite else filter(Path.exists, paths):
        raise InputError(f'{path} exists already; choose another --out, or add --overwrite')
    ids, places = read_ids(args.minival_ids), (args.annotations / name for name in (TRAIN, VAL))
    train, val = (check_annotations(place, 17, remedy=_REMEDY)[0] for place in places)
    known = {image['id'] for image in val['images']}
    if unknown := [i for i in ids if i not in known]:
        found = f'{len(unknown)} of {len(ids)} minival ids are not among the {len(known)} images of'
        mend = 'give ids of val2014 images'
        raise InputError(f'{found} {VAL}, the first one is {unknown[0]}; {mend}')
    for part in ('images', 'annotations'):
        if shared := {r['id'] for r in train[part]} & {r['id'] for r in val[part]}:
            found = f'share the ids of {len(shared)} {part}, such as {min(shared)}'
            raise InputError(f"{TRAIN} and {VAL} {found}; give COCO's own files of 2014")
    # What is no list of images or annotations, as the categories, is that of train and that of val.
    minival, rest, small = set(ids), dict(train), dict(val)
    for part, key in (('images', 'id'), ('annotations', 'image_id')):
        rest[part] = train[part] + [r for r in val[part] if r[key] not in minival]
        small[part] = [r for r in val[part] if r[key] in minival]
    for path, content in zip(paths, (rest, small), strict=True):
        with whole_file(path, remedy='choose another --out') as partial, partial.open('w') as file:
            json.dump(content, file)
        print(f'{path}: {len(content["images"])} images, {len(content["annotations"])} annotations')
