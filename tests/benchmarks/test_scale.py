"""Cost against work: every curve, its file, its pictures."""

from __future__ import annotations

import json

import cv2
import pytest

from benchmarks.plots import plot_ratios, plot_scale
from benchmarks.report import Report
from benchmarks.rows import Row
from benchmarks.scale import Curve, Scale, measure_scale


@pytest.mark.slow
def test_every_curve(settings, tmp_path):
    scale = measure_scale(settings, say=lambda _: None)
    assert set(scale.plots) == {'people', 'images', 'stages', 'workers'}
    for curves in scale.plots.values():
        for curve in curves:
            assert len(curve.amounts) == len(curve.stock) == len(curve.ours) > 0
            assert min(*curve.stock, *curve.ours) > 0
    assert scale.plots['stages'][0].title == 'inference with flip test at 128x96, B = 1'
    content = json.loads(scale.write(tmp_path).read_text())
    assert content['plots']['people'][0]['amounts'] == [1, 3]


def test_pictures(tmp_path):
    wide = Curve('people', 'people in the image', 's', [1, 10, 100], [1, 9, 90], [1, 5, 40])
    narrow = Curve('stages', 'stages', 'ms', [1, 2], [3, 6], [2, 4])
    facts = {'date': '', 'device': '', 'processor': '', 'threads': '1', 'CUDA': 'not used'}
    scale = Scale(facts, {'people': [wide], 'stages': [narrow] * 3})
    for path in plot_scale(scale, tmp_path):
        assert cv2.imread(str(path)).std() > 5 and path.stat().st_size < 100_000
    assert '| people: people in the image | 1 | 10 | 100 |' in scale.markdown()
    rows = [Row('a', 'a', 'ms', 2.0, 1.0, bar=1.5), Row('b', 'b', 'ms', None, None)]
    path = plot_ratios(Report(facts, {}, [('', rows)]), tmp_path)
    assert path.name == 'ratios_cpu.png' and cv2.imread(str(path)).std() > 5
