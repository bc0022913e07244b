"""The data sets of the original MSPN recipe are checked before anything is built, too."""

from __future__ import annotations

import json

import pytest
from mmengine.config import Config

from mspn_plugin import InputError
from mspn_plugin.annotations.run_data import check_data

IMAGES = [
    dict(id=1, file_name='COCO_train2014_000000000001.jpg', width=9, height=9),
    dict(id=42, file_name='COCO_val2014_000000000042.jpg', width=9, height=9),
]
PERSON = dict(id=7, image_id=1, category_id=1, bbox=[1, 1, 5, 5], keypoints=[2, 2, 2] * 17)
MPII_PERSON = dict(
    image='000000001.jpg', center=[5, 5], scale=1.0, joints=[[1, 2]] * 16, joints_vis=[1] * 16
)


def config(num_keypoints=17, **dataset):
    return Config(
        dict(
            model=dict(head=dict(num_keypoints=num_keypoints)),
            train_dataloader=dict(dataset=dataset),
        )
    )


@pytest.fixture
def root(tmp_path):
    for folder in ('gt_json', 'train2014', 'val2014', 'annotations', 'images'):
        (tmp_path / folder).mkdir()
    content = dict(images=IMAGES, annotations=[PERSON], categories=[dict(id=1)])
    (tmp_path / 'gt_json' / 'train.json').write_text(json.dumps(content))
    for image in IMAGES:
        name = image['file_name']
        (tmp_path / name.split('_')[1] / name).write_bytes(b'')
    (tmp_path / 'annotations' / 'mpii.json').write_text(json.dumps([MPII_PERSON]))
    (tmp_path / 'images' / '000000001.jpg').write_bytes(b'')
    return tmp_path


def coco2014(root, **settings):
    good = dict(type='Coco2014Dataset', data_root=str(root), ann_file='gt_json/train.json')
    return config(**{**good, **settings})


def mpii(root, num_keypoints=16, **settings):
    good = dict(
        type='MegviiMpiiDataset',
        data_root=str(root),
        ann_file='annotations/mpii.json',
        data_prefix=dict(img='images/'),
    )
    return config(num_keypoints, **{**good, **settings})


def fails(cfg, words):
    with pytest.raises(InputError, match=words) as caught:
        check_data(cfg, ('train',))
    assert '\n' not in str(caught.value)


def test_good_data_passes(root):
    check_data(coco2014(root), ('train',))
    check_data(mpii(root), ('train',))


def test_names_of_2014_may_have_their_folder(root):
    path = root / 'gt_json' / 'train.json'
    path.write_text(path.read_text().replace('COCO_val2014', 'val2014/COCO_val2014'))
    check_data(coco2014(root), ('train',))


def test_both_image_folders_of_2014_are_looked_for(root):
    (root / 'val2014' / IMAGES[1]['file_name']).unlink()
    fails(coco2014(root), 'image .*val2014/COCO_val2014_000000000042.jpg, the first one')
    (root / 'val2014').rmdir()
    fails(coco2014(root), 'image folder .*val2014 does not exist.* --data-root')
    images = dict(img='images/')
    fails(coco2014(root, data_prefix=images), 'image folder .*images/train2014 does not exist')


def test_missing_files_of_2014_are_named_with_the_tool_that_makes_them(root):
    fails(coco2014(root / 'none'), 'data root .*none does not exist')
    fails(
        coco2014(root, ann_file='gt_json/x.json'),
        r'x\.json does not exist.*tools/make_coco2014_split\.py makes gt_json/',
    )
    fails(coco2014(root, bbox_file='d.json'), 'detected boxes d.json .*det_json.*--gt-boxes')
    (root / 'gt_json' / 'train.json').write_text('{}')
    fails(coco2014(root), 'not a COCO annotation file')


def test_missing_files_of_mpii_are_named(root):
    fails(mpii(root / 'none'), 'data root .*none does not exist')
    fails(mpii(root, ann_file='annotations/x.json'), 'annotation file .*x.json does not exist')
    fails(mpii(root, data_prefix=dict(img='none/')), 'image folder .*none does not exist')
    fails(mpii(root, headbox_file='heads.mat'), 'head boxes heads.mat does not exist; put')
    (root / 'images' / '000000001.jpg').unlink()
    fails(mpii(root), 'image .*000000001.jpg, the first one that .*mpii.json lists')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ([], 'no annotation file of MPII; expected a list'),
        (dict(images=[]), 'no annotation file of MPII'),
        (['x'], 'person 0 in .*mpii.json lacks .*expected an object with image, center, scale'),
        ([MPII_PERSON, {'image': 'a.jpg'}], 'person 1 .* lacks center, scale, joints, joints_vis'),
        ([{**MPII_PERSON, 'joints': 5}], 'joints or joints_vis that are no lists'),
        ([{**MPII_PERSON, 'joints': [[1, 2]] * 15}], '15 joints and 16 joints_vis; .* predicts 16'),
        ([{**MPII_PERSON, 'joints_vis': [1] * 3}], '16 joints and 3 joints_vis'),
    ],
)
def test_wrong_annotations_of_mpii(root, content, words):
    (root / 'annotations' / 'mpii.json').write_text(json.dumps(content))
    fails(mpii(root), words)


def test_broken_json_and_another_number_of_joints(root):
    fails(mpii(root, num_keypoints=17), "16 joints .* predicts 17 keypoints.* head's num_keypoints")
    (root / 'annotations' / 'mpii.json').write_text('[{')
    fails(mpii(root), 'cannot be read as JSON .* MPII')
