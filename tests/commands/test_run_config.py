"""The tools' shared options, applied to configs of several shapes."""

import pytest
from mmpose.registry import MODELS

from mspn.cli import make_parser
from mspn_plugin import InputError, get_config
from mspn_plugin.commands.run_config import errors_end_the_run, make_config

CONFIG = 'mspn50-2stg_8xb32-210e_coco-256x192'
MOVED = """
val_dataloader = dict(dataset=dict(data_root='/old', bbox_file='/old/boxes.json'))
val_evaluator = dict(ann_file='/old/annotations/mine.json')
test_dataloader = val_dataloader
test_evaluator = dict(ann_file='/older/mine.json')
"""
WRAPPED = """
both = dict(type='CombinedDataset', metainfo=dict(), datasets=[_base_.val_dataloader.dataset])
val_dataloader = dict(dataset=dict(both, _delete_=True))
"""
UNGUARDED = "train_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImage')]))"


def make(config, *options):
    return make_config(make_parser().parse_args(['train', str(config), *options]))


def child(folder, text):
    path = folder / 'child.py'
    path.write_text(f'_base_ = [{get_config(CONFIG)!r}]\n{text}')
    return path


def test_data_root_moves_every_path_of_the_data(tmp_path):
    cfg = make(CONFIG, '--data-root', '/new/coco')
    annotations = '/new/coco/annotations/person_keypoints_val2017.json'
    for part in ('train', 'val', 'test'):
        dataset = cfg[f'{part}_dataloader'].dataset
        assert dataset.data_root == '/new/coco/' and not dataset.ann_file.startswith('/')
        if part != 'train':
            assert dataset.bbox_file.startswith('/new/coco/person_detection_results/')
            assert cfg[f'{part}_evaluator'].ann_file == annotations
    cfg = make(child(tmp_path, MOVED), '--data-root', '/new')
    dataset = cfg.val_dataloader.dataset
    assert (dataset.data_root, dataset.bbox_file) == ('/new/', '/new/boxes.json')
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
    plain = child(tmp_path, UNGUARDED)
    assert make(plain).train_dataloader.dataset.pipeline == [dict(type='LoadImage')]
    with pytest.raises(InputError, match='--bad-images: the train pipelines have no GuardedLoad'):
        make(plain, '--bad-images', '0.2')


def test_settings_go_where_they_have_an_effect(tmp_path):
    options = ['train_dataloader.num_workers=0', 'train_dataloader.drop_last=True']
    cfg = make(CONFIG, '--cfg-options', *options)
    assert 'persistent_workers' not in cfg.train_dataloader  # torch refuses it without workers
    assert cfg.val_dataloader.persistent_workers
    assert cfg.train_dataloader.batch_sampler.drop_last is True
    assert 'drop_last' not in cfg.train_dataloader
    cfg = make(child(tmp_path, WRAPPED), '--gt-boxes')
    assert cfg.val_dataloader.dataset.datasets[0].bbox_file is None
    assert 'bbox_file' not in cfg.val_dataloader.dataset


BROKEN = ['x = nothing', "x = int('a')", "_base_ = ['mmpose::nope.py']", 'model = dict(', 'x = 1']


@pytest.mark.parametrize('text', BROKEN)
def test_broken_configs_end_with_a_sentence(tmp_path, text):
    (config := tmp_path / 'broken.py').write_text(text)
    problem = 'describes no pose model' if text == 'x = 1' else 'cannot be read as an MMEngine conf'
    with pytest.raises(InputError, match=f'broken.py {problem}'):
        make(config)


SETTINGS = [
    ('train_dataloader.foo=1', "train_dataloader has no setting 'foo'; there are: .*batch_size"),
    *(
        (f'train_dataloader.batch_size={value}', 'batch_size is .*; expected a whole number from 1')
        for value in ('0', '-3', 'eight', '2.5', 'None', 'True')
    ),
    ('val_dataloader.num_workers=-1', 'num_workers is -1; expected a whole number from 0 on'),
    ('train_cfg.max_epochs=0', 'train_cfg.max_epochs is 0; expected'),
    ('train_cfg.val_interval=0', 'train_cfg.val_interval is 0; expected'),
    ('optim_wrapper.optimizer.lr=None', r"Adam cannot be made with .*'lr': None"),
    ('optim_wrapper.optimizer.lr=-1', 'Adam cannot be made with .*Invalid learning rate'),
    ('optim_wrapper.optimizer.momentum=0.9', "unexpected keyword argument 'momentum'"),
    ('optim_wrapper.optimizer.type=Adan', "'Adan' is no optimizer .*did you mean .*Adam"),
    ('train_dataloader', 'is no setting; expected KEY=VALUE'),
    ('train_dataloader=5', 'train_dataloader is a table and cannot be 5; .* train_dataloader.bat'),
    ('model.head.num_keypoints.x=5', '--cfg-options do not fit'),
]


@pytest.mark.parametrize(('option', 'words'), SETTINGS)
def test_a_setting_that_cannot_be_is_one_sentence(option, words):
    with pytest.raises(InputError, match=rf'\A.*{words}.*\Z'):
        make(CONFIG, '--cfg-options', option)


def test_settings_that_can_be():
    options = (
        'train_dataloader.num_workers=0',
        'optim_wrapper.optimizer.lr=0.1',
        'val_evaluator=None',
    )
    cfg = make(CONFIG, '--cfg-options', *options)
    assert 'persistent_workers' not in cfg.train_dataloader and cfg.val_evaluator is None


def test_a_work_folder_that_cannot_be_made(tmp_path):
    file = tmp_path / 'file'
    file.touch()
    for folder in (file, file / 'inner' / 'most'):
        with pytest.raises(InputError, match='--work-dir .*file is no folder; give another'):
            make(CONFIG, '--work-dir', str(folder))
    make(CONFIG, '--work-dir', str(tmp_path / 'a' / 'b'))
    assert list(tmp_path.iterdir()) == [file]


def test_unknown_parts_of_a_config_are_one_sentence():
    with (
        pytest.raises(InputError, match='the config names Foo, which is not in .*custom_imports'),
        errors_end_the_run('work'),
    ):
        MODELS.build(dict(type='Foo'))
    with pytest.raises(KeyError, match='other'), errors_end_the_run('work'):
        raise KeyError('other')
