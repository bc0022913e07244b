"""From labels to a folder that trains: a checked data set, a skeleton, configs, weights."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.model import initialize
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import MODELS

from mspn.drawing import draw_people
from mspn.errors import InputError, listed, printable
from mspn.media import read_image
from mspn.models import DETECTOR, POSE, weights_of
from mspn.poses import Pose

from ..annotations.own_data import OwnData, coco_sigmas, literal, metainfo, metainfo_text, own_data
from ..annotations.skeleton import plain
from ..checkpoints.files import read_state_dict, save_weights
from ..checkpoints.take_over import take_over
from ..reports.runs import NOTES

_SHAPES = ((0.8, '192x144'), (1.25, '160x160'), (math.inf, '144x192'))  # of boxes up to this
_TILE = 320, 240  # width and height in the contact sheet
_SHOWN = 16  # pictures there


def run(args: argparse.Namespace) -> None:
    """Reads the labels, and writes the folder at once when all of it is done."""
    out: Path = args.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f'--out: {out} is not empty; give a folder that is not there yet')
    if not out.absolute().parent.is_dir():
        raise InputError(f'--out: the folder {out.absolute().parent} does not exist; create it')
    if odd := [c for c in str(out.absolute()) if c in '\'"\\{}' or not c.isprintable()]:
        raise InputError(f'--out: a name with {odd[0]!r} cannot stand in a config; give another')
    data = own_data(args.data, category=args.category, without=out, seed=args.seed)
    partial = None
    try:
        partial = Path(tempfile.mkdtemp(prefix=f'.{out.name}-', dir=out.absolute().parent))
        lines = _write(data, partial)
        partial.chmod(0o755)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise InputError(f'--out: {out} cannot be written ({error.strerror})') from error
    finally:
        if partial:
            shutil.rmtree(partial, ignore_errors=True)
    for line in [*data.said, '', *lines]:
        print(printable(line))
    print(f'\nto be looked at: {out}/labels.jpg (the labels as they were read), {out}/metainfo.py')
    print(f'then: mspn train {out}')


def write_data_set(data: OwnData, folder: Path) -> None:
    """Writes the labels, links to the pictures, the skeleton, and a sheet of pictures with it."""
    (folder / 'annotations').mkdir()
    for split, content in data.sets.items():
        text = json.dumps(content)
        (folder / 'annotations' / f'{split}.json').write_text(text, encoding='utf-8')
        for image in content['images']:
            link = folder / 'images' / image['file_name']
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink() and not link.exists():  # a picture may be of both sets
                _link((data.root / image['file_name']).absolute(), link)
    (folder / 'metainfo.py').write_text(metainfo_text(data), encoding='utf-8')
    notes = ''.join(f'{printable(line)}\n' for line in data.said)
    (folder / NOTES).write_text(notes, encoding='utf-8')
    cv2.imwrite(str(folder / 'labels.jpg'), contact_sheet(data))


def _write(data: OwnData, folder: Path) -> list[str]:
    """Writes all files, and describes them."""
    write_data_set(data, folder)
    counts = {split: _count(content) for split, content in data.sets.items()}
    shape = _shape_of(data)
    epochs = epochs_for(counts['train'][1])
    # Where nobody knows what a mirror does to the keypoints, nothing is mirrored.
    flips = dict(line='', test='', pipeline='') if data.skeleton.mirrored else _UNFLIPPED
    config = _POSE.format(
        flips=flips,
        keypoints=len(data.skeleton.names),
        shape=shape,
        epochs=epochs,
        interval=max(1, epochs // 10),
        batch=16 if counts['train'][1] >= 16 else max(2, counts['train'][1] // 2),
    )
    (folder / 'config.py').write_text(config, encoding='utf-8')
    passes = max(8, min(30, 3000 // max(counts['train'][0], 1)))
    detector = _DETECTOR.format(
        category=literal(data.category), weights=DETECTOR, epochs=passes, plain=passes * 3 // 4
    )
    (folder / 'detector.py').write_text(detector, encoding='utf-8')
    shared = _first_weights(data, folder)
    return [
        *(
            f'{split}: {images:,} pictures, {people:,} labelled ({data.category})'
            for split, (images, people) in counts.items()
        ),
        f'{len(data.skeleton.names)} keypoints: {", ".join(data.skeleton.names)}',
        f'config.py: {POSE} at {shape}, {epochs} epochs; it starts from the weights that ship, '
        + (f'and knows {listed(shared)} already' if shared else 'with new prediction layers'),
    ]


def _link(target: Path, link: Path) -> None:
    """A link, or where the system has none for us, a copy."""
    try:
        link.symlink_to(target)
    except (OSError, NotImplementedError):
        shutil.copyfile(target, link)


def _count(content: dict[str, Any]) -> tuple[int, int]:
    return len(content['images']), sum(p['num_keypoints'] > 0 for p in content['annotations'])


def _shape_of(data: OwnData) -> str:
    """Height and width of the input that fits most of the boxes."""
    boxes = np.array([p['bbox'] for p in data.sets['train']['annotations']], float)
    ratio = float(np.median(boxes[:, 2] / np.maximum(boxes[:, 3], 1)))
    return next(shape for most, shape in _SHAPES if ratio <= most)


def epochs_for(people: int) -> int:
    """How often to go through so many people: the fewer, the more often."""
    return max(20, min(210, round(6_000 * math.sqrt(people / 50) / max(people, 1))))


def _first_weights(data: OwnData, folder: Path) -> list[str]:
    """Writes the weights that the training starts from, and gives the keypoints they know."""
    cfg = Config.fromfile(folder / 'config.py')
    init_default_scope('mmpose')
    model = MODELS.build(cfg.model)
    initialize(model.head, model.head.init_cfg)  # `init_weights` would log all of it
    theirs, ours = list(coco_sigmas()), data.skeleton.names
    weights = read_state_dict(weights_of(POSE, 'pose')[1])
    state = take_over(weights, model, theirs, ours)
    save_weights(state, folder / 'start.safetensors', half=True)
    return [name for name in ours if plain(name) in map(plain, theirs)]


def contact_sheet(data: OwnData) -> np.ndarray:
    """Pictures with their labels drawn, ``(h, w, 3)`` uint8 BGR, some with the keypoints' names."""
    meta = parse_pose_metainfo(metainfo(data))
    tiles = []
    people = dict[str, list[Any]]()
    for content in data.sets.values():
        names = {image['id']: image['file_name'] for image in content['images']}
        for person in content['annotations']:
            if person['num_keypoints']:
                people.setdefault(names[person['image_id']], []).append(person)
    numbers = np.linspace(0, len(people) - 1, min(_SHOWN, len(people))).astype(int)
    names_of_pictures = sorted(people)
    for number, name in enumerate(names_of_pictures[index] for index in numbers):
        picture = read_image(data.root / name)
        if picture is None:
            continue
        tiles.append(_tile(picture, people[name], meta, with_names=number < 4))
    rows = [tiles[i : i + 4] for i in range(0, len(tiles), 4)] or [[np.zeros((*_TILE[::-1], 3))]]
    blank = np.full((*_TILE[::-1], 3), 32, np.uint8)
    return np.vstack([np.hstack([*row, *[blank] * (len(rows[0]) - len(row))]) for row in rows])


def _tile(picture: np.ndarray, people: list[Any], meta: Any, *, with_names: bool) -> np.ndarray:
    """A picture with its people, made to fit; with names it is cut to one of them."""
    if with_names:
        people = people[:1]
        x, y, w, h = people[0]['bbox']
        height = 1.4 * max(h, w * _TILE[1] / _TILE[0])
        width = height * _TILE[0] / _TILE[1]
        x1, y1 = max(int(x + w / 2 - width / 2), 0), max(int(y + h / 2 - height / 2), 0)
        picture = picture[y1 : y1 + int(height) + 1, x1 : x1 + int(width) + 1]
    else:
        x1 = y1 = 0
    scale = min(_TILE[0] / picture.shape[1], _TILE[1] / picture.shape[0])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    poses = []
    for person in people:
        points = np.array(person['keypoints'], np.float32).reshape(-1, 3)
        box = np.array(person['bbox'], np.float32)
        box[2:] += box[:2]
        offset = np.array([x1, y1], np.float32)
        box = (box.reshape(2, 2) - offset).ravel() * scale
        places = (points[:, :2] - offset) * scale
        poses.append(Pose(places, np.where(points[:, 2] > 0, 1.3, 0).astype(np.float32), box))
    drawn = draw_people(picture, poses, meta, keypoint_thr=0.5, boxes=not with_names)
    if with_names:
        for index, (x, y) in enumerate(poses[0].keypoints):
            if poses[0].scores[index] and max(abs(x), abs(y)) < 2 * max(_TILE):
                _write_name(drawn, meta['keypoint_id2name'][index], (int(x) + 4, int(y) + 3))
    tile = np.full((*_TILE[::-1], 3), 32, np.uint8)
    top, left = (_TILE[1] - drawn.shape[0]) // 2, (_TILE[0] - drawn.shape[1]) // 2
    tile[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
    return tile


def _write_name(picture: np.ndarray, text: str, place: tuple[int, int]) -> None:
    """White letters with a dark edge."""
    for colour, width in (((0, 0, 0), 2), ((255, 255, 255), 1)):
        cv2.putText(
            picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.33, colour, width, cv2.LINE_AA
        )


_POSE = """\
# Made by `mspn new`; `mspn train` on this folder reads it. Everything else is inherited.
_base_ = ['mspn_plugin::own/mspn-small_1xb16_own-{shape}.py']
data_root = '{{{{ fileDirname }}}}/'
dataset = dict(data_root=data_root, metainfo=dict(from_file=data_root + 'metainfo.py'))
model = dict(head=dict(num_keypoints={keypoints}){flips[test]})
{flips[line]}train_dataloader = dict(batch_size={batch}, dataset=dict(**dataset{flips[pipeline]}))
val_dataloader = test_dataloader = dict(dataset=dataset)
val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/val.json')
train_cfg = dict(max_epochs={epochs}, val_interval={interval})
cosine = dict(type='CosineAnnealingLR', T_max={epochs}, by_epoch=True, convert_to_iter_based=True)
param_scheduler = [_base_.warm_up, cosine]
default_hooks = dict(checkpoint=dict(interval={interval}))
load_from = data_root + 'start.safetensors'
work_dir = data_root + 'run'
"""

_UNFLIPPED = dict(
    line="unflipped = [step for step in _base_.train_pipeline if step['type'] != 'RandomFlip']\n",
    test=', test_cfg=dict(flip_test=False)',
    pipeline=', pipeline=unflipped',
)

_DETECTOR = """\
# Made by `mspn new`; `mspn train --detector` on this folder reads it.
_base_ = ['mspn_plugin::own/rtmdet-lite0_1xb8_own-416x416.py']
data_root = '{{{{ fileDirname }}}}/'
dataset = dict(data_root=data_root, metainfo=dict(classes=({category},), palette=[(220, 20, 60)]))
train_dataloader = dict(dataset=dataset)
val_dataloader = test_dataloader = dict(dataset=dataset)
val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/val.json')
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
cosine = dict(type='CosineAnnealingLR', T_max={epochs}, by_epoch=True, convert_to_iter_based=True)
param_scheduler = [_base_.warm_up, cosine]
custom_hooks = [_base_.average, dict(_base_.plain, switch_epoch={plain})]
default_hooks = dict(checkpoint=dict(interval={epochs}))
load_from = {weights!r}
work_dir = data_root + 'run-detector'
"""
