"""What a run has recorded: curves by epoch, of trainings that were resumed or began anew."""

import json

import pytest

from mspn_plugin.reports.runs import curves_of


def record(folder, name, steps, *, epochs=True, length=10, value=None):
    place = folder / name / 'vis_data'
    place.mkdir(parents=True)
    rows = []
    for step in steps:
        epoch = (step - 1) // length + 1 if epochs else 1
        loss = float(step) if value is None else value
        rows.append(dict(loss=loss, epoch=epoch, iter=step, step=step, time=0.1))
        if step % length == 0:
            at = epoch if epochs else step
            rows.append({'coco/AP': step / 100, 'step': at})
    text = '\n'.join(map(json.dumps, rows)) + '\n{"loss": 3, "ep'  # cut by a kill
    (place / 'scalars.json').write_text(text)


def test_steps_become_epochs(tmp_path):
    record(tmp_path, '1', range(3, 31, 3))
    curves, unit = curves_of(tmp_path)
    assert unit == 'epoch' and curves.keys() == {'loss', 'coco/AP'}
    assert curves['loss'][0.3] == 3 and max(curves['loss']) == 3
    assert curves['coco/AP'] == {3.0: 0.3}


def test_the_length_of_an_epoch_need_not_be_logged(tmp_path):
    record(tmp_path, '1', [5, *range(50, 298, 50)], length=99)
    curves, _ = curves_of(tmp_path)
    assert max(curves['loss']) == pytest.approx(250 / 99, abs=0.02)


def test_resumed_and_begun_anew(tmp_path):
    record(tmp_path, '1', range(1, 21))
    record(tmp_path, '2', range(11, 31), value=7.0)  # resumed after the first epoch
    curves, _ = curves_of(tmp_path)
    assert curves['loss'][1.0] == 10 and curves['loss'][2.0] == 7 and max(curves['loss']) == 3
    record(tmp_path, '3', range(1, 11), value=9.0)
    curves, _ = curves_of(tmp_path)
    assert set(curves['loss'].values()) == {9.0}


def test_runs_by_iterations(tmp_path):
    record(tmp_path, '1', range(2, 31, 2), epochs=False)
    curves, unit = curves_of(tmp_path)
    assert unit == 'step' and max(curves['loss']) == 30 and curves['coco/AP'][20] == 0.2
