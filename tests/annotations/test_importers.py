"""Labels of other tools, in the layouts of real exports, become the same data set."""

import json

import numpy as np
import PIL.Image
import pytest
from fish import LIMBS, NAMES, make_fish
from own_labels import copy_pictures, cvat, label_studio, roboflow, subset, yolo

from mspn_plugin import InputError
from mspn_plugin.annotations.importers import Pictures, split_of
from mspn_plugin.annotations.own_data import (
    DEFAULT_SIGMA,
    coco_sigmas,
    metainfo_text,
    nearest_limbs,
    own_data,
)
from mspn_plugin.annotations.problems import Tally
from mspn_plugin.annotations.skeleton import skeleton_problems

FLIP = [0, 2, 1, 3, 5, 4]


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp('fish')
    return make_fish(folder, 10), folder


def parts(content):
    first = subset(content, 8)
    kept = {image['id'] for image in first['images']}
    images = [image for image in content['images'] if image['id'] not in kept]
    people = [p for p in content['annotations'] if p['image_id'] not in kept]
    return dict(train=first, val={**content, 'images': images, 'annotations': people})


def rows(content):
    """All people as numbers, whatever the order and the names of their pictures."""
    table = []
    for person in content['annotations']:
        table.append([*person['bbox'], *person['keypoints']])
    return np.array(sorted(table))


def same(data, content, tolerance):
    found = [row for part in data.sets.values() for row in rows(part).tolist()]
    np.testing.assert_allclose(np.array(sorted(found)), rows(content), atol=tolerance)


WRITERS = {
    'cvat': (lambda c, s, f: cvat(c, s, f), 1e-9),
    'roboflow': (lambda c, s, f: roboflow(parts(c), s, f), 1e-9),
    'yolo': (lambda c, s, f: yolo(parts(c), s, f, flip_idx=FLIP), 0.011),
    'yolo without visibility': (lambda c, s, f: yolo(parts(c), s, f, visibility=False), 0.011),
    'label studio': (lambda c, s, f: label_studio(c, s, f), 0.011),
    'label studio, least': (lambda c, s, f: label_studio(c, s, f, least=True), 0.011),
    'label studio, no parents': (lambda c, s, f: label_studio(c, s, f, parents=False), 0.011),
}


@pytest.mark.parametrize('kind', WRITERS)
def test_every_tool_gives_the_same_people(drawn, tmp_path, kind):
    write, tolerance = WRITERS[kind]
    (folder := tmp_path / 'export').mkdir()
    write(*drawn, folder)
    data = own_data(folder)
    same(data, drawn[0], tolerance)
    is_divided = kind.startswith(('roboflow', 'yolo'))
    assert [len(data.sets[s]['images']) for s in ('train', 'val')] == [8, 2]
    assert any('taken at random' in line for line in data.said) != is_divided
    assert data.category == ('fish' if 'studio' not in kind else 'person')
    for content in data.sets.values():
        assert len({p['id'] for p in content['annotations']}) == len(content['annotations'])
        for image in content['images']:
            with PIL.Image.open(data.root / image['file_name']) as picture:
                assert picture.size == (image['width'], image['height'])
        assert all(p['area'] > 0 and p['num_keypoints'] for p in content['annotations'])
    if kind.startswith('yolo'):
        assert data.skeleton.names == [f'keypoint_{i}' for i in range(1, 7)]
    else:
        assert sorted(data.skeleton.names) == sorted(NAMES)
    if kind in ('cvat', 'roboflow', 'yolo'):
        assert data.skeleton.swaps == FLIP
    if kind in ('cvat', 'roboflow'):
        assert data.skeleton.limbs == [(a - 1, b - 1) for a, b in LIMBS]
    else:
        assert len(data.skeleton.limbs) == 5 and 'limbs, which the labels lack' in str(data.said)
    skeleton = {}
    exec(metainfo_text(data), skeleton)  # noqa: S102  a Python file, as MMPose wants it
    assert not Tally(skeleton_problems(skeleton['dataset_info']))


def test_a_single_file_and_other_places_of_pictures(drawn, tmp_path):
    content, source = drawn
    copy_pictures(content, source, tmp_path / 'a' / 'b')
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    same(own_data(tmp_path / 'labels.json'), content, 1e-9)
    for strange in ('C:\\data\\{}', 'https://host/x/{}', '/data/upload/3/0a1b2c3d-{}', './b/{}'):
        images = [{**i, 'file_name': strange.format(i['file_name'])} for i in content['images']]
        (tmp_path / 'labels.json').write_text(json.dumps({**content, 'images': images}))
        same(own_data(tmp_path / 'labels.json'), content, 1e-9)


def test_pictures_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for name in ('train/a.jpg', 'val/a.jpg', 'x/b.JPG', 'x/é ü.png', '.a.jpg', 'notes.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pictures = Pictures(tmp_path)
    assert len(pictures) == 4
    for name, near, found in (
        ('train/a.jpg', '', 'train/a.jpg'),
        ('/home/me/val/a.jpg', '', 'val/a.jpg'),
        ('a.jpg', '', None),
        ('a.jpg', 'annotations/val', 'val/a.jpg'),
        ('b.jpg', '', 'x/b.JPG'),
        ('..\\..\\media\\B.jpg', '', 'x/b.JPG'),
        ('%C3%A9%20%C3%BC.png', '', 'x/é ü.png'),
        ('/data/local-files/?d=some/b.jpg', '', 'x/b.JPG'),
        ('../../etc/passwd', '', None),
        (None, '', None),
        ('', '', None),
    ):
        assert pictures.find(name, near) == found, name


@pytest.mark.parametrize(
    ('path', 'split'),
    [
        ('annotations/person_keypoints_train2017.json', 'train'),
        ('valid/_annotations.coco.json', 'val'),
        ('annotations/person_keypoints_validation.json', 'val'),
        ('train/x_test.json', 'test'),
        ('training_data.json', 'train'),
        ('annotations/person_keypoints_default.json', None),
        ('contrail.json', None),
    ],
)
def test_what_a_name_says_of_the_set(tmp_path, path, split):
    assert split_of(tmp_path.relative_to(tmp_path) / path) == split


def test_skeletons_are_found_where_labels_lack_them(drawn, tmp_path):
    content = subset(drawn[0], 10)
    limbs = nearest_limbs(content, 6)
    assert len(limbs) == 5 and {k for limb in limbs for k in limb} == set(range(6))
    assert (0, 3) not in limbs  # the fins are nearer to the snout than the back is
    coco = coco_sigmas()
    assert len(coco) == 17 and np.mean([*coco.values()]) == pytest.approx(DEFAULT_SIGMA, abs=5e-4)
    names = ['Left Eye', 'right-eye', 'nose', 'x', 'y', 'z']
    content['categories'] = [dict(id=1, name='fish', keypoints=names)]
    copy_pictures(content, drawn[1], tmp_path)
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    skeleton = own_data(tmp_path).skeleton
    assert skeleton.swaps == [1, 0, 2, 3, 4, 5]
    assert skeleton.sigmas[:3] == [coco['left_eye'], coco['right_eye'], coco['nose']]
    assert skeleton.sigmas[3:] == [DEFAULT_SIGMA] * 3


def test_what_is_mended_or_left_out_is_said(drawn, tmp_path):
    content = json.loads(json.dumps(subset(drawn[0], 6)))
    copy_pictures(content, drawn[1], tmp_path)
    people = content['annotations']
    people[0]['bbox'] = []
    people[1].pop('area')
    people[2]['area'] = 0
    people.append({**people[3], 'id': 99, 'category_id': 2})
    content['categories'].append(dict(id=2, name='crab'))
    content['images'][5]['file_name'] = 'gone.jpg'
    content['images'][0].update(width=5, height=5)
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    data = own_data(tmp_path)
    said = '\n'.join(data.said)
    for words in ('no 4 finite numbers, mended', 'without an area', 'areas that are no positive'):
        assert words in said
    assert '1 annotations of other categories' in said and '1 pictures are not there' in said
    assert 'images of another size than recorded, mended' in said
    gone = {p['id'] for p in people if p['image_id'] == content['images'][5]['id']}
    kept = sum(len(part['annotations']) for part in data.sets.values())
    assert kept == len(people) - 1 - len(gone)
    with pytest.raises(InputError, match='there is no "shark"; there are "fish", "crab"'):
        own_data(tmp_path, category='shark')


def _two_boxes_needed(folder, drawn):
    content = json.loads(json.dumps(drawn[0]))
    for person in content['annotations']:  # two of each name in every picture
        person['image_id'] = 1
    label_studio({**content, 'images': content['images'][:1]}, drawn[1], folder, boxes=False)


BAD = [
    (lambda f, d: None, 'holds no pictures'),
    (lambda f, d: copy_pictures(d[0], d[1], f), 'holds no labels that are known: there is none'),
    (
        lambda f, d: (copy_pictures(d[0], d[1], f), (f / 'x.json').write_text('{"a": 1}')),
        r'the files there \(x.json\) are none; expected a COCO keypoint file',
    ),
    (
        lambda f, d: (copy_pictures(d[0], d[1], f), (f / 'x.json').write_text('{"a": ')),
        'cannot be read as JSON',
    ),
    (
        lambda f, d: (
            copy_pictures(d[0], d[1], f),
            (f / 'x.json').write_text(
                json.dumps({**d[0], 'images': [dict(i, file_name='no') for i in d[0]['images']]})
            ),
        ),
        'none of its 10 pictures .no, no, no and 7 more. is in',
    ),
    (
        lambda f, d: (
            cvat(d[0], d[1], f),
            (f / 'b.json').write_text(
                json.dumps({**d[0], 'categories': [dict(id=1, name='x', keypoints=list('abcdef'))]})
            ),
        ),
        'has the keypoints .* but .* has .*; give labels of one kind',
    ),
    (_two_boxes_needed, 'all 1 pictures have several keypoints of one name.*draw one around each'),
    (lambda f, d: yolo(parts(d[0]), d[1], f, kpt_shape='[6, 4]'), r'kpt_shape \[6, 4\]; expected'),
    (lambda f, d: yolo(parts(d[0]), d[1], f, flip_idx=[0, 1]), r'flip_idx \[0, 1\]; expected each'),
    (
        lambda f, d: (
            yolo(parts(d[0]), d[1], f),
            (f / 'labels/train/fish0001.txt').write_text('0 0.5 0.5 0.1\n'),
        ),
        'line 1 of .*fish0001.txt is "0 0.5 0.5 0.1"; expected a class from 0 to 0 and 22 numbers',
    ),
    (
        lambda f, d: (
            yolo(parts(d[0]), d[1], f),
            (f / 'labels/train/fish0001.txt').write_text(' '.join(['0', *['30'] * 22])),
        ),
        'has the number 30; expected parts of the picture',
    ),
    (
        lambda f, d: (
            yolo(parts(d[0]), d[1], f),
            (f / 'data.yaml').write_text('kpt_shape: [6, 3]'),
        ),
        'names no folder below',
    ),
    (lambda f, d: (yolo(parts(d[0]), d[1], f), (f / 'data.yaml').write_text('a: [')), 'as YAML'),
]


@pytest.mark.parametrize(('make', 'words'), BAD)
def test_labels_that_cannot_be_used_are_one_sentence(drawn, tmp_path, make, words):
    make(tmp_path, drawn)
    with pytest.raises(InputError, match=rf'\A.*{words}.*\Z'):
        own_data(tmp_path)


def test_other_input_than_labels(tmp_path):
    for name, words in (('no', 'does not exist'), ('export.zip', 'is an archive; unpack it first')):
        if '.' in name:
            (tmp_path / name).touch()
        with pytest.raises(InputError, match=words):
            own_data(tmp_path / name)


def test_the_division_is_by_picture_and_repeatable(drawn, tmp_path):
    copy_pictures(drawn[0], drawn[1], tmp_path)
    (tmp_path / 'labels.json').write_text(json.dumps(drawn[0]))
    names = []
    for seed in (0, 0, 1):
        data = own_data(tmp_path, seed=seed)
        sets = [{i['file_name'] for i in data.sets[s]['images']} for s in ('train', 'val')]
        assert not sets[0] & sets[1] and len(sets[0] | sets[1]) == 10
        names.append(sets[1])
    assert names[0] == names[1] != names[2]
