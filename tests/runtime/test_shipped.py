"""The models that ship: offline, without torch, the same in both halves, and right on people."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmpose.apis import init_model
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from runs import sentence

import mspn
from mspn import cli, models
from mspn.media import read_image
from mspn.runtime import DetectorModel, PoseModel, Predictor
from mspn_plugin import get_config
from mspn_plugin.apis import PosePredictor
from mspn_plugin.apis.detector import PersonDetector

PHOTOS = Path(__file__).parents[2] / 'examples' / 'photos'
ONES_OF_CI = ('CI', 'ORT_DISABLE_TELEMETRY')
OFFLINE = """
import socket, sys
for name in ('torch', 'mmengine', 'mmpose', 'mmdet', 'mmcv', 'mspn_plugin'):
    sys.modules[name] = None
def refuse(*_, **__):
    raise AssertionError('the network')
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from mspn.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope='module')
def people_val(real_data):
    """135 photographs of people that the models have not learned from."""
    root = real_data.parent / 'people'
    if not root.is_dir():
        pytest.skip(f'the photographs are not at {root}')
    with contextlib.redirect_stdout(io.StringIO()):
        return root / 'images', COCO(root / 'annotations' / 'people_val.json')


def evaluated(truth, results, kind='keypoints'):
    """COCO's evaluation of results."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def test_a_photograph_in_one_call():
    people = mspn.predict(PHOTOS / 'astronaut.jpg')
    x1, y1, x2, y2 = people.boxes[0]
    assert x1 < 60 and y1 < 120 and 330 < x2 and 480 < y2
    assert people.keypoints.shape == (len(people), 17, 2)
    with pytest.raises(AttributeError, match="no attribute 'poses_of_cats'"):
        mspn.poses_of_cats  # noqa: B018


def test_the_command_needs_neither_torch_nor_the_network(tmp_path):
    command = [sys.executable, '-c', OFFLINE, 'predict', str(PHOTOS), '--out', str(tmp_path / 'o')]
    (temporary := tmp_path / 'temporary').mkdir()
    # Where ONNX Runtime sees no CI, it leaves a file there as soon as it reports its use.
    environment = {key: value for key, value in os.environ.items() if key not in ONES_OF_CI}
    environment |= dict(TMPDIR=str(temporary))
    options = dict(capture_output=True, text=True, cwd=tmp_path, env=environment)
    printed = subprocess.run(command, **options)
    assert printed.returncode == 0, printed.stderr
    assert not list(temporary.iterdir())
    assert 'people in 2 images' in printed.stdout
    found = json.loads((tmp_path / 'o' / 'predictions.json').read_text())
    assert len(found) >= 2 and len(found[0]['keypoints']) == 51
    picture = cv2.imread(str(tmp_path / 'o' / 'pictures' / 'cameraman.jpg'))
    assert (picture.std(axis=2) > 10).any()  # colours on a grey photograph


def test_small_and_of_one_piece():
    files = sorted(models.WEIGHTS.iterdir())
    names = {f'{model.name}{end}' for model in models.SHIPPED for end in ('.onnx', '.safetensors')}
    assert {file.name for file in files} == names
    assert sum(file.stat().st_size for file in files) <= 12e6


def test_both_halves_give_the_same_poses():
    config, weights = models.weights_of(models.POSE, 'pose')
    model = init_model(get_config(config), weights, device='cpu')
    assert sum(weight.numel() for weight in model.parameters()) <= 4e6
    torch_half, light = PosePredictor(model), PoseModel(models.onnx_file(models.SHIPPED[0]))
    config, weights = models.weights_of(models.DETECTOR, 'detector')
    detector = PersonDetector(config, weights)
    finder = DetectorModel(models.onnx_file(models.SHIPPED[1]))
    for path in sorted(PHOTOS.glob('*.jpg')):
        pixels = read_image(path)
        ((boxes, scores),) = detector.detect([pixels])
        ((others, marks),) = finder.detect([pixels])
        np.testing.assert_allclose(others, boxes, atol=0.1)
        np.testing.assert_allclose(marks, scores, atol=1e-3)
        model.test_cfg['flip_test'] = light.facts['flip_test']
        for one, other in zip(
            torch_half.predict(pixels, boxes), light.predict(pixels, boxes), strict=True
        ):
            apart = np.abs(one.pred_instances.keypoints[0] - other.keypoints)
            assert np.quantile(apart, 0.9) < 0.1 and apart.max() < 5


def test_other_models_need_a_detector_of_their_own(light_models, tmp_path, capsys, monkeypatch):
    assert Predictor(light_models[0]).predict(PHOTOS / 'astronaut.jpg')  # of people, like this one
    command = ['predict', str(PHOTOS), '--out', str(tmp_path / 'out')]
    cli.main([*command, '--model', str(light_models[0])])
    assert 'people in 2 images' in capsys.readouterr().out
    monkeypatch.setattr('mspn.predict_command.names_of', lambda meta: ['left_fin', 'right_fin'])
    error = sentence(capsys, cli.main, [*command, '--model', str(light_models[0]), '--overwrite'])
    assert 'left_fin, right_fin' in error and '--whole-image if one' in error


@pytest.mark.slow
def test_on_people_that_it_has_not_seen(people_val):
    """The bars that the shipped models have to reach, with annotated boxes and with their own."""
    images, truth = people_val
    predictor = Predictor(box_thr=0.05, nms_thr=0.65)
    finder = DetectorModel(models.onnx_file(models.SHIPPED[1]), score_thr=0.01, nms_thr=0.65)
    annotated, chain, found = [], [], []
    for number, image in truth.imgs.items():
        pixels = read_image(images / image['file_name'])
        people = truth.loadAnns(truth.getAnnIds(number))
        corners = np.array([p['bbox'] for p in people if p['num_keypoints']], np.float32)
        if len(corners):
            corners[:, 2:] += corners[:, :2]
            annotated += predictor.predict(pixels, corners).to_coco(number)
        chain += predictor.predict(pixels).to_coco(number)
        ((boxes, scores),) = finder.detect([pixels])
        boxes[:, 2:] -= boxes[:, :2]
        for box, score in zip(boxes.tolist(), scores.tolist(), strict=True):
            found.append(dict(image_id=number, category_id=1, bbox=box, score=score))
    with_truth = evaluated(truth, annotated).stats[0]
    assert with_truth >= 0.43
    assert evaluated(truth, chain).stats[0] >= 0.75 * with_truth
    evaluation = evaluated(truth, found, 'bbox')
    assert evaluation.stats[1] >= 0.50
    everywhere = tuple(evaluation.params.areaRng[0])
    right = [
        image['dtMatches'][0][np.array(image['dtScores']) >= 0.3] > 0  # at an overlap of 0.5
        for image in evaluation.evalImgs
        if image and tuple(image['aRng']) == everywhere
    ]
    assert np.concatenate(right).mean() >= 0.75
