"""MMPose's own inference on photographs: its MSPN and ours, with the same weights."""

import cv2
import numpy as np
import pytest
import torch
from mmpose.apis import inference_topdown, init_model
from mmpose.registry import MODELS
from original_mspn import calibrate, stock_config
from xtcocotools.coco import COCO

from mspn_plugin import get_config


@pytest.fixture
def photographs(real_data):
    """Path and boxes (x1, y1, x2, y2) of three photographs with several people each."""
    coco = COCO(real_data / 'annotations' / 'person_keypoints_val2017.json')
    chosen = []
    for number, image in sorted(coco.imgs.items()):
        boxes = np.array([person['bbox'] for person in coco.imgToAnns[number]], np.float32)
        if 3 <= len(boxes) <= 5:
            boxes[:, 2:] += boxes[:, :2]
            chosen.append((str(real_data / 'val2017' / image['file_name']), boxes))
    return chosen[:3]


def crops(photographs):
    """The people, cut out and normalised, to calibrate a random network on."""
    cut = []
    for path, boxes in photographs:
        image = cv2.imread(path)
        for x1, y1, x2, y2 in boxes.clip(0).astype(int):
            person = image[y1 : y2 + 1, x1 : x2 + 1]
            cut.append(torch.from_numpy(cv2.resize(person, (192, 256))))
    return (torch.stack(cut[:4]).permute(0, 3, 1, 2).float() - 116) / 57


def has_inner_peak(heatmap):
    """Whether MMPose moves the peak of a map and adds half a cell, which it does not at borders."""
    blurred = cv2.GaussianBlur(np.pad(heatmap, 10), (5, 5), 0)[10:-10, 10:-10]
    y, x = np.unravel_index(blurred.argmax(), blurred.shape)
    return 1 < x < heatmap.shape[1] - 1 and 1 < y < heatmap.shape[0] - 1


def test_same_keypoints_and_scores(photographs, tmp_path):
    cfg = stock_config(2)
    cfg.model.test_cfg.output_heatmaps = True
    torch.manual_seed(0)
    network = MODELS.build(cfg.model)
    people = crops(photographs)
    calibrate(network, lambda: network(people, None))
    # Peaks as high as a trained network's, so that scores cover their range.
    for layer in network.head.predict_layers:
        torch.nn.init.uniform_(layer.conv_layers[1].bn.weight, 20, 60)
    path = str(tmp_path / 'mmpose.pth')
    torch.save(dict(state_dict=network.state_dict(), meta={}), path)

    theirs = init_model(cfg, path, device='cpu')
    # As ours: another order in memory is another order of sums, which a random network magnifies.
    theirs.to(memory_format=torch.channels_last)
    ours = init_model(get_config('mspn50-2stg_8xb32-210e_coco-256x192'), path, device='cpu')
    inner = border = 0
    for image, boxes in photographs:
        both = (inference_topdown(model, image, boxes) for model in (theirs, ours))
        for wanted, found in zip(*both, strict=True):
            scores = wanted.pred_instances.keypoint_scores
            assert np.abs(found.pred_instances.keypoint_scores - scores).max() < 1e-4
            assert scores.max() - scores.min() > 0.2
            difference = found.pred_instances.keypoints - wanted.pred_instances.keypoints
            # Half a cell of 4 pixels, from the network's input to the image.
            half_cell = 2 * wanted.input_scale / wanted.input_size
            for heatmap, shift in zip(wanted.pred_fields.heatmaps, difference[0], strict=True):
                is_inner = has_inner_peak(heatmap.numpy())
                assert np.abs(shift - (0 if is_inner else half_cell)).max() < 0.01
                inner, border = inner + is_inner, border + (not is_inner)
    assert inner > 50 and border > 5
