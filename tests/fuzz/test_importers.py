"""Label files of other tools with anything in them: a data set in the folder, or one sentence."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from fish import make_fish
from hypothesis import given
from hypothesis import strategies as st
from mutations import json_files
from own_labels import label_studio, yolo

from mspn_plugin.annotations.own_data import own_data
from mspn_plugin.commands.new import write_data_set


@pytest.fixture(scope='module')
def drawn(folder):
    pictures = folder / 'pictures'
    return make_fish(pictures, 3, size=(96, 72)), pictures


def made(place, name, content, trial):
    """Reads what a file holds, and writes it out; nothing else may change."""
    (place / name).write_bytes(content)
    out = place.parent / 'out'
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    before = files(place.parent, out)
    data = trial(own_data, place)
    if data is not None:
        trial(write_data_set, data, out)
        for split, part in data.sets.items():
            json.loads((out / 'annotations' / f'{split}.json').read_text())
            for image in part['images']:
                link = out / 'images' / image['file_name']
                assert link.resolve().is_relative_to(place.resolve())
            for person in part['annotations']:
                numbers = [*person['bbox'], *person['keypoints'], person['area']]
                assert np.isfinite(np.array(numbers, float)).all()
    assert files(place.parent, out) == before


def files(folder, out):
    return {path for path in folder.rglob('*') if out not in path.parents}


@pytest.fixture(scope='module')
def coco(drawn, folder):
    shutil.copytree(drawn[1], folder / 'coco')
    return folder / 'coco'


def _seeds():
    """What the three kinds of files hold before anything is changed in them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = make_fish(folder / 'pictures', 3, size=(96, 72))
        (folder / 'ls').mkdir()
        label_studio(content, folder / 'pictures', folder / 'ls')
        tasks = json.loads((folder / 'ls' / 'project-1.json').read_text())
        yolo(dict(train=content, val=content), folder / 'pictures', folder / 'yolo')
        texts = (
            (folder / 'yolo' / 'data.yaml').read_text(),
            (folder / 'yolo' / 'labels' / 'train' / 'fish0001.txt').read_text(),
        )
    return content, tasks, *texts


COCO, TASKS, YAML, LABELS = _seeds()


@given(content=json_files(COCO))
def test_coco(content, coco, trial):
    made(coco, 'labels.json', content, trial)


@given(content=json_files(TASKS))
def test_label_studio(content, coco, trial):
    made(coco, 'labels.json', content, trial)


WORDS = st.sampled_from(
    [
        '',
        '0',
        '-1',
        '1e999',
        'nan',
        '../..',
        '/etc',
        'null',
        '[]',
        '{}',
        '&a',
        '*a',
        '!!python/x',
        '🐟',
    ]
)


@st.composite
def changed_text(draw, text):
    """A text with some of its words or lines replaced, doubled, or gone."""
    lines = [line.split(' ') for line in text.splitlines()]
    for _ in range(draw(st.integers(1, 4))):
        line = draw(st.sampled_from(range(len(lines))))
        if draw(st.booleans()) and lines[line]:
            lines[line][draw(st.sampled_from(range(len(lines[line]))))] = draw(WORDS)
        else:
            lines[line] = draw(st.sampled_from([[], lines[line] * 2, [draw(st.text(max_size=9))]]))
    return '\n'.join(map(' '.join, lines)).encode('utf-8', 'replace')


@pytest.fixture(scope='module')
def ultralytics(drawn, folder):
    yolo(dict(train=drawn[0], val=drawn[0]), drawn[1], folder / 'yolo' / 'data')
    return folder / 'yolo' / 'data'


@given(content=changed_text(YAML))
def test_yolos_settings(content, ultralytics, trial):
    good = (ultralytics / 'data.yaml').read_bytes()
    try:
        made(ultralytics, 'data.yaml', content, trial)
    finally:
        (ultralytics / 'data.yaml').write_bytes(good)


@given(content=changed_text(LABELS))
def test_yolos_labels(content, ultralytics, trial):
    made(ultralytics, 'labels/train/fish0001.txt', content, trial)
