"""Every config builds and gives a loss; sizes, schedules and rules are the published ones."""

from __future__ import annotations

import ast
import copy
import functools
import math
import re
from pathlib import Path

import mmpose
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.structures import InstanceData
from mmpose.apis.inferencers.utils import default_det_models
from mmpose.registry import DATASETS, MODELS, TRANSFORMS
from mmpose.structures import PoseDataSample

import mspn_plugin

NAMES = mspn_plugin.list_configs()
FULL_SIZE = [name for name in NAMES if name.startswith('mspn50')]
RECIPES = {
    recipe: [name for name in NAMES if re.search(pattern, name)]
    for recipe, pattern in dict(
        mmpose='_8xb32-210e_coco-', megvii='_megvii$', mindspore='_finetune$'
    ).items()
}
MILLIONS = {1: 25.1, 2: 56.8, 3: 88.5, 4: 120.2}
STOCK = Path(mmpose.__file__).parent / '.mim/configs/body_2d_keypoint/topdown_heatmap/coco'


@functools.cache
def read(name):
    return Config.fromfile(mspn_plugin.get_config(name))


def load(name):
    """A config that may be changed; reading them takes longer than the tests."""
    return copy.deepcopy(read(name))


def build(cfg):
    cfg.model.backbone.init_cfg = None  # no download
    return MODELS.build(cfg.model)


def head_of(cfg):
    with torch.device('meta'):  # no memory, no time
        return MODELS.build(cfg.model.head)


def test_the_published_variants_are_there():
    sizes = [f'mspn50-{stages}stg_{{}}-256x192{{}}' for stages in MILLIONS]
    sizes.append('mspn50-4stg_{}-384x288{}')
    assert {size.format('8xb32-210e_coco', '') for size in sizes} == set(RECIPES['mmpose'])
    megvii = {size.format('8xb32-96ki_coco2014', '_megvii') for size in sizes}
    mpii = {f'mspn50-{stages}stg_8xb24-28800i_mpii-256x256_megvii' for stages in (2, 4)}
    assert megvii | mpii == set(RECIPES['megvii'])
    assert RECIPES['mindspore'] == ['mspn50-2stg_1xb62-5e_coco2014-256x192_finetune']
    assert any(name.startswith('mspn-tiny') for name in NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_forward_and_loss(name):
    """With few channels: what a config decides is structure and sizes, which stay."""
    cfg = load(name)
    cfg.model.backbone.update(stem_channels=8, base_channels=4, unit_channels=8)
    for part in ('neck', 'head'):
        cfg.model[part].unit_channels = 8
    model = build(cfg)
    width, height = cfg.codec.input_size
    columns, rows = cfg.codec.heatmap_size
    keypoints = cfg.model.head.num_keypoints
    visible = cfg.model.head.get('coarse_targets') == 'visible'
    sample = PoseDataSample()
    sample.gt_instance_labels = InstanceData(
        keypoint_cells=torch.rand(1, keypoints, 2) * torch.tensor([columns, rows]),
        keypoint_weights=(torch.arange(keypoints)[None] % (3 if visible else 2)).float(),
    )
    images = torch.randn(2, 3, height, width)
    model.train()
    losses = model.loss(images, [sample] * 2)
    stages = cfg.model.backbone.num_stages
    assert len([key for key in losses if key.startswith('loss_')]) == 4 * stages
    assert all(torch.isfinite(value) for value in losses.values())
    with torch.no_grad():
        heatmaps = model.eval()(images[:1], None, mode='tensor')
    assert heatmaps[-1][-1].shape == (1, keypoints, rows, columns)


@pytest.mark.parametrize(
    'name', [*RECIPES['mmpose'], 'mspn50-4stg_8xb24-28800i_mpii-256x256_megvii']
)
def test_published_sizes(name):
    """The network at full size, without memory for its weights."""
    cfg = load(name)
    width, height = cfg.codec.input_size
    columns, rows = cfg.codec.heatmap_size
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        heatmaps = model(torch.empty(1, 3, height, width), None, mode='tensor')
    assert heatmaps[-1][-1].shape == (1, cfg.model.head.num_keypoints, rows, columns)
    stages = cfg.model.backbone.num_stages
    count = sum(parameter.numel() for parameter in model.parameters())
    # The published numbers are for 17 keypoints: a 3x3 convolution and BatchNorm in each unit.
    count += (17 - cfg.model.head.num_keypoints) * 4 * stages * (9 * 256 + 2)
    assert round(count / 1e6, 1) == MILLIONS[stages]


@pytest.mark.parametrize('name', NAMES)
def test_pipelines_agree_with_the_model(name):
    """Crop, targets and decoder of one config speak of the same size."""
    cfg = load(name)
    size = tuple(cfg.codec.input_size)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        steps = {step.type: step for step in loader.dataset.pipeline}
        for step in loader.dataset.pipeline:
            TRANSFORMS.build(step)
        assert tuple(steps['FastTopdownAffine'].input_size) == size
        if 'GenerateTarget' in steps:
            assert steps['GenerateTarget'].encoder == cfg.codec
        assert loader.dataset.type == cfg.dataset_type
    assert 'GenerateTarget' in {step.type for step in cfg.train_dataloader.dataset.pipeline}
    assert cfg.model.head.decoder == cfg.codec
    assert cfg.data_mode == 'topdown' and isinstance(cfg.dataset_type, str)
    metainfo = DATASETS.get(cfg.dataset_type)._load_metainfo(
        dict(DATASETS.get(cfg.dataset_type).METAINFO)
    )
    assert metainfo['num_keypoints'] == cfg.model.head.num_keypoints
    # By the module of the data set MMPose's inferencer chooses its detector if none is named.
    module = DATASETS.get(cfg.dataset_type).__module__
    assert module.split('datasets.')[-1].split('.')[0] in default_det_models


@pytest.mark.parametrize('name', FULL_SIZE)
def test_sizes_and_schedule_are_those_of_the_name(name):
    cfg = load(name)
    width, height = cfg.codec.input_size
    assert name.startswith(f'mspn50-{cfg.model.backbone.num_stages}stg_')
    assert f'-{height}x{width}' in name
    gpus, batch = map(int, re.search(r'_(\d+)xb(\d+)-', name).groups())
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch
    endless = cfg.train_dataloader.sampler.type == 'InfiniteSampler'
    length = re.search(r'-(\d+)(e|i|ki)_', name)
    count = int(length[1]) * (1000 if length[2] == 'ki' else 1)
    if length[2] == 'e':
        assert cfg.train_cfg.max_epochs == count and cfg.train_cfg.by_epoch and not endless
        assert cfg.log_processor.by_epoch
    else:
        assert cfg.train_cfg.max_iters == count and endless
        assert cfg.train_cfg.type == 'IterBasedTrainLoop' and 'by_epoch' not in cfg.train_cfg
        assert not cfg.default_hooks.checkpoint.by_epoch and not cfg.log_processor.by_epoch
        # A checkpoint is saved for every validation.
        assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval < count


@pytest.mark.parametrize('name', RECIPES['mmpose'])
def test_mmpose_recipe_is_that_of_mmpose(name):
    """Optimiser, boxes, decoder, and the kernel of every unit's target."""
    cfg = load(name)
    stages = cfg.model.backbone.num_stages
    prefix = '' if stages == 1 else f'{stages}x'
    # 384x288 has no counterpart and is like 256x192.
    file = f'td-hm_{prefix}mspn50_8xb32-210e_coco-256x192.py'
    stock = Config.fromfile(STOCK / file)
    stock_kernels = [stock.codec[i].kernel_size for i in stock.model.head.level_indices]
    head = head_of(cfg)
    kernels = [
        head.decoder.kernel_sizes[head.level_of(stage, unit)]
        for stage in range(stages)
        for unit in range(4)
    ]
    assert kernels == stock_kernels
    for key in ('param_scheduler', 'auto_scale_lr', 'train_cfg'):
        assert cfg[key] == stock[key]
    optimizer = {**stock.optim_wrapper.optimizer, 'fused': True}  # the same steps in one pass
    assert cfg.optim_wrapper == {**stock.optim_wrapper, 'optimizer': optimizer}
    assert cfg.val_evaluator == stock.val_evaluator
    assert head.decoder.refine == 'gradient_sign'
    for field in ('mean', 'std', 'bgr_to_rgb'):
        assert cfg.model.data_preprocessor[field] == stock.model.data_preprocessor[field]
    same = {'GuardedLoading': 'LoadImage', 'FastBBoxTransform': 'RandomBBoxTransform'}
    steps, stock_steps = (
        [
            {**step.get('step', step), 'type': same.get(step.type, step.type)}
            for step in config.train_dataloader.dataset.pipeline[:5]  # up to the box's last change
        ]
        for config in (cfg, stock)
    )
    assert steps == stock_steps


@pytest.mark.parametrize('name', RECIPES['megvii'] + RECIPES['mindspore'])
def test_original_recipe(name):
    cfg = load(name)
    head = head_of(cfg)
    assert head.coarse_to_fine and head.decoder.refine == 'second_peak'
    assert cfg.model.head.coarse_targets == 'visible'
    assert cfg.model.head.ohkm and cfg.model.head.topk == 8
    assert head.decoder.decode_kernel_size == (9 if 'mpii' in name else 5)
    assert cfg.model.test_cfg == dict(flip_test=True, flip_mode='heatmap', shift_heatmap=False)
    # The rule for coarse targets needs visibilities of 2.
    train = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert ('RawAnnotation' in train) == (cfg.dataset_type == 'Coco2014Dataset')
    assert train.index('BoxMargins') < train.index('HalfBodyBox') < train.index('FastTopdownAffine')
    test = [step.type for step in cfg.test_dataloader.dataset.pipeline]
    assert test == ['GuardedLoading', 'BoxMargins', 'FastTopdownAffine', 'FastPackPoseInputs']
    mean, std = cfg.model.data_preprocessor.mean, cfg.model.data_preprocessor.std
    scale = 1 if name in RECIPES['mindspore'] else 255
    assert mean == pytest.approx([scale * value for value in (0.406, 0.456, 0.485)])
    assert std == pytest.approx([255 * value for value in (0.225, 0.224, 0.229)])
    assert not cfg.model.data_preprocessor.bgr_to_rgb
    optimizer = cfg.optim_wrapper.optimizer
    if name in RECIPES['mindspore']:
        assert optimizer == dict(type='Adam', lr=5e-4, fused=True)
        assert cfg.model.backbone.pool_padding == 'same' and cfg.model.backbone.init_cfg is None
    else:
        assert optimizer == dict(type='Adam', lr=8 * 5e-4, weight_decay=1e-5, fused=True)
        assert cfg.model.backbone.init_cfg.checkpoint == 'torchvision://resnet50'


@pytest.mark.parametrize('name', ['mspn50-2stg_8xb32-210e_coco-256x192', RECIPES['megvii'][0]])
def test_a_fused_optimizer_takes_the_recipes_steps(name):
    settings = dict(load(name).optim_wrapper.optimizer)
    make = getattr(torch.optim, settings.pop('type'))
    assert settings.pop('fused')
    weights = [torch.linspace(-1, 1, 40).requires_grad_() for _ in range(2)]
    optimizers = [make([weights[0]], **settings), make([weights[1]], fused=True, **settings)]
    for step in range(20):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = torch.sin(torch.arange(40.0) * (step + 1))
            optimizer.step()
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-6, atol=1e-7)


def rates(cfg, steps):
    """The learning rate of every step, as MMEngine's schedulers set it."""
    settings = dict(cfg.optim_wrapper.optimizer)
    optimizer = getattr(torch.optim, settings.pop('type'))([torch.zeros(1)], **settings)
    schedulers = [
        PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=optimizer))
        for scheduler in cfg.param_scheduler
    ]
    optimizer.step()  # MMEngine warns if the schedulers are the first
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    return seen, {scheduler.by_epoch for scheduler in schedulers}


@pytest.mark.parametrize(
    ('name', 'last'),
    [
        ('mspn50-2stg_8xb32-96ki_coco2014-256x192_megvii', 96000),
        ('mspn50-4stg_8xb24-28800i_mpii-256x256_megvii', 28800),
    ],
)
def test_rate_rises_and_falls_along_straight_lines(name, last):
    seen, by_epoch = rates(load(name), last + 1)
    assert by_epoch == {False}
    for i in (0, 1, 1000, 2399, 2400, 2401, 12345, last // 2, last - 1, last):
        factor = 0.1 + 0.9 * i / 2400 if i < 2400 else 1 - (i - 2400) / (last - 2400)
        assert seen[i] == pytest.approx(4e-3 * factor, rel=1e-6, abs=1e-12)


def test_rate_of_the_fine_tuning_steps_down_a_cosine_every_epoch():
    seen, by_epoch = rates(load('mspn50-2stg_1xb62-5e_coco2014-256x192_finetune'), 6)
    assert by_epoch == {True}
    cosine = [0.5 * 5e-4 * (1 + math.cos(math.pi * epoch / 5)) for epoch in range(6)]
    assert seen == pytest.approx(cosine, rel=1e-9, abs=1e-12)


def test_index_lists_every_config():
    root = Path(mspn_plugin.get_config(NAMES[0])).parents[2]
    index = Config.fromfile(root / 'model-index.yml')
    entries = {entry['Name']: entry for entry in index.Models}
    assert entries.keys() == set(NAMES)
    for name, entry in entries.items():
        assert root / entry['Config'] == Path(mspn_plugin.get_config(name))
        assert entry['Metadata']['Training Data'] == ('MPII' if 'mpii' in name else 'COCO')


def test_variants_are_short_and_import_nothing():
    for name in NAMES:
        tree = ast.parse(Path(mspn_plugin.get_config(name)).read_text())
        assert not any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree))


def test_get_config_names_the_choice():
    with pytest.raises(mspn_plugin.InputError, match="no config 'mspn-huge'.*mspn-tiny"):
        mspn_plugin.get_config('mspn-huge')
    assert mspn_plugin.get_config(NAMES[0] + '.py') == mspn_plugin.get_config(NAMES[0])
