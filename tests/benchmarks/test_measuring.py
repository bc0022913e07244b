"""What does not need a network: checks of results, taking turns, the table."""

import json
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from versus_mmpose import timing
from versus_mmpose.checks import CheckFailed, clear_peaks, same_keypoints, same_numbers, same_poses
from versus_mmpose.report import Row, machine_facts, timed_row, write

CPU = torch.device('cpu')


def test_numbers_keypoints_and_clear_peaks():
    wanted = np.array([0.0, 100.0])
    same_numbers('x', wanted, wanted + 0.09, tolerance=1e-3)
    for found, message in (
        (torch.tensor([0.0, 100.2]), r'x: .* differ by 0\.002 of the range.*; nothing was timed'),
        (wanted * np.nan, 'nan'),
        (wanted[:1], r'MMPose gives \(2,\), this package \(1,\)'),
    ):
        with pytest.raises(CheckFailed, match=message):
            same_numbers('x', wanted, found, tolerance=1e-3)
    stock = np.zeros((1, 2, 2))
    ours = stock + [[[0, 0.01], [0, 7]]]
    assert same_keypoints('x', stock, ours, np.array([[True, False]])) == 1
    for clear, words in ((True, '1 of 2 keypoints differ, by up to 7'), (False, 'no heatmap')):
        with pytest.raises(CheckFailed, match=words):
            same_keypoints('x', stock, ours, np.array([[clear, clear]]))
    with pytest.raises(CheckFailed, match='MMPose gives 1 people, this package 0'):
        same_poses([None], [])
    maps = torch.zeros(1, 5, 12, 9)
    maps[0, :, 4, 4] = 100
    maps[0, :, 4, 5] = maps[0, :, 5, 4] = 30  # a slope in x and in y
    maps[0, 1, 8, 4] = 100 - 0.01
    maps[0, 1, 8, 5] = maps[0, 1, 9, 4] = 30  # as high, elsewhere
    maps[0, 2] = maps[0, 0].roll(-3, dims=1)  # one cell from the border
    maps[0, 3, 4, 3] = 30  # no slope in x
    maps[0, 4] = 0
    assert clear_peaks(maps).tolist() == [[True, False, False, False, False]]


def test_sides_take_turns_and_short_work_is_called_until_it_lasts(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing.time, 'perf_counter', lambda: now[0])

    def sides(**seconds):
        def call(name):
            log.append(name)
            now[0] += seconds[name].pop(0)

        log.clear()
        return {name: partial(call, name) for name in seconds}

    log: list[str] = []
    times = timing.alternate(sides(a=[9, 1, 5, 2], b=[9, 4, 4, 4]), 3, device=CPU)
    assert times == {'a': [1, 5, 2], 'b': [4, 4, 4]} and log == ['a', 'b'] * 4
    times = timing.alternate(sides(a=[0.25] * 9), 2, device=CPU, least_time=1.0)
    assert times == {'a': [0.25, 0.25]} and len(log) == 1 + 2 * 4
    assert timing.alternate(sides(a=[7]), 1, device=CPU, warm_up=False) == {'a': [7]}
    waited: list[torch.device] = []  # a GPU is waited for
    monkeypatch.setattr(torch.cuda, 'synchronize', waited.append)
    timing.alternate({'a': lambda: None}, 2, device=torch.device('cuda:1'), warm_up=False)
    assert waited == [torch.device('cuda:1')] * 4


def test_times_are_of_one_sample_bars_are_met_or_not_and_files_hold_it_all(tmp_path):
    seconds = {'stock': [2.0, 3.0, 10.0], 'ours': [1.5, 1.5, 1.5]}
    row = timed_row('a', 'x', seconds, per=4)
    assert (row.stock, row.ours) == ([500, 750, 2500], [375] * 3) and row.ratio == 2
    assert row.cells()[1:7] == ['750', '375', 'ms', '2x', '-', '267% / 0%']
    for unit, ours, bar, cell in (
        ('ms', 2.0, 2.0, '>= 2x yes'),
        ('ms', 2.1, 2.0, '>= 2x **no**'),
        ('kB', 0.6, 0.2, '<= 0.2x yes'),
        ('kB', 1.0, 0.2, '<= 0.2x **no**'),
    ):
        assert Row('a', 'x', unit, [4.0], [ours], bar=bar).cells()[5] == cell
    others = Row('b', 'y', 'kB', [8], [1]), Row('c', 'z', 's', [], [1])
    facts = machine_facts(CPU, 1)
    write(facts, [timed_row('a', 'x', seconds), *others], tmp_path)
    table = (tmp_path / 'benchmark.md').read_text().splitlines()
    assert len({line.count('|') for line in table if line.startswith('|')}) == 1
    content = json.loads((tmp_path / 'benchmark.json').read_text())
    assert content['facts'] == facts and content['rows'][0]['stock'] == [2e3, 3e3, 1e4]
    assert [row['ratio'] for row in content['rows']] == [2, 0.125, None]
    assert cv2.imread(str(tmp_path / 'ratios.png')).std() > 5
