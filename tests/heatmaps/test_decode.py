"""Both decoders against independent loops, map by map."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mspn_plugin.heatmaps import decode_heatmaps


def second_peak(heatmap: np.ndarray, kernel: int) -> tuple[float, float, float]:
    """The original's decoder for one map: x and y in cells plus the half cell, and the score."""
    height, width = heatmap.shape
    border = 10
    wide = np.zeros((height + 2 * border, width + 2 * border))
    wide[border:-border, border:-border] = heatmap
    wide = cv2.GaussianBlur(wide, (kernel, kernel), 0)
    y, x = np.unravel_index(wide.argmax(), wide.shape)
    wide[y, x] = 0
    y2, x2 = np.unravel_index(wide.argmax(), wide.shape)
    distance = np.hypot(x2 - x, y2 - y)
    x, y = x - border + 0.25 * (x2 - x) / distance, y - border + 0.25 * (y2 - y) / distance
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    return x + 0.5, y + 0.5, heatmap[round(y), round(x)] / 255 + 0.5


def gradient_sign(heatmap: np.ndarray, kernel: int) -> tuple[float, float, float]:
    """MMPose's decoder for one map, with the half cell added at borders as well."""
    height, width = heatmap.shape
    padded = np.pad(heatmap, kernel // 2)
    radius = kernel // 2
    blurred = cv2.GaussianBlur(padded, (kernel, kernel), 0)[radius:-radius, radius:-radius]
    y, x = np.unravel_index(blurred.argmax(), blurred.shape)
    dx = dy = 0.0
    if 1 < x < width - 1 and 1 < y < height - 1:
        dx = 0.25 * np.sign(blurred[y, x + 1] - blurred[y, x - 1])
        dy = 0.25 * np.sign(blurred[y + 1, x] - blurred[y - 1, x])
    return x + dx + 0.5, y + dy + 0.5, heatmap.max() / 255 + 0.5


def bumpy_maps(num: int, height: int, width: int) -> np.ndarray:
    """Peaks anywhere, also at borders, on a noisy ground that goes below zero."""
    rng = np.random.default_rng(0)
    maps = rng.normal(0, 6, (num, height, width))
    ys, xs = np.mgrid[:height, :width]
    for heatmap in maps:
        x, y = rng.uniform(-0.5, width - 0.5), rng.uniform(-0.5, height - 0.5)
        heatmap += 230 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * rng.uniform(1, 3) ** 2))
    return maps.astype(np.float32)


@pytest.mark.parametrize('kernel', [5, 9])
@pytest.mark.parametrize('reference', [second_peak, gradient_sign])
def test_decoders_equal_loops(reference, kernel):
    maps = bumpy_maps(300, 32, 24)
    cells, scores = decode_heatmaps(
        torch.from_numpy(maps).view(20, 15, 32, 24), kernel, refine=reference.__name__
    )
    expected = np.array([reference(heatmap.astype(np.float64), kernel) for heatmap in maps])
    assert np.abs(cells.view(-1, 2).numpy() - expected[:, :2]).max() < 1e-4
    assert np.abs(scores.view(-1).numpy() - expected[:, 2]).max() < 1e-4


@pytest.mark.parametrize('refine', ['second_peak', 'gradient_sign'])
def test_empty_and_negative_maps_give_finite_positions_inside(refine):
    maps = torch.stack([torch.zeros(16, 12), torch.full((16, 12), -40.0)])[None]
    cells, scores = decode_heatmaps(maps, 5, refine=refine)
    assert torch.isfinite(cells).all() and torch.isfinite(scores).all()
    assert (cells >= 0).all() and (cells <= torch.tensor([12, 16])).all()
    assert scores[0, 0] == 0.5


def test_gradient_sign_equals_mmpose_inside_the_map():
    from mmpose.codecs import MegviiHeatmap

    stock = MegviiHeatmap((96, 128), (24, 32), 5)
    maps = bumpy_maps(200, 32, 24)
    keypoints, scores = stock.decode(maps)
    cells, ours = decode_heatmaps(torch.from_numpy(maps)[None], 5, refine='gradient_sign')
    peak = np.floor(cells[0].numpy())
    inside = ((peak > 1) & (peak < [23, 31])).all(axis=1)
    assert 100 < inside.sum() < 200
    assert np.abs(cells[0].numpy() * 4 - keypoints[0])[inside].max() < 1e-4
    assert np.abs(ours[0].numpy() - scores[0]).max() < 1e-5


def test_unknown_refinement_is_an_error_that_names_the_choice():
    with pytest.raises(ValueError, match='second_peak, gradient_sign'):
        decode_heatmaps(torch.zeros(1, 1, 8, 8), 5, refine='taylor')


@pytest.mark.parametrize('refine', ['second_peak', 'gradient_sign'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_maps_that_are_not_finite_are_flagged_and_harm_no_other(refine, value):
    maps = torch.rand(2, 3, 16, 12) * 200
    expected, expected_scores = decode_heatmaps(maps, 5, refine=refine)
    maps[0, 1, 7, 5] = value
    maps[1, 2] = value
    position, score = decode_heatmaps(maps, 5, refine=refine)
    bad = torch.tensor([[0, 1, 0], [0, 0, 1]], dtype=torch.bool)
    assert (score[bad] == 0).all() and (position[bad] == 0.5).all()
    assert torch.equal(position[~bad], expected[~bad])
    assert torch.equal(score[~bad], expected_scores[~bad])
    assert (score[~bad] >= 0.5).all()


@pytest.mark.parametrize('refine', ['second_peak', 'gradient_sign'])
def test_minus_infinity_counts_as_the_lowest_number(refine):
    maps = torch.from_numpy(bumpy_maps(60, 32, 24))
    # In one row of cells after the other, at the peaks too.
    places = [(i, i % 32, i % 24) for i in range(60)]
    peaks = maps.flatten(1).argmax(1)
    places += [(i, int(peaks[i]) // 24, (int(peaks[i]) + 1) % 24) for i in range(0, 60, 3)]
    low = maps.clone()
    for place in places:
        maps[place] = -torch.inf
        low[place] = -1e30
    expected, expected_scores = decode_heatmaps(low[None], 5, refine=refine)
    position, score = decode_heatmaps(maps[None], 5, refine=refine)
    # Neighbours that are both infinite do not say which is the lower one.
    assert (position - expected).abs().max() <= (0.25 if refine == 'gradient_sign' else 0)
    assert torch.equal(score, expected_scores)
    nothing = decode_heatmaps(torch.full((1, 1, 32, 24), -torch.inf), 5, refine=refine)
    assert (nothing[0] == 0.5).all() and nothing[1] == 0
