"""How fast the models are that `mspn models` lists: ``python -m named_models [NAME ...]``.

Weights do not matter for that, so they are random. People per second: crops of 16 people at once
through the file of `mspn export`, without flip test. Pictures per second: one at a time.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from mmengine.registry import DefaultScope
from runtime_speed import calibrated

from mspn.models import Model, models, onnx_file
from mspn.runtime import DetectorModel, PoseModel
from mspn_plugin import get_config
from mspn_plugin.apis.detector import _build, read_detector_config
from mspn_plugin.export import detector_to_onnx, to_onnx

PEOPLE = 16


def rate(call: Callable[[], object], count: int) -> float:
    """Things per second, the median of some calls."""
    times = []
    for _ in range(7):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return count / statistics.median(times[2:])


def of(model: Model, folder: Path) -> float:
    """The rate of a model."""
    rng, path = np.random.default_rng(0), folder / f'{model.name}.onnx'
    torch.manual_seed(0)
    if not model.url:
        path = onnx_file(model)
    elif model.kind == 'pose':
        to_onnx(calibrated(get_config(model.config)), path)
    else:
        with DefaultScope.overwrite_default_scope('mmdet'):
            net = _build(read_detector_config(model.config), model.name)[0]
        net.train()
        with torch.no_grad():  # statistics: otherwise numbers are tiny, and slow
            for _ in range(8):
                net.bbox_head(net.neck(net.backbone(torch.randn(4, 3, 320, 320))))
        net.test_cfg.score_thr = 0.5  # nothing is found, in photographs little is
        with mock.patch('mspn_plugin.export.files._compare_boxes'):  # scores are all alike
            detector_to_onnx(net.eval(), path)
    if model.kind == 'pose':
        pose = PoseModel(path)
        width, height = pose.facts['input_size']
        crops = rng.integers(0, 255, (PEOPLE, height, width, 3), np.uint8)
        return rate(lambda: pose.run_crops(crops), PEOPLE)
    detector = DetectorModel(path)
    picture = rng.integers(0, 255, (480, 640, 3), np.uint8)
    return rate(lambda: detector.detect([picture]), 1)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as place:
        for one in [each for each in models() if each.name in sys.argv[1:] or not sys.argv[1:]]:
            print(f'{one.name:24} {of(one, Path(place)):8.1f}', flush=True)
