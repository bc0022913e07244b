"""What runs write: COCO's results in a file that is valid whenever the run ends, and pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from films import grey

from mspn.errors import InputError
from mspn.media import open_media
from mspn.outputs import ResultsFile, VideoFile, coco_results, picture_name, write_picture
from mspn.poses import Pose


def make_person(keypoints, scores, box=(10, 20, 40, 60.5), box_score=0.5):
    arrays = (np.array(values, np.float32) for values in (keypoints, scores, box))
    return Pose(*arrays, box_score)


def read_levels(path):
    """The mean brightness of every frame of a video."""
    return [round(float(frame.pixels.mean()), -1) for frame in open_media(path)]


def test_one_person():
    person = make_person([[1.23456, 2], [3, 4.00049]], [0.8, 1 / 3])
    result = coco_results([person], 42)
    keypoints = [1.235, 2, 0.8, 3, 4, 0.33333]
    common = dict(image_id=42, category_id=1, keypoints=keypoints)
    assert result == [dict(common, score=0.28333, bbox=[10, 20, 30, 40.5])]
    assert json.loads(json.dumps(result)) == result  # plain Python numbers
    assert person.box.tolist() == [10, 20, 40, 60.5]
    assert coco_results([], 1) == []


@pytest.mark.parametrize(('keypoint', 'score'), [(np.nan, 1), (1, np.nan), (np.inf, 1)])
def test_numbers_that_are_not_finite_are_refused(keypoint, score):
    with pytest.raises(InputError, match='image 42 are not finite'):
        coco_results([make_person([[keypoint, 2]], [score])], 42)


def test_the_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / 'results.json'
    path.write_text('of an earlier run')
    with ResultsFile(str(path)) as results:
        assert results.partial == tmp_path / 'results.partial.json'
        assert json.loads(results.partial.read_text()) == []
        for count in (2, 0, 1):
            results.write([dict(number=results.count + i) for i in range(count)])
            # Valid after every step, so even if the process is killed.
            assert len(json.loads(results.partial.read_text())) == results.count
        assert path.read_text() == 'of an earlier run'
    assert json.loads(path.read_text()) == [dict(number=i) for i in range(3)]
    with ResultsFile(path):
        pass
    assert json.loads(path.read_text()) == []  # an empty list is a result
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('reason', [ValueError, KeyboardInterrupt, OSError])
def test_what_was_finished_is_kept(tmp_path, reason):
    results = ResultsFile(tmp_path / 'results.json')
    with pytest.raises(reason), results:
        results.write([dict(number=1)])
        with results.partial.open('ab') as file:  # as a full disk would
            file.write(b'"half an en')
        raise reason
    assert list(tmp_path.iterdir()) == [results.partial]
    assert json.loads(results.partial.read_text()) == [dict(number=1)]


def test_entries_of_a_write_are_all_or_none(tmp_path):
    results = ResultsFile(tmp_path / 'results.json')
    with pytest.raises(ValueError), results:
        results.write([dict(number=1), dict(number=float('nan'))])
    assert list(tmp_path.iterdir()) == []  # and nothing is kept of nothing


def test_pictures_are_written_whole_and_keep_their_names(tmp_path):
    folder = tmp_path / 'new' / 'pictures'
    for name in ('a.png', 'b.JPG', picture_name('b.ppm')):
        write_picture(folder / name, grey(7))
    assert sorted(path.name for path in folder.iterdir()) == ['a.png', 'b.JPG', 'b.ppm.png']
    assert all(np.array_equal(frame.pixels, grey(7)) for frame in open_media(folder))
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r'file/a\.png cannot be written'):
        write_picture(tmp_path / 'file' / 'a.png', grey(7))
    with pytest.raises(InputError, match=r'a\.jpg cannot be written'):
        write_picture(folder / 'a.jpg', np.zeros((1, 70_000, 3), np.uint8))


def test_a_video_is_written_with_its_rate_and_size(tmp_path):
    path = tmp_path / 'out.mp4'
    with VideoFile(path, frame_rate=30000 / 1001, size=(64, 48)) as video:
        for index in range(7):
            video.write(grey(30 * index))
        assert not path.exists() and video.partial.name == 'out.partial.mp4'
    assert [file.name for file in tmp_path.iterdir()] == ['out.mp4']
    source = open_media(path)
    assert source.frame_rate == pytest.approx(29.97, abs=0.001)
    assert (source.size, source.num_frames) == ((64, 48), 7)
    assert read_levels(path) == [30 * index for index in range(7)]


def test_an_interrupted_video_plays_under_its_own_name(tmp_path):
    path = tmp_path / 'out.mp4'
    path.write_bytes(b'of an earlier run')
    video = VideoFile(path, frame_rate=10, size=(64, 48))
    with pytest.raises(KeyboardInterrupt), video:
        video.write(grey(0))
        video.write(grey(100))
        raise KeyboardInterrupt
    assert path.read_bytes() == b'of an earlier run'
    assert read_levels(video.partial) == [0, 100]
    with pytest.raises(KeyboardInterrupt), video:  # again, before the first frame
        raise KeyboardInterrupt
    assert not video.partial.exists()


def test_odd_sizes_lose_their_last_row_and_column(tmp_path):
    with VideoFile(tmp_path / 'out.mp4', frame_rate=10, size=(65, 49)) as video:
        video.write(grey(0, (65, 49)))
    assert open_media(tmp_path / 'out.mp4').size == (64, 48)
    with VideoFile(tmp_path / 'none.mp4', frame_rate=10, size=(64, 48)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ['out.mp4']  # and none of no frames


def test_a_video_that_cannot_be_written(tmp_path):
    video = VideoFile(tmp_path / 'no' / 'out.mp4', frame_rate=10, size=(64, 48))
    with pytest.raises(InputError, match='no video of 64x48 pixels can be written'), video:
        pass
    video = VideoFile(tmp_path / 'out.mp4', frame_rate=10, size=(64, 48))
    with pytest.raises(InputError, match='frame 1 has 32x48 pixels, but those before it 64'), video:
        video.write(grey(0))
        video.write(grey(0, (32, 48)))
    assert video.partial.exists()
    with pytest.raises(InputError, match='holds 1 frames, but 2 were written'), video:
        video.write(grey(0))
        video.count = 2  # as if the disk had been full
    assert video.partial.exists() and not video.path.exists()
