"""Forged or damaged values beside good weights end in a sentence that names them."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from mmengine.config import Config
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS
from mspn_plugin.checkpoints.metadata import check_beside_weights, check_training_state

from mspn_plugin import InputError, get_config, list_configs

META = dict(
    num_keypoints=2,
    flip_indices=[1, 0],
    flip_pairs=[[0, 1]],
    skeleton_links=[(0, 1)],
    skeleton_link_colors=np.zeros((1, 3), np.uint8),
    keypoint_colors=np.zeros((2, 3), np.uint8),
    sigmas=np.array([0.1, 0.1], np.float32),
    dataset_keypoint_weights=[1.0, 1.5],
)


def checkpoint(**changes):
    return dict(state_dict=OrderedDict(), meta=dict(dataset_meta=dict(META, **changes)))


def test_what_mmengine_writes_is_good():
    check_beside_weights(checkpoint(), 'a.pth')
    check_beside_weights(dict(weight=1), 'a.pth')
    check_beside_weights(dict(meta=dict(classes=('person',))), 'a.pth')
    for name in list_configs():
        cfg = Config.fromfile(get_config(name))
        kind = DATASETS.get(cfg.train_dataloader.dataset.type)
        if hasattr(kind, 'METAINFO') and 'from_file' in kind.METAINFO:
            info = parse_pose_metainfo(dict(kind.METAINFO))
            check_beside_weights(dict(meta=dict(dataset_meta=info)), name)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(num_keypoints='2'), 'num_keypoints is no number'),
        (dict(num_keypoints=3), 'flip_indices is no table of 3'),
        (dict(flip_indices=[1, 2]), 'flip_indices holds numbers other than 0 to 1'),
        (dict(flip_indices=[-1, 0]), 'flip_indices holds numbers other'),
        (dict(flip_indices=[0.5, 0]), 'flip_indices holds something else'),
        (dict(flip_indices='01'), 'flip_indices holds something else'),
        (dict(flip_pairs=[[0, 1, 1]]), 'flip_pairs holds something else'),
        (dict(skeleton_links=[(0, 7)]), 'skeleton_links holds numbers other'),
        (dict(skeleton_links=[(0, 1), (1, 0)]), 'skeleton_link_colors is no table of 2 rows'),
        (dict(keypoint_colors=[[1, 2]]), 'keypoint_colors is no table of 2 rows'),
        (dict(sigmas=[1.0, float('nan')]), 'sigmas is no table'),
    ],
)
def test_damaged_descriptions_of_the_data(changes, words):
    with pytest.raises(InputError, match=f'a.pth cannot be used: its meta.dataset_meta.{words}'):
        check_beside_weights(checkpoint(**changes), 'a.pth')


def test_other_damage():
    for content in (dict(meta=[1]), dict(meta=dict(dataset_meta='x'))):
        with pytest.raises(InputError, match='is no table'):
            check_beside_weights(content, 'a.pth')
    for versions in ('1', {1: {}}, {'': dict(version='x')}, {'': 3}):
        weights = OrderedDict()
        weights._metadata = versions
        with pytest.raises(InputError, match='_metadata is no table of versions'):
            check_beside_weights(dict(state_dict=weights), 'a.pth')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(meta=dict(epoch='1', iter=2)), r'meta\.epoch is no number'),
        (dict(meta=dict(epoch=1)), r'meta\.iter is no number'),
        (dict(meta=dict(epoch=1, iter=-2)), r'meta\.iter is no number'),
        (dict(optimizer=[1]), 'optimizer is no table'),
        (dict(message_hub='x'), 'message_hub is no table'),
    ],
)
def test_a_damaged_state_of_training(changes, words):
    good = dict(meta=dict(epoch=1, iter=2), optimizer={'state': {}}, message_hub={})
    check_training_state(good, 'a.pth')
    with pytest.raises(InputError, match=words):
        check_training_state(dict(good, **changes), 'a.pth')
