"""What runs write: COCO's results in a file that is valid whenever the run ends, and pictures."""

import json

import cv2
import numpy as np
import pytest
from films import grey, names, read

from mspn.errors import InputError
from mspn.media import open_media
from mspn.outputs import CsvFile, Outputs, ResultsFile, VideoFile, picture_name, write_picture
from mspn.poses import Pose, coco_results


def make_person(keypoints, scores):
    arrays = (keypoints, scores, (10, 20, 40, 60.5))
    return Pose(*(np.array(values, np.float32) for values in arrays), 0.5)


def levels(path):
    """The mean brightness of every frame of a video."""
    return [round(float(frame.pixels.mean()), -1) for frame in open_media(path)]


def test_one_person():
    person = make_person([[1.23456, 2], [3, 4.00049]], [0.8, 1 / 3])
    result = coco_results([person], 42)
    numbers = dict(keypoints=[1.235, 2, 0.8, 3, 4, 0.33333], bbox=[10, 20, 30, 40.5])
    assert result == [dict(image_id=42, category_id=1, score=0.28333, **numbers)]
    assert json.loads(json.dumps(result)) == result  # plain Python numbers
    assert person.box.tolist() == [10, 20, 40, 60.5] and coco_results([], 1) == []
    for keypoint, score in ((np.nan, 1), (1, np.nan), (np.inf, 1)):
        with pytest.raises(InputError, match='image 42 are not finite'):
            coco_results([make_person([[keypoint, 2]], [score])], 42)


def test_the_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / 'results.json'
    path.write_text('of an earlier run')
    with ResultsFile(str(path)) as results:
        assert results.partial == tmp_path / 'results.partial.json' and read(results.partial) == []
        for count in (2, 0, 1):
            results.write([dict(number=results.count + i) for i in range(count)])
            # Valid after every step, so even if the process is killed.
            assert len(read(results.partial)) == results.count
        assert path.read_text() == 'of an earlier run'
    assert read(path) == [dict(number=i) for i in range(3)]
    with ResultsFile(path):
        pass
    assert read(path) == [] and names(tmp_path) == ['results.json']  # an empty list is a result


@pytest.mark.parametrize('reason', [ValueError, KeyboardInterrupt, OSError])
def test_what_was_finished_is_kept(tmp_path, reason):
    results = ResultsFile(tmp_path / 'results.json')
    with pytest.raises(ValueError), results:  # a write adds all or nothing
        results.write([dict(number=1), dict(number=float('nan'))])
    assert names(tmp_path) == []  # and nothing is kept of nothing
    with pytest.raises(reason), results:
        results.write([dict(number=1)])
        with results.partial.open('ab') as file:  # as a full disk would
            file.write(b'"half an en')
        raise reason
    assert names(tmp_path) == ['results.partial.json']
    assert read(results.partial) == [dict(number=1)]


def test_pictures_are_written_whole_and_keep_their_names(tmp_path):
    folder = tmp_path / 'new' / 'pictures'
    for name in ('a.png', 'b.JPG', picture_name('b.ppm')):
        write_picture(folder / name, grey(7))
    assert names(folder) == ['a.png', 'b.JPG', 'b.ppm.png']
    assert all(np.array_equal(frame.pixels, grey(7)) for frame in open_media(folder))
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r'file/a\.png cannot be written'):
        write_picture(tmp_path / 'file' / 'a.png', grey(7))
    long = 'x' * 250 + '.png'
    write_picture(folder / long, grey(7))
    for name in ('a.jpg', 'a.webp'):  # whose formats hold fewer pixels
        write_picture(folder / name, np.zeros((1, 70_000, 3), np.uint8))
    assert {*names(folder)} == {'a.png', 'b.JPG', 'b.ppm.png', long, 'a.jpg.png', 'a.webp.png'}


@pytest.mark.parametrize('rate', [0.02, 29.97, 66.6667, 119.997, 239.847, 999.9])
def test_films_of_every_rate(tmp_path, rate):
    with VideoFile(tmp_path / 'out.mp4', frame_rate=rate, size=(64, 48)) as video:
        video.write(grey(7))
        video.write(grey(9))
    assert open_media(tmp_path / 'out.mp4').frame_rate == pytest.approx(rate, rel=1e-3, abs=1e-3)


def test_names_that_are_no_text(tmp_path):
    path = tmp_path / 'a\udcff.png'
    cv2.imwrite(str(tmp_path / 'a.png'), grey(7))
    (tmp_path / 'a.png').rename(path)
    (frame,) = open_media(tmp_path)
    with CsvFile(tmp_path / 'a.csv') as table:
        table.write(frame, [make_person([[1, 2]], [0.5])])
    assert '\\udcff.png' in (tmp_path / 'a.csv').read_text()
    with pytest.raises(InputError, match='is not UTF-8; rename it'):
        open_media(path)
    with pytest.raises(InputError, match='is not UTF-8; rename it'):
        Outputs(open_media(tmp_path), path)


@pytest.mark.parametrize('size', [(64, 48), (65, 49)])  # odd ones lose a row and a column
def test_a_video_is_written_with_its_rate_and_size(tmp_path, size):
    path = tmp_path / 'out.mp4'
    with VideoFile(path, frame_rate=30000 / 1001, size=size) as video:
        for index in range(7):
            video.write(grey(30 * index, size))
        assert not path.exists() and video.partial.name == 'out.partial.mp4'
    source = open_media(path)
    assert source.frame_rate == pytest.approx(29.97, abs=0.001)
    assert (source.size, source.num_frames) == ((64, 48), 7)
    assert levels(path) == [30 * index for index in range(7)]
    with VideoFile(tmp_path / 'none.mp4', frame_rate=10, size=size):
        pass
    assert names(tmp_path) == ['out.mp4']  # and none of no frames


def test_a_video_that_ends_early_plays_under_its_own_name(tmp_path):
    path, size = tmp_path / 'out.mp4', dict(frame_rate=10, size=(64, 48))
    path.write_bytes(b'of an earlier run')
    video = VideoFile(path, **size)
    with pytest.raises(KeyboardInterrupt), video:
        video.write(grey(0))
        video.write(grey(100))
        raise KeyboardInterrupt
    assert path.read_bytes() == b'of an earlier run' and levels(video.partial) == [0, 100]
    with pytest.raises(KeyboardInterrupt), video:  # again, before the first frame
        raise KeyboardInterrupt
    assert names(tmp_path) == ['out.mp4']
    nowhere = VideoFile(tmp_path / 'no' / 'out.mp4', **size)
    with pytest.raises(InputError, match='no video of 64x48 pixels can be written'), nowhere:
        pass
    with pytest.raises(InputError, match='frame 1 has 32x48 pixels, but those before it 64'), video:
        video.write(grey(0))
        video.write(grey(0, (32, 48)))
    assert video.partial.exists()
    with pytest.raises(InputError, match='holds 1 frames, but 2 were written'), video:
        video.write(grey(0))
        video.count = 2  # as if the disk had been full
    assert names(tmp_path) == ['out.mp4', 'out.partial.mp4']
