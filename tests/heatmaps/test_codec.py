import pickle

import numpy as np
import pytest
import torch
from mmpose.registry import KEYPOINT_CODECS, TRANSFORMS

import mspn_plugin  # noqa: F401

CODEC = dict(type='MultiLevelHeatmap', input_size=(96, 128), heatmap_size=(24, 32))


def test_encode_then_render_then_decode_returns_to_the_same_cell():
    codec = KEYPOINT_CODECS.build(CODEC)
    rng = np.random.default_rng(1)
    joints = rng.uniform([12, 12], [83, 115], (1, 40, 2))  # blurs stay inside
    encoded = codec.encode(joints, np.ones((1, 40)))
    maps = codec.renderer()(*(torch.from_numpy(value) for value in encoded.values()), 4)
    keypoints, scores = codec.batch_decode(maps)
    assert keypoints[0].shape == (1, 40, 2) and scores[0].shape == (1, 40)
    assert np.abs(keypoints[0] - joints).max() <= 4  # a cell is 4 pixels
    assert np.abs(scores[0] - 1.5).max() < 1e-3
    single = codec.decode(maps[0].numpy())
    assert all(map(np.array_equal, single, (keypoints[0], scores[0])))


@pytest.mark.parametrize('weighted', [False, True])
def test_a_sample_of_the_pipeline_carries_coordinates_not_heatmaps(weighted):
    sample = dict(img=np.zeros((128, 96, 3), np.uint8), keypoints=np.full((1, 17, 2), 40, 'f4'))
    sample |= dict(keypoints_visible=np.ones((1, 17), 'f4'))
    sample |= dict(dataset_keypoint_weights=np.arange(17, dtype='f4'))
    target = dict(type='GenerateTarget', encoder=CODEC, use_dataset_keypoint_weights=weighted)
    for step in (target, dict(type='PackPoseInputs')):
        sample = TRANSFORMS.build(step)(sample)
    labels = sample['data_samples'].gt_instance_labels
    assert labels.keypoint_cells.tolist() == [[[10, 10]] * 17]
    assert labels.keypoint_weights.tolist() == [list(range(17)) if weighted else [1] * 17]
    assert 'gt_fields' not in sample['data_samples']
    assert len(pickle.dumps(sample['data_samples'])) < 5000


def test_wrong_settings_are_explained():
    for change, words in (
        (dict(kernel_sizes=(15, 10)), 'odd'),
        (dict(kernel_sizes=()), 'empty'),
        (dict(decode_kernel_size=4), 'odd'),
        (dict(heatmap_size=(0, 32)), 'at least 2'),
        (dict(refine='dark'), 'second_peak'),
    ):
        with pytest.raises(ValueError, match=words):
            KEYPOINT_CODECS.build({**CODEC, **change})
