"""The images and boxes that both sides get."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.material import find_data, first_images, photographs
from benchmarks.network import Network, own_config, stock_config
from mspn.errors import InputError


def test_photographs_and_their_boxes(people, tmp_path):
    content = json.loads((people / 'annotations/person_keypoints_val2017.json').read_text())
    found = photographs(people, None, 2)
    assert len(found) == 2 and all(image.path.is_file() for image in found)
    first = [
        a['bbox'] for a in content['annotations'] if a['image_id'] == content['images'][0]['id']
    ]
    x, y, width, height = first[0]
    assert np.allclose(found[0].boxes[0], [x, y, x + width, y + height])
    # Nobody has so many people around: the most crowded image is taken.
    crowded = photographs(people, None, 1, least_people=1000)
    assert len(crowded[0].boxes) == max(len(image.boxes) for image in photographs(people, None, 9))

    detections = tmp_path / 'boxes.json'
    image = content['images'][1]['id']
    box = dict(image_id=image, bbox=[1, 2, 30, 40], score=0.5, category_id=1)
    detections.write_text(json.dumps([box, dict(box, bbox=[1, 2, 0, 40])]))
    found = photographs(people, detections, 9)
    assert [image.boxes.tolist() for image in found] == [[[1, 2, 31, 42]]]
    annotations, boxes, images, count = first_images(people, detections, 2, tmp_path / 'part')
    assert (images, count) == (2, 2)
    assert {a['image_id'] for a in json.loads(boxes.read_text())} == {image}
    assert len(json.loads(annotations.read_text())['images']) == 2


def test_data_is_given_or_drawn(people, tmp_path):
    assert find_data(people, tmp_path) == people
    with pytest.raises(InputError, match='--data-root: .* has no annotations'):
        find_data(tmp_path, tmp_path)
    drawn = find_data(None, tmp_path, images=2)
    assert len(list((drawn / 'val2017').iterdir())) == 2


@pytest.mark.parametrize(
    'network', [Network(), Network(3, (288, 384)), Network(1, (96, 128), True)]
)
def test_both_configs_describe_one_network(network):
    width, height = network.input_size
    stock, ours = stock_config(network), own_config(network)
    assert stock.model.head.out_shape == (height // 4, width // 4)
    for cfg in (stock, ours):
        assert cfg.model.backbone.num_stages == network.stages
        assert cfg.model.head.decoder.heatmap_size == (width // 4, height // 4)
        crop = [step for step in cfg.train_dataloader.dataset.pipeline if 'input_size' in step]
        assert crop[0].input_size == (width, height)
        encoders = [s.encoder for s in cfg.train_dataloader.dataset.pipeline if 'encoder' in s][0]
        first = encoders[0] if isinstance(encoders, list) else encoders
        assert first.heatmap_size == (width // 4, height // 4)
        assert cfg.model.head.unit_channels == 64 if network.small else 256
    assert stock.model.type == 'TopdownPoseEstimator' and stock.model.backbone.type == 'MSPN'
