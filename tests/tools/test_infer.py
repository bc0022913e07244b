"""tools/infer.py: images and a detection file in; pictures, COCO results and a summary out.

It is `mspn predict --boxes`, which is called as that here and there.
"""

from __future__ import annotations

import json
import shutil
import weakref

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.apis import inference_topdown, init_model
from mmpose.registry import MODELS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mspn import outputs
from mspn.cli import main
from mspn_plugin import get_config

TINY = 'mspn-tiny_1xb16-20e_coco-128x96'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Random weights; the scores that they give may be far above 1."""
    init_default_scope('mmpose')
    torch.manual_seed(0)
    cfg = Config.fromfile(get_config(TINY))
    model = MODELS.build(cfg.model)
    model.init_weights()
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.fixture
def annotations(people):
    return people / 'annotations' / 'person_keypoints_val2017.json'


@pytest.fixture
def detections(annotations, tmp_path):
    """The annotated boxes as detections, in a file, and as the list that is in it."""
    people = json.loads(annotations.read_text())['annotations']
    entries = [
        dict(image_id=p['image_id'], category_id=1, bbox=p['bbox'], score=0.9) for p in people
    ]
    return save(tmp_path, entries), entries


def save(folder, entries):
    path = folder / 'detections.json'
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture
def infer(call_tool, checkpoint, tmp_path, capsys):
    """Runs the tool; gives the folder that it wrote to, what it printed, and its messages."""

    def infer(images, det_file, *options, weights=checkpoint, config=TINY, out=tmp_path / 'out'):
        capsys.readouterr()
        places = [images, '--det-file', det_file, '--out', out, '--device', 'cpu']
        call_tool('infer', config, weights, *places, *options)
        return out, *capsys.readouterr()

    return infer


@pytest.fixture
def fails(infer, tmp_path, capsys):
    """Runs the tool, expects one sentence and status 2, and returns the messages."""

    def fails(*arguments, **more):
        with pytest.raises(SystemExit) as caught:
            infer(*arguments, **more)
        assert caught.value.code == 2
        message = capsys.readouterr().err.strip()
        assert 'error: ' in message.splitlines()[-1] and 'Traceback' not in message
        return message

    return fails


def read(out):
    return json.loads((out / 'results.json').read_text())


def test_pictures_and_results_that_coco_evaluates(
    infer, detections, annotations, people, checkpoint
):
    path, entries = detections
    out, text, errors = infer(people / 'val2017', path, '--score-thr', 0, '--batch-size', 2)
    ids = sorted({entry['image_id'] for entry in entries})
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [*(f'{image}_res.jpg' for image in range(7, 10)), 'results.json']
    )
    assert f'{len(entries)} people in 3 images' in text
    assert 'people/s' in text and 'people/s' in errors

    truth = COCO(str(annotations))
    evaluation = COCOeval(truth, truth.loadRes(str(out / 'results.json')), 'keypoints')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert np.isfinite(evaluation.stats).all()

    # The numbers are those of MMPose's own inference.
    model = init_model(get_config(TINY), str(checkpoint), device='cpu')
    results = read(out)
    assert [result['image_id'] for result in results] == sorted(e['image_id'] for e in entries)
    image = ids[0]
    mine = [entry for entry in entries if entry['image_id'] == image]
    boxes = np.array([entry['bbox'] for entry in mine], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    pixels = cv2.imread(str(people / 'val2017' / f'{image:012d}.jpg'))
    for entry, result, person in zip(
        mine, results, inference_topdown(model, pixels, boxes), strict=False
    ):
        found = person.pred_instances
        keypoints = np.array(result['keypoints']).reshape(-1, 3)
        assert keypoints[:, :2] == pytest.approx(found.keypoints[0], abs=0.01)
        assert keypoints[:, 2] == pytest.approx(found.keypoint_scores[0], abs=1e-3)
        assert result['score'] == pytest.approx(0.9 * found.keypoint_scores[0].mean(), abs=1e-3)
        assert result['bbox'] == pytest.approx(entry['bbox'], abs=0.01)
    picture = cv2.imread(str(out / f'{image}_res.jpg'))
    assert picture.shape == pixels.shape
    assert np.abs(picture.astype(int) - pixels).max() > 50  # somebody is drawn


def test_the_threshold_decides_what_is_drawn_and_not_what_is_written(infer, detections, people):
    path, entries = detections
    out, text, _ = infer(people / 'val2017', path, '--score-thr', 100)
    assert ', of whom 0 score at least 100.0' in text and len(read(out)) == len(entries)
    for image in (people / 'val2017').iterdir():
        picture = cv2.imread(str(out / f'{int(image.stem)}_res.jpg'))
        assert np.abs(picture.astype(int) - cv2.imread(str(image))).mean() < 3  # only JPEG


@pytest.fixture
def mixed(people, tmp_path):
    """A folder with everything that a folder of images may hold; image 7 has a person."""
    folder = tmp_path / 'images'
    folder.mkdir()
    pixels = cv2.imread(str(people / 'val2017' / '000000000007.jpg'))
    for name in (
        '7.jpg',
        'COCO_val2014_000000000008.JPG',
        '000000000009.png',
        'a-10.webp',
        'b.bmp',
    ):
        encoded, data = cv2.imencode('.' + name.split('.')[1].lower(), pixels)
        assert encoded
        (folder / name).write_bytes(data)
    (folder / '11.jpg').write_bytes(b'not an image')
    (folder / '12.jpeg').write_bytes(b'')
    (folder / '7_expected.jpg').write_bytes(data)
    (folder / '._7.jpg').write_bytes(b'what macOS leaves')
    (folder / '99.txt').write_text('no image')
    (folder / '98.jpg').mkdir()
    return folder


def test_what_does_not_fit_together_is_counted_and_named(infer, mixed, tmp_path):
    good = dict(category_id=1, image_id=7, bbox=[10, 10, 60, 100], score=0.9)
    path = save(
        tmp_path,
        [
            good,
            dict(good, image_id=9, bbox=[5000, 10, 60, 100]),
            dict(good, image_id=9),
            dict(good, image_id=11),
            dict(good, category_id=3),
            *(dict(good, image_id=number) for number in range(100, 113)),
        ],
    )
    out, text, _ = infer(mixed, path)
    assert [result['image_id'] for result in read(out)] == [7, 9]
    assert {p.name for p in out.glob('*.jpg')} == {f'{i}_res.jpg' for i in (7, 8, 9, 10)}
    assert '2 people in 4 images' in text
    for line in (
        '3 images without detections: COCO_val2014_000000000008.JPG, a-10.webp, 12.jpeg',
        '13 detections without an image, of the image ids: 100, 101',
        '109 and 3 more',
        '1 boxes outside their image: 5000 10 5060 110 of 000000000009.png',
        '2 images whose names do not end in a number: 7_expected.jpg, b.bmp',
        '1 detections of other categories than 1',
    ):
        assert line in text
    assert '2 images could not be read: 11.jpg, 12.jpeg' in text

    out, text, _ = infer(mixed, path, '--limit-to-detections', out=tmp_path / 'fewer')
    assert {p.name for p in out.glob('*.jpg')} == {'7_res.jpg', '9_res.jpg'}
    assert '3 images without detections (left out)' in text
    assert len(read(out)) == 2


def test_no_detections_at_all(infer, people, tmp_path):
    out, text, _ = infer(people / 'val2017', save(tmp_path, []))
    assert read(out) == [] and len(list(out.glob('*_res.jpg'))) == 3
    assert '3 images without detections' in text


def test_no_image_that_can_be_read(fails, detections, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    (folder / '7.jpg').write_bytes(b'not an image')
    message = fails(folder, detections[0])
    assert 'the first one is 7.jpg' in message
    assert list((tmp_path / 'out').iterdir()) == []


def test_images_do_not_gather_in_memory(monkeypatch, infer, people, tmp_path):
    """With one person to a batch, only a few images are held, however many there are."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for number in range(20):
        shutil.copy(people / 'val2017' / '000000000007.jpg', folder / f'{number}.jpg')
    box = dict(category_id=1, bbox=[10, 10, 60, 100], score=0.9)
    path = save(tmp_path, [dict(box, image_id=number) for number in range(0, 20, 2)])
    decode, alive, held = cv2.imdecode, [], []

    def imdecode(*arguments):
        image = decode(*arguments)
        alive.append(weakref.ref(image))
        held.append(sum(reference() is not None for reference in alive))
        return image

    monkeypatch.setattr(cv2, 'imdecode', imdecode)
    out, _, _ = infer(folder, path, '--batch-size', 1)
    assert len(read(out)) == 10 and len(held) == 20 and max(held) <= 4


def test_nothing_is_replaced_unasked(infer, fails, detections, people, tmp_path):
    path, _ = detections
    out = tmp_path / 'out'
    out.mkdir()
    note, picture = out / 'note.txt', out / '7_res.jpg'
    note.write_text('mine')
    picture.write_text('of an earlier run')
    message = fails(people / 'val2017', path)
    assert f'{picture} exists' in message and '--overwrite' in message
    assert picture.read_text() == 'of an earlier run' and len(list(out.iterdir())) == 2
    infer(people / 'val2017', path, '--overwrite')
    assert note.read_text() == 'mine' and cv2.imread(str(picture)) is not None


def test_bad_input_ends_with_a_sentence_and_writes_nothing(
    fails, detections, people, checkpoint, tmp_path
):
    images, (path, entries) = people / 'val2017', detections
    empty, twice = tmp_path / 'empty', tmp_path / 'twice'
    empty.mkdir()
    twice.mkdir()
    (twice / '5.jpg').write_bytes(b'')
    (twice / '000005.png').write_bytes(b'')

    assert 'there is no image in the folder' in fails(empty, path)
    (empty / 'me.jpg').write_bytes(b'')
    assert 'holds no image with a name that ends in its id' in fails(empty, path)
    assert 'cannot be read as an image' in fails(path, path)
    assert 'no does not exist' in fails(tmp_path / 'no', path)
    assert '000005.png and 5.jpg' in fails(twice, path) and 'id, 5;' in fails(twice, path)

    assert 'is a folder' in fails(images, images)
    assert 'none.json does not exist' in fails(images, tmp_path / 'none.json')
    bad = tmp_path / 'bad.json'
    bad.write_text('{}')
    assert 'not a list' in fails(images, bad)
    bad.write_text(json.dumps([*entries, dict(entries[0], bbox=[1, 2, 3])]))
    assert f'entry {len(entries)}: bbox [1, 2, 3]' in fails(images, bad)
    bad.write_text(json.dumps([dict(entries[0], image_id='7')]))
    assert 'entry 0: image_id "7" is a text' in fails(images, bad)
    bad.write_text(json.dumps([dict(entries[0], score=1.5)]))
    assert 'score 1.5 is not a number from 0 to 1' in fails(images, bad)

    assert 'mspn-huge' in fails(images, path, config='mspn-huge')
    other = tmp_path / 'other.py'
    other.write_text('model = dict(type="DetDataPreprocessor")')
    assert 'describes no pose model' in fails(images, path, config=other)
    assert 'no.pth does not exist' in fails(images, path, weights=tmp_path / 'no.pth')
    full = 'mspn50-2stg_8xb32-210e_coco-256x192'
    assert 'does not fit the config' in fails(images, path, config=full)
    assert '--cfg-options do not fit' in fails(images, path, '--cfg-options', 'model.type.x=1')
    assert '--score-thr: nan is not a number from 0' in fails(images, path, '--score-thr', 'nan')
    assert '--batch-size: 0 is not a whole number' in fails(images, path, '--batch-size', 0)
    assert "device 'nonsense' cannot be used" in fails(images, path, '--device', 'nonsense')
    if not torch.cuda.is_available():
        assert "device 'cuda' cannot be used" in fails(images, path, '--device', 'cuda')
    assert not (tmp_path / 'out').exists()
    assert 'tiny.pth cannot be made' in fails(images, path, out=checkpoint)
    assert 'tiny.pth' in fails(images, path, out=checkpoint / 'inside')


@pytest.mark.parametrize(
    ('reason', 'status', 'words'),
    [
        (KeyboardInterrupt(), 130, 'stopped by the keyboard'),
        (OSError(28, 'No space left on device', '9_res.jpg'), 2, '9_res.jpg cannot be read or'),
        (torch.cuda.OutOfMemoryError('too much'), 2, 'give a smaller --batch-size'),
    ],
)
def test_the_results_of_a_run_that_ends_early_are_kept(
    monkeypatch, infer, detections, people, tmp_path, capsys, reason, status, words
):
    path, entries = detections
    write = outputs.write_picture

    def write_picture(target, image):
        if target.name == '9_res.jpg':
            raise reason
        write(target, image)

    monkeypatch.setattr(outputs, 'write_picture', write_picture)
    with pytest.raises(SystemExit) as caught:
        infer(people / 'val2017', path)
    assert caught.value.code == status
    message, out = capsys.readouterr().err, tmp_path / 'out'
    partial = out / 'results.partial.json'
    assert words in message.splitlines()[-1]
    assert f'ended after 2 frames, which are kept: {partial}, {out}' in message
    assert not (out / 'results.json').exists()
    assert len(json.loads(partial.read_text())) == len(entries)


def test_the_command(detections, people, checkpoint, tmp_path, capsys):
    """`mspn predict` gives the same people under its own names, and each picture as one person."""
    path, entries = detections
    images = ['predict', people / 'val2017', '--model', TINY, checkpoint, '--device', 'cpu']
    for source, count in ((['--boxes', path], len(entries)), (['--whole-image'], 3)):
        main([*map(str, [*images, *source, '--out', tmp_path / source[0]])])
        assert f'{count} people in 3 images' in capsys.readouterr().out
        results = json.loads((tmp_path / source[0] / 'predictions.json').read_text())
        names = sorted(path.name for path in (people / 'val2017').iterdir())
        assert len(results) == count and sorted({entry['image'] for entry in results}) == names
        pictures = sorted(path.name for path in (tmp_path / source[0] / 'pictures').iterdir())
        assert pictures == names
    with pytest.raises(SystemExit):
        main([*map(str, [*images, '--whole-image', '--boxes', path])])
    assert 'not allowed with argument --whole-image' in capsys.readouterr().err


def test_the_original_examples(infer, real_data, tmp_path):
    """The four photographs, with their expected pictures beside them, which are not input."""
    seed_examples = real_data.parent / 'seed_examples'
    ids = [90891, 398905, 468332, 491867]
    labels = real_data / 'annotations' / 'person_detections_val2017.json'
    boxes = [entry for entry in json.loads(labels.read_text()) if entry['image_id'] in ids]
    out, text, _ = infer(seed_examples, save(tmp_path, boxes))
    assert {p.name for p in out.glob('*.jpg')} == {f'{i}_res.jpg' for i in ids}
    truth = COCO(str(real_data / 'annotations' / 'person_keypoints_val2017.json'))
    assert len(truth.loadRes(str(out / 'results.json')).anns) == len(boxes)
    assert '4 images whose names do not end in a number' in text
    shutil.rmtree(out)
