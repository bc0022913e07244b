"""Every config builds, runs forward and gives a loss; the published sizes are right."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.registry import MODELS, TRANSFORMS
from mmpose.structures import PoseDataSample

import mspn_plugin

NAMES = mspn_plugin.list_configs()
MILLIONS = {1: 25.1, 2: 56.8, 3: 88.5, 4: 120.2}


def load(name):
    return Config.fromfile(mspn_plugin.get_config(name))


def build(cfg):
    cfg.model.backbone.init_cfg = None  # no download
    return MODELS.build(cfg.model)


def test_the_published_variants_are_there():
    for stages in MILLIONS:
        assert f'mspn50-{stages}stg_8xb32-210e_coco-256x192' in NAMES
    assert 'mspn50-4stg_8xb32-210e_coco-384x288' in NAMES
    assert any(name.startswith('mspn-tiny') for name in NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_forward_and_loss(name):
    cfg = load(name)
    model = build(cfg)
    width, height = cfg.codec.input_size
    columns, rows = cfg.codec.heatmap_size
    sample = PoseDataSample()
    sample.gt_instance_labels = InstanceData(
        keypoint_cells=torch.rand(1, 17, 2) * torch.tensor([columns, rows]),
        keypoint_weights=torch.ones(1, 17),
    )
    images = torch.randn(2, 3, height, width)
    model.train()
    losses = model.loss(images, [sample] * 2)
    stages = cfg.model.backbone.num_stages
    assert len([key for key in losses if key.startswith('loss_')]) == 4 * stages
    assert all(torch.isfinite(value) for value in losses.values())
    with torch.no_grad():
        heatmaps = model.eval()(images[:1], None, mode='tensor')
    assert heatmaps[-1][-1].shape == (1, 17, rows, columns)


@pytest.mark.parametrize('name', NAMES)
def test_pipelines_agree_with_the_model(name):
    """Crop, targets and decoder of one config speak of the same size."""
    cfg = load(name)
    size = tuple(cfg.codec.input_size)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        steps = {step.type: step for step in loader.dataset.pipeline}
        for step in loader.dataset.pipeline:
            TRANSFORMS.build(step)
        assert tuple(steps['TopdownAffine'].input_size) == size
        if 'GenerateTarget' in steps:
            assert steps['GenerateTarget'].encoder == cfg.codec
    assert 'GenerateTarget' in {step.type for step in cfg.train_dataloader.dataset.pipeline}
    assert cfg.model.head.decoder == cfg.codec
    assert cfg.data_mode == 'topdown' and cfg.dataset_type == 'CocoDataset'


@pytest.mark.parametrize('stages', MILLIONS)
def test_published_parameter_counts(stages):
    cfg = load(f'mspn50-{stages}stg_8xb32-210e_coco-256x192')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6, 1) == MILLIONS[stages]


def test_variants_are_short_and_import_nothing():
    for name in NAMES:
        tree = ast.parse(Path(mspn_plugin.get_config(name)).read_text())
        assert not any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree))


def test_get_config_names_the_choice():
    with pytest.raises(mspn_plugin.InputError, match="no config 'mspn-huge'.*mspn-tiny"):
        mspn_plugin.get_config('mspn-huge')
    assert mspn_plugin.get_config(NAMES[0] + '.py') == mspn_plugin.get_config(NAMES[0])
