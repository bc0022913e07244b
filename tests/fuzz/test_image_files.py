"""Images with a few bytes changed: pixels, or one sentence, and no frame is lost in silence."""

from argparse import Namespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpose.apis import init_model
from mmpose.registry import TRANSFORMS
from mutations import mutated_bytes
from runs import TINY

from mspn import predict_command
from mspn.detections import Detections
from mspn.media import IMAGE_SUFFIXES, decode, open_media, read_image
from mspn_plugin import get_config
from mspn_plugin.annotations.image_files import ImageFile, decoding_problems
from mspn_plugin.annotations.records import UNKNOWN
from mspn_plugin.apis import infer_people

KINDS = ('jpg', 'png', 'webp', 'bmp', 'tiff', 'ppm')


@pytest.fixture(scope='module')
def contents(people):
    pixels = cv2.imread(str(next((people / 'val2017').glob('*.jpg'))))[:90, :120]
    files = {kind: cv2.imencode(f'.{kind}', pixels)[1].tobytes() for kind in KINDS}
    turned = files['jpg'][:2] + b'\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0'
    return files | dict(exif=turned + b'\0\0\x06\0\0\0\0\0\0\0' + files['jpg'][2:])


def assert_picture(pixels):
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


def a_mutation(data, contents):
    return data.draw(mutated_bytes(data.draw(st.sampled_from(list(contents.values())))))


@pytest.fixture
def path(folder, capfd):
    yield folder / 'file.jpg'
    capfd.readouterr()  # what the decoders say of it


@given(data=st.data())
def test_pixels_or_a_sentence(data, path, contents, trial):
    whole = data.draw(st.sampled_from(list(contents.values())))
    content = data.draw(st.one_of(mutated_bytes(whole), st.just(whole), st.binary(max_size=99)))
    path.write_bytes(content)
    pixels = trial(decode, path, 'image 0')
    problems = decoding_problems(ImageFile('image 0', path, UNKNOWN))
    unreadable = any(problem.kind == 'unreadable-image' for problem in problems)
    assert (pixels is None) == (read_image(path) is None) == unreadable
    if pixels is not None:
        assert_picture(pixels)
        trained_on = TRANSFORMS.build(dict(type='LoadImage')).transform(dict(img_path=str(path)))
        assert np.array_equal(trained_on['img'], pixels)
    if content == whole:
        assert pixels is not None and not problems


@given(data=st.data())
def test_a_folder_of_images(data, path, contents, trial):
    place = path.with_name('images')
    place.mkdir(exist_ok=True)
    for name in 'abc':
        content = a_mutation(data, contents) if name == 'b' else contents['jpg']
        (place / f'{name}.jpg').write_bytes(content)
    source = trial(open_media, place)
    read = trial(lambda: [frame.name for frame in source])
    assert sorted(read + source.unreadable) == ['a.jpg', 'b.jpg', 'c.jpg']
    assert {'a.jpg', 'c.jpg'} <= set(read)


@given(data=st.data(), suffix=st.sampled_from([*sorted(IMAGE_SUFFIXES), '.mp4', '.txt', '']))
def test_one_file_of_any_name(data, suffix, path, contents, trial):
    path = path.with_suffix(suffix)
    path.write_bytes(a_mutation(data, contents))
    frame = trial(lambda: next(iter(open_media(path)), None))
    path.unlink()
    if frame is not None:
        assert_picture(frame.pixels)


@pytest.fixture(scope='module')
def model():
    return init_model(get_config(TINY), None, device='cpu')


@given(data=st.data())
def test_people_in_images(data, path, contents, trial, model):
    good = path.with_name('good.jpg')
    good.write_bytes(contents['jpg'])
    path.write_bytes(a_mutation(data, contents))
    boxes, wanted = [[[5, 5, 60, 80]], None], None if read_image(path) is None else []
    results = infer_people(model, iter([good, path]), iter(boxes), batch_size=2)
    assert len(next(results)[0].pred_instances.keypoints[0]) == 17
    assert trial(lambda: next(results)) == wanted
    good.unlink()


@given(data=st.data())
def test_boxes_of_a_file(data, path, contents, monkeypatch):
    """`mspn predict --boxes` uses every image and every box, or names it at the end."""
    place = path.with_name('numbered')
    place.mkdir(exist_ok=True)
    (place / '1.jpg').write_bytes(contents['jpg'])
    (place / '2.jpg').write_bytes(a_mutation(data, contents))
    box = np.array([[5, 5, 60, 80]], np.float32), np.array([0.5], np.float32)
    monkeypatch.setattr(
        predict_command, 'read_detections', lambda _: Detections({1: box, 2: box}, 0)
    )
    source = open_media(place)
    args = Namespace(boxes='file', input=place, limit_to_detections=False)
    find = predict_command._BoxesOfFile(args, source)
    used = sum(len(boxes) for frame in source for boxes, _ in find([frame]))
    assert used + len(find._outside) + len(source.unreadable) == 2
