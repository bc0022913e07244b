"""The original's pipelines from end to end: what reaches the model."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmpose.apis import inference_topdown
from mmpose.registry import DATASETS

CODEC = dict(type='MultiLevelHeatmap', input_size=(48, 64), heatmap_size=(12, 16))
CROP = dict(type='TopdownAffine', input_size=(48, 64))
PACK = dict(type='PackPoseInputs', pack_transformed=True)
TRAIN = [
    dict(type='LoadImage'),
    dict(type='RawAnnotation'),
    dict(type='BoxMargins', width=1.05, height=1.05, width_extra=0.6, height_extra=0.8),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='HalfBodyBox', upper_body_ids=list(range(13))),
    dict(type='UniformBoxTransform'),
    CROP,
    dict(type='GenerateTarget', encoder=CODEC),
    PACK,
]
TEST = [dict(type='LoadImage'), dict(type='BoxMargins', width=1.09, height=1.135), CROP, PACK]
FLIPPED = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


@pytest.fixture
def dataset(coco2014):
    np.random.seed(3)
    places = dict(data_root=str(coco2014), ann_file='gt_json/train_val_minus_minival_2014.json')
    return DATASETS.build(dict(places, type='Coco2014Dataset', pipeline=TRAIN))


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
    assert flips == {True, False} and weights == {0, 1, 2}
    assert len(boxes) == 15 * len(dataset)


def test_the_crop_shows_the_joints_where_the_labels_say(dataset):
    """A white cross at a joint of a black image: flip, box and rotation agree on the place."""
    errors = []
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
        rows, columns = np.mgrid[:64, :48]
        place = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
        found = data.gt_instances.transformed_keypoints[0, index]
        if np.all((found > 3) & (found < [44, 60])):
            errors.append(np.abs(place - found).max())
    assert len(errors) > 5 and max(errors) < 0.75


def test_boxes_of_any_origin_pass_the_test_pipeline(dataset):
    """MMPose's inference gives the pipeline an image and a box, of any number type."""
    model = SimpleNamespace(
        cfg=Config(dict(test_dataloader=dict(dataset=dict(pipeline=TEST)))),
        dataset_meta=dataset.metainfo,
        test_step=lambda batch: batch['data_samples'],
    )
    image = np.zeros((90, 120, 3), np.uint8)
    for boxes in ([[10, 20, 30, 70]], np.array([[10, 20, 30, 70]], np.float64)):
        (sample,) = inference_topdown(model, image, boxes)
        height = 50 * 1.135  # the width, 20 * 1.09, is too short for 3:4 and grows
        assert np.allclose(sample.gt_instances.bbox_scales, [[height * 0.75, height]])
        assert np.allclose(sample.input_center, [20, 45])
