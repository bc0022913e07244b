"""Both decoders against independent loops, map by map, with OpenCV's blur and with torch's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from mmpose.codecs import MegviiHeatmap
from torch._subclasses import FakeTensorMode

from mspn_plugin.heatmaps import decode, decode_heatmaps


@pytest.fixture(autouse=True, params=['opencv', 'torch'])
def _path(request, monkeypatch):
    """Every test goes the way of a CPU, and on a CPU the way of all other devices."""
    if request.param == 'torch':
        monkeypatch.setattr(decode, '_search_with_opencv', decode.search_with_torch)


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
    distance = np.hypot(x2 - x, y2 - y) or 1  # nothing above zero: the original's is NaN
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


@pytest.mark.parametrize('size', [(64, 48), (31, 24), (6, 5), (2, 40), (1, 7), (1, 1)])
@pytest.mark.parametrize('reference', [second_peak, gradient_sign])
@pytest.mark.parametrize('kernel', [3, 5, 9, 11])
def test_hard_maps_of_any_size_give_the_same_cells(size, reference, kernel):
    """No clear peak, several, none above zero, or a lit cell that a hill surpasses once blurred."""
    rng = np.random.default_rng(7)
    narrow = bumpy_maps(8, *size)
    narrow[:, rng.integers(size[0]), rng.integers(size[1])] = 260
    several = sum(np.roll(bumpy_maps(8, *size), shift, axis=2) for shift in (0, 7, 13))
    kinds = [narrow, several, rng.normal(0, 1, (8, *size)), -rng.uniform(1, 2, (8, *size))]
    maps = np.concatenate(kinds).astype(np.float32)
    cells, _ = decode_heatmaps(torch.from_numpy(maps)[None], kernel, refine=reference.__name__)
    expected = np.array([reference(heatmap.astype(np.float64), kernel)[:2] for heatmap in maps])
    assert np.abs(cells[0].numpy() - expected).max() < 1e-4


def test_the_first_of_equal_cells_counts():
    maps = torch.zeros(1, 3, 16, 12)
    maps[0, 0, ::15, ::11] = 128
    maps[0, 1, 4:12, 4:8] = 128
    cells, _ = decode_heatmaps(maps, 5, refine='gradient_sign')
    assert cells[0, 0].tolist() == [0.5, 0.5]
    assert cells[0, 2].tolist() == [0.5, 0.5]
    assert (cells[0, 1] - 6.5).abs().max() <= 0.75


@pytest.mark.parametrize('refine', decode.REFINEMENTS)
@pytest.mark.parametrize('shape', [(0, 17), (2, 0)])
def test_no_maps_have_no_peaks(refine, shape):
    cells, scores = decode_heatmaps(torch.zeros(*shape, 16, 12), 5, refine=refine)
    assert cells.shape == (*shape, 2) and scores.shape == shape


def test_an_export_that_fails_harms_no_later_call():
    maps = torch.from_numpy(bumpy_maps(4, 20, 12))[None]
    with FakeTensorMode() as fake, pytest.raises(RuntimeError):
        decode_heatmaps(fake.from_tensor(maps), 3)[0].numpy()
    assert decode_heatmaps(maps, 3)[1].isfinite().all()


@pytest.mark.parametrize('refine', decode.REFINEMENTS)
def test_empty_and_negative_maps_give_finite_positions_inside(refine):
    maps = torch.stack([torch.zeros(16, 12), torch.full((16, 12), -40.0)])[None]
    cells, scores = decode_heatmaps(maps, 5, refine=refine)
    assert torch.isfinite(cells).all() and torch.isfinite(scores).all()
    assert (cells >= 0).all() and (cells <= torch.tensor([12, 16])).all()
    assert scores[0, 0] == 0.5


def test_gradient_sign_equals_mmpose_inside_the_map():
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


@pytest.mark.parametrize('refine', decode.REFINEMENTS)
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


@pytest.mark.parametrize('refine', decode.REFINEMENTS)
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
    far = torch.ones(len(maps), dtype=torch.bool)  # where no infinity is near the peak
    for index, y, x in places:
        far[index] &= bool((expected[0, index] - torch.tensor([x, y])).abs().max() > 5)
    assert 20 < far.sum() < 50
    assert torch.equal(position[0, far], expected[0, far])
    # Neighbours that are both infinite do not say which is the lower one.
    assert (position - expected).abs().max() <= (0.25 if refine == 'gradient_sign' else 0)
    assert torch.equal(score, expected_scores)
    nothing = decode_heatmaps(torch.full((1, 1, 32, 24), -torch.inf), 5, refine=refine)
    assert (nothing[0] == 0.5).all() and nothing[1] == 0


def test_a_peak_between_infinities_stays_in_its_middle():
    maps = torch.full((1, 1, 32, 24), -torch.inf)
    maps[..., 8:13] = 0
    maps[..., 10] = 100
    maps[..., 20, 10] = 200
    position, score = decode_heatmaps(maps, 5, refine='gradient_sign')
    assert position.flatten().tolist() == [10.5, 20.5] and score > 1


@pytest.mark.parametrize('refine', decode.REFINEMENTS)
def test_what_is_default_elsewhere_does_not_matter(refine):
    maps = torch.from_numpy(bumpy_maps(34, 64, 48)).view(2, 17, 64, 48)
    expected = decode_heatmaps(maps, 5, refine=refine)
    torch.set_default_dtype(torch.float64)
    try:
        other_type = decode_heatmaps(maps, 5, refine=refine)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device('meta'):
        other_device = decode_heatmaps(maps, 5, refine=refine)
    for position, score in (other_type, other_device):
        assert position.dtype == score.dtype == torch.float32
        torch.testing.assert_close(position, expected[0])
        torch.testing.assert_close(score, expected[1])


@pytest.mark.parametrize('layout', ['channels last', 'slice', 'half', 'double', 'gradient'])
def test_maps_of_any_layout_and_type(layout):
    maps = torch.from_numpy(bumpy_maps(12, 32, 24)).view(3, 4, 32, 24).half().float()
    expected = decode_heatmaps(maps, 5)
    other = {
        'channels last': maps.contiguous(memory_format=torch.channels_last),
        'slice': torch.nn.functional.pad(maps, [1, 2, 3, 1])[..., 3:-1, 1:-2],
        'half': maps.half(),
        'double': maps.double(),
        'gradient': maps.clone().requires_grad_(),
    }[layout]
    found = decode_heatmaps(other, 5)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize('kernel', [0, 4, -5])
def test_a_kernel_that_is_not_odd_is_an_error(kernel):
    with pytest.raises(ValueError, match=f'kernel_size is {kernel}, expected an odd number'):
        decode_heatmaps(torch.zeros(1, 1, 8, 8), kernel)
