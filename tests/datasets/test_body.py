"""Data sets of people against MMPose's; the original's folders, labels and pipelines to the end."""

import json
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmpose.apis import inference_topdown
from mmpose.evaluation.metrics import MpiiPCKAccuracy
from mmpose.registry import DATASETS
from scipy.io import savemat

from mspn_plugin import InputError
from mspn_plugin.datasets import body as module

TRAINING, MINIVAL = 'gt_json/train_val_minus_minival_2014.json', 'gt_json/minival_2014.json'
WIDTH, HEIGHT = 120, 90


def _person(rng, person_id, image_id):
    visible = rng.integers(0, 3, 17)
    visible[rng.permutation(17)[:3]] = 0, 1, 2
    joints = rng.integers([2, 2], [WIDTH - 2, HEIGHT - 2], (17, 2)) * (visible > 0)[:, None]
    box = [*rng.uniform(-5, 30, 2), *rng.uniform(70, 110, 2)]  # goes beyond the image
    keypoints, count = np.column_stack([joints, visible]).ravel().tolist(), int((visible > 0).sum())
    place = dict(id=person_id, image_id=image_id, category_id=1, bbox=box, area=2000.0, iscrowd=0)
    return dict(place, keypoints=keypoints, num_keypoints=count)


@pytest.fixture
def coco2014(tmp_path):
    root, rng = tmp_path / 'coco2014', np.random.default_rng(1)
    for folder in ('gt_json', 'det_json', 'train2014', 'val2014'):
        (root / folder).mkdir(parents=True)
    for name, numbers in ((TRAINING, (1, 2, 42)), (MINIVAL, (43, 44))):
        images, people = [], []
        for number in numbers:
            folder = 'train2014' if number < 3 else 'val2014'
            file = f'COCO_{folder}_{number:012}.jpg'
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            cv2.imwrite(str(root / folder / file), pixels)
            images.append(dict(id=number, file_name=file, width=WIDTH, height=HEIGHT))
            people += [_person(rng, 2 * number + i, number) for i in (0, 1)]
        content = dict(images=images, annotations=people, categories=[dict(id=1, name='person')])
        (root / name).write_text(json.dumps(content))
    return root


BOXES = [
    dict(image_id=image, category_id=category, bbox=[image / 8, 2, 30, 40], score=image / 1000)
    for image, category in ((44, 1), (1, 1), (43, 18), (43, 1), (999, 3))
]


def build(root, ann_file, **settings):
    places = dict(data_root=str(root), ann_file=str(ann_file))
    return DATASETS.build(dict(type='Coco2014Dataset', **places, **settings))


def stock_records(root, ann_file, **settings):
    content = json.loads((root / ann_file).read_text())
    for image in content['images']:
        image['file_name'] = f'{image["file_name"].split("_")[1]}/{image["file_name"]}'
    (path := root / 'gt_json' / 'with_folders.json').write_text(json.dumps(content))
    settings.update(ann_file=str(path), data_prefix=dict(img=str(root)))
    return records(DATASETS.build(dict(type='CocoDataset', **settings)))


def assert_same(ours, stock):
    for a, b in zip(ours, stock, strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - {'sample_idx'}:
            assert np.array_equal(a[key], b[key]), key
            assert getattr(a[key], 'dtype', None) == getattr(b[key], 'dtype', None), key


def records(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


@pytest.mark.parametrize('data_mode', ['topdown', 'bottomup'])
def test_training_reads_both_folders(coco2014, data_mode):
    ours = records(build(coco2014, TRAINING, data_mode=data_mode))
    stock = stock_records(coco2014, TRAINING, data_mode=data_mode)
    for record in stock if data_mode == 'topdown' else ():
        del record['segmentation']  # nobody needs the outlines
    assert_same(ours, stock)
    assert {Path(record['img_path']).parent.name for record in ours} == {'train2014', 'val2014'}
    assert all(Path(record['img_path']).is_file() for record in ours)
    # Names that have a folder stay as they are.
    spelt_out = coco2014 / 'gt_json' / 'with_folders.json'
    assert_same(records(build(coco2014, spelt_out, data_mode=data_mode)), ours)


def test_images_may_lie_one_folder_deeper(coco2014):
    (coco2014 / 'images').mkdir()
    for name in ('train2014', 'val2014'):
        (coco2014 / name).rename(coco2014 / 'images' / name)
    dataset = build(coco2014, TRAINING, data_prefix=dict(img='images/'))
    paths = {record['img_path'] for record in records(dataset)}
    assert len(paths) == 3 and all(Path(path).is_file() and '/images/' in path for path in paths)


def build_with_boxes(root, boxes):
    path = root / 'det_json' / 'boxes.json'
    path.write_text(json.dumps(boxes))
    return path, build(root, MINIVAL, bbox_file=str(path), test_mode=True)


def test_detections_of_other_images_and_categories_are_left_out(coco2014, monkeypatch):
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda text, *_: lines.append(text))
    path, ours = build_with_boxes(coco2014, BOXES)
    assert [record['img_id'] for record in records(ours)] == [44, 43]
    assert all(Path(record['img_path']).is_file() for record in records(ours))
    (line,) = lines
    assert '2 people; left out: 1 boxes of images' in line and '2 of other categories' in line

    # What is left is as MMPose reads it, where it can.
    path.write_text(json.dumps([BOXES[0], BOXES[3]]))
    stock = stock_records(coco2014, MINIVAL, bbox_file=str(path), test_mode=True)
    assert_same(records(ours), stock)


def test_useless_detections_are_explained(coco2014):
    for boxes, words in (
        (BOXES[1:3], 'the 2 boxes .* are 1 boxes of images .* and 1 of other categories; give'),
        ([], 'the 0 boxes'),
        ([dict(image_id=1)], 'entry 0: category_id is missing'),
    ):
        with pytest.raises(InputError, match=words) as caught:
            build_with_boxes(coco2014, boxes)
        assert str(coco2014 / 'det_json' / 'boxes.json') in str(caught.value)


@pytest.fixture
def mpii(tmp_path):
    rng, people = np.random.default_rng(0), []
    for index in range(3):
        visible = np.arange(16) != index
        joints = np.where(visible[:, None], rng.uniform(20, 200, (16, 2)), -1).tolist()
        labels = dict(joints=joints, joints_vis=visible.astype(int).tolist())
        people.append(dict(labels, image=f'{index:09}.jpg', center=[100.0, 120.0], scale=1.5))
    (tmp_path / 'mpii.json').write_text(json.dumps(people))
    savemat(tmp_path / 'mpii_gt_val.mat', dict(headboxes_src=rng.uniform(0, 50, (2, 2, 3))))
    return tmp_path


def build_mpii(root, kind='MegviiMpiiDataset', **settings):
    places = dict(data_root=str(root), ann_file='mpii.json', data_prefix=dict(img='images/'))
    return records(DATASETS.build(dict(type=kind, **places, **settings)))


def test_training_joints_count_from_0_and_are_visible(mpii):
    ours, stock = build_mpii(mpii), build_mpii(mpii, 'MpiiDataset')
    assert len(ours) == 3
    for index, record in enumerate(stock):
        record['keypoints'] = record['keypoints'] - np.float32(1)
        record['keypoints_visible'] = np.where(np.arange(16) == index, np.float32(0), 2)[None]
    assert_same(ours, stock)


def test_a_model_that_learnt_the_training_labels_scores_100(mpii):
    metric = MpiiPCKAccuracy(thr=0.001, norm_item='head')
    truth = build_mpii(mpii, test_mode=True, headbox_file=str(mpii / 'mpii_gt_val.mat'))
    for learnt, true in zip(build_mpii(mpii), truth, strict=True):
        metric.process([{}], [dict(gt_instances=true, pred_instances=learnt)])
    assert metric.evaluate(3)['PCK'] == pytest.approx(100)


CODEC = dict(type='MultiLevelHeatmap', input_size=(48, 64), heatmap_size=(12, 16))
CROP = dict(type='TopdownAffine', input_size=(48, 64))
PACK = dict(type='PackPoseInputs', pack_transformed=True)
TRAIN = [
    *(dict(type='LoadImage'), dict(type='RawAnnotation')),
    dict(type='BoxMargins', width=1.05, height=1.05, width_extra=0.6, height_extra=0.8),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='HalfBodyBox', upper_body_ids=list(range(13))),
    dict(type='UniformBoxTransform'),
    *(CROP, dict(type='GenerateTarget', encoder=CODEC), PACK),
]
TEST = [dict(type='LoadImage'), dict(type='BoxMargins', width=1.09, height=1.135), CROP, PACK]
FLIPPED = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


@pytest.fixture
def dataset(coco2014):
    np.random.seed(3)
    return build(coco2014, TRAINING, pipeline=TRAIN)


def test_visibility_reaches_the_labels_unless_the_joint_is_outside(dataset):
    flips, weights, boxes = set(), set(), set()
    for sample in [dataset[i] for _ in range(15) for i in range(len(dataset))]:
        assert sample['inputs'].shape == (3, 64, 48)
        data = sample['data_samples']
        visible = np.reshape(data.raw_ann_info['keypoints'], (17, 3))[:, 2]
        if data.flip:
            visible = visible[FLIPPED]
        joints = data.gt_instances.transformed_keypoints[0]
        inside = np.all((joints >= 0) & (joints <= [47, 63]), axis=1)
        labels = data.gt_instance_labels
        assert labels.keypoint_weights.tolist() == [np.where(inside, visible, 0).tolist()]
        learnt = labels.keypoint_weights[0].numpy() > 0
        assert np.allclose(labels.keypoint_cells[0].numpy()[learnt], joints[learnt] / 4, atol=1e-4)
        assert data.gt_instances.keypoints_visible.tolist() == [visible.tolist()]
        flips.add(data.flip)
        weights |= set(labels.keypoint_weights.unique().tolist())
        boxes.add(tuple(data.gt_instances.bbox_scales[0].tolist()))
    assert flips == {True, False} and weights == {0, 1, 2} and len(boxes) == 15 * len(dataset)


def test_the_crop_shows_the_joints_where_the_labels_say(dataset):
    errors = []  # of the place of a white cross at a joint of a black image
    for _ in range(40):
        record = dataset.get_data_info(0)
        joint = int(np.flatnonzero(record['keypoints_visible'][0])[0])
        x, y = record['keypoints'][0, joint].astype(int)
        image = np.zeros((90, 120, 3), np.uint8)
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
        sample = dataset.pipeline({**record, 'img': image})
        data = sample['data_samples']
        index = FLIPPED[joint] if data.flip else joint
        if data.gt_instance_labels.keypoint_weights[0, index] == 0:
            continue
        light = sample['inputs'][0].numpy().astype(float)
        place = (np.mgrid[:64, :48][::-1] * light).sum((1, 2)) / light.sum()
        found = data.gt_instances.transformed_keypoints[0, index]
        if np.all((found > 3) & (found < [44, 60])):
            errors.append(np.abs(place - found).max())
    assert len(errors) > 5 and max(errors) < 0.75


def test_boxes_of_any_origin_pass_the_test_pipeline(dataset):
    model = SimpleNamespace(dataset_meta=dataset.metainfo, test_step=itemgetter('data_samples'))
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=TEST))))
    image = np.zeros((90, 120, 3), np.uint8)
    for boxes in ([[10, 20, 30, 70]], np.array([[10, 20, 30, 70]], np.float64)):
        (sample,) = inference_topdown(model, image, boxes)
        height = 50 * 1.135  # the width, 20 * 1.09, is too short for 3:4 and grows
        assert np.allclose(sample.gt_instances.bbox_scales, [[height * 0.75, height]])
        assert np.allclose(sample.input_center, [20, 45])
