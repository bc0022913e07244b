"""Trainings and evaluations that meet bad images: named, counted, replaced or refused."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from runs import TINY, logged, sentence

from mspn_plugin import get_config


@pytest.fixture(scope='module')
def thousand(tmp_path_factory):
    """1,000 small images of one person each; one file is cut in half."""
    folder = tmp_path_factory.mktemp('thousand')
    for name in ('train2017', 'annotations'):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    category = dict(id=1, name='person', keypoints=[str(k) for k in range(17)], skeleton=[])
    content = dict(images=[], annotations=[], categories=[category])
    for number in range(1, 1001):
        name = f'{number:06}.jpg'
        cv2.imwrite(str(folder / 'train2017' / name), rng.integers(0, 255, (32, 24, 3), np.uint8))
        content['images'].append(dict(id=number, file_name=name, width=24, height=32))
        person = dict(id=number, image_id=number, category_id=1, iscrowd=0, area=660)
        person.update(bbox=[1, 1, 22, 30], num_keypoints=17, keypoints=[5.5, 9.5, 2] * 17)
        content['annotations'].append(person)
    (folder / 'annotations/person_keypoints_train2017.json').write_text(json.dumps(content))
    broken = folder / 'train2017' / '000500.jpg'
    broken.write_bytes(broken.read_bytes()[:600])
    return folder


pytestmark = pytest.mark.slow


def test_one_corrupt_image_in_a_thousand(train, thousand, tmp_path):
    options = ['train_dataloader.batch_size=50', 'train_cfg.max_epochs=1']
    train(tmp_path / 'work', *options, arguments=['--no-validate'], data=thousand)
    assert (tmp_path / 'work' / 'epoch_1.pth').is_file()
    name = re.escape(str(thousand / 'train2017' / '000500.jpg'))
    words = rf'1 bad images; another person was taken (\d+) times: {name} \(the file is truncated\)'
    (times,) = re.findall(words, logged(tmp_path / 'work'))
    assert int(times) >= 1  # more if it was drawn in its own place


def test_too_many_bad_images_end_with_a_sentence_out_of_a_worker(train, people, tmp_path, capsys):
    copied = shutil.copytree(people, tmp_path / 'data')
    for path in sorted((copied / 'train2017').glob('*.jpg'))[:3]:
        path.write_bytes(b'')
    arguments = ['--no-validate', '--bad-images', '0.1']
    error = sentence(capsys, train, tmp_path / 'work', arguments=arguments, data=copied)
    words = r'of \d+ training samples have an image .* 10.000% that may: .*the file is empty'
    assert re.search(words, error)


def test_an_evaluation_fails_unless_told_otherwise(call_tool, people, tmp_path, capsys):
    copied = shutil.copytree(people, tmp_path / 'data')
    path = sorted((copied / 'val2017').glob('*.jpg'))[0]
    path.write_bytes(path.read_bytes()[:3000])
    weights = tmp_path / 'weights.pth'
    torch.save(MODELS.build(Config.fromfile(get_config(TINY)).model).state_dict(), weights)
    command = ['test', TINY, weights, '--data-root', copied, '--gt-boxes']
    options = ['--cfg-options', 'test_dataloader.num_workers=1']  # with workers, as by default
    error = sentence(capsys, call_tool, *command, '--work-dir', tmp_path / 'a', *options)
    assert error.startswith(f'error: the image {path} cannot be read (the file is truncated)')
    out = tmp_path / 'numbers.json'
    arguments = ['--work-dir', tmp_path / 'b', '--blank-bad-images', '--out', out]
    call_tool(*command, *arguments, *options)
    assert len(json.loads(out.read_text())) == 10
    words = rf'1 bad images; a black image was taken \d+ times: {re.escape(str(path))} \('
    assert len(re.findall(words, logged(tmp_path / 'b'))) == 1
