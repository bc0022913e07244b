"""A test runs a copy without normalisations, gives the same numbers, and leaves the model alone."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from runs import TINY

from mspn_plugin import get_config


class WhatRuns(Hook):
    priority = 'LOWEST'

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in runner.model.modules())
        self.scores = [float(s.pred_instances.keypoint_scores.mean()) for s in outputs]


def evaluated(people, work, *, fuse):
    cfg = Config.fromfile(get_config(TINY))
    cfg.work_dir = str(work)
    cfg.randomness = dict(seed=0)  # of the weights
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.test_dataloader.dataset.update(data_root=f'{people}/', bbox_file=None)
    cfg.test_evaluator.ann_file = f'{people}/annotations/person_keypoints_val2017.json'
    assert dict(type='FusedTestHook') in cfg.custom_hooks
    if not fuse:
        cfg.custom_hooks.remove(dict(type='FusedTestHook'))
    runner = Runner.from_cfg(cfg)
    model = runner.model.train()
    with torch.no_grad():
        for _ in range(10):  # statistics for the normalisation
            model.head(model.neck(model.backbone(torch.randn(4, 3, 128, 96))))
    seen = WhatRuns()
    runner.register_hook(seen)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    metrics = runner.test()
    assert runner.model is model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return metrics, seen


def test_the_numbers_are_the_same_and_the_model_is_left_alone(people, tmp_path):
    metrics, seen = evaluated(people, tmp_path / 'fused', fuse=True)
    plain_metrics, plain = evaluated(people, tmp_path / 'plain', fuse=False)
    assert seen.norms == 0 and plain.norms > 0
    assert seen.scores == pytest.approx(plain.scores, rel=1e-4)
    assert metrics == pytest.approx(plain_metrics, abs=1e-3)
