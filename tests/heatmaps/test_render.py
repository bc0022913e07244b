"""Targets against the published recipe, written again here joint by joint."""

import cv2
import numpy as np
import pytest
import torch

from mspn_plugin.heatmaps import HeatmapRenderer, MultiLevelHeatmap

KERNELS = (15, 11, 9, 7, 5)


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


def rendered(codec: MultiLevelHeatmap, joints: np.ndarray, visible: np.ndarray) -> torch.Tensor:
    encoded = codec.encode(joints[None], visible[None])
    cells, weights = (torch.from_numpy(encoded[f'keypoint_{k}']) for k in ('cells', 'weights'))
    renderer = codec.renderer()
    return torch.stack([renderer(cells, weights, level)[0] for level in range(codec.num_levels)])


@pytest.mark.parametrize('heatmap_size', [(48, 64), (72, 96)])
def test_targets_equal_the_recipe_at_random_positions_and_in_border_cells(heatmap_size):
    input_size, rng = tuple(4 * side for side in heatmap_size), np.random.default_rng(0)
    near = np.array([0, 1, 2, 6, 7, 8])
    columns, rows = ([*near, *(side - 1 - near)] for side in heatmap_size)
    border = np.array([[4 * x + 1.5, 4 * y + 2.5] for x in columns for y in rows])
    joints = np.concatenate([border, rng.uniform(-0.1, 1.1, (200, 2)) * input_size])
    visible = np.concatenate([np.ones(len(border)), rng.integers(0, 3, 200)])
    ours = rendered(MultiLevelHeatmap(input_size, heatmap_size), joints, visible)
    for level, kernel in enumerate(KERNELS):
        theirs = reference_heatmaps(joints, visible, input_size, heatmap_size, kernel)
        assert np.abs(ours[level].numpy() - theirs).max() < 1e-3
        assert ours[level][: len(border)].amax(dim=(1, 2)).sub(255).abs().max() < 1e-3
        assert theirs[len(border) :].any()


def test_outermost_positions_and_joints_without_a_label():
    codec = MultiLevelHeatmap((192, 256), (48, 64))
    joints = np.array([[0, 0], [191, 255], [191.01, 10], [10, 255.01], [-0.01, 10], [10, -0.01]])
    weights = codec.encode(joints[None], np.ones((1, 6)))['keypoint_weights']
    assert weights.tolist() == [[1, 1, 0, 0, 0, 0]]
    renderer = HeatmapRenderer((12, 16), (5,))
    assert not renderer.state_dict()  # its tables stay out of checkpoints
    cells = torch.tensor([[[0.0, 0.0], [1e6, -1e6], [3.0, 4.0]]])
    maps = renderer(cells, torch.tensor([[0.0, 0.0, 1.0]]), 0)
    assert not maps[0, :2].any() and maps[0, 2, 4, 3] == 255
