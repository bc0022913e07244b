"""Every config builds and gives a loss; sizes, schedules and rules are the published ones."""

import ast
import hashlib
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mmpose
import pytest
import torch
from mim.commands import download as mim_download
from mmengine.config import Config
from mmengine.fileio import load as load_file
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.structures import InstanceData
from mmpose.apis import MMPoseInferencer
from mmpose.apis.inferencers.utils import default_det_models
from mmpose.registry import DATASETS, MODELS, TRANSFORMS
from mmpose.structures import PoseDataSample

import mspn_plugin
from mspn import models

TINY = 'mspn-tiny_1xb16-20e_coco-128x96'
NAMES = mspn_plugin.list_configs()
FULL_SIZE = [name for name in NAMES if name.startswith('mspn50')]
MMPOSE, MEGVII, MINDSPORE = (
    [name for name in NAMES if re.search(part, name)]
    for part in ('_8xb32-210e_coco-', '_megvii$', '_finetune$')
)
STOCK = Path(mmpose.__file__).parent / '.mim/configs/body_2d_keypoint/topdown_heatmap/coco'


def load(name):
    return Config.fromfile(mspn_plugin.get_config(name))


def build(cfg):
    cfg.model.backbone.init_cfg = None  # no download
    return MODELS.build(cfg.model)


def head_of(cfg):
    with torch.device('meta'):  # no memory, no time
        return MODELS.build(cfg.model.head)


@pytest.mark.parametrize('name', NAMES)
def test_parts_agree_and_give_heatmaps_and_losses(name):
    """With few channels: what a config decides is structure and sizes, which stay."""
    cfg = load(name)
    size, keypoints = tuple(cfg.codec.input_size), cfg.model.head.num_keypoints
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        steps = {step.type: step for step in loader.dataset.pipeline}
        for step in loader.dataset.pipeline:
            TRANSFORMS.build(step)
        assert tuple(steps['FastTopdownAffine'].input_size) == size
        if 'GenerateTarget' in steps or loader is cfg.train_dataloader:
            assert steps['GenerateTarget'].encoder == cfg.codec
        assert loader.dataset.type == cfg.dataset_type
    assert cfg.model.head.decoder == cfg.codec
    assert cfg.data_mode == 'topdown' and isinstance(cfg.dataset_type, str)
    dataset = DATASETS.get(cfg.dataset_type)
    assert dataset._load_metainfo(dict(dataset.METAINFO))['num_keypoints'] == keypoints
    # By the module of the data set MMPose's inferencer chooses its detector if none is named.
    assert dataset.__module__.split('datasets.')[-1].split('.')[0] in default_det_models

    cfg.model.backbone.update(stem_channels=8, base_channels=4, unit_channels=8)
    for part in ('neck', 'head'):
        cfg.model[part].unit_channels = 8
    model = build(cfg)
    columns, rows = cfg.codec.heatmap_size
    visible = cfg.model.head.coarse_loss.type == 'VisibleKeypointMSELoss'
    cells = torch.rand(1, keypoints, 2) * torch.tensor([columns, rows])
    weights = (torch.arange(keypoints)[None] % (3 if visible else 2)).float()
    labels = InstanceData(keypoint_cells=cells, keypoint_weights=weights)
    images = torch.randn(2, 3, *size[::-1])
    losses = model.train().loss(images, [PoseDataSample(gt_instance_labels=labels)] * 2)
    assert sum(key.startswith('loss_') for key in losses) == 4 * cfg.model.backbone.num_stages
    assert all(torch.isfinite(value) for value in losses.values())
    with torch.no_grad():
        heatmaps = model.eval()(images[:1], None, mode='tensor')
    assert heatmaps[-1][-1].shape == (1, keypoints, rows, columns)


@pytest.mark.parametrize('name', [*MMPOSE, 'mspn50-4stg_8xb24'])
def test_published_sizes(name):
    cfg = load(name)
    stages, keypoints = cfg.model.backbone.num_stages, cfg.model.head.num_keypoints
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        images = torch.empty(1, 3, *cfg.codec.input_size[::-1])
        heatmaps = model(images, None, mode='tensor')
    assert heatmaps[-1][-1].shape == (1, keypoints, *cfg.codec.heatmap_size[::-1])
    count = sum(parameter.numel() for parameter in model.parameters())
    # The published numbers are for 17 keypoints: a 3x3 convolution and BatchNorm in each unit.
    count += (17 - keypoints) * 4 * stages * (9 * 256 + 2)
    assert round(count / 1e6, 1) == (25.1, 56.8, 88.5, 120.2)[stages - 1]


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
    number, unit = re.search(r'-(\d+)(e|i|ki)_', name).groups()
    count = int(number) * (1000 if unit == 'ki' else 1)
    if unit == 'e':
        assert cfg.train_cfg.max_epochs == count and cfg.train_cfg.by_epoch and not endless
        assert cfg.log_processor.by_epoch
    else:
        assert cfg.train_cfg.max_iters == count and endless
        assert cfg.train_cfg.type == 'IterBasedTrainLoop' and 'by_epoch' not in cfg.train_cfg
        assert not cfg.default_hooks.checkpoint.by_epoch and not cfg.log_processor.by_epoch
        # A checkpoint is saved for every validation.
        assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval < count


@pytest.mark.parametrize('name', MMPOSE)
def test_mmpose_recipe_is_that_of_mmpose(name):
    cfg = load(name)
    stages = cfg.model.backbone.num_stages
    prefix = '' if stages == 1 else f'{stages}x'
    # 384x288 has no counterpart and is like 256x192.
    stock = Config.fromfile(STOCK / f'td-hm_{prefix}mspn50_8xb32-210e_coco-256x192.py')
    head = head_of(cfg)
    levels = [head.level_of(stage, unit) for stage in range(stages) for unit in range(4)]
    kernels = [stock.codec[i].kernel_size for i in stock.model.head.level_indices]
    assert [head.decoder.kernel_sizes[level] for level in levels] == kernels
    for key in ('param_scheduler', 'auto_scale_lr', 'train_cfg'):
        assert cfg[key] == stock[key]
    optimizer = {**stock.optim_wrapper.optimizer, 'fused': True}  # the same steps in one pass
    assert cfg.optim_wrapper == {**stock.optim_wrapper, 'optimizer': optimizer}
    assert cfg.val_evaluator == stock.val_evaluator
    assert head.decoder.refine == 'gradient_sign'
    for field in ('mean', 'std', 'bgr_to_rgb'):
        assert cfg.model.data_preprocessor[field] == stock.model.data_preprocessor[field]
    same = {'GuardedLoading': 'LoadImage', 'FastBBoxTransform': 'RandomBBoxTransform'}
    pipelines = (config.train_dataloader.dataset.pipeline for config in (cfg, stock))
    for ours, theirs in zip(*(steps[:5] for steps in pipelines), strict=True):  # those of the box
        assert {**ours.get('step', ours), 'type': same.get(ours.type, ours.type)} == theirs


@pytest.mark.parametrize('name', MEGVII + MINDSPORE)
def test_original_recipe(name):
    cfg = load(name)
    head = head_of(cfg)
    assert head.coarse_to_fine and head.decoder.refine == 'second_peak'
    assert cfg.model.head.coarse_loss == dict(type='VisibleKeypointMSELoss', loss_weight=0.25)
    assert cfg.model.head.final_loss == dict(type='OHKMMSELoss', topk=8, binary_weights=True)
    assert head.decoder.decode_kernel_size == (9 if 'mpii' in name else 5)
    assert cfg.model.test_cfg == dict(flip_test=True, flip_mode='heatmap', shift_heatmap=False)
    # The rule for coarse targets needs visibilities of 2.
    train = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert ('RawAnnotation' in train) == (cfg.dataset_type == 'Coco2014Dataset')
    assert train.index('BoxMargins') < train.index('HalfBodyBox') < train.index('FastTopdownAffine')
    test = [step.type for step in cfg.test_dataloader.dataset.pipeline]
    assert test == ['GuardedLoading', 'BoxMargins', 'FastTopdownAffine', 'FastPackPoseInputs']
    mean, std = cfg.model.data_preprocessor.mean, cfg.model.data_preprocessor.std
    scale = 1 if name in MINDSPORE else 255
    assert mean == pytest.approx([scale * value for value in (0.406, 0.456, 0.485)])
    assert std == pytest.approx([255 * value for value in (0.225, 0.224, 0.229)])
    assert not cfg.model.data_preprocessor.bgr_to_rgb
    optimizer = cfg.optim_wrapper.optimizer
    if name in MINDSPORE:
        assert optimizer == dict(type='Adam', lr=5e-4, fused=True)
        assert cfg.model.backbone.pool_padding == 'same' and cfg.model.backbone.init_cfg is None
    else:
        assert optimizer == dict(type='Adam', lr=8 * 5e-4, weight_decay=1e-5, fused=True)
        assert cfg.model.backbone.init_cfg.checkpoint == 'torchvision://resnet50'


def rates(name, steps):
    cfg = load(name)
    settings = dict(cfg.optim_wrapper.optimizer)
    optimizer = getattr(torch.optim, settings.pop('type'))([torch.zeros(1)], **settings)
    given = dict(default_args=dict(optimizer=optimizer))
    schedulers = [PARAM_SCHEDULERS.build(s, **given) for s in cfg.param_scheduler]
    optimizer.step()  # MMEngine warns if the schedulers are the first
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    return seen, {scheduler.by_epoch for scheduler in schedulers}


def test_rate_rises_and_falls_along_straight_lines_and_fine_tuning_steps_down_a_cosine():
    for name, last in (('mspn50-2stg_8xb32-96ki', 96000), ('mspn50-4stg_8xb24', 28800)):
        seen, by_epoch = rates(name, last + 1)
        assert by_epoch == {False}
        for i in (0, 1, 1000, 2399, 2400, 2401, 12345, last // 2, last - 1, last):
            factor = 0.1 + 0.9 * i / 2400 if i < 2400 else 1 - (i - 2400) / (last - 2400)
            assert seen[i] == pytest.approx(4e-3 * factor, rel=1e-6, abs=1e-12)
    seen, by_epoch = rates('mspn50-2stg_1xb62', 6)
    assert by_epoch == {True}
    cosine = [0.5 * 5e-4 * (1 + math.cos(math.pi * epoch / 5)) for epoch in range(6)]
    assert seen == pytest.approx(cosine, rel=1e-9, abs=1e-12)


def test_index_lists_every_config_which_imports_nothing():
    root = Path(mspn_plugin.get_config(NAMES[0])).parents[2]
    assert Config.fromfile(root / 'model-index.yml').Import == ['configs/metafile.yml']
    entries = {entry['Name']: entry for entry in load_file(root / 'configs/metafile.yml')['Models']}
    assert entries.keys() == set(NAMES)
    recipes = (Path(__file__).parents[1] / 'docs' / 'recipes.md').read_text().splitlines()
    for name, entry in entries.items():
        path = Path(mspn_plugin.get_config(name))
        assert root / entry['Config'] == path
        tree = ast.walk(ast.parse(path.read_text()))
        assert not any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in tree)
        assert entry['Metadata']['Training Data'] == ('MPII' if 'mpii' in name else 'COCO')
        # Weights and results are those of the table of published results.
        row = next((line for line in recipes if f'[`{name}`]' in line and '|' in line), '')
        address = re.search(r'\((https://[^)]*\.(pth|ckpt))\)', row)
        assert entry.get('Weights') == (address and address[1])
        assert ('Results' in entry) == (address is not None)
        if address:
            metrics, cells = entry['Results'][0]['Metrics'].values(), row.split(' | ')
            assert [f'{100 * value:.1f}' for value in metrics] == cells[3:6] + cells[8:10]


def test_published_weights_come_by_name(monkeypatch, server, tmp_path):
    """To MMPose's inferencer and through mim, from an index that names a server of this machine."""
    name = MMPOSE[0]
    copied = tmp_path / 'mspn_plugin' / '.mim'
    shutil.copytree(Path(mspn_plugin.get_config(name)).parents[2], copied)
    index = copied / 'configs' / 'metafile.yml'
    index.write_text(index.read_text().replace('https://download.openmmlab.com/', f'{server}/'))
    address = next(e['Weights'] for e in load_file(index)['Models'] if e['Name'] == name)
    file = tmp_path / 'served' / address.removeprefix(f'{server}/')
    file.parent.mkdir(parents=True)
    weights = build(load(name)).state_dict()
    torch.save(weights, file)
    # The name of a published file tells the first characters of its SHA-256.
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    file = file.rename(file.with_name(re.sub('-[0-9a-f]{8}_', f'-{digest}_', file.name)))
    index.write_text(index.read_text().replace(Path(address).name, file.name))
    monkeypatch.setenv('MSPN_HOME', str(tmp_path / 'home'))
    monkeypatch.setattr(models, '_index', lambda: load_file(index)['Models'])
    for module in ('search', 'download'):
        module = sys.modules[f'mim.commands.{module}']
        monkeypatch.setattr(module, 'get_installed_path', lambda _: copied.parent)
    whole = dict(det_model='whole_image', device='cpu')
    loaded = MMPoseInferencer(name, **whole).inferencer.model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in loaded.items())
    mim_download('mspn_plugin', [name], dest_root=str(tmp_path / 'out'))
    assert Config.fromfile(tmp_path / 'out' / f'{name}.py').model == load(name).model
    assert (tmp_path / 'out' / file.name).read_bytes() == file.read_bytes()


def test_a_config_elsewhere_inherits_by_name_and_brings_a_loss_and_a_network(tmp_path):
    """In a fresh process; what the base holds is of this package's scope."""
    (tmp_path / 'mine.py').write_text(f"""
_base_ = 'mspn_plugin::coco/{TINY}.py'
mobile = dict(type='MobileNetV2', out_indices=(1, 2, 4, 6))
loss = dict(_delete_=True, type='LearnedL1')
model = dict(backbone=dict(downsample=dict(type='BackboneDownsample', backbone=mobile)),
             head=dict(decoder=_base_.codec, coarse_loss=loss))
""")
    script = """if True:
        import mspn_plugin, torch
        from mmengine import Config
        from mmengine.registry import FUNCTIONS
        from mmengine.structures import InstanceData
        from mmpose.registry import MODELS, TRANSFORMS
        from mmpose.structures import PoseDataSample
        @MODELS.register_module()
        class LearnedL1(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.factor = torch.nn.Parameter(torch.tensor(2.0))
            def forward(self, output, target, weights):
                return (output - target).abs().mean() * self.factor
        cfg = Config.fromfile('mine.py')
        assert cfg.model._scope_ == 'mspn_plugin'
        model = MODELS.build(cfg.model)
        cells, weights = torch.full((1, 17, 2), 9.0), torch.ones(1, 17)
        labels = dict(keypoint_cells=cells, keypoint_weights=weights)
        sample = PoseDataSample(gt_instance_labels=InstanceData(**labels))
        losses = model.loss(torch.randn(2, 3, 128, 96), [sample] * 2)
        sum(loss for name, loss in losses.items() if 'loss' in name).backward()
        torch.optim.SGD(model.parameters(), lr=1e-3).step()
        print(model.head.coarse_loss.factor.item() < 2)
        for step in cfg.train_dataloader.dataset.pipeline:
            TRANSFORMS.build(step)
        collate = cfg.train_dataloader.collate_fn
        samples = [dict(inputs=torch.zeros(3), data_samples=sample)]
        FUNCTIONS.get(collate.pop('type'))(samples, **collate)
    """
    command = [sys.executable, '-W', 'ignore', '-c', script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (0, 'True\n'), done.stdout + done.stderr
    assert 'WARNING' not in done.stderr


def test_get_config_takes_what_fits_one():
    path = mspn_plugin.get_config(TINY)
    for name in (f'{TINY}.py', 'mspn-tiny', 'tiny'):
        assert mspn_plugin.get_config(name) == path
    assert Path(mspn_plugin.get_config('rtmdet-nano')).parent.name == 'detection'
    for name, words in (
        ('mspn-huge', "no config 'mspn-huge'.*mspn-tiny"),
        ('', "no config ''.*mspn-tiny"),
        ('coco2014-256x192_megvii', "4 configs fit 'coco2014-256x192_megvii': .*mspn50-1stg"),
    ):
        with pytest.raises(mspn_plugin.InputError, match=words):
            mspn_plugin.get_config(name)
