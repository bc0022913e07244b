"""Every fault in the data ends in one sentence before anything is built."""

from __future__ import annotations

import json

import pytest
from mmengine.config import Config

from mspn_plugin import InputError
from mspn_plugin.annotations.run_data import check_data

PERSON = dict(
    id=7, image_id=1, category_id=1, bbox=[1, 1, 5, 5], keypoints=[2, 2, 2] * 17, num_keypoints=17
)
IMAGE = dict(id=1, file_name='a.jpg', width=9, height=9)


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'train2017').mkdir()
    (tmp_path / 'train2017' / 'a.jpg').write_bytes(b'')
    write(tmp_path, annotations=[PERSON])
    return tmp_path


def write(root, **parts):
    content = dict(images=[IMAGE], annotations=[], categories=[dict(id=1)])
    (root / 'annotations' / 'train.json').write_text(json.dumps({**content, **parts}))


def config(root, **dataset):
    return Config(
        dict(
            model=dict(head=dict(num_keypoints=17)),
            train_dataloader=dict(
                dataset=dict(
                    type='RepeatDataset',
                    dataset=dict(
                        type='CocoDataset',
                        data_root=str(root),
                        ann_file='annotations/train.json',
                        data_prefix=dict(img='train2017/'),
                    )
                    | dataset,
                )
            ),
        )
    )


def test_good_data_passes(root):
    check_data(config(root), ('train', 'val'))


@pytest.mark.parametrize(
    ('parts', 'words'),
    [
        (dict(annotations=[{**PERSON, 'keypoints': [1, 2, 2] * 5}]), 'annotation 7 .* 15 keypoint'),
        (
            dict(annotations=[{k: v for k, v in PERSON.items() if k != 'keypoints'}]),
            'annotation 7 .* no keypoints',
        ),
        (dict(annotations=[{**PERSON, 'keypoints': [0] * 51}]), 'no person with a labelled'),
        (dict(annotations=[]), 'no person with a labelled'),
        (dict(annotations=[{**PERSON, 'keypoints': 5}]), 'annotation 7 .* no keypoints'),
        (dict(annotations=['x']), 'expected an object with id, image_id'),
        (dict(annotations=[{k: v for k, v in PERSON.items() if k != 'bbox'}]), 'lacks bbox'),
        (dict(images=[dict(id=1, file_name='a.jpg')]), 'lacks width'),
        (dict(images=[]), 'lists no images'),
        (dict(images='x'), 'not a COCO annotation file'),
        (dict(categories=[None]), 'category record 0 is null'),
        (dict(images=[dict(IMAGE, id='1')]), 'image "1" has the id "1"'),
        (dict(images=[dict(IMAGE, width=0)]), 'image 1 has the width 0'),
        (dict(images=[dict(IMAGE, file_name='../a.jpg')]), 'leaves the image folder'),
        (dict(annotations=[{**PERSON, 'bbox': [1, 2, 3]}]), 'annotation 7 has the bbox'),
        (dict(annotations=[{**PERSON, 'keypoints': [float('nan'), 2, 2] * 17}]), 'has NaN in'),
        (dict(annotations=[{**PERSON, 'keypoints': [2, 2, 3] * 17}]), 'the visibility 3'),
        (dict(annotations=[{**PERSON, 'image_id': '1'}]), 'the image_id "1"'),
    ],
)
def test_wrong_annotations(root, parts, words):
    write(root, **{'annotations': [PERSON], **parts})
    with pytest.raises(InputError, match=words) as caught:
        check_data(config(root), ('train',))
    assert 'train.json' in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text', ['', '{"images": [', '[1, 2]', '\x00', '[' * 100_000])
def test_files_that_are_not_coco_json(root, text):
    (root / 'annotations' / 'train.json').write_text(text)
    with pytest.raises(InputError, match='train.json'):
        check_data(config(root), ('train',))


def test_missing_things_are_named(root):
    with pytest.raises(InputError, match='data root .*nowhere does not exist.*--data-root'):
        check_data(config(root / 'nowhere'), ('train',))
    with pytest.raises(InputError, match='annotation file .*none.json does not exist'):
        check_data(config(root, ann_file='annotations/none.json'), ('train',))
    with pytest.raises(InputError, match='image folder .*images does not exist'):
        check_data(config(root, data_prefix=dict(img='images/')), ('train',))
    with pytest.raises(InputError, match='detected boxes .*boxes.json does not exist.*--gt-boxes'):
        check_data(config(root, bbox_file='boxes.json'), ('train',))
    with pytest.raises(InputError, match='detected boxes boxes.pkl is not named as JSON'):
        check_data(config(root, bbox_file='boxes.pkl'), ('train',))
    cfg = config(root)
    cfg.train_evaluator = dict(type='CocoMetric', ann_file='gone.pickle')
    with pytest.raises(InputError, match='gone.pickle is not named as JSON'):
        check_data(cfg, ('train',))
    cfg.train_evaluator = dict(type='CocoMetric', ann_file='gone.json')
    with pytest.raises(
        InputError, match='annotation file of the train_evaluator gone.json does not exist'
    ):
        check_data(cfg, ('train',))
    (root / 'train2017' / 'a.jpg').unlink()
    with pytest.raises(InputError, match='image .*a.jpg, the first one that .*train.json lists'):
        check_data(config(root), ('train',))


BOX = dict(image_id=1, category_id=1, bbox=[1, 2, 3, 4], score=0.5)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ({}, 'holds an object, not a list'),
        ([BOX, 'x'], 'entry 1: "x" is not an object'),
        ([BOX, dict(BOX, image_id='1')], 'entry 1'),
        ([dict(BOX, bbox=[1, 2, 3])], 'entry 0'),
        ([dict(BOX, bbox=[1, 2, 3, float('nan')])], 'entry 0'),
        ([dict(BOX, score=None)], 'entry 0'),
        ([dict(BOX, score=1.5)], 'entry 0'),
        ([dict(BOX, bbox=[0, 0, 0, 0], category_id=3)], 'entry 0'),
        ([[[[BOX] * 2] * 2] * 2], 'entry 0'),
    ],
)
def test_files_of_boxes(root, content, words):
    path = root / 'boxes.json'
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words) as caught:
        check_data(config(root, bbox_file=str(path)), ('train',))
    assert 'boxes.json' in str(caught.value)
    path.write_text(json.dumps([BOX, dict(BOX, bbox=[0, 0, 1, 1], category_id=3)]))
    check_data(config(root, bbox_file=str(path)), ('train',))
