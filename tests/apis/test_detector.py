"""Person boxes from MMDet, next to a pose model."""

import contextlib
import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS

from mspn.poses import usable_boxes
from mspn_plugin import InputError, get_config
from mspn_plugin.apis.detector import PersonDetector, read_detector_config

mmdet_apis = pytest.importorskip('mmdet.apis')

NAME = 'rtmdet_tiny_8xb32-300e_coco'
TINY_POSE = 'mspn-tiny_1xb16-20e_coco-128x96'
STEM = 'backbone.stem.0.conv.weight'
EDGES = ((np.maximum, slice(2)), (np.minimum, slice(2, 4)))


@pytest.fixture(scope='module')
def rtmdet(untrained_models, tmp_path_factory):
    """The detector of all tests, with two categories and scores that differ."""
    folder = tmp_path_factory.mktemp('rtmdet')
    config = Config.fromfile(untrained_models[0])
    config.model.bbox_head.num_classes = 2
    config.dump(folder / 'rtmdet.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'), pytest.warns(UserWarning):
        model = mmdet_apis.init_detector(copy.deepcopy(config), None, device='cpu')
    for conv in model.bbox_head.rtm_reg:
        torch.nn.init.constant_(conv.bias, 3.0)  # boxes of some size; random ones have no area
    for conv in model.bbox_head.rtm_cls:
        torch.nn.init.normal_(conv.weight, std=0.3)
    names = dict(dataset_meta=dict(classes=('person', 'bicycle')))
    torch.save(dict(state_dict=model.state_dict(), meta=names), folder / 'rtmdet.pth')
    return folder / 'rtmdet.py', folder / 'rtmdet.pth'


def pictures(*sizes):
    rng = np.random.default_rng(0)
    patch = np.ones((10, 10, 1), np.uint8)
    noise = (rng.integers(0, 256, (1 + h // 10, 1 + w // 10, 3), np.uint8) for w, h in sizes)
    return [np.kron(n, patch)[:h, :w] for n, (w, h) in zip(noise, sizes, strict=True)]


def suppressed(boxes, scores, threshold):
    """Non-maximum suppression as its definition says it."""
    kept, areas = [], np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for index in np.argsort(-scores, kind='stable'):
        low, high = (f(boxes[index, part], boxes[kept, part]) for f, part in EDGES)
        both = np.prod(np.clip(high - low, 0, None), axis=1)
        if (both <= threshold * (areas[index] + areas[kept] - both)).all():
            kept.append(index)
    return kept


@pytest.mark.parametrize('category', [0, 1])
def test_a_batch_gives_what_mmdet_gives_for_each_image(rtmdet, category):
    detector = PersonDetector(*rtmdet, category=category, score_thr=0.45, nms_thr=0.4)
    images = pictures((120, 90), (64, 96), (200, 60))
    found = detector.detect(images)
    with DefaultScope.overwrite_default_scope('mmdet'):
        expected = mmdet_apis.inference_detector(detector.model, images)
    for (boxes, scores), sample, image in zip(found, expected, images, strict=True):
        instances = sample.pred_instances
        wanted = (instances.labels == category) & (instances.scores >= 0.45)
        size = np.tile(image.shape[1::-1], 2)
        all_boxes = np.clip(instances.bboxes[wanted].numpy(), 0, size)
        all_scores = instances.scores[wanted].numpy()
        kept = suppressed(all_boxes, all_scores, 0.4)
        kept = [index for index in kept if (np.ptp(all_boxes[index].reshape(2, 2), 0) >= 1).all()]
        assert 0 < len(kept) < len(all_boxes)
        assert boxes.dtype == scores.dtype == np.float32
        np.testing.assert_allclose(boxes, all_boxes[kept], atol=1e-2)
        np.testing.assert_allclose(scores, all_scores[kept], atol=1e-5)
        assert (np.diff(scores) <= 0).all() and (boxes[:, :2] >= 0).all() and (boxes <= size).all()


def test_pose_models_and_detectors_take_turns(rtmdet):
    """MMEngine's scope is the pose model's again after every call, a failing one included."""
    detector = PersonDetector(*rtmdet)
    for call, error in (
        (lambda: detector.detect(pictures((64, 48))), None),
        (lambda: MODELS.build(Config.fromfile(get_config(TINY_POSE)).model), None),
        (lambda: detector.detect(['no image']), Exception),
        (lambda: PersonDetector(rtmdet[0], get_config(TINY_POSE)), InputError),
    ):
        assert DefaultScope.get_current_instance().scope_name == 'mmpose'
        with pytest.raises(error) if error else contextlib.nullcontext():
            call()
    assert DefaultScope.get_current_instance().scope_name == 'mmpose'


def test_configs_by_name_and_what_is_none(tmp_path, rtmdet):
    for name in (NAME, f'{NAME}.py', f'rtmdet/{NAME}.py'):
        assert read_detector_config(name).model.bbox_head.num_classes == 80
    broken = tmp_path / 'broken.py'
    for config, content, words in (
        ('nothing_9', '', 'nothing_9 does not exist.*rtmdet_tiny_8xb32'),
        (get_config(TINY_POSE), '', 'come before those of the pose model'),
        (broken, 'model = dict(', 'broken.py cannot be read as an MMEngine config'),
        (broken, 'data = 1', 'describes no MMDet detector'),
    ):
        broken.write_text(content)
        with pytest.raises(InputError, match=words):
            read_detector_config(config)
    config = Config.fromfile(rtmdet[0])
    config.model.bbox_head.type = 'NoSuchHead'
    config.dump(broken)
    with pytest.raises(InputError, match='cannot be built as an MMDet detector.*NoSuchHead'):
        PersonDetector(broken, rtmdet[1])


def test_weights_in_all_their_forms(tmp_path, rtmdet):
    """Official files, and what MMEngine's runner writes; then files of another network."""
    path, weights = tmp_path / 'weights.pth', torch.load(rtmdet[1])['state_dict']
    trainable = {k: v for k, v in weights.items() if 'num_batches' not in k}
    hub, steps = dict(loss=HistoryBuffer([1.0], [1])), torch.tensor(3)
    for content in (
        weights,
        trainable,
        {**weights, 'data_preprocessor.mean': torch.zeros(3, 1, 1)},
        dict(state_dict=weights, message_hub=hub, optimizer={}),
        dict(state_dict=weights, ema_state_dict=dict(steps=steps)),
        dict(state_dict={f'module.{k}': v for k, v in weights.items()}),
    ):
        torch.save(content, path)
        loaded = PersonDetector(rtmdet[0], path).model.state_dict()
        assert all(torch.equal(loaded[k], v) for k, v in trainable.items())
    for content, words in (
        ({k: v for k, v in weights.items() if k != STEM}, f'1 missing: {STEM}'),
        ({**weights, 'backbone.9.w': steps}, '1 not in the network: backbone.9.w'),
        ({**weights, STEM: torch.zeros(2, 2)}, rf'1 of another shape: {STEM} \(2, 2\) instead of'),
        (
            {'backbone.conv.weight': steps},
            'missing: .*; 1 not in the network: backbone.conv.weight',
        ),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=f'^[^\n]*weights.pth does not fit .*{words}[^\n]*$'):
            PersonDetector(rtmdet[0], path)
    path.write_text('text')
    for file, words in ((path, 'weights.pth cannot be read'), (tmp_path / 'no.pth', 'not exist')):
        with pytest.raises(InputError, match=words):
            PersonDetector(rtmdet[0], file)


@pytest.mark.parametrize(
    ('option', 'value', 'expected'),
    [
        ('category', 2, 'categories 0 to 1, and 2 is none of them'),
        ('category', -1, 'and -1 is none of them'),
        ('score_thr', 1.5, 'score_thr is 1.5; expected 0 to 1'),
        ('nms_thr', np.nan, 'nms_thr is nan; expected 0 to 1'),
        ('device', 'cuda:97', "device 'cuda:97' cannot be used; this machine has cpu"),
        *(('device', name, f"device '{name}' cannot be used") for name in ('toaster', 'meta')),
    ],
)
def test_options_that_cannot_be(rtmdet, option, value, expected):
    with pytest.raises(InputError, match=expected):
        PersonDetector(*rtmdet, **{option: value})


def test_usable_boxes_and_none(rtmdet):
    boxes = [[0, 0, 5, 5], [-9, -9, 0, 3], [3, 3, 3.5, 9], [7, 7, 6, 9], [9, 0, 12, 5]]
    edges = [[10, 0, 12, 5], [0, 8, 5, 12], [-50, -50, 90, 90], [np.nan, 0, 5, 5]]
    usable = usable_boxes(np.array([*boxes, *edges], np.float32), (10, 8))
    assert np.flatnonzero(usable).tolist() == [0, 4, 7]
    assert usable_boxes(np.zeros((0, 4), np.float32), (10, 8)).shape == (0,)
    nobody = PersonDetector(*rtmdet, score_thr=1)
    assert nobody.detect([]) == []
    assert [found.shape for found in nobody.detect(pictures((60, 200)))[0]] == [(0, 4), (0,)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_on_a_gpu(rtmdet):
    images, options = pictures((120, 90), (64, 96)), dict(score_thr=0, nms_thr=0.3)
    detectors = (PersonDetector(*rtmdet, device=name, **options) for name in ('cpu', 'cuda'))
    for here, there in zip(*(found.detect(images) for found in detectors), strict=True):
        assert abs(len(here[0]) - len(there[0])) <= 1  # random scores are close to each other
        np.testing.assert_allclose(here[1][:3], there[1][:3], atol=0.01)
