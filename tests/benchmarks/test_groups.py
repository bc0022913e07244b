"""Every row, on the CPU in seconds, also those of a GPU; a planted difference stops it all."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.visualization import PoseLocalVisualizer

from benchmarks import rows_evaluation, rows_inference, rows_training
from benchmarks.compare import CheckFailed
from benchmarks.report import put_between_markers
from benchmarks.rows_data import DataPath
from benchmarks.rows_evaluation import Evaluation
from benchmarks.rows_heatmaps import Decoding, Targets
from benchmarks.rows_inference import Inference
from benchmarks.rows_losses import Losses
from benchmarks.rows_people import People
from benchmarks.rows_training import Training
from benchmarks.run import run, select
from mspn.errors import InputError
from mspn_plugin.heatmaps import HeatmapRenderer
from mspn_plugin.models.losses import OHKMMSELoss


def measured(bench, group):
    one = group(bench)
    assert one.check()
    return {row.key: row for row in one.measure()}


def assert_complete(rows, *, but=()):
    for key, row in rows.items():
        if key not in but:
            assert row.stock > 0 and row.ours > 0 and row.ratio > 0, key


def test_data_path(bench):
    rows = measured(bench, DataPath)
    assert set(rows) == {'data-worker', 'data-train', 'data-test', 'bytes', 'bytes-targets'}
    assert_complete(rows)
    # The image, and four levels of maps against 17 pairs of numbers and what is known of a sample.
    image, maps = 3 * 128 * 96, 4 * 17 * 32 * 24 * 4
    assert rows['bytes'].stock * 1e3 > image + maps
    assert image < rows['bytes'].ours * 1e3 < image + 10_000


def test_targets_losses_decoding(five_levels):
    for group, keys in (
        (Targets, {'targets'}),
        (Losses, {'ohkm', 'losses'}),
        (Decoding, {'decode', 'decode-noise'}),
    ):
        rows = measured(five_levels, group)
        assert set(rows) == keys
        assert_complete(rows)


@pytest.mark.slow
def test_training(bench):
    rows = measured(bench, Training)
    assert {
        'train-b2',
        'train-b2-bf16',
        'memory-b2',
    } <= set(rows)
    assert rows['train-gpu-b3'].note == 'no CUDA device'
    assert_complete(rows, but=['train-gpu-b3'])
    assert 0 < rows['train-b2'].fractions[1] < 1


@pytest.mark.slow
def test_inference_and_people(bench):
    rows = measured(bench, Inference) | measured(bench, People)
    gpu = ['inference-gpu-b64', 'people-gpu']
    assert all(rows[key].note == 'no CUDA device' for key in gpu)
    assert {'inference-b1', 'inference-b2-bf16', 'people', 'people-small-bf16'} <= set(rows)
    has_compiler = shutil.which(os.environ.get('CXX', 'g++')) is not None
    assert ('inference-b2-default' in rows) == has_compiler
    assert 'inference-b1-default' not in rows
    assert_complete(rows, but=gpu)


@pytest.mark.slow
def test_what_a_gpu_would_do(bench, like_a_gpu, monkeypatch):
    # Half precision takes a CPU a minute, and on a GPU it is MMEngine's wrapper that does it.
    sides = rows_training._SIDES
    kept = {side: sides[side] for side in ('stock', 'ours', 'bf16')}
    monkeypatch.setattr(rows_training, '_SIDES', kept)
    rows = measured(bench, Inference) | measured(bench, Training)
    assert {'inference-b2-fp16', 'train-b3', 'train-b3-bf16'} <= set(rows)
    assert {'inference-b2-default', 'inference-b2-reduce-overhead'} <= set(rows)
    assert_complete(rows)


def test_evaluation_runs_both_tools(bench, monkeypatch):
    """Both scripts run to their end; in this process, and without workers, which take long."""
    monkeypatch.setattr(rows_evaluation, 'SMALL', bench.sizes.network)
    ran = []

    def run_here(self, command):
        tool, config = command[1:3]
        cfg = Config.fromfile(config)
        cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
        cfg.dump(config)
        monkeypatch.setattr(sys, 'argv', command[1:])
        PoseLocalVisualizer._instance_dict.clear()
        with DefaultScope.overwrite_default_scope('mmpose'):
            runpy.run_path(tool, run_name='__main__')
        ran.append(tool)

    monkeypatch.setattr(Evaluation, '_run', run_here)
    group = Evaluation(bench)
    group.jobs = group.jobs[:1]
    rows = {row.key: row for row in group.measure()}
    assert_complete(rows)
    stock, ours = ran
    assert 'mmpose' in stock and 'mspn_plugin' in ours


def test_a_command_that_fails_is_shown(bench):
    with pytest.raises(InputError, match='broken'):
        Evaluation(bench)._run([sys.executable, '-c', 'raise SystemExit("broken")'])


def test_a_planted_difference_stops_everything(settings, monkeypatch):
    """Wrong targets, a wrong loss: nothing is timed, whatever its place in the order."""
    said: list[str] = []
    monkeypatch.setattr('benchmarks.run.line', lambda row: 'timed')
    with monkeypatch.context() as patch:
        real = OHKMMSELoss.forward
        patch.setattr(OHKMMSELoss, 'forward', lambda self, *a: 1.001 * real(self, *a))
        with pytest.raises(CheckFailed, match='OHKM loss: .* nothing was timed'):
            run(settings, ['targets', 'losses'], say=said.append)
    with monkeypatch.context() as patch:
        draw = HeatmapRenderer.levels
        patch.setattr(HeatmapRenderer, 'levels', lambda *a: (maps.roll(1, -1) for maps in draw(*a)))
        for name in ('targets', 'data'):
            with pytest.raises(CheckFailed, match='target maps'):
                run(settings, [name], say=said.append)
    assert 'timed' not in said


def test_a_planted_difference_in_the_network(bench, monkeypatch):
    real = rows_inference.fused

    def changed(model):
        copy = real(model)
        if copy is not model:
            copy.backbone.stem.conv.weight.data *= 1.01
        return copy

    monkeypatch.setattr(rows_inference, 'fused', changed)
    with pytest.raises(CheckFailed, match='heatmaps with flip test: .* nothing was timed'):
        Inference(bench).check()


def test_report(settings, monkeypatch, tmp_path):
    monkeypatch.setattr('benchmarks.bench.matrix_peak', lambda *_: 1e12)
    report = run(settings, ['targets', 'decode'], say=lambda _: None)
    table, numbers = report.write(tmp_path)
    content = json.loads(numbers.read_text())
    assert [row['key'] for row in content['rows']] == ['targets', 'decode', 'decode-noise']
    assert content['rows'][0]['ratio'] > 0 and len(content['rows'][0]['times']['ours']) == 1
    assert content['facts']['threads'] == '1' and 'torch' in content['facts']['packages']
    lines = [line for line in table.read_text().splitlines() if line.startswith('|')]
    assert len({line.count('|') for line in lines}) == 1 and '>= 10x' in table.read_text()

    document = tmp_path / 'page.md'
    document.write_text('before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n')
    put_between_markers(document, 'x', '\\1 new')
    assert document.read_text() == 'before\n<!-- x -->\n\n\\1 new\n\n<!-- end of x -->\nafter\n'
    with pytest.raises(InputError, match='has no lines <!-- y -->'):
        put_between_markers(document, 'y', '')


def test_selection():
    assert [group.name for group in select(['decode', 'data'])] == ['data', 'decode']
    with pytest.raises(InputError, match=r"no rows 'speed'; choose from data, "):
        select(['speed'])
