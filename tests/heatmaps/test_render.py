"""Targets against the published recipe, written again here joint by joint."""

import pickle

import cv2
import numpy as np
import pytest
import torch
from mmpose.registry import KEYPOINT_CODECS, TRANSFORMS

from mspn_plugin.heatmaps import HeatmapRenderer, MultiLevelHeatmap

KERNELS = (15, 11, 9, 7, 5)
CODEC = dict(type='MultiLevelHeatmap', input_size=(96, 128), heatmap_size=(24, 32))


def reference_heatmaps(joints, visible, input_size, heatmap_size, kernel: int) -> np.ndarray:
    """The recipe: one lit cell, OpenCV's blur, the maximum scaled to 255."""
    maps = np.zeros((len(joints), heatmap_size[1], heatmap_size[0]), np.float32)
    for joint, seen, heatmap in zip(joints, visible, maps, strict=True):
        if seen == 0 or (joint < 0).any() or (joint > np.array(input_size) - 1).any():
            continue
        column, row = (joint * heatmap_size / input_size).astype(int)
        heatmap[row, column] = 1
        heatmap[:] = cv2.GaussianBlur(heatmap, (kernel, kernel), 0)
        heatmap /= heatmap.max() / 255
    return maps


@pytest.mark.parametrize('heatmap_size', [(48, 64), (72, 96)])
def test_targets_equal_the_recipe_at_random_positions_and_in_border_cells(heatmap_size):
    input_size, rng = tuple(4 * side for side in heatmap_size), np.random.default_rng(0)
    near = np.array([0, 1, 2, 6, 7, 8])
    columns, rows = ([*near, *(side - 1 - near)] for side in heatmap_size)
    border = np.array([[4 * x + 1.5, 4 * y + 2.5] for x in columns for y in rows])
    joints = np.concatenate([border, rng.uniform(-0.1, 1.1, (200, 2)) * input_size])
    visible = np.concatenate([np.ones(len(border)), rng.integers(0, 3, 200)])
    codec = MultiLevelHeatmap(input_size, heatmap_size)
    labels = [torch.from_numpy(v) for v in codec.encode(joints[None], visible[None]).values()]
    for level, kernel in enumerate(KERNELS):
        ours = codec.renderer()(*labels, level)[0]
        theirs = reference_heatmaps(joints, visible, input_size, heatmap_size, kernel)
        assert np.abs(ours.numpy() - theirs).max() < 1e-3
        assert ours[: len(border)].amax(dim=(1, 2)).sub(255).abs().max() < 1e-3
        assert theirs[len(border) :].any()


def test_outermost_positions_joints_without_a_label_and_wrong_settings():
    codec = MultiLevelHeatmap((192, 256), (48, 64))
    joints = np.array([[0, 0], [191, 255], [191.01, 10], [10, 255.01], [-0.01, 10], [10, -0.01]])
    weights = codec.encode(joints[None], np.ones((1, 6)))['keypoint_weights']
    assert weights.tolist() == [[1, 1, 0, 0, 0, 0]]
    renderer = HeatmapRenderer((12, 16), (5,))
    assert not renderer.state_dict()  # its tables stay out of checkpoints
    cells = torch.tensor([[[0.0, 0.0], [1e6, -1e6], [3.0, 4.0]]])
    maps = renderer(cells, torch.tensor([[0.0, 0.0, 1.0]]), 0)
    assert not maps[0, :2].any() and maps[0, 2, 4, 3] == 255
    for change, words in (
        (dict(kernel_sizes=(15, 10)), 'odd'),
        (dict(kernel_sizes=()), 'empty'),
        (dict(decode_kernel_size=4), 'odd'),
        (dict(heatmap_size=(0, 32)), 'at least 2'),
        (dict(refine='dark'), 'second_peak'),
    ):
        with pytest.raises(ValueError, match=words):
            KEYPOINT_CODECS.build({**CODEC, **change})


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


def test_exact_targets_lead_back_to_the_keypoint_itself():
    codec = KEYPOINT_CODECS.build({**CODEC, 'exact': True, 'refine': 'parabola'})
    joints = np.random.default_rng(2).uniform([4, 4], [91, 123], (1, 300, 2))
    encoded = codec.encode(joints, np.append(np.ones((1, 299)), [[0]], axis=1))
    labels = [torch.from_numpy(value) for value in encoded.values()]
    for level, kernel in enumerate(KERNELS):
        maps = codec.renderer()(*labels, level)
        assert not maps[0, 299].any() and 200 < maps[0, :299].amax(dim=(1, 2)).min() < 255
        found = codec.batch_decode(maps)[0][0]
        inside = ((joints > 14) & (joints < [82, 114])).all(axis=-1)[0, :299]
        assert np.abs(found - joints)[0, :299][inside].max() < 0.35  # pixels; a cell is 4
        # As wide as those of the recipe.
        middle = torch.tensor([[[12.5, 16.5]]]), torch.ones(1, 1)
        apart = codec.renderer()(*middle, level) - HeatmapRenderer((24, 32), KERNELS)(
            *middle, level
        )
        assert apart.abs().max() < 20, kernel


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
