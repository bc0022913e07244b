"""tools/make_coco2014_split.py: the right records in the right file, and nothing half done."""

import json
import re
from unittest.mock import Mock

import pytest
from mmpose.registry import DATASETS
from runs import sentence

TRAIN, VAL = 'person_keypoints_train2014.json', 'person_keypoints_val2014.json'
TRAINING, MINIVAL = 'train_val_minus_minival_2014.json', 'minival_2014.json'
PERSON = dict(category_id=1, bbox=[1, 1, 5, 5], area=25, iscrowd=0, keypoints=[2, 2, 2] * 17)


def content(split, image_ids):
    names = {i: f'COCO_{split}_{i:012}.jpg' for i in image_ids}
    images = [dict(id=i, file_name=name, width=9, height=9) for i, name in names.items()]
    people = [dict(PERSON, id=10 * i + n, image_id=i) for i in image_ids for n in range(2)]
    about = dict(info=dict(description=split), licenses=[dict(id=1)])
    return dict(about, categories=[dict(id=1, name='person')], images=images, annotations=people)


@pytest.fixture
def given(tmp_path):
    folder = tmp_path / 'annotations'
    folder.mkdir()
    (folder / TRAIN).write_text(json.dumps(content('train2014', [1, 2, 3])))
    (folder / VAL).write_text(json.dumps(content('val2014', [40, 41, 42, 43])))
    (tmp_path / 'ids.json').write_text('[43, 41]')
    return tmp_path


@pytest.fixture
def run(call_tool, given, capsys):
    def run(*options, fails=None, ids=given / 'ids.json', out=given / 'coco2014'):
        places = ['--annotations', given / 'annotations', '--minival-ids', ids, '--out', out]
        if fails is None:
            return call_tool('make_coco2014_split', *places, *options)
        message = sentence(capsys, call_tool, 'make_coco2014_split', *places, *options)
        assert re.search(fails, message), message

    return run


@pytest.mark.parametrize('text', ['[43, 41]', '43\n41\n', '\n 43\r\n41', '[43, 41, 43]'])
def test_records_go_where_they_belong(run, capsys, given, text):
    (given / 'ids.json').write_text(text)
    run()
    folder = given / 'coco2014' / 'gt_json'
    assert sorted(path.name for path in folder.iterdir()) == [MINIVAL, TRAINING]
    rest, small = (json.loads((folder / name).read_text()) for name in (TRAINING, MINIVAL))
    train, val = content('train2014', [1, 2, 3]), content('val2014', [40, 42])
    assert rest == {**train, **{k: train[k] + val[k] for k in ('images', 'annotations')}}
    assert small == content('val2014', [41, 43])
    printed = capsys.readouterr().out
    assert f'{TRAINING}: 5 images, 10 annotations' in printed
    assert f'{MINIVAL}: 2 images, 4 annotations' in printed


def test_the_data_set_reads_what_is_written(run, given):
    run()
    settings = dict(data_root=str(given / 'coco2014'), ann_file=f'gt_json/{TRAINING}')
    dataset = DATASETS.build(dict(settings, type='Coco2014Dataset'))
    folders = [dataset.get_data_info(i)['img_path'].split('/')[-2] for i in range(len(dataset))]
    assert folders == ['train2014'] * 6 + ['val2014'] * 4


def test_nothing_is_replaced_unless_asked_for(run, given):
    old = given / 'coco2014' / 'gt_json' / MINIVAL
    old.parent.mkdir(parents=True)
    old.write_text('precious')
    run(fails=f'{MINIVAL}.*--overwrite')
    assert list(old.parent.iterdir()) == [old] and old.read_text() == 'precious'
    run('--overwrite')
    assert len(json.loads(old.read_text())['images']) == 2


def test_a_failed_write_leaves_nothing_behind(run, given, monkeypatch):
    folder = given / 'coco2014' / 'gt_json'
    folder.mkdir(parents=True)
    run(fails='cannot be written', out=given / 'ids.json')
    monkeypatch.setattr(json, 'dump', Mock(side_effect=OSError('no space left')))
    run(fails=r'cannot be written \(no space left\).*choose another --out')
    assert list(folder.iterdir()) == []


NO_IDS = ['{"ids": [43]}', '[43.5]', '[true]', '[43, null]', '[43', '9' * 5000, '43\nCOCO_41.jpg']


def test_wrong_ids(run, given):
    for text, words in (
        ('[43, 7, 8]', '2 of 3 minival ids are not among the 4 images .* the first one is 7'),
        ('[1]', '1 of 1 minival ids are not among'),
        *((text, 'holds no image ids') for text in ('', '[]')),
        *((text, 'no list of image ids') for text in NO_IDS),
    ):
        (given / 'ids.json').write_text(text)
        run(fails=words)
        assert not (given / 'coco2014').exists()


def test_wrong_files(run, given):
    run(fails='list of minival ids .*none.txt cannot be read', ids=given / 'none.txt')
    good = (path := given / 'annotations' / VAL).read_text()
    for text, words in [
        ('[{', 'cannot be read as JSON'),
        ('[1, 2]', 'not a COCO annotation file'),
        ('{"images": [1], "annotations": [], "categories": [{"id": 1}]}', 'image record 0 is 1'),
        (good.replace('"image_id"', '"image"'), 'annotation 400 lacks image_id'),
        (json.dumps(content('val2014', [3, 41, 43])), 'share the ids of 1 images, such as 3'),
    ]:
        path.write_text(text)
        run(fails=f'{VAL}.*{words}')
    path.unlink()
    run(fails=f'annotation file .*{VAL} does not exist')
    assert not (given / 'coco2014').exists()
