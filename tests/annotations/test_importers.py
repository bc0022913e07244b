"""Labels of other tools, in the layouts of real exports, become the same data set."""

import json
import os
import re
import shutil

import numpy as np
import PIL.Image
import pytest
from fish import LIMBS, NAMES, make_fish
from mmengine.config import Config
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
    names = ['train/a.jpg', 'val/a.jpg', 'x/b.JPG', 'x/é ü.png', 'x/50%20 #1?.jpg']
    for name in (*names, '.a.jpg', 'notes.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pictures = Pictures(tmp_path)
    assert len(pictures) == 5
    for name, near, found in (
        ('train/a.jpg', '', 'train/a.jpg'),
        ('/home/me/val/a.jpg', '', 'val/a.jpg'),
        ('a.jpg', '', None),
        ('a.jpg', 'annotations/val', 'val/a.jpg'),
        ('b.jpg', '', 'x/b.JPG'),
        ('..\\..\\media\\B.jpg', '', 'x/b.JPG'),
        ('%C3%A9%20%C3%BC.png', '', 'x/é ü.png'),
        ('/data/local-files/?d=some/b.jpg', '', 'x/b.JPG'),
        ('x/50%20 #1?.jpg', '', 'x/50%20 #1?.jpg'),
        ('50%20 #1?.jpg', '', 'x/50%20 #1?.jpg'),
        ('/data/upload/1/50%2520%20%231%3F.jpg', '', 'x/50%20 #1?.jpg'),
        ('http://[x/b.jpg', '', 'x/b.JPG'),
        ('/data/local-files/?d=train/a.jpg', './export/train/val', 'train/a.jpg'),
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
    [image.pop('width') for image in content['images'][:1]]
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    data = own_data(tmp_path)
    said = '\n'.join(data.said)
    for words in ('no 4 finite numbers, mended', 'without an area', 'areas that are no positive'):
        assert words in said
    assert '1 annotations of other categories' in said and '1 pictures are not there' in said
    assert 'images without a width or height, mended' in said
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
                json.dumps(
                    {**d[0], 'categories': [dict(id=1, name='fish', keypoints=list('abcdef'))]}
                )
            ),
        ),
        'has the keypoints .* but .* has .*; give labels of one kind',
    ),
    (_two_boxes_needed, 'all 1 pictures have several keypoints of one name.*draw one around each'),
    (lambda f, d: yolo(parts(d[0]), d[1], f, kpt_shape='[6, 4]'), r'kpt_shape \[6, 4\]; expected'),
    (
        lambda f, d: yolo(parts(d[0]), d[1], f, kpt_shape=f'[0x{"f" * 5000}, 3]'),
        'kpt_shape a list of very many digits; expected',
    ),
    (lambda f, d: yolo(parts(d[0]), d[1], f, flip_idx=[0, 1]), r'flip_idx \[0, 1\]; expected all'),
    (
        lambda f, d: (
            yolo(parts(d[0]), d[1], f),
            (f / 'labels/train/fish0001.txt').write_text('0 0.5 0.5 0.1\n'),
        ),
        r'line 1 of .*fish0001.txt is "0 0.5 0.5 0.1"; expected a class of \[0\] and 22',
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
    (
        lambda f, d: (
            copy_pictures(d[0], d[1], f),
            (f / 'x.json').write_text(json.dumps({**d[0], 'categories': 5})),
        ),
        'annotations are of the category 1, which the file does not list',
    ),
    (
        lambda f, d: cvat(
            {**d[0], 'categories': [dict(id=1, name='a', keypoints=[*'abcde', '\ud800'])]}, d[1], f
        ),
        r"names a keypoint '\\ud800', which is no text",
    ),
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


def written(folder, content, name='labels.json'):
    (folder / name).write_text(json.dumps(content))
    return folder


def copied(content):
    return json.loads(json.dumps(content))


def test_names_cannot_become_code(drawn, tmp_path, monkeypatch):
    """MMEngine replaces what stands in double braces in a config before Python reads it."""
    monkeypatch.setenv('A_SECRET', 'shown')
    content = copied(drawn[0])
    evil = "{{$A:'+str(__import__('os').mkdir('%s'))*0+'|QQQ}}" % (tmp_path / 'canary')
    names = [evil, 'QQQ}}', '{{$A_SECRET:x}}', '{{ fileDirname }}', "'); x = ('", '\\ \n é']
    content['categories'] = [dict(id=1, name='{{$A_SECRET:x}}', keypoints=names)]
    copy_pictures(content, drawn[1], tmp_path / 'data')
    data = own_data(written(tmp_path / 'data', content))
    path = tmp_path / 'metainfo.py'
    path.write_text(metainfo_text(data))
    info = Config.fromfile(path).dataset_info
    assert [info['keypoint_info'][i]['name'] for i in range(6)] == [n.strip() for n in names]
    assert info['dataset_name'] == '{{$A_SECRET:x}}' and not (tmp_path / 'canary').exists()


def test_labels_of_pictures_that_were_scaled(drawn, tmp_path):
    content = copied(drawn[0])
    copy_pictures(content, drawn[1], tmp_path)
    for image in content['images']:
        image.update(width=960, height=720)
    for person in content['annotations']:
        person['bbox'] = [2 * v for v in person['bbox']]
        person['area'] *= 4
        points = person['keypoints']
        points[:] = [v if i % 3 == 2 else 2 * v for i, v in enumerate(points)]
    data = own_data(written(tmp_path, content))
    same(data, drawn[0], 1e-6)
    boxless = copied(content)
    for person in boxless['annotations']:
        del person['bbox']
    found = own_data(written(tmp_path, boxless)).sets.values()
    points = [p['keypoints'] for part in found for p in part['annotations']]
    np.testing.assert_allclose(
        sorted(points), rows(drawn[0])[:, 4:][np.lexsort(rows(drawn[0])[:, 4:].T[::-1])], atol=1e-6
    )
    assert '10 pictures have another size than recorded, labels scaled' in '\n'.join(data.said)
    for image in content['images']:  # taller pictures: one scale across, another one down
        image.update(height=708)
    for person in content['annotations']:
        person['bbox'][1::2] = [v * 708 / 720 for v in person['bbox'][1::2]]
        points = person['keypoints']
        points[:] = [v * 708 / 720 if i % 3 == 1 else v for i, v in enumerate(points)]
    same(own_data(written(tmp_path, content)), drawn[0], 1e-6)
    content['annotations'][0].update(area=10**400)
    assert 'areas that are no positive number' in str(own_data(written(tmp_path, content)).said)
    content['images'][0].update(width=360, height=480)
    with pytest.raises(InputError, match='has 480x360 .* says 360x480.*mspn check --mend FILE'):
        own_data(written(tmp_path, content))


def test_two_records_never_lead_to_one_picture(drawn, tmp_path):
    content = copied(drawn[0])
    copy_pictures(subset(content, 5), drawn[1], tmp_path / 'cam2')
    for index, image in enumerate(content['images']):
        name = content['images'][index % 5]['file_name'].rpartition('/')[2]
        image['file_name'] = f'cam{1 + index // 5}/{name}'
    with pytest.raises(InputError, match='cam1/.* and cam2/.* both lead to'):
        own_data(written(tmp_path, content))
    written(tmp_path, dict(drawn[0], images=drawn[0]['images'][:5]), 'a.json')
    written(tmp_path, dict(drawn[0], images=drawn[0]['images'][:5]))
    with pytest.raises(InputError, match='both have labels of the picture'):
        own_data(tmp_path)


def test_a_folder_that_was_made_is_no_source(drawn, tmp_path):
    copy_pictures(drawn[0], drawn[1], tmp_path / 'pictures')
    written(tmp_path, drawn[0])
    before = own_data(tmp_path)
    made = tmp_path / 'made'
    (made / 'annotations').mkdir(parents=True)
    (made / 'annotations' / 'train.json').write_text(json.dumps(drawn[0]))
    copy_pictures(drawn[0], drawn[1], made / 'images')
    for name in ('metainfo.py', 'config.py', 'start.safetensors'):
        (made / name).touch()
    assert own_data(tmp_path) == before


def test_one_category_is_read_in_all_files(drawn, tmp_path):
    sets = parts(copied(drawn[0]))
    categories = [dict(id=1, name='cat'), dict(id=2, name='dog')]
    for number, (split, content) in enumerate(sets.items(), 1):
        people = content['annotations']
        for index, person in enumerate(people):
            person['category_id'] = number if index < len(people) - 1 else 3 - number
        copy_pictures(content, drawn[1], tmp_path / split)
        written(tmp_path / split, {**content, 'categories': categories})
    data = own_data(tmp_path)
    assert data.category == 'cat'
    assert len(data.sets['val']['annotations']) == 1


def test_keypoints_in_another_order_are_put_in_one(drawn, tmp_path):
    sets = parts(copied(drawn[0]))
    turned = NAMES[::-1]
    for person in sets['val']['annotations']:
        points = np.array(person['keypoints']).reshape(-1, 3)[::-1]
        person['keypoints'] = points.ravel().tolist()
    sets['val']['categories'] = [dict(id=1, name='fish', keypoints=turned)]
    roboflow(sets, drawn[1], tmp_path)
    same(own_data(tmp_path), drawn[0], 1e-9)


def test_label_studio_as_people_use_it(drawn, tmp_path):
    label_studio(drawn[0], drawn[1], tmp_path)
    path = tmp_path / 'project-1.json'
    tasks = json.loads(path.read_text())
    for region in tasks[0]['annotations'][0]['result']:  # a size that is not known
        region['original_height'] = None
        region.pop('original_width')
    tasks[1]['annotations'].append(dict(result=[], was_cancelled=False))
    one = next(i for i, t in enumerate(tasks[2:], 2) if len(t['annotations'][0]['result']) == 7)
    result = tasks[one]['annotations'][0]['result']
    tasks[one]['annotations'][0]['result'] = [r for r in result if 'keypoint' in r['type']]
    path.write_text(json.dumps(tasks))
    data = own_data(tmp_path)
    assert data.category == 'person' and not any('left out' in line for line in data.said)
    found = np.array(sorted(r for p in data.sets.values() for r in rows(p)[:, 4:].tolist()))
    wanted = np.array(sorted(rows(drawn[0])[:, 4:].tolist()))
    np.testing.assert_allclose(found, wanted, atol=0.011)
    boxes = [r for r in tasks[0]['annotations'][0]['result'] if r['type'] == 'rectanglelabels']
    value = boxes[0]['value']
    x, y, w, h = (value[k] for k in ('x', 'y', 'width', 'height'))
    value.update(x=x + w, width=h * 0.75, height=w / 0.75, rotation=90)  # the same rectangle
    path.write_text(json.dumps(tasks))
    first = [p['bbox'] for s in own_data(tmp_path).sets.values() for p in s['annotations']]
    before = [p['bbox'] for s in data.sets.values() for p in s['annotations']]
    np.testing.assert_allclose(sorted(first), sorted(before), atol=0.02)


def test_label_studio_with_pictures_of_one_name(tmp_path):
    for split, size in (('train', (200, 100)), ('val', (400, 300))):
        (folder := tmp_path / split).mkdir()
        tasks = []
        for name in ('0.jpg', '1.jpg'):
            PIL.Image.new('RGB', size).save(folder / name)
            value = dict(x=40, y=30, width=1, keypointlabels=['nose'])
            result = [dict(type='keypointlabels', value=value)]  # without a size
            tasks.append(dict(data=dict(img=name), annotations=[dict(result=result)]))
        (folder / 'labels.json').write_text(json.dumps(tasks))
    sets = own_data(tmp_path).sets
    points = [a['keypoints'] for s in ('train', 'val') for a in sets[s]['annotations']]
    assert points == [[80, 30, 2]] * 2 + [[160, 90, 2]] * 2


def test_people_outside_their_pictures(drawn, tmp_path):
    content = copied(drawn[0])
    copy_pictures(content, drawn[1], tmp_path)
    lost = content['annotations'][0]
    lost['bbox'] = [9000, 9000, 50, 50]
    lost['keypoints'] = [9010, 9010, 2] * 6
    data = own_data(written(tmp_path, content))
    people = [p for part in data.sets.values() for p in part['annotations']]
    assert len(people) == len(content['annotations']) - 1 and all(p['bbox'][2] for p in people)
    assert '1 of them left out all the same' in str(data.said)


def test_what_has_no_end_is_not_read(drawn, tmp_path):
    yolo(parts(drawn[0]), drawn[1], tmp_path / 'a')
    shutil.copy(tmp_path / 'a' / 'images' / 'train' / 'fish0001.jpg', tmp_path / 'x.jpg')
    (tmp_path / 'a' / 'images' / 'train' / '._fish0001.jpg').write_bytes(b'of macOS')
    same(own_data(tmp_path / 'a'), drawn[0], 0.011)
    os.mkfifo(tmp_path / 'a' / 'images' / 'train' / 'pipe.jpg')
    with pytest.raises(InputError, match='pipe.jpg cannot be read; take it out'):
        own_data(tmp_path / 'a')
    os.mkfifo(tmp_path / 'data.yaml')
    with pytest.raises(InputError, match='data.yaml is no file'):
        own_data(tmp_path)


def test_yolo_as_people_use_it(drawn, tmp_path):
    yolo(parts(drawn[0]), drawn[1], tmp_path / 'a', flip_idx=FLIP)
    deep = tmp_path / 'b'
    shutil.copytree(tmp_path / 'a', deep)
    for kind in ('images', 'labels'):
        (deep / kind / 'train' / 'inner').mkdir()
        for file in list((deep / kind / 'train').glob('fish000[1-4].*')):
            file.rename(file.parent / 'inner' / file.name)
    text = (deep / 'data.yaml').read_text()
    listing = [f'./images/val/{p.name}' for p in (deep / 'images' / 'val').iterdir()]
    (deep / 'val.txt').write_text('\n'.join([*listing, listing[0], './images/val/gone.jpg']))
    text = text.replace('train: images/train', 'train: /content/x/images/train')
    (deep / 'data.yaml').write_text(text.replace('val: images/val', 'val: val.txt'))
    data = own_data(deep)
    same(data, drawn[0], 0.011)
    assert 'nothing is there of 1 listed pictures of val: ./images/val/gone.jpg' in str(data.said)
    (deep / 'data.yaml').write_text(text.replace('val: images/val', 'val: ../valid/images'))
    said = str(own_data(deep).said)
    assert 'taken at random' in said and 'nothing is there of val: ../valid/images' in said
    (deep / 'data.yaml').rename(tmp_path / 'data.yaml')  # path leads to the data
    text = (tmp_path / 'data.yaml').read_text().replace('../valid/images', 'images/val')
    (tmp_path / 'data.yaml').write_text(text.replace('path: /content/datasets/a', 'path: b'))
    same(own_data(tmp_path / 'data.yaml'), drawn[0], 0.011)
    labels = tmp_path / 'a' / 'labels' / 'train' / 'fish0001.txt'
    row = labels.read_text().splitlines()[0].split()
    row[7] = '0.93'
    labels.write_text(' '.join(row))
    with pytest.raises(InputError, match='has the visibility 0.93; expected 0, 1 or 2'):
        own_data(tmp_path / 'a')
    bomb = 'a: &a [x]\nkpt_shape: *a'
    (tmp_path / 'a' / 'data.yaml').write_text(bomb)
    with pytest.raises(InputError, match='it has an alias'):
        own_data(tmp_path / 'a')


def test_pictures_that_cannot_be_read_and_boxes_that_reach_out(drawn, tmp_path):
    content = copied(drawn[0])
    copy_pictures(content, drawn[1], tmp_path)
    (tmp_path / content['images'][0]['file_name']).write_bytes(b'')
    wide = next(p for p in content['annotations'] if p['image_id'] == 3)
    wide.update(bbox=[-50, -50, 2000, 1500])
    wide.pop('area')
    data = own_data(written(tmp_path, content))
    assert '1 images that cannot be decoded' in '\n'.join(data.said)
    people = [p for part in data.sets.values() for p in part['annotations']]
    assert len(people) == sum(p['image_id'] != 1 for p in content['annotations'])
    assert max(p['area'] for p in people) == pytest.approx(0.53 * 480 * 360)


def tasks_of(*regions, width=100, height=100, file='a.jpg', **more):
    """A task of Label Studio: rectangles as (x, y, w, h, rotation), keypoints as (name, x, y)."""
    result = []
    for number, region in enumerate(regions):
        common = dict(id=f'r{number}', original_width=width, original_height=height)
        if isinstance(region[0], str):
            value = dict(x=region[1], y=region[2], width=1, keypointlabels=[region[0]])
            result.append(dict(common, type='keypointlabels', value=value))
        else:
            value = dict(zip(('x', 'y', 'width', 'height', 'rotation'), region, strict=True))
            value['rectanglelabels'] = ['mouse']
            result.append(dict(common, type='rectanglelabels', value=value))
    return dict(data=dict(image=file), annotations=[dict(result=result, **more)])


def mice(folder, *tasks):
    """The people that are read from tasks, each once, as dicts of the seen keypoints."""
    for name in ('a.jpg', 'b.jpg'):
        PIL.Image.new('RGB', (100, 100)).save(folder / name)
    other = tasks_of((10, 10, 50, 50, 0), ('nose', 20, 20), ('tail', 30, 30), file='b.jpg')
    (folder / 'ls.json').write_text(json.dumps([*tasks, other]))
    data = own_data(folder)
    found = []
    for content in data.sets.values():
        files = {image['id']: image['file_name'] for image in content['images']}
        for person in content['annotations']:
            if files[person['image_id']] == 'a.jpg':
                points = np.reshape(person['keypoints'], (-1, 3))
                names = data.skeleton.names
                found.append({n: (x, y) for n, (x, y, v) in zip(names, points, strict=True) if v})
    return sorted(found, key=str), data


def test_keypoints_go_to_the_animal_whose_rectangle_they_are_in(tmp_path):
    turned = tasks_of(
        (50, 10, 50, 20, 90), (60, 5, 35, 30, 0), ('nose', 40, 15), ('tail', 40, 55),
        ('nose', 70, 10), ('tail', 90, 30),
    )  # fmt: skip
    found, data = mice(tmp_path, turned)
    assert found == [dict(nose=(40, 15), tail=(40, 55)), dict(nose=(70, 10), tail=(90, 30))]
    assert 'left out' not in str(data.said)
    for noses in ((50, 70), (70, 50)):  # 50 is in both, 70 in the second alone
        crossing = tasks_of(
            (0, 0, 60, 50, 0), (40, 0, 40, 50, 0), *(('nose', x, 10) for x in noses)
        )
        found, _ = mice(tmp_path, crossing)
        assert found == [dict(nose=(50, 10)), dict(nose=(70, 10))]


def test_what_of_label_studio_is_left_out_is_said(tmp_path):
    first = tasks_of((0, 0, 50, 50, 0), ('nose', 5, 5), ground_truth=True)
    first['annotations'].append(tasks_of((0, 0, 50, 50, 0), ('nose', 9, 9))['annotations'][0])
    empty = (60, 60, 30, 30, 0)  # an animal without keypoints: the detector needs it
    first['annotations'][0]['result'] += tasks_of(empty)['annotations'][0]['result']
    found, data = mice(tmp_path, first, tasks_of(('nose', 1, 1), file='a.heic'))
    assert found == [dict(nose=(5, 5)), {}] or found == [{}, dict(nose=(5, 5))]
    said = str(data.said)
    assert '1 tasks name no picture of a known kind' in said
    assert '1 pictures have labels of several annotators; taken is the ground truth' in said


def test_pictures_of_another_folder_are_said(drawn, tmp_path):
    content = copied(drawn[0])
    copy_pictures(content, drawn[1], tmp_path / 'cam2')
    for image in content['images']:
        image['file_name'] = f'cam1/{image["file_name"]}'
    said = str(own_data(written(tmp_path, content)).said)
    assert (
        '10 pictures are found by their last names alone: cam1/fish0001.jpg is taken to be' in said
    )
    # A picture at the very path is that one, whatever else there is.
    for folder in ('cam1', 'old/cam1', 'cam2'):
        copy_pictures(drawn[0], drawn[1], tmp_path / folder)
    data = own_data(written(tmp_path, content))
    assert data.root == tmp_path / 'cam1' and 'last names' not in str(data.said)
    for name in ('A.jpg', 'a.jpg'):
        (tmp_path / name).touch()
    assert [Pictures(tmp_path).find(name) for name in ('A.jpg', 'a.jpg', 'a.JPG')] == [
        'A.jpg', 'a.jpg', None,
    ]  # fmt: skip


def test_left_and_right_that_nobody_knows_are_not_mirrored(drawn, tmp_path):
    yolo(parts(drawn[0]), drawn[1], tmp_path / 'a')
    data = own_data(tmp_path / 'a')
    assert not data.skeleton.mirrored and 'pictures are not mirrored' in str(data.said)
    yolo(parts(drawn[0]), drawn[1], tmp_path / 'b', flip_idx=FLIP)
    assert own_data(tmp_path / 'b').skeleton.mirrored
    content = copied(drawn[0])
    content['categories'][0]['keypoints'] = ['1', '2', '3', 'LEye', 'REye', 'ear1']  # no sides
    (tmp_path / 'c').mkdir()
    copy_pictures(content, drawn[1], tmp_path / 'c')
    data = own_data(written(tmp_path / 'c', content))
    assert not data.skeleton.mirrored and 'pictures are not mirrored' in str(data.said)


def test_the_category_that_is_labelled_is_read(drawn, tmp_path):
    content = copied(drawn[0])
    copy_pictures(content, drawn[1], tmp_path)
    cat = dict(id=7, name='cat', keypoints=['head', 'tail'], skeleton=[[1, 2]])
    content['categories'].insert(0, cat)
    crowd = dict(id=99, image_id=1, category_id=1, bbox=[0, 0, 9, 9], iscrowd=1, area=50)
    content['annotations'].append(dict(crowd, segmentation=dict(counts='x', size=[9, 9])))
    data = own_data(written(tmp_path, content))
    assert data.category == 'fish' and data.skeleton.limbs == [(a - 1, b - 1) for a, b in LIMBS]
    people = [p for part in data.sets.values() for p in part['annotations']]
    assert len(people) == len(drawn[0]['annotations']) + 1
    assert [p['num_keypoints'] for p in people if p['iscrowd']] == [0]
    for odd in (5, 'x', dict(content['annotations'][0], image_id=[])):
        other = dict(content, annotations=[*content['annotations'], odd])
        with pytest.raises(InputError, match='annotation .*; correct the file'):
            own_data(written(tmp_path, other))
    content['categories'][0] = dict(id=0, name='fish')  # two of one name, as Roboflow has them
    assert len(own_data(written(tmp_path, content)).skeleton.names) == 6
    for person in content['annotations']:
        person.pop('category_id')
    with pytest.raises(InputError, match='no annotation is of a category'):
        own_data(written(tmp_path, dict(content, categories=[])))


def test_copies_of_one_picture_are_in_one_set(drawn, tmp_path):
    content = copied(drawn[0])
    tripled = dict(content, images=[], annotations=[])
    for turn in range(3):
        for image in content['images']:
            stem = image['file_name'].removesuffix('.jpg')
            name = f'{stem}_jpg.rf.{turn}ab{image["id"]}.jpg'
            shutil.copy(drawn[1] / image['file_name'], tmp_path / name)
            tripled['images'].append({**image, 'id': image['id'] + 100 * turn, 'file_name': name})
        for person in content['annotations']:
            ids = dict(id=person['id'] + 100 * turn, image_id=person['image_id'] + 100 * turn)
            tripled['annotations'].append(person | ids)
    data = own_data(written(tmp_path, tripled))
    stems = [{i['file_name'][:8] for i in data.sets[s]['images']} for s in ('train', 'val')]
    assert not stems[0] & stems[1] and (len(stems[0]), len(stems[1])) == (8, 2)
    assert 'copies that Roboflow has made' in str(data.said)


def test_a_picture_in_a_file_of_no_set_and_in_one_of_a_set(drawn, tmp_path):
    copy_pictures(drawn[0], drawn[1], tmp_path)
    written(tmp_path, drawn[0], 'all.json')
    for split in ('train', 'val'):
        path = written(tmp_path, parts(drawn[0])[split], f'{split}.json')
        with pytest.raises(InputError, match='both have labels of the picture'):
            own_data(tmp_path)
        (tmp_path / f'{split}.json').unlink()
    assert path


@pytest.mark.parametrize(('names', 'category'), [('mouse', 'mouse'), ('[mouse]', 'mouse')])
def test_names_of_yolos_classes(drawn, tmp_path, names, category):
    yolo(parts(drawn[0]), drawn[1], tmp_path)
    text = (tmp_path / 'data.yaml').read_text().replace('names:\n  0: fish', f'names: {names}')
    (tmp_path / 'data.yaml').write_text(text)
    labels = next((tmp_path / 'labels' / 'train').iterdir())
    labels.write_text(labels.read_text() * 2)  # rows that are there twice count once
    data = own_data(tmp_path)
    assert data.category == category
    same(data, drawn[0], 0.011)
    for bad in ('1', '1.5', 'true', '[]'):
        (tmp_path / 'data.yaml').write_text(text.replace(f'names: {names}', f'names: {bad}'))
        with pytest.raises(InputError, match='expected the names of the classes'):
            own_data(tmp_path)


def test_keypoints_of_yolos_classes(drawn, tmp_path):
    yolo(parts(drawn[0]), drawn[1], tmp_path, kpt_names={0: list('abcdef'), 1: NAMES})
    text = (tmp_path / 'data.yaml').read_text()
    assert own_data(tmp_path).skeleton.names == list('abcdef')
    text = text.replace('  0: fish', '  0: crab\n  1: fish')
    (tmp_path / 'data.yaml').write_text(text)
    for labels in (tmp_path / 'labels').rglob('*.txt'):
        labels.write_text(re.sub('(?m)^0', '1', labels.read_text()))
    data = own_data(tmp_path)
    assert (data.category, data.skeleton.names) == ('fish', NAMES)
    (tmp_path / 'data.yaml').write_text(text.replace('images/train', 'images/' + 'train' * 99))
    with pytest.raises(InputError, match='only for val'):
        own_data(tmp_path)
