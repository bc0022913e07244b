"""Every fault of a data set is found, under its kind and by its name, and nothing else is."""

import copy
import functools
import json
import math
import os
from contextlib import nullcontext
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mspn_plugin import InputError
from mspn_plugin.annotations import keypoint_file, run_data
from mspn_plugin.annotations.image_files import ImageFile, decoding_problems
from mspn_plugin.annotations.problems import (
    ERRORS,
    KINDS,
    STOPS,
    WARNINGS,
    Problem,
    Tally,
)
from mspn_plugin.commands.run_config import read_config

NAMES = ['nose', 'left_hand', 'right_hand']
PERSON = dict(id=11, image_id=1, category_id=1, bbox=[2, 3, 20, 20], area=200.0, iscrowd=0)
POINTS = [5, 5, 2, 0, 0, 0, 9, 9, 1], [3, 3, 2.0, 4, 4, 2, 5, 5, 2]
OTHER = dict(PERSON, id=12, image_id=2, bbox=[1.5, 2.5, 10, 10], area=60)
IMAGE = dict(id=1, file_name='a.jpg', width=40, height=30)
OTHER_IMAGE = dict(id=2, file_name='in/b.png', width=20, height=50)
CATEGORY = dict(id=1, name='person', keypoints=NAMES, skeleton=[[1, 2]])
PEOPLE = zip((PERSON, OTHER), POINTS, (2, 3), strict=True)
CONTENT = dict(
    images=[IMAGE, OTHER_IMAGE],
    annotations=[dict(who, keypoints=points, num_keypoints=n) for who, points, n in PEOPLE],
    categories=[CATEGORY],
)
SWAPS = zip(NAMES, ('', 'right_hand', 'left_hand'), strict=True)
SKELETON = dict(
    dataset_name='hands',
    keypoint_info={i: dict(name=name, id=i, swap=swap) for i, (name, swap) in enumerate(SWAPS)},
    skeleton_info={0: dict(link=('nose', 'left_hand')), 1: dict(link=('nose', 'right_hand'))},
    joint_weights=[1.0, 1.0, 1.5],
    sigmas=[0.026, 0.062, 0.062],
)


@pytest.fixture
def place(tmp_path):
    content, skeleton = copy.deepcopy((CONTENT, SKELETON))
    images, random = tmp_path / 'images', np.random.default_rng(0)
    (images / 'in').mkdir(parents=True)
    for image in content['images']:
        pixels = random.integers(0, 255, (image['height'], image['width'], 3), np.uint8)
        cv2.imwrite(str(images / image['file_name']), pixels)
    path = tmp_path / 'people.json'
    return SimpleNamespace(content=content, skeleton=skeleton, images=images, annotations=path)


def check(place, **options):
    place.annotations.write_text(json.dumps(place.content))
    options['skeleton'] = place.skeleton
    tally, counts = keypoint_file.check_dataset(place.annotations, place.images, **options)
    found = {}
    for problem in tally:
        found.setdefault(problem.kind, []).append(str(problem))
    return found, counts


def put(part, **changes):
    return lambda place: place.content[part][0].update(changes)


def keypoint(index, value):
    return lambda place: place.content['annotations'][0]['keypoints'].__setitem__(index, value)


def drop(part, key):
    return lambda place: place.content[part][0].pop(key)


def append(part, record):
    return lambda place: place.content[part].append(record)


def skeleton(**changes):
    return lambda place: place.skeleton.update(changes)


def point(number, **changes):
    return lambda place: place.skeleton['keypoint_info'].setdefault(number, {}).update(changes)


image, person = functools.partial(put, 'images'), functools.partial(put, 'annotations')
NAN = math.nan
RECORDS = [
    (image(id='1'), 'image-record', 'image "1" has the id "1"'),
    (image(id=True), 'image-record', 'has the id true'),
    (image(width=0), 'no-image-size', 'image 1 has the width 0'),
    (image(height='30'), 'no-image-size', 'has the height "30"'),
    (image(file_name=7), 'image-record', 'has the file name 7'),
    (image(file_name='in/../../a.jpg'), 'image-record', 'leaves the image folder'),
    (image(file_name='\ud800.jpg'), 'image-record', 'no Unicode text'),
    (drop('images', 'file_name'), 'image-record', 'has the file name null'),
    (append('images', 'x'), 'image-record', 'record 2 is "x"'),
    (append('images', dict(OTHER_IMAGE, id=1)), 'duplicate-image-id', 'number 2'),
    (append('images', dict(IMAGE, id=3)), 'duplicate-file-name', 'file name "a.jpg" of another'),
    (append('images', dict(IMAGE, id=3)), 'nothing-labelled', 'image 3 has no labelled person'),
    (append('annotations', 3), 'annotation-record', 'record 2 is 3'),
    (person(id=None), 'annotation-record', 'has the id null'),
    (drop('annotations', 'bbox'), 'bad-box', 'annotation 11 lacks bbox'),
    (drop('images', 'width'), 'no-image-size', 'image 1 lacks width'),
    (person(category_id=1.0), 'annotation-record', 'annotation 11 has the category_id 1.0'),
    (person(num_keypoints='2'), 'annotation-record', 'num_keypoints "2"'),
    (append('annotations', PERSON), 'duplicate-annotation-id', '11 is in the list again'),
    (person(image_id=99), 'unknown-image', 'annotation 11 names the image 99'),
    (person(category_id=5), 'unknown-category', 'is of category 5, which the file does not list'),
    *(
        (person(bbox=box), kind, words)
        for kind, words, *boxes in (
            ('bad-box', 'annotation 11 has the bbox [1, 2, 3]', [1, 2, 3]),
            ('bad-box', '[1, 2, NaN, 3]', [1, 2, NAN, 3]),
            ('bad-box', 'expected 4 finite', [1, 2, 10**400, 3], [1, 2, '3', 3], None),
            ('lost-person', 'which is empty', [1, 2, 0, 3], [1, 2, 5, -3]),
            ('lost-person', 'outside the 40x30 image', [50, 2, 5, 3], [-9, 2, 5, 3]),
            ('box-outside', 'in an image of 40x30', [30, 2, 12, 3], [-2, 2, 12, 3]),
        )
        for box in boxes
    ),
    (person(keypoints=[1, 2, 2]), 'keypoint-count', '3 keypoint values; expected 9'),
    (drop('annotations', 'keypoints'), 'keypoint-count', 'has no keypoints; expected 9'),
    (keypoint(0, NAN), 'bad-keypoints', 'has NaN in keypoint 0'),
    (keypoint(4, math.inf), 'bad-keypoints', 'has Infinity in keypoint 1'),
    (keypoint(8, '2'), 'bad-keypoints', 'has "2" in keypoint 2'),
    (keypoint(8, True), 'bad-keypoints', 'has true in keypoint 2'),
    *((keypoint(8, v), 'visibility', f'the visibility {v} at keypoint 2') for v in (3, 0.5, -1)),
    (keypoint(6, 42), 'keypoint-outside', '1 keypoints outside the image of 40x30, the first is'),
    (keypoint(7, -2), 'keypoint-outside', 'number 2 at [9, -2]'),
    (person(num_keypoints=3), 'num-keypoints', 'num_keypoints 3, but 2 labelled'),
    (person(num_keypoints=0), 'hidden-person', 'num_keypoints 0, but 2 labelled'),
    (drop('annotations', 'area'), 'no-area', 'annotation 11 has no area'),
    *((person(area=a), 'area', f'has the area {t}') for a, t in ((0, 0), (-5, -5), ('9', '"9"'))),
    (person(area=NAN), 'area', 'has the area NaN'),
    (person(iscrowd='0'), 'iscrowd', 'has the iscrowd "0"; expected 0 or 1'),
    (person(iscrowd=1), 'labelled-crowd', 'annotation 11 has iscrowd 1'),
    (lambda place: place.content['categories'].clear(), 'category', 'no usable category'),
    (append('categories', CATEGORY), 'category', 'category 1 is there more than once'),
    (append('categories', {}), 'category-record', 'record 1 is {}'),
    (drop('categories', 'name'), 'nameless-category', 'category 1 is {'),
    (append('categories', dict(CATEGORY, id=[1])), 'category-record', 'category [1] is {"id": [1]'),
    (skeleton(keypoint_info=None), 'skeleton', 'no table of keypoints'),
    (point(5, name='x'), 'skeleton', 'expected 0 to 3'),
    (point(1, name='nose'), 'skeleton', '"nose" is there more than once'),
    (point(1, swap='right_foot'), 'skeleton', '"right_foot", which is no keypoint'),
    (point(1, swap='nose'), 'skeleton', '"left_hand" is mirrored to "nose", but that one to'),
    (point(2, swap=''), 'skeleton', '"left_hand" is mirrored to "right_hand", but that one'),
    (point(2, swap=''), 'skeleton-suspicion', '"right_hand" is mirrored to nothing'),
    (skeleton(sigmas=[0.1, 0.1]), 'skeleton', 'sigmas has 2 values'),
    (skeleton(sigmas=[0.1, 0.1, 0]), 'skeleton', 'sigmas has 0.0 for keypoint 2'),
    (skeleton(sigmas=[0.1, NAN, 0.1]), 'skeleton', 'sigmas has nan'),
    (skeleton(sigmas=[9, 0.1, 0.1]), 'skeleton-suspicion', 'sigmas has 9.0'),
    (skeleton(sigmas='abc'), 'skeleton', 'sigmas is "abc"'),
    (lambda place: place.skeleton.pop('joint_weights'), 'skeleton', 'joint_weights is null'),
    (skeleton(joint_weights=[1, 1, -1]), 'skeleton', 'joint_weights has -1.0'),
    (skeleton(skeleton_info={0: dict(link=['nose', 'x'])}), 'skeleton', 'limb 0 links'),
    (skeleton(skeleton_info=[]), 'skeleton', 'skeleton_info is []'),
]


@pytest.mark.parametrize(('change', 'kind', 'words'), RECORDS)
def test_a_fault_in_the_records_or_the_skeleton(place, change, kind, words):
    change(place)
    found, counts = check(place, decode=False)
    assert any(words in text for text in found.get(kind, ())), found
    stops = pytest.raises(InputError, match=r'\A.*people\.json: .*; .*\Z')
    its = {k for k in found if KINDS[k].effect == STOPS} - {'skeleton'}
    with stops if its else nullcontext():  # a run asks the same checker
        keypoint_file.check_annotations(place.annotations, counts['keypoints'])


def test_a_good_data_set_and_what_may_be(place):
    assert check(place) == ({}, dict(images=2, annotations=2, people=2, keypoints=3))
    for change in (
        person(bbox=[-1, -1, 42, 32]),  # COCO's own reach out by up to a pixel
        keypoint(0, 40.5),
        drop('annotations', 'num_keypoints'),
        person(segmentation=[[1, 2, 3, 4]], extra={'a': 1}),
        lambda place: place.content.update(info={}, licenses=[]),
    ):
        change(place)
        assert check(place, decode=False)[0] == {}
    for name in ('in/c.png', 'notes.txt'):
        (place.images / name).touch()
    found, _ = check(place, decode=False)
    assert set(found) == {'unused-file'} and len(found['unused-file']) == 1


def test_an_empty_box_of_nobody_is_a_warning_but_a_file_of_nobodies_an_error(place):
    nobody = dict(bbox=[0, 0, 0, 0], keypoints=[0] * 9, num_keypoints=0)
    person(**nobody)(place)
    assert set(check(place, decode=False)[0]) == {'no-person-label', 'nothing-labelled'}
    place.content['annotations'][1].update(nobody)
    assert 'no-labels' in check(place, decode=False)[0]


def test_the_names_order_and_number_of_keypoints(place):
    for names, kinds in (
        (['Nose', 'left hand', 'right-hand'], set()),
        (['nose', 'right_hand', 'left_hand'], {'keypoint-order'}),
        (['nose', 'left_hand', 'right_foot'], {'keypoint-names'}),
    ):
        place.content['categories'][0]['keypoints'] = names
        assert set(check(place, decode=False)[0]) == kinds
    place.skeleton = None
    for part, count in (('images', 3), ('categories', 3), ('annotations', 17)):
        for entry in place.content[part]:
            entry.pop('keypoints', None)
        assert check(place, decode=False)[1]['keypoints'] == count


def damage(name, how):
    return lambda p: (p.images / name).write_bytes(how((p.images / name).read_bytes()))


def corrupted(content):
    middle = content.rfind(b'\xff\xda') + 200
    return content[:middle] + b'\xff\xd0' + content[middle + 2 :]  # the pixels end there


IMAGES = [
    (lambda place: (place.images / 'a.jpg').unlink(), 'missing-image', 'image 1 (a.jpg) does'),
    (image(file_name='in'), 'missing-image', 'is a folder'),
    (image(file_name='a' * 300), 'missing-image', 'does not exist'),
    (damage('a.jpg', lambda content: b''), 'unreadable-image', 'image 1 (a.jpg) cannot be'),
    (damage('a.jpg', lambda content: b'<html>'), 'unreadable-image', 'cannot be decoded'),
    (damage('a.jpg', corrupted), 'damaged-image', 'Corrupt JPEG'),
    (damage('a.jpg', lambda c: c[:-2] + bytes(9) + c[-2:]), 'image-decoder', 'extraneous'),
    (image(width=41), 'image-size', 'has 40x30 pixels, the record says 41x30'),
    (
        image(width=30, height=40),
        'image-size',
        'the record says 30x40 (width and height change places)',
    ),
]


@pytest.mark.parametrize(('change', 'kind', 'words'), IMAGES)
def test_a_fault_in_an_image(place, change, kind, words):
    change(place)
    found, _ = check(place, jobs=1)
    assert any(words in text for text in found.get(kind, ())), found
    assert not set(found) - {kind, 'unused-file', 'keypoint-outside', 'box-outside'}


@pytest.mark.parametrize(('name', 'kept'), [('a.jpg', 0.6), ('a.jpg', 0.99), ('in/b.png', 0.6)])
def test_a_truncated_image(place, name, kept, monkeypatch):
    damage(name, lambda content: content[: int(len(content) * kept)])(place)
    found, _ = check(place, jobs=1)
    (kind,) = found  # it depends on OpenCV's version whether it decodes what there is
    assert kind in ('unreadable-image', 'damaged-image') and name in found[kind][0]
    if name == 'a.jpg':
        pixels = np.zeros((30, 40, 3), np.uint8)
        monkeypatch.setattr('mspn_plugin.annotations.image_files.read_image', lambda path: pixels)
        (problem,) = decoding_problems(ImageFile(name, place.images / name, (40, 30)))
        assert problem.kind == 'damaged-image'


def test_processes_find_what_one_finds_in_the_same_order(place):
    gone = {number: f'gone{number}.jpg' for number in (3, 20, 49)}
    images = [dict(IMAGE, id=number, file_name=gone.get(number, 'a.jpg')) for number in range(50)]
    place.content.update(images=images, annotations=[])
    done = []
    one, two = (check(place, jobs=jobs, progress=done.append)[0] for jobs in (1, 2))
    assert one == two and len(one['missing-image']) == 3
    assert done == [*range(1, 51)] * 2


def test_a_decoder_that_takes_its_process_down(place, monkeypatch):
    monkeypatch.setattr('mspn_plugin.annotations.image_files.read_image', lambda _: os._exit(9))
    with pytest.raises(InputError, match=r'was ended by the system .*a\.jpg.*fewer --jobs'):
        check(place, jobs=2)


def test_coco_and_this_packages_own_skeletons_are_good(place):
    for config in ('8xb32-210e_coco-256x192', '8xb24-28800i_mpii-256x256_megvii'):
        place.skeleton = run_data.skeleton_of_config(read_config(f'mspn50-2stg_{config}'))
        assert not {'skeleton', 'skeleton-suspicion'} & set(check(place, decode=False)[0])


OTHERS = ['', '[]', '{}', '{"images": [', '{"images": [], "annotations": []}', '\0', '[' * 99999]


def test_other_files_and_no_images(place):
    for content in OTHERS:
        place.annotations.write_text(content)
        with pytest.raises(InputError, match='people.json'):
            keypoint_file.check_dataset(place.annotations, place.images)
        with pytest.raises(InputError, match='people.json'):
            keypoint_file.check_annotations(place.annotations, 3)
    place.images /= 'nowhere'
    with pytest.raises(InputError, match='nowhere does not exist'):
        check(place)
    place.content['images'] = []
    with pytest.raises(InputError, match='lists no images'):
        check(place)


def test_the_summary_names_a_few_and_counts_the_rest():
    tally = Tally(Problem('bad-box', f'annotation {number}', 'is odd') for number in range(1200))
    tally.append(Problem('unused-file', 'x.jpg', 'is alone'))
    lines = list(tally.lines())
    assert lines[0].split()[:2] == ['error', '1,200'] and 'annotation 4 is odd' in lines[5]
    assert lines[6].strip() == 'and 1,195 more' and lines[7].split()[:2] == ['warning', '1']
    assert (tally.count_of(ERRORS), tally.count_of(WARNINGS)) == (1200, 1)
    assert len(tally.record()['errors']['bad-box']['found']) == 1200
    assert not ERRORS & WARNINGS and KINDS.keys() == ERRORS | WARNINGS
