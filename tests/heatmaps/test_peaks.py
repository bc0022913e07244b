"""The search that blurs few rows against the blur of everything, and this against OpenCV's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mspn_plugin.heatmaps.blur import WINDOW, RowBlur, blur_maps
from mspn_plugin.heatmaps.peaks import find_peaks, row_peaks, whole_peaks

SIZES = [(64, 48), (32, 24), (24, 30), (6, 5), (2, 40)]
"""Heights and widths; the last one has as many rows as a window with margins, not without."""


def clear(rng, height, width):
    """A peak on a quiet ground, anywhere."""
    ys, xs = np.mgrid[:height, :width]
    x, y = rng.uniform(-0.5, width - 0.5), rng.uniform(-0.5, height - 0.5)
    peak = 200 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * rng.uniform(1, 2) ** 2))
    return peak + rng.normal(0, 2, (height, width))


def many(rng, height, width):
    """Several peaks, as high as each other to the eye."""
    return sum(clear(rng, height, width) for _ in range(4))


def narrow(rng, height, width):
    """A lit cell, higher than anything, that a broad hill surpasses once both are blurred."""
    heatmap = clear(rng, height, width)
    heatmap[rng.integers(height), rng.integers(width)] = 260
    return heatmap


def broad(rng, height, width):
    """A hill over the whole map."""
    ys, xs = np.mgrid[:height, :width]
    return 50 - (ys - height / 3) ** 2 / 20 - (xs - width / 2) ** 2 / 20


def noise(rng, height, width):
    """No peak at all."""
    return rng.normal(0, 1, (height, width))


def below(rng, height, width):
    """Less than zero everywhere, so that what is beyond the border is the highest."""
    return -rng.uniform(1, 2, (height, width))


def flat(rng, height, width):
    """Zeros: every cell is the highest."""
    return np.zeros((height, width))


def equal(rng, height, width):
    """Lit cells of one height, far from each other."""
    heatmap = np.zeros((height, width))
    heatmap[:: max(height - 1, 1), :: max(width - 1, 1)] = 128
    return heatmap


def edge(rng, height, width):
    """A lit cell, and near it a stroke that surpasses it, at the end of what is blurred first."""
    heatmap = np.zeros((height, width))
    if height > 8:
        y = rng.integers(height - 8)
        heatmap[y, rng.integers(width)] = 300
        heatmap[y + 4, width // 6 :] = 20
        heatmap[y + 5, width // 6 :] = 150 + rng.uniform(0, 1, width - width // 6)
    return heatmap


KINDS = [edge, clear, many, narrow, broad, noise, below, flat, equal]


def maps_of(kind, size, count=40):
    rng = np.random.default_rng(7)
    return torch.from_numpy(np.stack([kind(rng, *size) for _ in range(count)])).float()


@pytest.mark.parametrize(
    ('size', 'kernel', 'margin', 'second'),
    [(size, 5, 0, False) for size in SIZES[:-1]]
    + [(size, *more) for size in SIZES for more in ((5, 3, True), (9, 5, True))],
)
@pytest.mark.parametrize('kind', KINDS)
def test_few_rows_give_the_peaks_that_everything_gives(kind, size, kernel, margin, second):
    maps = maps_of(kind, size)
    found = row_peaks(maps, kernel, margin=margin, second=second)
    wanted = whole_peaks(maps, kernel, margin=margin, second=second)
    assert np.array_equal(found.value, wanted.value)
    assert np.array_equal(found.cell, wanted.cell)
    limits = np.array(size[::-1])[:, None] - 1
    if second:
        x, y = found.cell.clip(0, limits).astype(int)
        assert np.array_equal(found.value, maps[np.arange(len(maps)), y, x])
        assert np.array_equal(found.step, wanted.step)
    else:
        assert np.array_equal(found.value, maps.flatten(1).amax(1))
        inside = ((wanted.cell > 0) & (wanted.cell < limits)).all(axis=0)
        steps = found.step[:, inside], wanted.step[:, inside]
        np.testing.assert_allclose(*steps, rtol=0, atol=1e-3)


@pytest.mark.parametrize('kind', KINDS)
def test_a_batch_of_all_kinds_is_as_each_of_them_alone(kind):
    mixed = torch.cat([maps_of(other, (32, 24), 5) for other in KINDS])
    at = KINDS.index(kind) * 5
    together = find_peaks(mixed, 5)
    alone = find_peaks(mixed[at : at + 5], 5)
    assert np.array_equal(together.cell[:, at : at + 5], alone.cell)


@pytest.mark.parametrize('second', [False, True])
@pytest.mark.parametrize('size', [(31, 24), (3, 3), (1, 1), (4, 1), (1, 7)])
def test_maps_of_any_size_have_a_peak_inside(size, second):
    peaks = find_peaks(maps_of(noise, size).abs() + 1, 5, margin=3 * second, second=second)
    margin = 3 * second
    limits = np.array(size[::-1])[:, None] + margin
    assert ((peaks.cell >= -margin) & (peaks.cell < limits)).all()


def test_no_maps_have_no_peaks():
    peaks = find_peaks(torch.zeros(0, 16, 12), 5)
    assert peaks.cell.shape == peaks.step.shape == (2, 0) and len(peaks.value) == 0


def test_few_rows_are_blurred_for_clear_peaks(monkeypatch):
    blurred = []
    blur = RowBlur._blur

    def counting(self, sources, taps):
        blurred.append(taps.size // self.kernel_size)
        return blur(self, sources, taps)

    monkeypatch.setattr(RowBlur, '_blur', counting)
    row_peaks(maps_of(clear, (64, 48), 400), 5, margin=0, second=False)
    assert sum(blurred) < 8 * 400  # of 64 x 400


@pytest.mark.parametrize('kernel', [1, 3, 5, 9, 11])
@pytest.mark.parametrize('size', SIZES)
def test_the_blur_is_that_of_opencv(size, kernel):
    maps = maps_of(many, size, 8)
    margin = kernel // 2 + 1
    padded = np.pad(maps.double().numpy(), [(0, 0), (2 * margin,) * 2, (2 * margin,) * 2])
    wanted = np.stack([cv2.GaussianBlur(heatmap, (kernel, kernel), 0) for heatmap in padded])
    wanted = torch.from_numpy(wanted[:, margin:-margin, margin:-margin]).float()
    torch.testing.assert_close(blur_maps(maps, kernel, margin), wanted, rtol=0, atol=1e-3)
    if size[0] + 2 * margin >= 6:
        blur = RowBlur(maps, kernel, margin)
        rows = np.tile(np.arange(wanted.shape[1]), 8)
        which = np.arange(8).repeat(wanted.shape[1])
        found = torch.from_numpy(blur.rows(which, rows)).view_as(wanted)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize('kernel', [5, 9])
@pytest.mark.parametrize('kind', KINDS)
def test_no_blurred_cell_exceeds_its_bound(kind, kernel):
    maps = maps_of(kind, (32, 24))
    # Of maps that are the same everywhere the bound is what the blur gives, but for rounding.
    maps[:20] = torch.linspace(0.1, 300, 20)[:, None, None]
    blur = RowBlur(maps, kernel, 2)
    highest = maps.view(len(maps), 16, -1).amax(2)
    rows = blur_maps(maps, kernel, 2).amax(2).numpy()
    assert (rows <= blur.bounds(highest)).all()
    for pair in range(16):
        pairs = torch.full([len(maps)], pair)
        first = int(blur.windows(pairs.numpy())[0][0])
        outside = np.delete(rows, np.arange(first, first + WINDOW), axis=1)
        assert (outside.max(axis=1) <= blur.rest(highest, pairs)).all()
        without = np.delete(blur.bounds(highest), np.arange(first, first + WINDOW), axis=1)
        np.testing.assert_allclose(blur.rest(highest, pairs), without.max(axis=1), rtol=1e-5)
