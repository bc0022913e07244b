"""Our steps against MMPose's: the same seed gives the same sample, and each image is read once."""

import copy
import json
from pathlib import Path

import cv2
import mmpose
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner
from mmpose.registry import DATASETS, TRANSFORMS
from scipy.stats import kstest, truncnorm

from mspn_plugin import get_config

STOCK = Path(mmpose.__file__).parent / '.mim/configs/body_2d_keypoint/topdown_heatmap/coco'
CONFIGS = dict(
    stock=STOCK / 'td-hm_2xmspn50_8xb32-210e_coco-256x192.py',
    ours=get_config('mspn50-2stg_8xb32-210e_coco-256x192'),
)


def loader_config(side, root, part):
    cfg = Config.fromfile(CONFIGS[side])[f'{part}_dataloader']
    cfg.dataset.update(data_root=str(root), data_prefix=dict(img=f'{part}2017/'), bbox_file=None)
    cfg.dataset.ann_file = f'annotations/person_keypoints_{part}2017.json'
    cfg.update(num_workers=0, persistent_workers=False, batch_size=3)
    return cfg


def datasets(root, part):
    return [DATASETS.build(loader_config(side, root, part).dataset) for side in CONFIGS]


def assert_same(a, b):
    assert set(a) == set(b)
    for key, value in a.items():
        assert np.array_equal(np.asarray(value), np.asarray(b[key])), key


def check_same(root, part):
    stock, ours = datasets(root, part)
    assert len(stock) == len(ours)
    flips = set()
    for index in range(min(40, len(stock))):
        wanted, found = (np.random.seed(index) or dataset[index] for dataset in (stock, ours))
        assert torch.equal(wanted['inputs'], found['inputs'])
        wanted, found = wanted['data_samples'], found['data_samples']
        assert_same(dict(wanted.gt_instances.items()), dict(found.gt_instances.items()))
        assert_same(*({**each.metainfo, 'raw_ann_info': None} for each in (wanted, found)))
        flips.add(found.get('flip'))
    return flips


@pytest.mark.parametrize('data', ['people', 'real_data'])
def test_a_seed_gives_mmposes_sample_pixel_for_pixel(data, request):
    root = request.getfixturevalue(data)
    assert check_same(root, 'train') == {True, False}
    check_same(root, 'val')


def test_truncated_normal_is_scipys_and_is_one():
    transform = TRANSFORMS.build(dict(type='FastBBoxTransform'))
    np.random.seed(3)
    wanted = truncnorm.rvs(-1.0, 1.0, size=(1, 5000)).astype(np.float32)
    state = np.random.get_state()[2]
    np.random.seed(3)
    found = transform._truncnorm(size=(1, 5000))
    assert np.random.get_state()[2] == state  # as many numbers drawn
    assert np.allclose(found, wanted, atol=1e-6) and found.dtype == np.float32
    assert kstest(found.ravel(), truncnorm(-1, 1).cdf).pvalue > 1e-4


def test_a_flipped_image_is_cropped_as_its_copy():
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    kinds = ('FastTopdownAffine', 'TopdownAffine')
    crop, stock = (TRANSFORMS.build(dict(type=kind, input_size=(48, 64))) for kind in kinds)

    def cropped(step, pixels):
        center, scale = np.array([[[40, 50]], [[60, 70]]], np.float32)
        box = dict(bbox_center=center, bbox_scale=scale, bbox_rotation=np.array([25.0]))
        return step.transform(dict(box, img=pixels))['img']

    wanted = cropped(stock, np.ascontiguousarray(image[:, ::-1]))
    assert np.array_equal(cropped(crop, image[:, ::-1]), wanted)
    assert not np.array_equal(cropped(crop, image), wanted)
    for view in (image[::-1, ::-1], image[::2, ::-2]):
        assert np.array_equal(cropped(crop, view), cropped(stock, view))


@pytest.fixture
def count_decodes(monkeypatch):
    decoded, original = [], cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: decoded.append(1) or original(*args))
    return decoded


def test_evaluation_decodes_each_image_once(people, count_decodes):
    loader = Runner.build_dataloader(loader_config('ours', people, 'val'), seed=0)
    ids = [s.img_id for batch in loader for s in batch['data_samples']]
    assert len(ids) > len(set(ids)) == len(count_decodes)


def test_boxes_of_one_image_follow_one_another(people, tmp_path):
    cfg = loader_config('ours', people, 'val').dataset
    content = json.loads((people / 'annotations/person_keypoints_val2017.json').read_text())
    images, box = [image['id'] for image in content['images']], dict(category_id=1, score=0.5)
    boxes = [dict(box, image_id=images[i % len(images)], bbox=[i, 1, 20, 30]) for i in range(6)]
    cfg.bbox_file = str(tmp_path / 'boxes.json')
    Path(cfg.bbox_file).write_text(json.dumps(boxes))
    dataset = DATASETS.build(cfg)
    records = [dataset.get_data_info(i) for i in range(6)]
    assert sorted(record['id'] for record in records) == list(range(6))
    assert [record['bbox'][0, 0] for record in records] == [record['id'] for record in records]
    changes = sum(a['img_id'] != b['img_id'] for a, b in zip(records, records[1:], strict=False))
    assert changes == len(images) - 1 > 0


def test_a_kept_image_is_read_only_and_a_new_file_is_read_again(tmp_path, count_decodes):
    path = tmp_path / 'image.png'
    load = TRANSFORMS.build(dict(type='LoadPersonImage', keep=True))
    cv2.imwrite(str(path), np.zeros((8, 9, 3), np.uint8))
    first = load.transform(dict(img_path=str(path)))
    with pytest.raises(ValueError, match='read-only'):
        first['img'][0] = 1
    again = load.transform(dict(img_path=str(path)))
    assert again['img'] is first['img'] and again['ori_shape'] == (8, 9)
    assert len(count_decodes) == 1
    cv2.imwrite(str(path), np.full((5, 6, 3), 7, np.uint8))
    assert load.transform(dict(img_path=str(path)))['img'].tolist() == [[[7] * 3] * 6] * 5
    given = np.ones((3, 4, 3), np.uint8)
    assert load.transform(dict(img=given))['img'] is given
    with pytest.raises(FileNotFoundError, match='absent'):
        load.transform(dict(img_path=str(tmp_path / 'absent.jpg')))


def test_a_batch_holds_three_pieces_of_memory_and_the_same_values(people):
    ours = datasets(people, 'train')[1]
    samples = [ours[i] for i in range(3)]
    wanted = copy.deepcopy(samples)
    batch = FUNCTIONS.get('collate_people')(samples)
    labels = [sample.gt_instance_labels for sample in batch['data_samples']]
    for key in ('keypoint_cells', 'keypoint_weights'):
        assert len({label[key].untyped_storage().data_ptr() for label in labels}) == 1
        for label, sample in zip(labels, wanted, strict=True):
            assert torch.equal(label[key], sample['data_samples'].gt_instance_labels[key])
    assert torch.equal(batch['inputs'], torch.stack([sample['inputs'] for sample in wanted]))
    # Samples of a pipeline without labels.
    empty = FUNCTIONS.get('collate_people')([datasets(people, 'val')[1][0]])
    assert empty['inputs'].shape[0] == len(empty['data_samples']) == 1


def test_training_samples_carry_no_annotation_but_evaluation_does(people):
    train, test = (datasets(people, part)[1][0]['data_samples'] for part in ('train', 'val'))
    assert 'raw_ann_info' not in train and 'segmentation' not in test.raw_ann_info
    assert {'keypoints', 'bbox', 'area', 'id', 'image_id'} <= test.raw_ann_info.keys()
