"""tools/infer.py, which is `mspn predict --boxes`: pictures, COCO results and a summary."""

import json

import cv2
import numpy as np
import pytest
from films import read
from mmpose.apis import inference_topdown, init_model
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mspn import outputs
from mspn.cli import main
from mspn_plugin import get_config

BIG = 'mspn50-2stg_8xb32-210e_coco-256x192'
BOX = dict(category_id=1, image_id=7, bbox=[10, 10, 60, 100], score=0.9)


@pytest.fixture
def images(people):
    return people / 'val2017'


@pytest.fixture
def boxes(people):
    """The annotated boxes as detections."""
    content = json.loads((people / 'annotations/person_keypoints_val2017.json').read_text())
    return [dict(BOX, image_id=p['image_id'], bbox=p['bbox']) for p in content['annotations']]


@pytest.fixture
def infer(call_tool, refused, untrained_models, tmp_path, capsys):
    """Runs the tool; gives what it printed, and its messages; with a status just these."""

    def infer(images, boxes, *options, model=untrained_models[2:], out=tmp_path / 'out', status=0):
        file = tmp_path / 'boxes.json'
        file.write_text(json.dumps(boxes))
        arguments = ['infer', *model, images, '--det-file', file, '--out', out, '--device', 'cpu']
        capsys.readouterr()
        if status:
            return refused(*arguments, *options, status=status)
        call_tool(*arguments, *options)
        return capsys.readouterr()

    return infer


def written(folder, pattern='*'):
    return {path.name for path in folder.glob(pattern)}


def difference(picture, image):
    return np.abs(cv2.imread(str(picture)).astype(int) - cv2.imread(str(image)))


def test_pictures_and_results(infer, boxes, images, people, untrained_models, tmp_path):
    out = tmp_path / 'out'
    text, errors = infer(images, boxes, '--score-thr', 0, '--batch-size', 2)
    names = {f'{image}_res.jpg' for image in (7, 8, 9)} | {'results.json'}
    assert written(out) == names and f'{len(boxes)} people in 3 images' in text
    assert 'people/s' in text and 'people/s' in errors
    assert difference(out / '7_res.jpg', images / f'{7:012d}.jpg').max() > 50  # somebody is drawn

    truth = COCO(str(people / 'annotations/person_keypoints_val2017.json'))
    evaluation = COCOeval(truth, truth.loadRes(str(out / 'results.json')), 'keypoints')
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        step()
    assert np.isfinite(evaluation.stats).all()
    # The numbers are those of MMPose's own inference.
    model = init_model(get_config(untrained_models[2]), str(untrained_models[3]), device='cpu')
    results = read(out / 'results.json')
    assert [result['image_id'] for result in results] == sorted(e['image_id'] for e in boxes)
    mine = [entry for entry in boxes if entry['image_id'] == 7]
    corners = np.array([entry['bbox'] for entry in mine], np.float32)
    corners[:, 2:] += corners[:, :2]
    expected = inference_topdown(model, str(images / f'{7:012d}.jpg'), corners)
    for entry, result, person in zip(mine, results, expected, strict=False):
        found = person.pred_instances
        keypoints = np.array(result['keypoints']).reshape(-1, 3)
        assert keypoints[:, :2] == pytest.approx(found.keypoints[0], abs=0.01)
        assert keypoints[:, 2] == pytest.approx(found.keypoint_scores[0], abs=1e-3)
        assert result['score'] == pytest.approx(0.9 * found.keypoint_scores[0].mean(), abs=1e-3)
        assert result['bbox'] == pytest.approx(entry['bbox'], abs=0.01)

    # Nothing is replaced unasked, and the threshold decides what is drawn, not what is written.
    (out / 'note.txt').write_text('mine')
    (out / '7_res.jpg').write_text('of an earlier run')
    (out / 'results.json').unlink()
    message = infer(images, boxes, status=2)
    assert f'{out / "7_res.jpg"} exists' in message and '--overwrite' in message
    assert (out / '7_res.jpg').read_text() == 'of an earlier run' and len(written(out)) == 4
    text, _ = infer(images, boxes, '--overwrite', '--score-thr', 100)
    assert ', of whom 0 score at least 100.0' in text and read(out / 'results.json') == results
    for image in images.iterdir():
        assert difference(out / f'{int(image.stem)}_res.jpg', image).mean() < 3  # only JPEG
    assert (out / 'note.txt').read_text() == 'mine' and written(out) == names | {'note.txt'}


def test_what_does_not_fit_together_is_counted_and_named(infer, images, tmp_path):
    folder, out, few = (tmp_path / name for name in ('images', 'out', 'few'))
    (folder / '98.jpg').mkdir(parents=True)
    names = ('7.jpg', 'COCO_val2014_000000000008.JPG', '000000000009.png', 'a-10.webp', 'b.bmp')
    for name in (*names, '7_expected.jpg', '._7.jpg'):
        cv2.imwrite(str(folder / name), cv2.imread(str(images / '000000000007.jpg')))
    for name in ('11.jpg', '12.jpeg', '99.txt'):
        (folder / name).write_bytes(b'not an image')
    more = [dict(image_id=9, bbox=[5000, 10, 60, 100]), dict(image_id=9), dict(image_id=11)]
    more += [dict(category_id=3), *(dict(image_id=number) for number in range(100, 113))]
    boxes = [BOX, *(dict(BOX, **entry) for entry in more)]
    text, _ = infer(folder, boxes)
    assert [result['image_id'] for result in read(out / 'results.json')] == [7, 9]
    assert written(out, '*.jpg') == {f'{i}_res.jpg' for i in (7, 8, 9, 10)}
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
    text, _ = infer(folder, boxes, '--limit-to-detections', out=few)
    assert written(few, '*.jpg') == {'7_res.jpg', '9_res.jpg'}
    assert len(read(few / 'results.json')) == 2
    assert '3 images without detections (left out)' in text


def test_refusals(infer, boxes, images, untrained_models, tmp_path):
    config, weights = untrained_models[2:]
    nameless, twice = tmp_path / 'nameless', tmp_path / 'twice'
    for path in (nameless / 'me.jpg', twice / '5.jpg', twice / '000005.png'):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for folder, options, more, words in (
        (nameless, (), {}, 'holds no image with a name that ends in its id'),
        (twice, (), {}, f'000005.png and 5.jpg in {twice} have the same image id, 5;'),
        (images, (), dict(model=('mspn-huge', weights)), 'mspn-huge'),
        (images, (), dict(model=(config, tmp_path / 'no.pth')), 'no.pth does not exist'),
        (images, (), dict(model=(BIG, weights)), 'does not fit the config'),
        (images, ('--score-thr', 'nan'), {}, '--score-thr: nan is not a number from 0'),
        (images, (), dict(out=weights), 'pose.pth cannot be made'),
        (images, (), dict(out=weights / 'inside'), 'pose.pth'),
    ):
        assert words in infer(folder, boxes, *options, **more, status=2)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('reason', 'status', 'words'),
    [
        (KeyboardInterrupt(), 130, 'stopped by the keyboard'),
        (OSError(28, 'No space left on device', '9_res.jpg'), 2, '9_res.jpg cannot be read or'),
        (OSError(28, 'No space left'), 2, 'out cannot be read or written: No space left'),
    ],
)
def test_the_results_of_a_run_that_ends_early_are_kept(
    monkeypatch, infer, boxes, images, tmp_path, reason, status, words
):
    write, out = outputs.write_picture, tmp_path / 'out'

    def write_picture(target, image):
        if target.name == '9_res.jpg':
            raise reason
        write(target, image)

    monkeypatch.setattr(outputs, 'write_picture', write_picture)
    message = infer(images, boxes, status=status)
    assert words in message.splitlines()[-1]
    kept = f'{out / "results.partial.json"}, {out}'
    assert f'ended after 2 frames, which are kept: {kept}' in message
    assert written(out) == {'results.partial.json', '7_res.jpg', '8_res.jpg'}
    assert len(read(out / 'results.partial.json')) == len(boxes)


def test_the_command(boxes, images, untrained_models, tmp_path, capsys):
    """`mspn predict` gives the same people under its own names, or each picture as one person."""
    (path := tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    common = ['predict', images, '--model', *untrained_models[2:], '--device', 'cpu']
    for given, count in ((['--boxes', path], len(boxes)), (['--whole-image'], 3)):
        out = tmp_path / given[0]
        main([*map(str, [*common, *given, '--out', out])])
        assert f'{count} people in 3 images' in capsys.readouterr().out
        results = read(out / 'predictions.json')
        assert len(results) == count and {entry['image'] for entry in results} == written(images)
        assert written(out / 'pictures') == written(images)
    with pytest.raises(SystemExit):
        main([*map(str, [*common, '--whole-image', '--boxes', path])])
    assert 'not allowed with argument --whole-image' in capsys.readouterr().err


def test_the_original_examples(infer, real_data, tmp_path):
    """The four photographs, with their expected pictures beside them, which are not input."""
    ids, out = [90891, 398905, 468332, 491867], tmp_path / 'out'
    annotations = real_data / 'annotations'
    boxes = json.loads((annotations / 'person_detections_val2017.json').read_text())
    boxes = [entry for entry in boxes if entry['image_id'] in ids]
    text, _ = infer(real_data.parent / 'seed_examples', boxes)
    assert written(out, '*.jpg') == {f'{i}_res.jpg' for i in ids}
    truth = COCO(str(annotations / 'person_keypoints_val2017.json'))
    assert len(truth.loadRes(str(out / 'results.json')).anns) == len(boxes)
    assert '4 images whose names do not end in a number' in text
