"""Sources of frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from films import Camera, grey, write_video
from PIL import Image

from mspn.errors import InputError
from mspn.media import open_media


def test_an_image(tmp_path):
    path = tmp_path / 'one.png'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    source = open_media(path)
    assert (source.kind, source.name, source.num_frames, source.size) == ('image', 'one', 1, None)
    (frame,) = source
    assert (frame.name, frame.id) == ('one.png', 0)
    assert np.array_equal(frame.pixels, cv2.imread(str(path)))


def test_images_of_every_kind_become_three_channels_of_bytes(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((8, 9), 200, np.uint8))
    cv2.imwrite(str(tmp_path / 'b.PNG'), np.full((8, 9, 4), 200, np.uint8))
    cv2.imwrite(str(tmp_path / 'c.tiff'), np.full((8, 9, 3), 200 * 257, np.uint16))
    cv2.imwrite(str(tmp_path / 'd.webp'), grey(200, (9, 8)))
    cv2.imwrite(str(tmp_path / 'e.jp2'), grey(200, (9, 8)))
    for frame in open_media(tmp_path):
        assert frame.pixels.shape == (8, 9, 3) and frame.pixels.dtype == np.uint8, frame.name
        assert np.abs(frame.pixels.astype(int) - 200).max() <= 3, frame.name


def test_a_camera_that_was_turned(tmp_path):
    """The orientation that a JPEG notes is applied, as MMPose does."""
    picture = Image.new('RGB', (30, 20))
    exif = picture.getexif()
    exif[0x0112] = 6  # turn by a quarter
    picture.save(tmp_path / 'turned.jpg', exif=exif)
    (frame,) = open_media(tmp_path / 'turned.jpg')
    assert frame.pixels.shape == (30, 20, 3)


def test_an_image_without_suffix_and_one_of_a_numbered_series(tmp_path):
    for name in ('img_001.jpg', 'img_007.jpg'):
        cv2.imwrite(str(tmp_path / name), grey(9))
    assert [frame.name for frame in open_media(tmp_path / 'img_001.jpg')] == ['img_001.jpg']
    assert [frame.id for frame in open_media(tmp_path)] == [1, 7]
    plain = (tmp_path / 'img_007.jpg').rename(tmp_path / 'plain')
    assert open_media(plain).kind == 'image'


def test_a_folder_is_sorted_and_goes_on_after_a_broken_image(tmp_path):
    for level, name in enumerate(('c1.jpg', 'a.jpeg', 'd.bmp')):
        cv2.imwrite(str(tmp_path / name), grey(50 * level))
    (tmp_path / 'b.jpg').write_text('not an image')
    (tmp_path / 'd.png').touch()
    (tmp_path / 'notes.txt').touch()
    (tmp_path / '._c.jpg').touch()
    (tmp_path / 'e.jpg').mkdir()
    source = open_media(tmp_path)
    assert (source.kind, source.num_frames) == ('folder', 5)
    found = [(frame.name, frame.id) for frame in source]
    assert found == [('a.jpeg', 0), ('c1.jpg', 2), ('d.bmp', 3)]
    assert source.unreadable == ['b.jpg', 'd.png']
    assert len(list(source)) == 3 and len(source.unreadable) == 2  # once more


def test_a_folder_of_broken_images(tmp_path):
    for name in 'ab':
        (tmp_path / f'{name}.jpg').write_text('not an image')
    with pytest.raises(InputError, match=r'none of the 2 images in .*a\.jpg'):
        list(open_media(tmp_path))


def test_a_video(tmp_path):
    path = write_video(tmp_path / 'walk.mp4', 10, rate=29.97)
    source = open_media(path)
    assert (source.kind, source.name, source.size) == ('video', 'walk', (64, 48))
    assert source.num_frames == 10 and source.frame_rate == pytest.approx(29.97)
    frames = list(source)
    assert [frame.id for frame in frames] == list(range(10))
    assert frames[3].name == 'walk_000003'
    assert [round(frame.pixels.mean() / 20) for frame in frames] == list(range(10))
    with pytest.raises(ValueError, match='open it again'):
        list(source)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('absent.mp4', 'does not exist; expected an image, a folder of images, a video'),
        ('empty', 'there is no image in the folder'),
        ('zero.mp4', 'is an empty file'),
        ('text.mp4', 'cannot be read as an image or a video'),
        ('none.mp4', 'cannot be read as an image or a video'),
        ('cut.mp4', 'cannot be read as an image or a video'),
        ('broken.jpg', 'cannot be read as an image; it may be damaged'),
        ('webcam:', 'names no camera; expected webcam:0'),
        ('webcam:front', 'names no camera; expected webcam:0'),
        ('webcam:97', 'the camera webcam:97 cannot be opened; connect it'),
        ('http://host/a.mp4', 'is an address, and nothing is fetched'),
        ('rtsp://host/a', 'is an address, and nothing is fetched'),
    ],
)
def test_what_cannot_be_opened(tmp_path, name, expected):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'zero.mp4').touch()
    (tmp_path / 'text.mp4').write_text('not a video')
    (tmp_path / 'broken.jpg').write_text('not an image')
    write_video(tmp_path / 'none.mp4', 0)
    whole = write_video(tmp_path / 'whole.mp4', 9).read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=expected) as caught:
        open_media(name if ':' in name else tmp_path / name)
    assert '\n' not in str(caught.value) and name in str(caught.value)


def test_a_camera(monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    source = open_media('webcam:3')
    assert (source.kind, source.name, source.size) == ('webcam', 'webcam3', (64, 48))
    assert (source.frame_rate, source.num_frames) == (25.0, None)
    assert [frame.name for frame in source][::3] == ['webcam3_000000', 'webcam3_000003']


def test_a_source_that_opens_and_gives_no_frame(tmp_path, monkeypatch):
    path = write_video(tmp_path / 'walk.mp4', 3)
    monkeypatch.setattr(cv2, 'VideoCapture', type('Silent', (Camera,), dict(left=0)))
    with pytest.raises(InputError, match='walk.mp4 has 0 frames that can be read'):
        open_media(path)
    with pytest.raises(InputError, match='webcam:0 gives no picture'):
        open_media('webcam:0')
