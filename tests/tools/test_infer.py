"""tools/infer.py, which is `mspn predict --boxes`: pictures, COCO results and a summary."""

from __future__ import annotations

import json
import shutil
import weakref

import cv2
import numpy as np
import pytest
import torch
from mmpose.apis import inference_topdown, init_model
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mspn import outputs
from mspn.cli import main
from mspn_plugin import get_config

BOX = dict(category_id=1, image_id=7, bbox=[10, 10, 60, 100], score=0.9)


@pytest.fixture
def images(people):
    return people / 'val2017'


@pytest.fixture
def annotations(people):
    return people / 'annotations' / 'person_keypoints_val2017.json'


@pytest.fixture
def save(tmp_path):
    def save(entries):
        path = tmp_path / 'detections.json'
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        return path

    return save


@pytest.fixture
def detections(annotations, save):
    """The annotated boxes as detections, in a file, and as the list that is in it."""
    people = json.loads(annotations.read_text())['annotations']
    entries = [dict(BOX, image_id=p['image_id'], bbox=p['bbox']) for p in people]
    return save(entries), entries


@pytest.fixture
def infer(call_tool, untrained_models, tmp_path, capsys):
    """Runs the tool; gives the folder that it wrote to, what it printed, and its messages."""

    def infer(images, det_file, *options, model=untrained_models[2:], out=tmp_path / 'out'):
        capsys.readouterr()
        places = [images, '--det-file', det_file, '--out', out, '--device', 'cpu']
        call_tool('infer', *model, *places, *options)
        return out, *capsys.readouterr()

    return infer


@pytest.fixture
def fails(infer, capsys):
    """Runs the tool, expects one sentence and status 2, and returns the messages."""

    def fails(*arguments, status=2, **more):
        with pytest.raises(SystemExit) as caught:
            infer(*arguments, **more)
        message = capsys.readouterr().err.strip()
        assert caught.value.code == status and 'Traceback' not in message
        assert status == 130 or 'error: ' in message.splitlines()[-1]
        return message

    return fails


def read(out):
    return json.loads((out / 'results.json').read_text())


def test_pictures_and_results_that_coco_evaluates(
    infer, detections, annotations, images, untrained_models
):
    path, entries = detections
    out, text, errors = infer(images, path, '--score-thr', 0, '--batch-size', 2)
    names = {*(f'{image}_res.jpg' for image in range(7, 10)), 'results.json'}
    assert {p.name for p in out.iterdir()} == names
    assert f'{len(entries)} people in 3 images' in text
    assert 'people/s' in text and 'people/s' in errors

    truth = COCO(str(annotations))
    evaluation = COCOeval(truth, truth.loadRes(str(out / 'results.json')), 'keypoints')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert np.isfinite(evaluation.stats).all()

    # The numbers are those of MMPose's own inference.
    model = init_model(get_config(untrained_models[2]), str(untrained_models[3]), device='cpu')
    results = read(out)
    assert [result['image_id'] for result in results] == sorted(e['image_id'] for e in entries)
    mine = [entry for entry in entries if entry['image_id'] == 7]
    boxes = np.array([entry['bbox'] for entry in mine], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    pixels = cv2.imread(str(images / f'{7:012d}.jpg'))
    expected = inference_topdown(model, pixels, boxes)
    for entry, result, person in zip(mine, results, expected, strict=False):
        found = person.pred_instances
        keypoints = np.array(result['keypoints']).reshape(-1, 3)
        assert keypoints[:, :2] == pytest.approx(found.keypoints[0], abs=0.01)
        assert keypoints[:, 2] == pytest.approx(found.keypoint_scores[0], abs=1e-3)
        assert result['score'] == pytest.approx(0.9 * found.keypoint_scores[0].mean(), abs=1e-3)
        assert result['bbox'] == pytest.approx(entry['bbox'], abs=0.01)
    picture = cv2.imread(str(out / '7_res.jpg'))
    assert picture.shape == pixels.shape
    assert np.abs(picture.astype(int) - pixels).max() > 50  # somebody is drawn


def test_the_threshold_decides_what_is_drawn_and_not_what_is_written(infer, detections, images):
    path, entries = detections
    out, text, _ = infer(images, path, '--score-thr', 100)
    assert ', of whom 0 score at least 100.0' in text and len(read(out)) == len(entries)
    for image in images.iterdir():
        picture = cv2.imread(str(out / f'{int(image.stem)}_res.jpg'))
        assert np.abs(picture.astype(int) - cv2.imread(str(image))).mean() < 3  # only JPEG


def test_what_does_not_fit_together_is_counted_and_named(infer, images, save, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    pixels = cv2.imread(str(images / '000000000007.jpg'))
    names = ('7.jpg', 'COCO_val2014_000000000008.JPG', '000000000009.png', 'a-10.webp', 'b.bmp')
    for name in (*names, '7_expected.jpg', '._7.jpg'):
        cv2.imwrite(str(folder / name), pixels)
    (folder / '11.jpg').write_bytes(b'not an image')
    (folder / '12.jpeg').write_bytes(b'')
    (folder / '99.txt').write_text('no image')
    (folder / '98.jpg').mkdir()
    more = [dict(image_id=9, bbox=[5000, 10, 60, 100]), dict(image_id=9), dict(image_id=11)]
    more += [dict(category_id=3), *(dict(image_id=number) for number in range(100, 113))]
    path = save([BOX, *(dict(BOX, **entry) for entry in more)])
    out, text, _ = infer(folder, path)
    assert [result['image_id'] for result in read(out)] == [7, 9]
    assert {p.name for p in out.glob('*.jpg')} == {f'{i}_res.jpg' for i in (7, 8, 9, 10)}
    for line in (
        '2 people in 4 images',
        '3 images without detections: COCO_val2014_000000000008.JPG, a-10.webp, 12.jpeg',
        '13 detections without an image, of the image ids: 100, 101',
        '109 and 3 more',
        '2 images could not be read: 11.jpg, 12.jpeg',
        '1 boxes outside their image: 5000 10 5060 110 of 000000000009.png',
        '2 images whose names do not end in a number: 7_expected.jpg, b.bmp',
        '1 detections of other categories than 1',
    ):
        assert line in text
    out, text, _ = infer(folder, path, '--limit-to-detections', out=tmp_path / 'fewer')
    assert {p.name for p in out.glob('*.jpg')} == {'7_res.jpg', '9_res.jpg'}
    assert '3 images without detections (left out)' in text and len(read(out)) == 2


def test_no_detections_and_no_images(infer, fails, images, save, tmp_path):
    out, text, _ = infer(images, save([]))
    assert read(out) == [] and len(list(out.glob('*_res.jpg'))) == 3
    assert '3 images without detections' in text
    broken = tmp_path / 'broken'
    broken.mkdir()
    (broken / '7.jpg').write_bytes(b'not an image')
    message = fails(broken, save([BOX]), out=tmp_path / 'none')
    assert 'none of the 1 images' in message and 'the first one is 7.jpg' in message
    assert list((tmp_path / 'none').iterdir()) == []


def test_images_do_not_gather_in_memory(monkeypatch, infer, images, save, tmp_path):
    """With one person to a batch, only a few images are held, however many there are."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for number in range(20):
        shutil.copy(images / '000000000007.jpg', folder / f'{number}.jpg')
    path = save([dict(BOX, image_id=number) for number in range(0, 20, 2)])
    decode, alive, held = cv2.imdecode, [], []

    def imdecode(*arguments):
        image = decode(*arguments)
        alive.append(weakref.ref(image))
        held.append(sum(reference() is not None for reference in alive))
        return image

    monkeypatch.setattr(cv2, 'imdecode', imdecode)
    out, _, _ = infer(folder, path, '--batch-size', 1)
    assert len(read(out)) == 10 and len(held) == 20 and max(held) <= 4


def test_nothing_is_replaced_unasked(infer, fails, detections, images, tmp_path):
    note, picture = tmp_path / 'out' / 'note.txt', tmp_path / 'out' / '7_res.jpg'
    note.parent.mkdir()
    note.write_text('mine')
    picture.write_text('of an earlier run')
    message = fails(images, detections[0])
    assert f'{picture} exists' in message and '--overwrite' in message
    assert picture.read_text() == 'of an earlier run' and len(list(note.parent.iterdir())) == 2
    infer(images, detections[0], '--overwrite')
    assert note.read_text() == 'mine' and cv2.imread(str(picture)) is not None


def test_bad_input_ends_with_a_sentence_and_writes_nothing(
    fails, detections, images, untrained_models, save, tmp_path
):
    (path, entries), (config, weights) = detections, untrained_models[2:]
    empty, twice, other = (tmp_path / name for name in ('empty', 'twice', 'other.py'))
    empty.mkdir()
    twice.mkdir()
    (twice / '5.jpg').write_bytes(b'')
    (twice / '000005.png').write_bytes(b'')
    other.write_text('model = dict(type="DetDataPreprocessor")')

    assert 'there is no image in the folder' in fails(empty, path)
    (empty / 'me.jpg').write_bytes(b'')
    assert 'holds no image with a name that ends in its id' in fails(empty, path)
    assert 'cannot be read as an image' in fails(path, path)
    assert 'no does not exist' in fails(tmp_path / 'no', path)
    assert '000005.png and 5.jpg' in fails(twice, path) and 'id, 5;' in fails(twice, path)
    assert 'is a folder' in fails(images, images)
    assert 'none.json does not exist' in fails(images, tmp_path / 'none.json')
    for content, words in (
        ('{}', 'not a list'),
        ([*entries, dict(BOX, bbox=[1, 2, 3])], f'entry {len(entries)}: bbox [1, 2, 3]'),
        ([dict(BOX, image_id='7')], 'entry 0: image_id "7" is a text'),
        ([dict(BOX, score=1.5)], 'score 1.5 is not a number from 0 to 1'),
    ):
        assert words in fails(images, save(content))
    path = save(entries)
    full = 'mspn50-2stg_8xb32-210e_coco-256x192'
    for model, words in (
        (('mspn-huge', weights), 'mspn-huge'),
        ((other, weights), 'describes no pose model'),
        ((config, tmp_path / 'no.pth'), 'no.pth does not exist'),
        ((full, weights), 'does not fit the config'),
    ):
        assert words in fails(images, path, model=model)
    for *options, words in (
        ('--cfg-options', 'model.type.x=1', '--cfg-options do not fit'),
        ('--score-thr', 'nan', '--score-thr: nan is not a number from 0'),
        ('--batch-size', 0, '--batch-size: 0 is not a whole number'),
        ('--device', 'nonsense', "device 'nonsense' cannot be used"),
        *([] if torch.cuda.is_available() else [('--device', 'cuda', "'cuda' cannot be used")]),
    ):
        assert words in fails(images, path, *options)
    assert not (tmp_path / 'out').exists()
    assert 'pose.pth cannot be made' in fails(images, path, out=weights)
    assert 'pose.pth' in fails(images, path, out=weights / 'inside')


@pytest.mark.parametrize(
    ('reason', 'status', 'words'),
    [
        (KeyboardInterrupt(), 130, 'stopped by the keyboard'),
        (OSError(28, 'No space left on device', '9_res.jpg'), 2, '9_res.jpg cannot be read or'),
        (torch.cuda.OutOfMemoryError('too much'), 2, 'give a smaller --batch-size'),
    ],
)
def test_the_results_of_a_run_that_ends_early_are_kept(
    monkeypatch, fails, detections, images, tmp_path, reason, status, words
):
    write = outputs.write_picture

    def write_picture(target, image):
        if target.name == '9_res.jpg':
            raise reason
        write(target, image)

    monkeypatch.setattr(outputs, 'write_picture', write_picture)
    message = fails(images, detections[0], status=status)
    assert words in message.splitlines()[-1]
    partial = tmp_path / 'out' / 'results.partial.json'
    assert f'ended after 2 frames, which are kept: {partial}, {partial.parent}' in message
    assert not (tmp_path / 'out' / 'results.json').exists()
    assert len(json.loads(partial.read_text())) == len(detections[1])


def test_the_command(detections, images, untrained_models, tmp_path, capsys):
    """`mspn predict` gives the same people under its own names, or each picture as one person."""
    path, entries = detections
    common = ['predict', images, '--model', *untrained_models[2:], '--device', 'cpu']
    names = sorted(path.name for path in images.iterdir())
    for boxes, count in ((['--boxes', path], len(entries)), (['--whole-image'], 3)):
        out = tmp_path / boxes[0]
        main([*map(str, [*common, *boxes, '--out', out])])
        assert f'{count} people in 3 images' in capsys.readouterr().out
        results = json.loads((out / 'predictions.json').read_text())
        assert len(results) == count and sorted({entry['image'] for entry in results}) == names
        assert sorted(path.name for path in (out / 'pictures').iterdir()) == names
    with pytest.raises(SystemExit):
        main([*map(str, [*common, '--whole-image', '--boxes', path])])
    assert 'not allowed with argument --whole-image' in capsys.readouterr().err


def test_the_original_examples(infer, real_data, save):
    """The four photographs, with their expected pictures beside them, which are not input."""
    ids = [90891, 398905, 468332, 491867]
    annotations = real_data / 'annotations'
    boxes = json.loads((annotations / 'person_detections_val2017.json').read_text())
    boxes = [entry for entry in boxes if entry['image_id'] in ids]
    out, text, _ = infer(real_data.parent / 'seed_examples', save(boxes))
    assert {p.name for p in out.glob('*.jpg')} == {f'{i}_res.jpg' for i in ids}
    truth = COCO(str(annotations / 'person_keypoints_val2017.json'))
    assert len(truth.loadRes(str(out / 'results.json')).anns) == len(boxes)
    assert '4 images whose names do not end in a number' in text
