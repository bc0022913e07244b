"""Exported files against torch: keypoints, scores and boxes; what they say; what is refused."""

import json
from unittest.mock import Mock

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from mmpose.apis import init_model
from mmpose.registry import MODELS
from runs import TINY, sentence

from mspn import cli
from mspn.json_files import read_json
from mspn.media import read_image
from mspn.runtime import DetectorModel, PoseModel
from mspn_plugin import InputError, get_config
from mspn_plugin.apis import PosePredictor, infer_people
from mspn_plugin.apis.detector import PersonDetector
from mspn_plugin.checkpoints.files import narrowed
from mspn_plugin.export import detector_to_onnx, to_int8, to_onnx
from mspn_plugin.heatmaps.decode import REFINEMENTS


def boxes_of(people, limit=20):
    """Paths of validation pictures with their boxes, x1 y1 x2 y2."""
    content = read_json(people / 'annotations/person_keypoints_val2017.json', 'x', expected='x')
    names = {image['id']: image['file_name'] for image in content['images']}
    found = {}
    for person in content['annotations'][:limit]:
        x, y, w, h = person['bbox']
        if person['num_keypoints']:
            path = people / 'val2017' / names[person['image_id']]
            found.setdefault(path, []).append([x, y, x + w, y + h])
    return found


def tiny(calibrated_tiny, refine, flip):
    model = calibrated_tiny()
    model.test_cfg['flip_test'] = flip
    model.head.decoder.refine = refine
    return model


def assert_same_people(model, file, pictures, batch_size):
    """The file finds what the torch half finds, which decodes by OpenCV; gives how many."""
    predictor, light = PosePredictor(model), PoseModel(file, batch_size=batch_size)
    count = far = 0
    for path, boxes in pictures.items():
        wanted, found = predictor.predict(path, boxes), light.predict(path, boxes)
        for one, other in zip(wanted, found, strict=True):
            instance = one.pred_instances
            np.testing.assert_allclose(other.scores, instance.keypoint_scores[0], atol=1e-4)
            apart = np.abs(other.keypoints - instance.keypoints[0]).max(axis=1)
            scale = (one.metainfo['input_scale'] / one.metainfo['input_size']).max()
            count, far = count + len(apart), far + (apart > 0.02 * max(scale, 1)).sum()
    assert count and far <= 0.005 * count  # where rounding decides between equal neighbours
    return count


@pytest.mark.parametrize('refine', REFINEMENTS)
@pytest.mark.parametrize('flip', [False, True])
def test_the_small_model_in_all_its_forms(calibrated_tiny, real_data, refine, flip, tmp_path):
    model = tiny(calibrated_tiny, refine, flip)
    found = to_onnx(model, tmp_path / 'pose.onnx', licence='CC0', training_data='nothing')
    assert found['scores'] < 1e-4 and found['near'] == 1.0
    pictures = boxes_of(real_data)
    for batch_size in (1, 7):
        assert assert_same_people(model, tmp_path / 'pose.onnx', pictures, batch_size) > 100
    facts = PoseModel(tmp_path / 'pose.onnx').facts
    assert facts['keypoints'][5] == 'left_shoulder' and facts['licence'] == 'CC0'
    assert facts['flip_test'] is flip and facts['decoder']['refine'] == refine
    assert facts['input_size'] == [96, 128] and facts['box_padding'] == [1.15, 1.15]
    assert len(facts['meta']['sigmas']) == 17 and facts['training_data'] == 'nothing'


@pytest.mark.slow
def test_the_full_size_model_with_the_original_s_boxes_and_decoder(real_data, tmp_path):
    config = 'mspn50-2stg_8xb32-96ki_coco2014-256x192_megvii'
    options = dict(model=dict(backbone=dict(init_cfg=None)))
    torch.manual_seed(0)
    model = init_model(get_config(config), device='cpu', cfg_options=options)
    model.init_weights()
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model.head(model.neck(model.backbone(torch.randn(4, 3, 256, 192))))
    to_onnx(model.eval(), tmp_path / 'pose.onnx', flip_test=False)
    model.test_cfg['flip_test'] = False
    pictures = dict(list(boxes_of(real_data).items())[:2])
    assert_same_people(model, tmp_path / 'pose.onnx', pictures, 4)
    facts = PoseModel(tmp_path / 'pose.onnx').facts
    assert facts['box_padding'] == [1.09, 1.135]


def test_a_picture_and_boxes_go_in_where_crops_are_cut_out_inside(
    calibrated_tiny, people, tmp_path
):
    model = tiny(calibrated_tiny, 'gradient_sign', False)
    to_onnx(model, tmp_path / 'whole.onnx', input='image')
    session = ort.InferenceSession(tmp_path / 'whole.onnx')
    near = []
    for path, boxes in boxes_of(people).items():
        inputs = dict(image=read_image(path), boxes=np.array(boxes, np.float32))
        keypoints, scores = session.run(None, inputs)
        wanted = infer_people(model, path, boxes)
        assert keypoints.shape == (len(boxes), 17, 2) and scores.shape == (len(boxes), 17)
        for one, points in zip(wanted, keypoints, strict=True):
            near += (np.abs(one.pred_instances.keypoints[0] - points).max(axis=1) < 0.1).tolist()
    assert np.mean(near) > 0.7  # of a random network, in which a rounded pixel moves other peaks
    with pytest.raises(InputError, match="expected 'crops' or 'image'"):
        to_onnx(model, tmp_path / 'x.onnx', input='video')


def test_half_the_bits_eight_bits_and_torch_s_own_format(
    calibrated_tiny, people, tmp_path, monkeypatch
):
    model = tiny(calibrated_tiny, 'gradient_sign', False)
    files = {name: tmp_path / f'{name}.onnx' for name in ('full', 'half', 'int8')}
    to_onnx(model, files['full'])
    to_onnx(model, files['half'], half=True)
    pictures = boxes_of(people)
    found = to_int8(model, files['int8'], list(pictures), boxes=list(pictures.values()))
    assert found['near'] > 0.75
    monkeypatch.setattr('mspn_plugin.export.int8._LOST', 0.0)
    with pytest.raises(InputError, match='was not written: with 8 bits only'):
        to_int8(model, tmp_path / 'bad.onnx', list(pictures))
    assert not (tmp_path / 'bad.onnx').exists()
    sizes = {name: file.stat().st_size for name, file in files.items()}
    assert sizes['half'] < 0.6 * sizes['full'] and sizes['int8'] < 0.45 * sizes['full']
    crops = torch.randint(0, 255, (3, 128, 96, 3), dtype=torch.uint8).numpy()
    wanted, found = (PoseModel(files[name]).run_crops(crops)[1] for name in ('full', 'half'))
    np.testing.assert_allclose(found, wanted, atol=0.02)
    to_onnx(model, tmp_path / 'pose.pt2')
    program = torch.export.load(tmp_path / 'pose.pt2').module()
    with torch.no_grad():
        points, scores = program(torch.from_numpy(crops))
    np.testing.assert_allclose(scores.numpy(), wanted, atol=1e-4)


def test_weights_apart_are_the_same_model_twice(
    calibrated_tiny, untrained_models, tmp_path, monkeypatch
):
    """An ONNX file that takes its weights from the file that training starts from."""
    model = tiny(calibrated_tiny, 'gradient_sign', False)
    weights = tmp_path / 'pose.safetensors'
    exact = to_onnx(model, tmp_path / 'pose.onnx', weights=weights)
    assert exact['keypoints'] == 0 and exact['scores'] < 1e-6
    assert (tmp_path / 'pose.onnx').stat().st_size < 0.05 * weights.stat().st_size
    again = init_model(get_config(TINY), str(weights), device='cpu')
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    before = [path.read_bytes() for path in (tmp_path / 'pose.onnx', weights)]
    with monkeypatch.context() as patch:  # a comparison that fails leaves both as they were
        patch.setattr('mspn_plugin.export.files._compare', Mock(side_effect=InputError('apart')))
        with pytest.raises(InputError, match='apart'):
            to_onnx(calibrated_tiny(), tmp_path / 'pose.onnx', weights=weights, half=True)
    assert before == [path.read_bytes() for path in (tmp_path / 'pose.onnx', weights)]
    assert {path.name for path in tmp_path.iterdir()} == {'pose.onnx', 'pose.safetensors'}
    # With half the bits the file's numbers are those of the rounded weights.
    again.load_state_dict({n: narrowed(v).to(v.dtype) for n, v in model.state_dict().items()})
    again.test_cfg['flip_test'] = False
    halves = tmp_path / 'half.safetensors'
    found = to_onnx(again, tmp_path / 'half.onnx', weights=halves, half=True)
    assert found['scores'] < 1e-6 and halves.stat().st_size < 0.55 * weights.stat().st_size
    halves.unlink()
    with pytest.raises(InputError, match=r'half\.onnx cannot be opened'):
        PoseModel(tmp_path / 'half.onnx')
    config, checkpoint, *_ = untrained_models
    detector = PersonDetector(config, checkpoint).model
    boxes = tmp_path / 'find.safetensors'
    assert detector_to_onnx(detector, tmp_path / 'find.onnx', weights=boxes)['scores'] < 1e-4
    assert (tmp_path / 'find.onnx').stat().st_size < 0.2 * boxes.stat().st_size
    PersonDetector(config, boxes)


def test_a_detector_finds_the_same_people(untrained_models, people, tmp_path):
    config, weights, *_ = untrained_models
    detector = PersonDetector(config, weights, score_thr=0.0, nms_thr=0.65)
    found = detector_to_onnx(detector.model, tmp_path / 'find.onnx')
    assert found['scores'] < 1e-4
    light = DetectorModel(tmp_path / 'find.onnx', score_thr=0.0, nms_thr=0.65)
    assert light.facts['input_size'] == [64, 64] and light.detect([]) == []
    pictures = [read_image(path) for path in sorted((people / 'val2017').glob('*.jpg'))]
    pictures.append(np.ascontiguousarray(pictures[0][:, :90]))
    both = zip(detector.detect(pictures), light.detect(pictures), strict=True)
    for (boxes, scores), (other_boxes, other_scores) in both:
        count = min(len(boxes), len(other_boxes), 20)
        assert count > 5
        np.testing.assert_allclose(scores[:count], other_scores[:count], atol=1e-4)
        np.testing.assert_allclose(boxes[:count], other_boxes[:count], atol=0.1)


def test_only_what_can_be_proven_is_written(calibrated_tiny, tmp_path, monkeypatch):
    model = tiny(calibrated_tiny, 'gradient_sign', True)
    stock = MODELS.build(dict(type='ResNet', depth=18))
    for wrong, words in ((stock, 'a ResNet cannot be exported'), (None, 'a NoneType cannot be')):
        with pytest.raises(InputError, match=words):
            to_onnx(wrong, tmp_path / 'x.onnx')
    model.test_cfg['shift_heatmap'] = True
    with pytest.raises(InputError, match='shifts heatmaps'):
        to_onnx(model, tmp_path / 'x.onnx')
    model.test_cfg['shift_heatmap'] = False
    monkeypatch.setattr(
        'mspn_plugin.export.files._run_file',
        lambda *_: [np.zeros((3, 17, 2)), np.full((3, 17), 0.9)],
    )
    with pytest.raises(InputError, match='was not written: exported, the model differs'):
        to_onnx(model, tmp_path / 'x.onnx')
    assert not list(tmp_path.iterdir())


def test_the_command(calibrated_tiny, people, tmp_path, capsys, monkeypatch):
    model = calibrated_tiny()
    weights = tmp_path / 'weights.pth'
    torch.save(model.state_dict(), weights)
    out = tmp_path / 'pose.onnx'
    cli.main(['export', TINY, str(weights), '-o', str(out), '--no-flip-test', '--half'])
    printed = capsys.readouterr().out
    assert 'difference   keypoints' in printed and f'written      {out}' in printed
    assert json.loads(onnx.load(out).metadata_props[0].value)['flip_test'] is False
    (there := tmp_path / 'there.safetensors').touch()
    for options, words in (
        (['-o', out], 'exists; give another name'),
        (['-o', tmp_path / 'pose.txt'], 'ends in .onnx or .pt2'),
        (['-o', tmp_path / 'no' / 'pose.onnx'], 'create it first'),
        (['-o', tmp_path / 'a.pt2', '--half'], 'write an .onnx file'),
        (['-o', tmp_path / 'a.onnx', '--half', '--int8', people], 'not with --half'),
        (['-o', tmp_path / 'a.onnx', '--int8', tmp_path / 'none'], 'does not exist'),
        (['-o', tmp_path / 'a.onnx', '--weights', 'b.safetensors'], 'have to be in the folder of'),
        (['-o', tmp_path / 'a.onnx', '--weights', there], 'exists; give another name'),
        (['-o', tmp_path / 'a.onnx', '--weights', tmp_path / 'a.onnx'], 'ends in .safetensors'),
        (['-o', tmp_path / 'a.pt2', '--weights', tmp_path / 'b.safetensors'], 'for an .onnx file'),
        (
            ['-o', tmp_path / 'a.onnx', '--detector', '--flip-test'],
            '--flip-test is for a pose model',
        ),
    ):
        assert words in sentence(
            capsys, cli.main, ['export', TINY, str(weights), *map(str, options)]
        )
    pictures = people / 'val2017'
    monkeypatch.setattr('mspn_plugin.export.int8._LOST', 1.0)  # of a network that knows nothing
    cli.main(['export', TINY, str(weights), '-o', str(out), '--overwrite', '--int8', str(pictures)])
    assert 'near' in capsys.readouterr().out
