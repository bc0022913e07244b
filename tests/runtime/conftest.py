"""ONNX files of untrained models, made once."""

import pytest

from mspn_plugin.apis.detector import PersonDetector
from mspn_plugin.export import detector_to_onnx, to_onnx


@pytest.fixture(scope='session')
def light_models(tmp_path_factory, untrained_models, calibrated_tiny):
    """A pose model and a detector as ONNX files, and the pose model in torch, without flip test."""
    folder = tmp_path_factory.mktemp('onnx')
    model = calibrated_tiny()
    model.test_cfg['flip_test'] = False
    to_onnx(model, folder / 'pose.onnx')
    config, weights, *_ = untrained_models
    detector_to_onnx(PersonDetector(config, weights).model, folder / 'detector.onnx')
    return folder / 'pose.onnx', folder / 'detector.onnx', model
