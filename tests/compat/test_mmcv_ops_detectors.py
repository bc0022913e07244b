"""MMDet's detectors, from its own configs with random weights, on top of the supplied operators."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from mspn_plugin.compat import mmcv_ops

GAP = mmcv_ops.install()
if not GAP.active:
    pytest.skip(GAP.detail, allow_module_level=True)
mmdet = pytest.importorskip('mmdet')
from mmdet.apis import inference_detector  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402

RTMDET = 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
YOLOX = 'yolox/yolox_tiny_8xb8-300e_coco.py'
FASTER_RCNN = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
on_each_device = pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_cuda)])


def load_config(name: str) -> Config:
    """One of MMDet's configs that downloads nothing."""
    file = Path(mmdet.__file__).parent / '.mim' / 'configs' / name
    if not file.is_file():
        pytest.skip(f'MMDet is installed without its config {name}')
    config = Config.fromfile(file)
    config.model.backbone.init_cfg = None
    return config


def make_model(config: Config, device: str):
    torch.manual_seed(0)
    register_all_modules()
    model = MODELS.build(config.model)
    model.cfg = config
    return model.to(device).eval()


def make_sample(size: int, *, device: str) -> dict:
    """What MMDet's loader gives for one square image with two boxes."""
    shapes = ('img_shape', 'ori_shape', 'batch_input_shape', 'pad_shape')
    boxes = torch.tensor([[10.0, 12, 60, 90], [40.0, 8, 100, 60]])
    sample = DetDataSample(
        metainfo=dict.fromkeys(shapes, (size, size)) | {'scale_factor': (1.0, 1.0)},
        gt_instances=InstanceData(bboxes=boxes, labels=torch.tensor([0, 5])),
        ignored_instances=InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0)),
    )
    image = torch.randint(0, 256, (3, size, size), dtype=torch.uint8)
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
    picture = np.random.default_rng(0).integers(0, 256, (96, 120, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = inference_detector(model, picture).pred_instances
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
    data = model.data_preprocessor(make_sample(128, device=device), True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    gradient = dict(model.named_parameters())[learns].grad
    assert total.isfinite() and gradient.isfinite().all() and gradient.abs().sum() > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.backbone.parameters())
    assert any(p.grad is not None for p in model.backbone.parameters())
