"""tools/make_coco2014_split.py: the right records in the right file, and nothing half done."""

from __future__ import annotations

import json
import re

import pytest
from mmpose.registry import DATASETS

TRAIN, VAL = 'person_keypoints_train2014.json', 'person_keypoints_val2014.json'
TRAINING, MINIVAL = 'train_val_minus_minival_2014.json', 'minival_2014.json'


def content(split, image_ids):
    return dict(
        info=dict(description=split),
        licenses=[dict(id=1)],
        categories=[dict(id=1, name='person')],
        images=[
            dict(id=i, file_name=f'COCO_{split}_{i:012}.jpg', width=9, height=9) for i in image_ids
        ],
        annotations=[
            dict(
                id=10 * i + n,
                image_id=i,
                category_id=1,
                bbox=[1, 1, 5, 5],
                area=25,
                iscrowd=0,
                num_keypoints=17,
                keypoints=[2, 2, 2] * 17,
            )
            for i in image_ids
            for n in range(2)
        ],
    )


@pytest.fixture
def given(tmp_path):
    folder = tmp_path / 'annotations'
    folder.mkdir()
    (folder / TRAIN).write_text(json.dumps(content('train2014', [1, 2, 3])))
    (folder / VAL).write_text(json.dumps(content('val2014', [40, 41, 42, 43])))
    (tmp_path / 'ids.json').write_text('[43, 41]')
    return tmp_path


def arguments(root, **changes):
    ids = changes.get('ids', root / 'ids.json')
    out = changes.get('out', root / 'coco2014')
    return ['--annotations', root / 'annotations', '--minival-ids', ids, '--out', out]


def fails(call_tool, capsys, *options):
    with pytest.raises(SystemExit) as caught:
        call_tool('make_coco2014_split', *options)
    assert caught.value.code == 2
    (message,) = capsys.readouterr().err.strip().splitlines()
    assert message.startswith('error: ')
    return message


@pytest.mark.parametrize('text', ['[43, 41]', '43\n41\n', '\n 43\r\n41', '[43, 41, 43]'])
def test_records_go_where_they_belong(call_tool, capsys, given, text):
    (given / 'ids.json').write_text(text)
    call_tool('make_coco2014_split', *arguments(given))
    folder = given / 'coco2014' / 'gt_json'
    assert sorted(path.name for path in folder.iterdir()) == [MINIVAL, TRAINING]
    rest, small = (json.loads((folder / name).read_text()) for name in (TRAINING, MINIVAL))
    train, val = content('train2014', [1, 2, 3]), content('val2014', [40, 42])
    assert rest == {**train, **{k: train[k] + val[k] for k in ('images', 'annotations')}}
    assert small == content('val2014', [41, 43])
    printed = capsys.readouterr().out
    assert f'{TRAINING}: 5 images, 10 annotations' in printed
    assert f'{MINIVAL}: 2 images, 4 annotations' in printed


def test_the_data_set_reads_what_is_written(call_tool, given):
    call_tool('make_coco2014_split', *arguments(given))
    dataset = DATASETS.build(
        dict(
            type='Coco2014Dataset',
            data_root=str(given / 'coco2014'),
            ann_file=f'gt_json/{TRAINING}',
        )
    )
    folders = [dataset.get_data_info(i)['img_path'].split('/')[-2] for i in range(len(dataset))]
    assert folders == ['train2014'] * 6 + ['val2014'] * 4


def test_nothing_is_replaced_unless_asked_for(call_tool, capsys, given):
    old = given / 'coco2014' / 'gt_json' / MINIVAL
    old.parent.mkdir(parents=True)
    old.write_text('precious')
    message = fails(call_tool, capsys, *arguments(given))
    assert MINIVAL in message and '--overwrite' in message
    assert [path.name for path in old.parent.iterdir()] == [MINIVAL]
    assert old.read_text() == 'precious'
    call_tool('make_coco2014_split', *arguments(given), '--overwrite')
    assert len(json.loads(old.read_text())['images']) == 2


def test_a_failed_write_leaves_nothing_behind(call_tool, capsys, given, monkeypatch):
    folder = given / 'coco2014' / 'gt_json'
    folder.mkdir(parents=True)

    def full(*_):
        raise OSError('no space left')

    monkeypatch.setattr(json, 'dump', full)
    message = fails(call_tool, capsys, *arguments(given))
    assert 'cannot be written (no space left)' in message and 'choose another --out' in message
    assert list(folder.iterdir()) == []
    monkeypatch.undo()
    message = fails(call_tool, capsys, *arguments(given, out=given / 'ids.json'))
    assert 'cannot be written' in message


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('[43, 7, 8]', '2 of 3 minival ids are not among the 4 images .* the first one is 7'),
        ('[1]', '1 of 1 minival ids are not among'),
        ('', 'holds no image ids'),
        ('[]', 'holds no image ids'),
        ('{"ids": [43]}', 'no list of image ids'),
        ('[43.5]', 'no list of image ids'),
        ('[true]', 'no list of image ids'),
        ('[43, null]', 'no list of image ids'),
        ('[43', 'no list of image ids'),
        ('43\nCOCO_val2014_000000000041.jpg', 'no list of image ids'),
    ],
)
def test_wrong_ids(call_tool, capsys, given, text, words):
    (given / 'ids.json').write_text(text)
    message = fails(call_tool, capsys, *arguments(given))
    assert re.search(words, message), message
    assert not (given / 'coco2014').exists()


def test_wrong_files(call_tool, capsys, given):
    message = fails(call_tool, capsys, *arguments(given, ids=given / 'none.txt'))
    assert 'list of minival ids' in message and 'none.txt cannot be read' in message
    path = given / 'annotations' / VAL
    good = path.read_text()
    for text, words in [
        ('[{', 'cannot be read as JSON'),
        ('[1, 2]', 'not a COCO annotation file'),
        ('{"images": [1], "annotations": [], "categories": []}', 'image record 0 is 1'),
        (good.replace('"image_id"', '"image"'), 'annotation 400 lacks image_id'),
        (json.dumps(content('val2014', [3, 41, 43])), 'share the ids of 1 images, such as 3'),
    ]:
        path.write_text(text)
        message = fails(call_tool, capsys, *arguments(given))
        assert VAL in message and words in message
    path.unlink()
    message = fails(call_tool, capsys, *arguments(given))
    assert 'annotation file' in message and f'{VAL} does not exist' in message
    assert not (given / 'coco2014').exists()
