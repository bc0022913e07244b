"""Forged or damaged values beside good weights end in a sentence that names them."""

from collections import OrderedDict

import numpy as np
import pytest
from mmengine.config import Config
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from mspn_plugin import InputError, get_config, list_configs
from mspn_plugin.checkpoints.match import check_beside_weights, check_can_resume

META = dict(num_keypoints=2, flip_indices=[1, 0], flip_pairs=[[0, 1]], skeleton_links=[(0, 1)])
META.update(keypoint_colors=np.zeros((2, 3), np.uint8), sigmas=np.array([0.1, 0.1], np.float32))
META.update(dataset_keypoint_weights=[1.0, 1.5])


def checkpoint(versions=None, **changes):
    weights = OrderedDict()
    weights._metadata = versions
    return dict(state_dict=weights, meta=dict(dataset_meta=dict(META, **changes)))


def test_what_mmengine_writes_is_good():
    check_beside_weights(checkpoint({'': dict(version=1), 'bn': dict(version=2)}), 'a.pth')
    check_beside_weights(dict(weight=1), 'a.pth')
    check_beside_weights(dict(meta=dict(classes=('person',))), 'a.pth')
    for name in list_configs():
        kind = DATASETS.get(Config.fromfile(get_config(name)).train_dataloader.dataset.type)
        if 'from_file' in getattr(kind, 'METAINFO', ()):
            info = parse_pose_metainfo(dict(kind.METAINFO))
            check_beside_weights(dict(meta=dict(dataset_meta=info)), name)


def test_damage_is_named():
    damaged = dict(num_keypoints=['2', -1, 3], flip_pairs=[[[0, 7]], 3], skeleton_links=[[(0, 7)]])
    damaged.update(flip_indices=[[1, 2], [-1, 0], [0.5, 0], '01', [1]])
    damaged.update(keypoint_colors=[[[1, 2]], np.zeros((1, 3)), 'red'])
    damaged.update(sigmas=[[1.0, float('nan')], [1.0]])
    cases = [(checkpoint(**{key: v}), '') for key, values in damaged.items() for v in values]
    cases += [(dict(meta=meta), 'meta') for meta in ([1], dict(dataset_meta='x'))]
    for versions in ('1', [], {1: {}}, {'': dict(version='x')}, {'': 3}):
        cases.append((checkpoint(versions), 'state_dict._metadata'))
    for content, part in cases:
        with pytest.raises(InputError, match=f'a.pth cannot be used: its .*{part} is not what MM'):
            check_beside_weights(content, 'a.pth')


def test_a_damaged_state_of_training():
    good = dict(meta=dict(epoch=1, iter=2), optimizer={'state': {}}, message_hub={})
    check_can_resume(good, 'a.pth')
    for changes, part in (
        (dict(optimizer=[1]), 'optimizer'),
        (dict(message_hub='x'), 'message_hub'),
        (dict(meta=3), 'meta'),
        (dict(meta=dict(epoch='1', iter=2)), 'epoch'),
        (dict(meta=dict(epoch=1)), 'iter'),
        (dict(meta=dict(epoch=1, iter=-2)), 'iter'),
    ):
        with pytest.raises(InputError, match=f'a.pth cannot be resumed: its {part} is not what'):
            check_can_resume(dict(good, **changes), 'a.pth')
    with pytest.raises(InputError, match='nothing to resume.*load_from'):
        check_can_resume(dict(state_dict={}), 'a.pth')
