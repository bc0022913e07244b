"""Differences stop the benchmark, and peaks that cannot be compared are left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.compare import (
    CheckFailed,
    clear_peaks,
    same_keypoints,
    same_numbers,
)


def test_numbers():
    wanted = np.array([0.0, 100.0])
    same_numbers('x', wanted, wanted + 0.09, tolerance=1e-3)
    with pytest.raises(CheckFailed, match=r'x: .* differ by 0\.002 of the range'):
        same_numbers('x', wanted, torch.tensor([0.0, 100.2]), tolerance=1e-3)
    with pytest.raises(CheckFailed, match='nan'):
        same_numbers('x', wanted, wanted * np.nan, tolerance=1e-3)
    with pytest.raises(CheckFailed, match='shape'):
        same_numbers('x', wanted, wanted[:1], tolerance=1e-3)


def test_keypoints():
    stock = np.zeros((1, 2, 2))
    ours = stock + [[[0, 0.01], [0, 7]]]
    assert same_keypoints('x', stock, ours, np.array([[True, False]])) == 1
    with pytest.raises(CheckFailed, match='1 of 2 keypoints differ, by up to 7'):
        same_keypoints('x', stock, ours, np.array([[True, True]]))
    with pytest.raises(CheckFailed, match='no heatmap'):
        same_keypoints('x', stock, ours, np.array([[False, False]]))


def test_clear_peaks():
    maps = torch.zeros(1, 5, 12, 9)
    maps[0, :, 4, 4] = 100
    maps[0, :, 4, 5] = maps[0, :, 5, 4] = 30  # a slope in x and in y
    maps[0, 1, 8, 4] = 100 - 0.01  # as high
    maps[0, 2] = maps[0, 0].roll(-3, dims=1)  # one cell from the border
    maps[0, 3, 4, 3] = 30  # no slope in x
    maps[0, 4] = 0
    assert clear_peaks(maps).tolist() == [[True, False, False, False, False]]
