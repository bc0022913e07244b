"""What a run leaves out, mends or refuses: the labels that it reads, and what it says."""

import copy
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from mmengine.config import Config
from mmpose.registry import DATASETS

from mspn.json_files import read_json
from mspn_plugin import InputError
from mspn_plugin.annotations.keypoint_file import category_of, check_dataset, record_problems
from mspn_plugin.annotations.mend import box_of_keypoints, mended, write_mended
from mspn_plugin.annotations.problems import ALLOWED, BY_OPTION, Tally
from mspn_plugin.annotations.run_data import DataOptions, check_data

POINTS = [10, 10, 2, 20, 12, 2, 0, 0, 0, *[15, 40, 1] * 14]
CATEGORIES = [dict(id=1, name='person'), dict(id=2, name='dog')]
NAN = float('nan')


def person(number, **changes):
    good = dict(id=number, image_id=1 + number % 2, category_id=1, bbox=[5, 5, 30, 40], area=600.0)
    return {**good, 'iscrowd': 0, 'num_keypoints': 16, 'keypoints': list(POINTS), **changes}


@pytest.fixture
def data(tmp_path):
    """Writes 4 people in 2 pictures, with changes, and gives a config that reads them."""
    (tmp_path / 'images').mkdir()
    for name in ('a.jpg', 'b.jpg'):
        pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / 'images' / name)

    def make(change=lambda content: None, **settings):
        sizes = dict(width=80, height=60)
        images = [dict(sizes, id=i, file_name=name) for i, name in ((1, 'a.jpg'), (2, 'b.jpg'))]
        people = [person(number) for number in (10, 11, 12, 13)]
        content = dict(images=images, annotations=people, categories=copy.deepcopy(CATEGORIES))
        change(content)
        path = tmp_path / 'people.json'
        path.write_text(json.dumps(content))
        dataset = dict(type='CocoPersonDataset', data_root=str(tmp_path), ann_file='people.json')
        dataset.update(data_prefix=dict(img='images/'), test_mode=True, pipeline=[], **settings)
        evaluator = dict(type='CocoMetric', ann_file=str(path))
        loader = dict(dataset=dataset)
        return Config(
            dict(
                model=dict(head=dict(num_keypoints=17)),
                train_dataloader=loader,
                val_dataloader=loader,
                val_evaluator=evaluator,
            )
        )

    return make


def run(cfg, tmp_path, split='val', **options):
    """What a run says, and the labels that its data set and its evaluator read."""
    said = check_data(cfg, (split,), DataOptions(folder=tmp_path / 'work', **options))
    dataset = cfg[f'{split}_dataloader'].dataset
    place = tmp_path / dataset.ann_file
    if split == 'val':
        assert place == type(place)(cfg.val_evaluator.ann_file)
    people = DATASETS.build(dataset)
    return '\n'.join(said), read_json(place, 'the labels', expected='labels'), people


def every(**changes):
    return lambda content: [a.update(copy.deepcopy(changes)) for a in content['annotations']]


def one(**changes):
    return lambda content: content['annotations'][0].update(copy.deepcopy(changes))


def test_good_labels_are_read_where_they_are(data, tmp_path):
    said, content, people = run(data(), tmp_path)
    assert said == '' and len(people) == len(content['annotations']) == 4
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('absent', [None, 'drop'])
def test_areas_that_are_absent_come_from_the_boxes(data, tmp_path, absent):
    change = (
        every(area=None) if absent is None else lambda c: [a.pop('area') for a in c['annotations']]
    )
    said, content, _ = run(data(change), tmp_path)
    assert '4 labelled people without an area; it is taken as 0.53 of the box' in said
    assert [a['area'] for a in content['annotations']] == [pytest.approx(0.53 * 30 * 40)] * 4
    said, content, _ = run(data(change), tmp_path, 'train')  # the data set does it by itself
    assert 'without an area' in said and content['annotations'][0].get('area') is None


def test_other_categories_are_left_out_and_another_one_can_be_read(data, tmp_path):
    def dogs(content):
        content['annotations'][1]['category_id'] = 2
        content['annotations'].append(dict(id=99, image_id=1, category_id=2, bbox=[1, 1, 5, 5]))

    for split in ('val', 'train'):
        said, content, people = run(data(dogs), tmp_path, split)
        assert '2 annotations of other categories (annotation 11 is of category 2' in said
        assert '--category NAME' in said and content['categories'] == CATEGORIES[:1]
        assert [a['id'] for a in content['annotations']] == [10, 12, 13] and len(people) == 3
    cfg = data(lambda content: content['annotations'][1].update(category_id=2))
    said, content, people = run(cfg, tmp_path, category='dog')
    assert '3 annotations of other categories' in said and len(people) == 1
    with pytest.raises(
        InputError, match='--category: there is no "cat"; there are "person", "dog"'
    ):
        run(data(), tmp_path, category='cat')


def test_the_category_is_the_one_with_keypoints():
    labelled = [dict(category_id=5, keypoints=[1, 1, 2])]
    for categories, annotations, chosen in (
        ([dict(id=3), dict(id=5, keypoints=['a'])], [], 5),
        ([dict(id=3), dict(id=5)], labelled, 5),
        ([dict(id=3), dict(id=5)], [dict(category_id=5, keypoints=[])], 3),
        ([], labelled, None),
    ):
        content = dict(categories=categories, annotations=annotations)
        assert category_of(content) == chosen


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            one(bbox=[5, 5, 0, 40]),
            '1 labelled people whose box is empty or outside the image, left',
        ),
        (one(num_keypoints=0), '1 people that num_keypoints and the keypoints contradict'),
        (one(image_id=9), '1 annotations that name no image of the file, left out (annotation 10'),
    ],
)
def test_who_cannot_be_used_is_left_out_of_data_and_evaluation(data, tmp_path, change, words):
    said, content, people = run(data(change), tmp_path)
    assert words in said and 'written, for the val_dataloader' in said
    assert [a['id'] for a in content['annotations']] == [11, 12, 13] and len(people) == 3
    said, content, people = run(data(change), tmp_path, 'train')
    assert words in said and len(content['annotations']) == 4 and len(people) == 3


def test_crowds_stay_in_the_evaluation(data, tmp_path):
    said, content, people = run(data(one(iscrowd=1)), tmp_path)
    assert '1 labelled people that iscrowd marks' in said
    assert len(content['annotations']) == 4 and len(people) == 3


STOPPED = [
    (
        every(area=0),
        {},
        'annotation 10 has the area 0; expected pixels .and so have 3 more.; .*--mend',
    ),
    (one(area=NAN), {}, 'has the area NaN.*--mend'),
    (one(area='9'), {}, 'has the area "9".*--mend'),
    (one(iscrowd='0'), {}, 'has the iscrowd "0"; expected 0 or 1; .*--mend'),
    (one(bbox=[]), {}, r'has the bbox \[\]; expected 4 finite numbers; .*--mend'),
    (one(id=11), {}, 'annotation 11 is in the list again as number 1; .*--mend'),
    (lambda c: c['images'][0].update(width=60, height=80), {}, 'has 80x60 .* says 60x80.*--mend'),
    (lambda c: c['images'][0].pop('width'), {}, 'image 1 lacks width; .*--mend'),
    (
        lambda c: c['images'][0].update(file_name='A.JPG'),
        {},
        'does not exist.*there is a.jpg.*--mend',
    ),
    (lambda c: c['images'][0].update(file_name='x\\a.jpg'), {}, 'has back-slashes.*there is a.jpg'),
    (
        lambda c: c['images'][0].update(file_name='%61.jpg'),
        {},
        '%-codes and stands for a.jpg.*--mend',
    ),
    (
        every(bbox=[5, 5, 0, 40]),
        {},
        'leaves nobody to learn from: 4 labelled people whose box.*--mend',
    ),
    (
        every(num_keypoints=0),
        {},
        'leaves nobody to learn from: 4 people that num_key.*--mend counts',
    ),
]
REFUSED = [
    (every(iscrowd=1), 'leaves nobody to learn from: 4 labelled people that iscrowd marks'),
    (every(keypoints=[0] * 51, num_keypoints=0), 'no person with a labelled keypoint'),
    (every(category_id=7), 'annotation 10 is of category 7, which the file does not list .and so'),
    (lambda c: c['categories'].clear(), 'the file has no usable category'),
    (lambda c: c['images'][1].update(id=1), 'image 1 is in the list again as number 1'),
]
UNITS = [
    every(bbox=[0.1, 0.1, 0.3, 0.5], keypoints=[0.2, 0.2, 2] * 17, num_keypoints=17),
    every(bbox=[0.1, 0.1, 0.3, 0.5]),
    every(bbox=[50, 10, 75, 55]),  # x1, y1, x2, y2
]


@pytest.mark.parametrize(('change', 'settings', 'words'), STOPPED)
def test_what_cannot_be_right_stops_a_run_or_is_mended_if_told(
    data, tmp_path, change, settings, words
):
    with pytest.raises(InputError, match=rf'\A.*people.json: .*{words}.*\Z'):
        run(data(change, **settings), tmp_path)
    assert not (tmp_path / 'work').exists()
    said, content, people = run(data(change), tmp_path, mend=True)
    assert ', mended (' in said and len(people) == 4
    assert not Tally(record_problems(content, 17)).count_of(BY_OPTION)
    assert {(i['file_name'], i['width'], i['height']) for i in content['images']} == {
        ('a.jpg', 80, 60),
        ('b.jpg', 80, 60),
    }
    assert len({a['id'] for a in content['annotations']}) == 4
    for split in ('train', 'val'):  # what is mended has nothing left to mend
        path = tmp_path / 'work' / f'{split}_people.json'
        if path.exists():
            assert read_json(path, 'the labels', expected='labels') == content


@pytest.mark.parametrize(('change', 'words'), REFUSED)
@pytest.mark.parametrize('mend', [False, True])
def test_what_nothing_can_mend(data, tmp_path, change, words, mend):
    with pytest.raises(InputError, match=words):
        run(data(change), tmp_path, mend=mend)


@pytest.mark.parametrize('change', UNITS)
def test_other_units_than_pixels_must_be_meant(data, tmp_path, change):
    with pytest.raises(InputError, match='expected .*; if it is meant, give --allow units'):
        run(data(change), tmp_path)
    run(data(change), tmp_path, allow=['units'])
    assert set(ALLOWED) == {'units', 'keypoint-order'}


def test_sizes_are_mended_before_boxes_are_judged(data, tmp_path):
    def turned(content):
        for image in content['images']:
            image.update(width=60, height=80)
        every(bbox=[62, 10, 15, 40])(content)  # inside the picture, outside the recorded size

    said, content, _ = run(data(turned), tmp_path, mend=True)
    assert '2 images of another size than recorded, mended' in said and 'whose box' not in said
    assert content['annotations'][0]['bbox'] == [62, 10, 15, 40]


def test_pictures_that_exif_turns_are_read_upright(data, tmp_path):
    cfg = data(lambda c: [i.update(width=60, height=80) for i in c['images']])
    exif = PIL.Image.Exif()
    for orientation, stops in ((6, False), (8, False), (3, True), (1, True)):
        exif[0x0112] = orientation
        for path in (tmp_path / 'images').iterdir():
            with PIL.Image.open(path) as picture:
                picture.save(path, exif=exif)
        if stops:  # the size on disk is 80x60
            with pytest.raises(InputError, match='has 80x60 pixels'):
                run(cfg, tmp_path)
        else:
            assert '2 images that their EXIF data turn' in run(cfg, tmp_path)[0]


def test_boxes_around_keypoints():
    x, y, width, height = box_of_keypoints(POINTS, (80, 60))
    assert (x, y) == (7, 7) and (width, height) == (16, 36)  # a margin of 3 around 10 x 30
    x, y, width, height = box_of_keypoints([5, 5, 2, 0, 0, 0], (80, 60))
    assert x < 5 < x + width and y < 5 < y + height
    assert box_of_keypoints([5, 5, 0], (80, 60)) is None
    assert box_of_keypoints([500, 5, 2], (80, 60)) is None  # outside


def test_nothing_is_changed_in_place(data, tmp_path):
    content = dict(images=[], annotations=[person(1, area=0), person(1)], categories=CATEGORIES[:1])
    before = copy.deepcopy(content)
    mended(content, Tally(record_problems(content, 17)), 1, by_option=True)
    assert content == before


def test_the_evaluator_must_know_the_images(data, tmp_path):
    cfg = data()
    other = tmp_path / 'other.json'
    content = json.loads((tmp_path / 'people.json').read_text())
    other.write_text(json.dumps({**content, 'images': content['images'][:1]}))
    cfg.val_evaluator.ann_file = str(other)
    with pytest.raises(
        InputError, match='val_evaluator compares with .*other.json, which lacks 1 '
    ):
        check_data(cfg, ('val',))
    other.write_text(json.dumps(content))
    assert check_data(cfg, ('val',)) == []


def test_files_of_boxes_follow_the_rules_of_predict(data, tmp_path):
    boxes = tmp_path / 'boxes.json'
    good = dict(image_id=1, category_id=1, bbox=[1, 2, 30, 40], score=0.5)

    def check(*entries):
        boxes.write_text(json.dumps(entries))
        cfg = data(bbox_file=str(boxes))
        said = check_data(cfg, ('val',), DataOptions(folder=tmp_path / 'work'))
        return '\n'.join(said), DATASETS.build(cfg.val_dataloader.dataset)

    assert len(check(good, good)[1]) == 2
    strange = (
        dict(good, category_id=3),
        dict(good, image_id=7),
        dict(good, bbox=[-50, 1, 30, 20]),
        dict(good, bbox=[-1e7, -1e7, 2e7, 2e7]),
    )
    said, people = check(good, *strange)
    assert (
        len(people) == 1 and '1 boxes; left out: 1 of other categories than 1, 1 of images' in said
    )
    assert '2 outside their images' in said
    for entries in (strange, ()):
        with pytest.raises(
            InputError, match='boxes.json has no box of the people: it .*--gt-boxes'
        ):
            check(*entries)


def test_image_records_that_are_odd_stay_so_in_a_copy(data, tmp_path):
    outside = tmp_path.parent / f'{tmp_path.name}.jpg'
    PIL.Image.new('RGB', (50, 40)).save(outside)
    odd = [
        dict(id=8),
        dict(id=9, file_name=5),
        dict(id=7, file_name=f'../../{outside.name}'),
        dict(id=6, file_name='x' * 300 + '/a.jpg', width=9, height=9),
        dict(id=5, file_name='a\\' + 'x' * 300 + '.jpg', width=9, height=9),
    ]
    data(lambda content: content['images'].extend(odd))
    people, images = tmp_path / 'people.json', tmp_path / 'images'
    tally, _ = check_dataset(people, images)
    assert len(tally.of('missing-image')) == 2
    write_mended(people, images, tally, None, tmp_path / 'mended.json')
    assert json.loads((tmp_path / 'mended.json').read_text())['images'][2:] == odd
    with pytest.raises(InputError, match='image-record|image 8'):
        check_data(data(lambda content: content['images'].extend(odd[:3])), ('val',))


def test_detected_boxes_and_a_category_of_another_number(data, tmp_path):
    boxes = tmp_path / 'boxes.json'
    good = dict(image_id=1, category_id=1, bbox=[1, 2, 30, 40], score=0.5)
    boxes.write_text(json.dumps([good]))

    def seven(content):
        content['categories'] = [dict(id=7, name='person')]
        every(category_id=7)(content)

    (tmp_path / 'boxes').mkdir()
    named_alike = tmp_path / 'boxes' / 'people.json'
    named_alike.write_text(json.dumps([good, dict(good, image_id=7)]))
    cfg = data(seven, bbox_file=str(named_alike))
    run(cfg, tmp_path)
    assert read_json(Path(cfg.val_dataloader.dataset.bbox_file), 'x', expected='x') == [good]
    said, content, _ = run(data(seven, bbox_file=str(boxes)), tmp_path)
    assert 'category 7 is called 1, as in files of boxes' in said
    assert {a['category_id'] for a in content['annotations']} == {1}


SIX = {
    i: dict(name=n, id=i, swap=s)
    for i, (n, s) in enumerate(
        [('top', ''), ('left_hand', 'right_hand'), ('right_hand', 'left_hand')]
    )
}
METAINFO = dict(dataset_name='x', keypoint_info=SIX, skeleton_info={}, joint_weights=[1.0] * 3)


def test_the_skeleton_must_fit_head_and_data_in_each_loader(data, tmp_path):
    good = dict(METAINFO, sigmas=[0.05] * 3)

    def three(content):
        every(keypoints=POINTS[:9], num_keypoints=2)(content)

    def config(metainfo, num_keypoints=3):
        cfg = data(three, **({} if metainfo is None else dict(metainfo=metainfo)))
        cfg.model.head.num_keypoints = num_keypoints
        return cfg

    assert len(run(config(good), tmp_path)[2]) == 4
    for metainfo, count, words in (
        (
            None,
            3,
            'val_dataloader has no metainfo, .* 17 keypoints of CocoPersonDataset, but .* 3;',
        ),
        (good, 17, "metainfo has 3 keypoints, but the head's num_keypoints is 17"),
        (dict(METAINFO), 3, "val_dataloader's metainfo: sigmas is null"),
        (dict(METAINFO, sigmas=[0.05] * 17), 3, 'sigmas has 17 values'),
        (dict(good, skeleton_info={0: dict(link=['top', 'x'])}), 3, 'limb 0 links'),
        (
            dict(good, keypoint_info={f'k{i}': p for i, p in SIX.items()}),
            3,
            'the numbers .*expected',
        ),
        (dict(from_file='no/six.py'), 3, "val_dataloader's metainfo: the metainfo file no/six.py"),
    ):
        with pytest.raises(InputError, match=words):
            check_data(config(metainfo, count), ('val',))


def test_keypoints_in_another_order_than_the_skeletons(data, tmp_path):
    def three(content):
        every(keypoints=POINTS[:9], num_keypoints=2)(content)
        content['categories'][0]['keypoints'] = ['top', 'right hand', 'left hand']

    cfg = data(three, metainfo=dict(METAINFO, sigmas=[0.05] * 3))
    cfg.model.head.num_keypoints = 3
    with pytest.raises(InputError, match='has the keypoints .* give --allow keypoint-order'):
        run(cfg, tmp_path)
    assert len(run(cfg, tmp_path, allow=['keypoint-order'])[2]) == 4
