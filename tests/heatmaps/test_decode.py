"""The decoders against independent loops, map by map, with OpenCV's blur and with torch's."""

import cv2
import numpy as np
import pytest
import torch
from mmpose.codecs import MegviiHeatmap
from torch._subclasses import FakeTensorMode

from mspn_plugin.heatmaps import decode, decode_heatmaps

every = pytest.mark.parametrize('refine', decode.REFINEMENTS)


@pytest.fixture(autouse=True, params=['opencv', 'torch'])
def _path(request, monkeypatch):
    if request.param == 'torch':
        monkeypatch.setattr(decode, '_search_with_opencv', decode.search_with_torch)


def second_peak(heatmap: np.ndarray, kernel: int) -> tuple[float, float, float]:
    """The original's decoder for one map: x and y in cells plus the half cell, and the score."""
    height, width = heatmap.shape
    border = 10
    wide = cv2.GaussianBlur(np.pad(heatmap, border), (kernel, kernel), 0)
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
    radius = kernel // 2
    blurred = cv2.GaussianBlur(np.pad(heatmap, radius), (kernel, kernel), 0)
    blurred = blurred[radius:-radius, radius:-radius]
    y, x = np.unravel_index(blurred.argmax(), blurred.shape)
    dx = dy = 0.0
    if 1 < x < width - 1 and 1 < y < height - 1:
        dx = 0.25 * np.sign(blurred[y, x + 1] - blurred[y, x - 1])
        dy = 0.25 * np.sign(blurred[y + 1, x] - blurred[y - 1, x])
    return x + dx + 0.5, y + dy + 0.5, heatmap.max() / 255 + 0.5


def parabola(heatmap: np.ndarray, kernel: int) -> tuple[float, float, float]:
    """The highest cell, and NumPy's fit through it and its neighbours."""
    radius = kernel // 2
    blurred = cv2.GaussianBlur(np.pad(heatmap, radius), (kernel, kernel), 0)
    blurred = blurred[radius:-radius, radius:-radius]
    place = [int(v) for v in np.unravel_index(blurred.argmax(), blurred.shape)]
    found = [float(v) for v in place]
    for axis, at in enumerate(place):
        line = np.take(blurred, place[1 - axis], axis=1 - axis)
        if 0 < at < len(line) - 1:
            two, one, _ = np.polyfit([-1, 0, 1], line[at - 1 : at + 2], 2)
            found[axis] += -one / (2 * two)
    return found[1] + 0.5, found[0] + 0.5, heatmap.max() / 255 + 0.5


def bumpy_maps(num: int, height: int, width: int) -> np.ndarray:
    """Peaks anywhere, also at borders, on a noisy ground that goes below zero."""
    rng, (ys, xs) = np.random.default_rng(0), np.mgrid[:height, :width]
    maps = rng.normal(0, 6, (num, height, width))
    for heatmap in maps:
        x, y = rng.uniform(-0.5, width - 0.5), rng.uniform(-0.5, height - 0.5)
        heatmap += 230 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * rng.uniform(1, 3) ** 2))
    return maps.astype(np.float32)


@pytest.mark.parametrize('size', [(32, 24), (31, 24), (6, 5), (2, 40), (1, 7), (1, 1)])
@pytest.mark.parametrize('reference', [second_peak, gradient_sign, parabola])
@pytest.mark.parametrize('kernel', [3, 5, 9, 11])
def test_decoders_equal_loops(size, reference, kernel):
    """One peak, several, none, nothing above zero, a lit cell that blurs below a hill."""
    rng = np.random.default_rng(7)
    narrow = bumpy_maps(20, *size)
    narrow[:, rng.integers(size[0]), rng.integers(size[1])] = 260
    several = sum(np.roll(bumpy_maps(20, *size), shift, axis=2) for shift in (0, 7, 13))
    noise, below = rng.normal(0, 1, (20, *size)), -rng.uniform(1, 2, (20, *size))
    maps = np.float32([*bumpy_maps(300, *size), *narrow, *several, *noise, *below])
    batch = torch.from_numpy(maps).view(20, 19, *size)
    cells, scores = decode_heatmaps(batch, kernel, refine=reference.__name__)
    expected = np.array([reference(heatmap.astype(np.float64), kernel) for heatmap in maps])
    assert np.abs(cells.view(-1, 2).numpy() - expected[:, :2]).max() < 1e-4
    assert np.abs(scores.view(-1).numpy() - expected[:, 2]).max() < 1e-4


@every
def test_maps_without_a_peak(refine):
    maps = torch.zeros(1, 3, 16, 12)
    maps[0, 1] = -40
    maps[0, 2, ::15, ::11] = 128
    cells, scores = decode_heatmaps(maps, 5, refine=refine)
    assert scores.isfinite().all() and scores[0, 0] == 0.5
    assert ((cells >= 0) & (cells <= torch.tensor([12, 16]))).all()
    if refine != 'second_peak':
        assert (cells == 0.5)[0, [0, 2]].all()
    for shape in ((0, 17), (2, 0)):
        cells, scores = decode_heatmaps(torch.zeros(*shape, 16, 12), 5, refine=refine)
        assert cells.shape == (*shape, 2) and scores.shape == shape


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


@every
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_maps_that_are_not_finite_are_flagged_and_harm_no_other(refine, value):
    maps = torch.rand(2, 3, 16, 12) * 200
    expected, expected_scores = decode_heatmaps(maps, 5, refine=refine)
    maps[0, 1, 7, 5] = maps[1, 2] = value
    position, score = decode_heatmaps(maps, 5, refine=refine)
    bad = torch.tensor([[0, 1, 0], [0, 0, 1]], dtype=torch.bool)
    expected[bad], expected_scores[bad] = 0.5, 0
    assert torch.equal(position, expected) and torch.equal(score, expected_scores)
    assert (score[~bad] >= 0.5).all()


@every
def test_minus_infinity_counts_as_the_lowest_number(refine):
    maps = torch.from_numpy(bumpy_maps(60, 32, 24))
    peaks = maps.flatten(1).argmax(1).tolist()
    places = [(i, i % 32, i % 24) for i in range(60)]  # and at the peaks too
    places += [(i, peaks[i] // 24, (peaks[i] + 1) % 24) for i in range(0, 60, 3)]
    low = maps.clone()
    for place in places:
        maps[place], low[place] = -torch.inf, -1e30
    expected, expected_scores = decode_heatmaps(low[None], 5, refine=refine)
    position, score = decode_heatmaps(maps[None], 5, refine=refine)
    assert torch.equal(score, expected_scores)
    # Neighbours that are both infinite do not say which is the lower one.
    apart = dict(second_peak=0, gradient_sign=0.25, parabola=0.5)[refine]
    assert (position - expected).abs().max() <= apart
    far = [(expected[0, i] - torch.tensor([x, y])).abs().max() > 5 for i, y, x in places]
    far = torch.tensor([far[i] and (i % 3 or far[60 + i // 3]) for i in range(60)])
    assert 20 < far.sum() < 50 and torch.equal(position[0, far], expected[0, far])
    nothing = decode_heatmaps(torch.full((1, 1, 32, 24), -torch.inf), 5, refine=refine)
    assert (nothing[0] == 0.5).all() and nothing[1] == 0


@every
def test_what_is_default_elsewhere_does_not_matter(refine):
    maps = torch.from_numpy(bumpy_maps(34, 64, 48)).view(2, 17, 64, 48)
    expected = decode_heatmaps(maps, 5, refine=refine)
    with torch.device('meta'):
        other_device = decode_heatmaps(maps, 5, refine=refine)
    torch.set_default_dtype(torch.float64)
    try:
        other_type = decode_heatmaps(maps, 5, refine=refine)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close([*other_type, *other_device], [*expected, *expected])


def test_maps_of_any_layout_and_type():
    maps = torch.from_numpy(bumpy_maps(12, 32, 24)).view(3, 4, 32, 24).half().float()
    expected = decode_heatmaps(maps, 5)
    for other in (
        maps.contiguous(memory_format=torch.channels_last),
        torch.nn.functional.pad(maps, [1, 2, 3, 1])[..., 3:-1, 1:-2],
        maps.half(),
        maps.double(),
        maps.clone().requires_grad_(),
    ):
        found = decode_heatmaps(other, 5)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_wrong_settings_are_explained_and_an_export_that_fails_harms_no_later_call():
    maps = torch.from_numpy(bumpy_maps(4, 20, 12))[None]
    with FakeTensorMode() as fake, pytest.raises(RuntimeError):
        decode_heatmaps(fake.from_tensor(maps), 3)[0].numpy()
    assert decode_heatmaps(maps, 3)[1].isfinite().all()
    for kernel in (0, 4, -5):
        with pytest.raises(ValueError, match=f'kernel_size is {kernel}, expected an odd number'):
            decode_heatmaps(torch.zeros(1, 1, 8, 8), kernel)
    with pytest.raises(ValueError, match='second_peak, gradient_sign, parabola'):
        decode_heatmaps(torch.zeros(1, 1, 8, 8), 5, refine='taylor')
