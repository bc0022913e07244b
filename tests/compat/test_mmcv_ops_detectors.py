"""MMDet's detectors, from its own configs with random weights, on top of the supplied operators."""

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from mspn_plugin.compat import mmcv_ops

GAP = mmcv_ops.install()
if not GAP.active:
    pytest.skip(GAP.detail, allow_module_level=True)
mmdet = pytest.importorskip('mmdet')

RTMDET = 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
YOLOX = 'yolox/yolox_tiny_8xb8-300e_coco.py'
FASTER_RCNN = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
on_each_device = pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_cuda)])


def load_config(name: str):
    """One of MMDet's configs that downloads nothing."""
    config_class = importlib.import_module('mmengine.config').Config
    root = Path(mmdet.__file__).parent
    folders = [root / '.mim' / 'configs', root.parent / 'configs']
    found = [folder / name for folder in folders if (folder / name).is_file()]
    if not found:
        pytest.skip(f'MMDet is installed without its config {name}')
    config = config_class.fromfile(found[0])
    config.model.backbone.init_cfg = None
    return config


def make_model(config, device: str):
    torch.manual_seed(0)
    importlib.import_module('mmdet.utils').register_all_modules()
    model = importlib.import_module('mmdet.registry').MODELS.build(config.model)
    model.cfg = config
    return model.to(device).eval()


def make_sample(height: int, width: int, *, device: str):
    """What MMDet's loader gives for one image with two boxes."""
    structures = importlib.import_module('mmdet.structures')
    instances = importlib.import_module('mmengine.structures').InstanceData
    boxes = [[10.0, 12, 60, 90], [40.0, 8, 100, 60]]
    sample = structures.DetDataSample(
        metainfo=dict(
            img_shape=(height, width),
            ori_shape=(height, width),
            batch_input_shape=(height, width),
            pad_shape=(height, width),
            scale_factor=(1.0, 1.0),
        ),
        gt_instances=instances(bboxes=torch.tensor(boxes), labels=torch.tensor([0, 5])),
        ignored_instances=instances(bboxes=torch.zeros(0, 4), labels=torch.zeros(0)),
    )
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    return dict(inputs=[image], data_samples=[sample.to(device)])


@on_each_device
@pytest.mark.parametrize('name', [RTMDET, YOLOX, FASTER_RCNN])
def test_inference_on_a_picture(name, device):
    config = load_config(name)
    for step in config.test_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (160, 128)
        if step.type == 'Pad' and 'size' in step:
            step.size = (160, 160)
    config.test_pipeline = config.test_dataloader.dataset.pipeline
    model = make_model(config, device)
    if name == YOLOX:  # its box sizes are exponentials: infinite with weights this random
        for conv in model.bbox_head.multi_level_conv_reg:
            torch.nn.init.zeros_(conv.weight)
    # Random weights are never sure of anything; this way suppression has something to do.
    test_cfg = model.test_cfg.get('rcnn', model.test_cfg)
    test_cfg.score_thr = 0.0
    inference = importlib.import_module('mmdet.apis').inference_detector
    picture = np.random.default_rng(0).integers(0, 256, (96, 120, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = inference(model, picture).pred_instances
    assert len(found) > 0
    assert found.bboxes.shape == (len(found), 4) and found.bboxes.isfinite().all()
    assert found.bboxes.abs().max() < 200  # pixels of the picture, give or take its padding
    assert (found.scores.diff() <= 0).all()


@on_each_device
@pytest.mark.parametrize(
    ('name', 'learns'),
    [
        pytest.param(FASTER_RCNN, 'roi_head.bbox_head.fc_cls.weight', id='faster-rcnn'),
        pytest.param(RTMDET, 'bbox_head.rtm_cls.0.weight', id='rtmdet'),
    ],
)
def test_one_training_step(name, learns, device):
    config = load_config(name)
    if name == RTMDET:  # its augmentation needs a loader; the network is what is tested
        config.model.data_preprocessor.batch_augments = None
    model = make_model(config, device).train()
    data = model.data_preprocessor(make_sample(128, 128, device=device), True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    gradient = dict(model.named_parameters())[learns].grad
    assert total.isfinite() and gradient.isfinite().all() and gradient.abs().sum() > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.backbone.parameters())
    assert any(p.grad is not None for p in model.backbone.parameters())
