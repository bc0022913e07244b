"""Every fault in the data of a run ends in one sentence before anything is built."""

import json
from contextlib import nullcontext
from functools import partial

import pytest
from mmengine.config import Config

from mspn_plugin import InputError
from mspn_plugin.annotations.run_data import check_data

IMAGE = dict(id=1, file_name='a.jpg', width=9, height=9)
NAMES_2014 = {1: 'COCO_train2014_000000000001.jpg', 42: 'COCO_val2014_000000000042.jpg'}
IMAGES_2014 = [dict(IMAGE, id=i, file_name=name) for i, name in NAMES_2014.items()]
PERSON = dict(id=7, image_id=1, category_id=1, bbox=[1, 1, 5, 5], keypoints=[2, 2, 2] * 17)
MPII = dict(image='1.jpg', center=[5, 5], scale=1.0, joints=[[1, 2]] * 16, joints_vis=[1] * 16)
BOX = dict(image_id=1, category_id=1, bbox=[1, 2, 3, 4], score=0.5)


@pytest.fixture
def root(tmp_path):
    for folder in ('annotations', 'gt_json', 'train2017', 'train2014', 'val2014', 'images'):
        (tmp_path / folder).mkdir()
    for name in ('train2017/a.jpg', 'images/1.jpg', *map(place_2014, IMAGES_2014)):
        (tmp_path / name).write_bytes(b'')
    write(tmp_path / 'annotations/train.json')
    write(tmp_path / 'gt_json/train.json', images=IMAGES_2014)
    (tmp_path / 'annotations/mpii.json').write_text(json.dumps([MPII]))
    return tmp_path


def place_2014(image):
    return f'{image["file_name"].split("_")[1]}/{image["file_name"]}'


def write(path, **parts):
    content = dict(images=[IMAGE], annotations=[PERSON], categories=[dict(id=1)])
    path.write_text(json.dumps({**content, **parts}))


def config(num_keypoints, kind, file, prefix, root, **changes):
    good = dict(type=kind, data_root=str(root), ann_file=file, data_prefix=dict(img=prefix))
    dataset = dict(type='RepeatDataset', dataset={**good, **changes})
    model = dict(head=dict(num_keypoints=num_keypoints))
    return Config(dict(model=model, train_dataloader=dict(dataset=dataset)))


coco = partial(config, 17, 'CocoDataset', 'annotations/train.json', 'train2017/')
coco2014 = partial(config, 17, 'Coco2014Dataset', 'gt_json/train.json', '')
mpii = partial(config, 16, 'MegviiMpiiDataset', 'annotations/mpii.json', 'images/')


def fails(cfg, words):
    with pytest.raises(InputError, match=rf'\A.*{words}.*\Z'):  # on one line
        check_data(cfg, ('train',))


def test_good_data_passes_and_names_of_2014_may_have_their_folder(root, monkeypatch):
    for make in (coco, coco2014, mpii):
        check_data(make(root), ('train', 'val'))
    images = [dict(image, file_name=place_2014(image)) for image in IMAGES_2014]
    write(root / 'gt_json/train.json', images=images)
    check_data(coco2014(root), ('train',))
    stops = pytest.raises(InputError, match='does not exist')
    for rank, end in (('1', nullcontext()), ('0', stops)):
        monkeypatch.setenv('RANK', rank)  # torchrun's first process checks for all
        with end:
            check_data(coco(root / 'nowhere'), ('train',))


def test_wrong_annotations(root):
    for parts, words in (
        (dict(keypoints=[1, 2, 2] * 5), "annotation 7 .* 15 keypoint.* head's num_keypoints"),
        (dict(keypoints=[0] * 51), 'no person with a labelled'),
        (dict(keypoints=5), 'annotation 7 .* no keypoints'),
        (dict(image_id='1'), 'the image_id "1"'),
    ):
        write(root / 'annotations/train.json', annotations=[{**PERSON, **parts}])
        fails(coco(root), f'train.json.*{words}')


def test_missing_files_are_named_with_the_remedy(root):
    for make, changes, words in (
        (coco, dict(data_root='nowhere'), 'data root nowhere does not exist.*--data-root'),
        (coco, dict(ann_file='none.json'), 'annotation file .*none.json does not exist'),
        (coco, dict(data_prefix=dict(img='x/')), 'image folder .*x does not exist'),
        (coco, dict(bbox_file='b.json'), 'detected boxes b.json does not exist.*--gt-boxes'),
        (coco, dict(bbox_file='b.pkl'), 'detected boxes b.pkl is not named as JSON'),
        (coco2014, dict(data_root='none'), 'data root none does not exist'),
        (coco2014, dict(ann_file='x.json'), r'x\.json does not exist.*split\.py makes gt_json/'),
        (coco2014, dict(bbox_file='d.json'), 'detected boxes d.json .*det_json.*--gt-boxes'),
        (coco2014, dict(data_prefix=dict(img='x/')), 'image folder .*x/train2014 does not exist'),
        (mpii, dict(data_root='none'), 'data root none does not exist'),
        (mpii, dict(ann_file='x.json'), 'annotation file .*x.json does not exist'),
        (mpii, dict(data_prefix=dict(img='none/')), 'image folder .*none does not exist'),
        (mpii, dict(headbox_file='heads.mat'), 'head boxes heads.mat does not exist; put'),
    ):
        fails(make(root, **changes), words)
    cfg = coco(root)
    for name, words in (('gone.pickle', 'is not named as JSON'), ('gone.json', 'does not exist')):
        cfg.train_evaluator = dict(type='CocoMetric', ann_file=name)
        fails(cfg, f'annotation file of the train_evaluator {name} {words}')


def test_missing_images_are_named(root):
    (root / place_2014(IMAGES_2014[1])).unlink()
    fails(coco2014(root), 'image .*val2014/COCO_val2014_000000000042.jpg, the first one')
    (root / 'val2014').rmdir()
    fails(coco2014(root), 'image folder .*val2014 does not exist.* --data-root')
    for make, name, file in ((coco, 'train2017/a.jpg', 'train'), (mpii, 'images/1.jpg', 'mpii')):
        (root / name).unlink()
        fails(make(root), f'image .*{name}, the first one that .*{file}.json lists')


def test_files_of_boxes(root):
    path, empty = root / 'boxes.json', [dict(BOX, bbox=[0, 0, 0, 0], category_id=3)]
    for content, words in (({}, 'holds an object, not a list'), (empty, 'entry 0')):
        path.write_text(json.dumps(content))
        fails(coco(root, bbox_file=str(path)), f'boxes.json.*{words}')
    path.write_text(json.dumps([BOX, dict(BOX, category_id=3)]))
    check_data(coco(root, bbox_file=str(path)), ('train',))


def test_wrong_annotations_of_mpii(root):
    for content, words in (
        ([], 'no annotation file of MPII; expected a list'),
        (dict(images=[]), 'no annotation file of MPII'),
        (['x'], 'person 0 in .*mpii.json lacks .*expected an object with image, center, scale'),
        ([MPII, {'image': 'a.jpg'}], 'person 1 .* lacks center, scale, joints, joints_vis'),
        ([{**MPII, 'joints': 5}], 'joints or joints_vis that are no lists'),
        ([{**MPII, 'joints': [[1, 2]] * 15}], '15 joints and 16 joints_vis; .* predicts 16'),
        ([{**MPII, 'joints_vis': [1] * 3}], '16 joints and 3 joints_vis'),
    ):
        (root / 'annotations/mpii.json').write_text(json.dumps(content))
        fails(mpii(root), words)
    (root / 'annotations/mpii.json').write_text(json.dumps([MPII]))
    cfg = mpii(root)
    cfg.model.head.num_keypoints = 17
    fails(cfg, "the 16 keypoints of MegviiMpiiDataset, but the head's num_keypoints is 17")
    (root / 'annotations/mpii.json').write_text('[{')
    fails(mpii(root), 'cannot be read as JSON .* MPII')
    (root / 'gt_json/train.json').write_text('{}')
    fails(coco2014(root), 'not a COCO annotation file')
