"""Sources of frames."""

import os
import re
import struct

import cv2
import numpy as np
import pytest
from films import Camera, grey, write_video
from PIL import Image

from mspn.errors import InputError
from mspn.media import open_media


def save(folder, **pictures):
    """Writes pictures under names in which the last _ stands for a dot, or texts."""
    for name, content in pictures.items():
        path = folder / '.'.join(name.rsplit('_', 1))
        text = isinstance(content, str)
        path.write_text(content) if text else cv2.imwrite(str(path), content)


def test_an_image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    save(tmp_path, one_png=pixels, img_001_jpg=grey(9), img_007_jpg=grey(9))
    source = open_media(tmp_path / 'one.png')
    assert (source.kind, source.name, source.num_frames, source.size) == ('image', 'one', 1, None)
    (frame,) = source
    assert (frame.name, frame.id) == ('one.png', 0) and np.array_equal(frame.pixels, pixels)
    # OpenCV would take the one of a numbered series for a video.
    assert [frame.name for frame in open_media(tmp_path / 'img_001.jpg')] == ['img_001.jpg']
    (tmp_path / 'one.png').rename(tmp_path / 'plain')
    assert open_media(tmp_path / 'plain').kind == 'image'
    assert [frame.id for frame in open_media(tmp_path)] == [1, 7]


def test_images_of_every_kind_become_three_channels_of_bytes(tmp_path):
    one, four = np.full((48, 64), 200, np.uint8), np.full((48, 64, 4), 200, np.uint8)
    sixteen = np.full((48, 64, 3), 200 * 257, np.uint16)
    save(tmp_path, a_png=one, b_PNG=four, c_tiff=sixteen, d_webp=grey(200), e_jp2=grey(200))
    turned = Image.new('RGB', (48, 64), (200,) * 3)
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was turned by a quarter, which MMPose undoes
    turned.save(tmp_path / 'f.jpg', exif=exif)
    frames = list(open_media(tmp_path))
    assert len(frames) == 6
    for frame in frames:
        assert frame.pixels.shape == (48, 64, 3) and frame.pixels.dtype == np.uint8, frame.name
        assert np.abs(frame.pixels.astype(int) - 200).max() <= 3, frame.name


def test_a_folder_is_sorted_and_goes_on_after_a_broken_image(tmp_path):
    save(tmp_path, a_jpeg=grey(50), c1_jpg=grey(0), d_bmp=grey(99))
    save(tmp_path, b_jpg='not an image', d_png='', notes_txt='', **{'._c_jpg': ''})
    (tmp_path / 'e.jpg').mkdir()
    source = open_media(tmp_path)
    assert (source.kind, source.num_frames) == ('folder', 5)
    for _ in range(2):  # as often as one likes
        found = [(frame.name, frame.id) for frame in source]
        assert found == [('a.jpeg', 0), ('c1.jpg', 2), ('d.bmp', 3)]
        assert source.unreadable == ['b.jpg', 'd.png']
    for path in (tmp_path / name for name, _ in found):
        path.unlink()
    with pytest.raises(InputError, match=r'none of the 2 images in .*b\.jpg'):
        list(open_media(tmp_path))


def test_a_video_and_a_camera(tmp_path, monkeypatch):
    source = open_media(film := write_video(tmp_path / 'walk.mp4', 10, rate=29.97))
    assert (source.kind, source.name, source.size) == ('video', 'walk', (64, 48))
    assert source.num_frames == 10 and source.frame_rate == pytest.approx(29.97)
    frames = list(source)
    assert [frame.id for frame in frames] == list(range(10)) and frames[3].name == 'walk_000003'
    assert [round(frame.pixels.mean() / 20) for frame in frames] == list(range(10))
    with pytest.raises(ValueError, match='open it again'):
        list(source)
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    source = open_media('webcam:3')
    assert (source.kind, source.name, source.size) == ('webcam', 'webcam3', (64, 48))
    assert (source.frame_rate, source.num_frames) == (25.0, None)
    assert [frame.name for frame in source][::3] == ['webcam3_000000', 'webcam3_000003']
    monkeypatch.setattr(Camera, 'left', 0)  # opens, and gives no frame
    for name, words in ((film, 'walk.mp4 has 0 frames that'), ('webcam:0', 'gives no picture')):
        with pytest.raises(InputError, match=words):
            open_media(name)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('absent.mp4', 'does not exist; expected an image, a folder of images, a video'),
        ('empty', 'there is no image in the folder'),
        ('zero.mp4', 'is an empty file'),
        *((f'{n}.mp4', 'cannot be read as an image or a video') for n in ('text', 'none', 'cut')),
        ('broken.jpg', 'cannot be read as an image; it may be damaged'),
        *((f'webcam:{n}', 'names no camera; expected webcam:0') for n in ('', 'front', '9' * 20)),
        ('webcam:97', 'the camera webcam:97 cannot be opened; connect it'),
        *((f'{kind}://host/a.mp4', 'is an address, and nothing is') for kind in ('http', 'rtsp')),
    ],
)
def test_what_cannot_be_opened(tmp_path, name, expected):
    (tmp_path / 'empty').mkdir()
    save(tmp_path, zero_mp4='', text_mp4='not a video', broken_jpg='not an image')
    write_video(tmp_path / 'none.mp4', 0)
    whole = write_video(tmp_path / 'whole.mp4', 9).read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=expected) as caught:
        open_media(name if ':' in name else tmp_path / name)
    assert '\n' not in str(caught.value) and name in str(caught.value)


def test_a_film_that_a_browser_has_recorded(tmp_path):
    """Its frames have times in whole milliseconds, and no rate stands anywhere."""
    film = cv2.VideoWriter(
        str(path := tmp_path / 'walk.webm'), cv2.VideoWriter.fourcc(*'VP80'), 30, (64, 48)
    )
    for index in range(60):
        film.write(grey(4 * index))
    film.release()
    content = bytearray(path.read_bytes())
    rate = content.index(b'\x23\xe3\x83\x84')
    content[rate : rate + 8] = b'\xec\x86' + bytes(6)  # nothing
    pattern = rb'\xa3(?:[\x81-\xfe]|[\x40-\x7f].)\x81(..)[\x00\x80]'
    blocks = list(re.finditer(pattern, content, re.DOTALL))
    assert len(blocks) == 60
    for number, block in enumerate(blocks):
        late = int.from_bytes(block[1], 'big') + number * 5 % 13
        content[block.start(1) : block.end(1)] = late.to_bytes(2, 'big')
    path.write_bytes(content)
    media = open_media(path)
    assert media.frame_rate == pytest.approx(30, rel=0.05) and media.num_frames is None
    assert len(list(media)) == 60


def test_what_has_no_end_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / 'a.jpg')
    cv2.imwrite(str(tmp_path / 'b.png'), np.zeros((2, 33_000, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'c.png'), grey(7))
    media = open_media(tmp_path)
    assert [frame.name for frame in media] == ['c.png']
    assert media.unreadable == ['a.jpg', 'b.png']


def test_a_film_of_a_phone_that_was_held_upright_is_upright(tmp_path):
    """Its file holds lying frames, and how to turn them: a matrix in the header of the track."""
    path = write_video(tmp_path / 'phone.mp4', 3)
    content = bytearray(path.read_bytes())
    one, quarter = 1 << 16, [0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30]
    matrix = struct.pack('>9i', one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    place = content.index(matrix, content.index(b'tkhd'))
    content[place : place + len(matrix)] = struct.pack('>9i', *quarter)
    path.write_bytes(content)
    media = open_media(path)
    assert media.size == (48, 64)
    assert [frame.pixels.shape for frame in media] == [(64, 48, 3)] * 3
