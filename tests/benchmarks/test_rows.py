"""Every row, on the CPU in seconds; a planted difference stops it all."""

import json
import runpy
import sys
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.visualization import PoseLocalVisualizer
from versus_mmpose import __main__ as program
from versus_mmpose import rows
from versus_mmpose.checks import CheckFailed
from versus_mmpose.sides import SIDES, Settings, Sides, find_data

from mspn.errors import InputError
from mspn_plugin.heatmaps import HeatmapRenderer
from mspn_plugin.models.losses import OHKMMSELoss


@pytest.fixture(scope='module')
def settings(people):
    options = dict(threads=1, repeats=1, stages=1, batch_size=2, samples=4, least_time=0)
    options |= dict(losses=2, decoded=8, photographs=1, evaluated=2)
    return Settings(data_root=people, detections=None, device=torch.device('cpu'), **options)


@pytest.fixture(scope='module')
def sides(settings, tmp_path_factory):
    return Sides(settings, tmp_path_factory.mktemp('sides'))


def measured(sides, name):
    check, *found = program.GROUPS[name](sides)
    assert check and all(row.ours[0] > 0 and (row.ratio or name == 'imports') for row in found)
    return {row.key: row for row in found}


def test_photographs_and_data_given_or_drawn(sides, settings, people, tmp_path, monkeypatch):
    content = json.loads((people / 'annotations/person_keypoints_val2017.json').read_text())
    found = sides.photographs(2)
    assert len(found) == 2 and all(path.is_file() for path, _ in found)
    first, second = (image['id'] for image in content['images'][:2])
    x, y, width, height = next(a for a in content['annotations'] if a['image_id'] == first)['bbox']
    assert np.allclose(found[0][1][0], [x, y, x + width, y + height])
    # Nobody has so many people around: the most crowded image is taken.
    [(_, crowd)] = sides.photographs(1, least_people=1000)
    assert len(crowd) == max(len(boxes) for _, boxes in sides.photographs(9))
    detections = tmp_path / 'boxes.json'
    box = dict(image_id=second, bbox=[1, 2, 30, 40], score=0.5, category_id=1)
    detections.write_text(json.dumps([box, dict(box, bbox=[1, 2, 0, 40])]))
    detected = Sides(replace(settings, detections=detections), tmp_path)
    assert [boxes.tolist() for _, boxes in detected.photographs(9)] == [[[1, 2, 31, 42]]]
    assert detected.config('stock').test_dataloader.dataset.bbox_file == str(detections)
    monkeypatch.chdir(tmp_path)
    assert find_data(people, tmp_path) == people
    with pytest.raises(InputError, match='--data-root: .* has no annotations'):
        find_data(tmp_path, tmp_path)
    assert len(list((find_data(None, tmp_path, images=2) / 'val2017').iterdir())) == 2


@pytest.mark.parametrize('stages', [1, 2, 3, 4])
def test_both_configs_describe_one_network(settings, tmp_path, stages):
    stock, ours = map(Sides(replace(settings, stages=stages), tmp_path).config, SIDES)
    assert stock.model.backbone.num_stages == ours.model.backbone.num_stages == stages
    assert stock.codec[-1].heatmap_size == ours.model.head.decoder.heatmap_size == (48, 64)
    assert stock.test_dataloader.num_workers == ours.test_dataloader.num_workers
    assert stock.model.type == 'TopdownPoseEstimator' and stock.model.backbone.type == 'MSPN'


def test_data_path_and_its_bytes_are_those_that_another_process_gets(sides):
    found = measured(sides, 'data')
    # The image, and four levels of maps against 17 pairs of numbers and what is known of a sample.
    image, maps = 3 * 256 * 192, 4 * 17 * 64 * 48 * 4
    assert found['bytes'].stock[0] * 1e3 > image + maps
    assert image < found['bytes'].ours[0] * 1e3 < image + 10_000
    image, target = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(5, 100)
    batch = dict(inputs=[image], data_samples=[dict(target=target, name='x' * 1000)])
    assert 192 + 2000 + 1000 < rows.sent_bytes(batch) < 192 + 2000 + 1600
    # Without tensors everything goes through the pipe.
    plain = dict(inputs=[], data_samples=['x' * 1000])
    assert abs(rows.sent_bytes(plain) - len(ForkingPickler.dumps(plain))) < 20


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ohkm', 'decode', 'people', 'train', 'inference', 'imports'])
def test_other_rows(sides, name):
    assert list(measured(sides, name)) in ([name], [name, f'{name}-bf16'])


def test_evaluation_runs_both_tools_and_shows_why_a_script_fails(sides, monkeypatch, tmp_path):
    """Both scripts run to their end; in this process, and without workers, which take long."""
    (tmp_path / 'script.py').write_text('raise SystemExit("broken")')
    with pytest.raises(InputError, match=r'script\.py failed: broken'):
        rows.run_script(sides, str(tmp_path / 'script.py'))
    ran = []

    def run_here(_, tool, config, *arguments):
        cfg = Config.fromfile(config)
        cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
        cfg.dump(config)
        monkeypatch.setattr(sys, 'argv', [tool, config, *arguments])
        PoseLocalVisualizer._instance_dict.clear()
        with DefaultScope.overwrite_default_scope('mmpose'):
            runpy.run_path(tool, run_name='__main__')
        ran.append(tool)

    monkeypatch.setattr(rows, 'run_script', run_here)
    assert measured(sides, 'evaluation') and 'mmpose' in ran[0] and 'mmpose' not in ran[1]


def test_a_planted_difference_stops_everything(settings, monkeypatch):
    monkeypatch.setattr(Sides, 'times', lambda *_, **__: pytest.fail('timed'))
    loss, draw, load = OHKMMSELoss.forward, HeatmapRenderer.forward, Sides.predictor

    def load_changed(self, side, **test_cfg):
        model = load(self, side, **test_cfg)
        if side == 'ours':
            model.backbone.stem.conv.weight.data *= 1.01
        return model

    for owner, name, changed, row, message in (
        (OHKMMSELoss, 'forward', lambda *a: 1.001 * loss(*a), 'ohkm', 'OHKM loss: .* nothing was'),
        (HeatmapRenderer, 'forward', lambda *a: draw(*a).roll(1, -1), 'data', 'target maps'),
        (Sides, 'predictor', load_changed, 'inference', 'heatmaps with flip test: .* nothing was'),
    ):
        with monkeypatch.context() as patch, pytest.raises(CheckFailed, match=message):
            patch.setattr(owner, name, changed)
            program.run(settings, ['decode', row])


def test_command_line(people, tmp_path, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['benchmarks', '--out', str(tmp_path), *arguments])
        program.main()
        return capsys.readouterr().out

    given = ['--quick', '--data-root', str(people), '--device', 'cpu', '--threads', '1']
    said = call(*given, '--rows', 'decode')
    assert 'decoded keypoints' in said and '>= 4x' in said
    assert (tmp_path / 'benchmark.md').read_text() in said
    for option, value, message in (
        ('--rows', 'speed', "no rows 'speed'; choose from data, "),
        ('--repeats', '-1', '--repeats and --threads must be at least 1'),
        ('--detections', 'nowhere.json', '--detections: the file nowhere.json does not exist'),
    ):
        with pytest.raises(SystemExit):
            call(*given, option, value)
        assert message in capsys.readouterr().err
