"""The tools' shared options, applied to configs of several shapes."""

from __future__ import annotations

import pytest

from mspn.cli import make_parser
from mspn_plugin import InputError
from mspn_plugin.commands.run_config import make_config

CONFIG = 'mspn50-2stg_8xb32-210e_coco-256x192'


def make(config, *options):
    return make_config(make_parser().parse_args(['train', str(config), *options]))


def test_data_root_moves_every_path_of_the_data():
    cfg = make(CONFIG, '--data-root', '/new/coco')
    for part in ('train', 'val', 'test'):
        dataset = cfg[f'{part}_dataloader'].dataset
        assert dataset.data_root == '/new/coco/'
        assert not dataset.ann_file.startswith('/')
    for part in ('val', 'test'):
        dataset = cfg[f'{part}_dataloader'].dataset
        assert dataset.bbox_file.startswith('/new/coco/person_detection_results/')
        annotations = '/new/coco/annotations/person_keypoints_val2017.json'
        assert cfg[f'{part}_evaluator'].ann_file == annotations


def test_data_root_of_a_config_that_has_moved_its_data_already(tmp_path):
    child = tmp_path / 'child.py'
    child.write_text(
        f'_base_ = [{make(CONFIG).filename!r}]\n'
        "val_dataloader = dict(dataset=dict(data_root='/old', bbox_file='/old/boxes.json'))\n"
        "val_evaluator = dict(ann_file='/old/annotations/mine.json')\n"
        "test_dataloader = val_dataloader\ntest_evaluator = dict(ann_file='/older/mine.json')\n"
    )
    cfg = make(child, '--data-root', '/new')
    assert cfg.val_dataloader.dataset.data_root == '/new/'
    assert cfg.val_dataloader.dataset.bbox_file == '/new/boxes.json'
    assert cfg.val_evaluator.ann_file == '/new/annotations/mine.json'
    assert cfg.test_evaluator.ann_file == '/older/mine.json'


def guard(cfg, split):
    return cfg[f'{split}_dataloader'].dataset.pipeline[0]


def test_options_for_bad_images_change_the_steps_that_are_there(tmp_path):
    cfg = make(CONFIG)
    assert guard(cfg, 'train').on_bad_image == 'replace' and 'budget' not in guard(cfg, 'train')
    assert 'on_bad_image' not in guard(cfg, 'val')  # it fails
    again = make(CONFIG, '--bad-images', '0.2', '--blank-bad-images')
    assert guard(again, 'train') == {**guard(cfg, 'train'), 'budget': 0.2}
    for split in ('val', 'test'):
        assert guard(again, split) == {**guard(cfg, split), 'on_bad_image': 'blank'}
    plain = tmp_path / 'plain.py'
    plain.write_text(
        f'_base_ = [{cfg.filename!r}]\n'
        "train_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImage')]))\n"
    )
    assert make(plain).train_dataloader.dataset.pipeline == [dict(type='LoadImage')]
    with pytest.raises(InputError, match='--bad-images: the train pipelines have no GuardedLoad'):
        make(plain, '--bad-images', '0.2')


def test_without_workers_their_settings_are_left_out():
    cfg = make(CONFIG, '--cfg-options', 'train_dataloader.num_workers=0')
    assert 'persistent_workers' not in cfg.train_dataloader
    assert cfg.val_dataloader.persistent_workers


def test_gt_boxes_reach_a_wrapped_data_set(tmp_path):
    child = tmp_path / 'child.py'
    child.write_text(
        f'_base_ = [{make(CONFIG).filename!r}]\n'
        'inner = _base_.val_dataloader.dataset\n'
        "val_dataloader = dict(dataset=dict(_delete_=True, type='CombinedDataset', "
        'metainfo=dict(), datasets=[inner]))\n'
    )
    cfg = make(child, '--gt-boxes')
    assert cfg.val_dataloader.dataset.datasets[0].bbox_file is None
    assert 'bbox_file' not in cfg.val_dataloader.dataset


@pytest.mark.parametrize(
    'text', ['x = nothing', "x = int('a')", "_base_ = ['mmpose::nope.py']", 'model = dict(']
)
def test_broken_configs_end_with_a_sentence(tmp_path, text):
    config = tmp_path / 'broken.py'
    config.write_text(text)
    with pytest.raises(InputError, match='broken.py cannot be read as an MMEngine config'):
        make(config)


def test_a_config_without_a_model_is_named(tmp_path):
    config = tmp_path / 'empty.py'
    config.write_text('x = 1')
    with pytest.raises(InputError, match='empty.py describes no pose model'):
        make(config)


def test_drop_last_goes_to_the_sampler_that_makes_the_batches(tmp_path):
    cfg = make(CONFIG, '--cfg-options', 'train_dataloader.drop_last=True')
    assert cfg.train_dataloader.batch_sampler.drop_last is True
    assert 'drop_last' not in cfg.train_dataloader
