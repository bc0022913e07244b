"""Loading steps that meet missing, truncated and unreadable images."""

import copy
import multiprocessing

import cv2
import numpy as np
import pytest

from mspn_plugin import InputError
from mspn_plugin.datasets import guarded_loading as module
from mspn_plugin.datasets.guarded_loading import BadImages, BadSample, GuardedLoading, truncation

LOAD = dict(type='LoadPersonImage', keep=True)


@pytest.fixture
def picture(tmp_path):
    def make(name, *options, tail=b''):
        pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
        content = cv2.imencode(name, pixels, options)[1].tobytes()
        (path := tmp_path / name).write_bytes(content + tail)
        return path

    return make


def cut(path, part):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    return str(path)


def test_truncated_files_are_told_from_whole_ones(picture):
    for path in map(picture, ('a.jpg', 'a.png')):
        assert truncation(str(path)) is None
        for part in (0.999, 0.9, 0.3):
            assert truncation(cut(path, part)) == 'the file is truncated'


def test_what_is_odd_but_whole(picture):
    for name in ('trailing.jpg', 'trailing.png'):
        assert truncation(str(picture(name, tail=b'\0' * 100))) is None
    path = picture('progressive.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert truncation(str(path)) is None
    assert truncation(cut(path, 0.5))
    # A thumbnail in the header, with an end of its own, does not make a cut file whole.
    path = picture('thumbnail.jpg')
    jpeg = path.read_bytes()
    thumbnail = b'Exif\0\0' + jpeg
    header = jpeg[:2] + b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    path.write_bytes(header + jpeg[2:])
    assert cv2.imread(str(path)) is not None and truncation(str(path)) is None
    assert truncation(cut(path, 0.75))
    path.write_bytes(b'')
    assert truncation(str(path)) is None  # the decoder refuses it


@pytest.fixture
def bad(picture, tmp_path):
    no, text, empty, folder = (tmp_path / f'{name}.jpg' for name in ('no', 'text', 'empty', 'dir'))
    text.write_text('not an image')
    empty.touch()
    folder.mkdir()
    return [cut(picture('cut.jpg'), 0.5), *map(str, (no, text, empty, folder))]


def sample(path, index=0, **more):
    return dict(img_path=path, sample_idx=index, bbox=np.array([[10, 5, 40.5, 70]]), **more)


def test_a_whole_image_is_what_the_step_gives(picture):
    step, path = GuardedLoading(LOAD), str(picture('a.jpg'))
    for _ in range(2):
        assert np.array_equal(step.transform(sample(path))['img'], cv2.imread(path))
    array = np.ones((4, 4, 3), np.uint8)  # as inference gives it, without a file
    assert step.transform(dict(img=array))['img'] is array


def test_fail_names_the_image_and_blank_is_black_and_holds_the_box(bad):
    blank, fail = GuardedLoading(LOAD, 'blank'), GuardedLoading(LOAD)
    for index, path in enumerate(bad):
        found = blank.transform(sample(path, index))
        assert found['img'].shape == (70, 41, 3) and not found['img'].any()
        assert found['img_shape'] == found['ori_shape'] == (70, 41)
        words = rf'the image {path} cannot be read \(.+\), and numbers.*--blank-bad-images'
        with pytest.raises(InputError, match=words):
            fail.transform(sample(path))
    assert [entry.path for entry in blank.bad.samples()] == bad


def test_replace_asks_for_another_until_the_budget_is_spent(bad):
    step = GuardedLoading(LOAD, 'replace', budget=0.02)
    data = range(100)  # all that counts is its length
    for index in (1, 2, 1, 2, 3):  # one image may be bad
        assert step.transform(sample(bad[0], index, dataset=data)) is None
    with pytest.raises(InputError, match=r'4 of 100 .* more than the 2.000% that may: .*cut.jpg'):
        step.transform(sample(bad[1], 4, dataset=data))
    assert step.bad.meetings == 6
    for count, images, fine in ((1, 1, True), (9, 1, True), (2, 2, True), (3, 2, False)):
        found = [BadSample(i, f'{i % images}.jpg', 'gone') for i in range(count)]
        assert (module.over_budget(found, 1000, 0.002) is None) == fine


def test_processes_share_their_notes_which_end_quietly_when_their_room_is_full():
    bad = BadImages()
    assert copy.deepcopy(bad) is bad
    entries = [BadSample(n % 5, f'{n % 5}.jpg', 'x' * 100) for n in range(8)]
    workers = [multiprocessing.Process(target=bad.add, args=(entry,)) for entry in entries]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(entry.number for entry in bad.samples()) == list(range(5))
    assert bad.meetings == 8
    for number in range(140):
        bad.add(BadSample(10 + number, 'p' * 2000, ''))
    assert 100 < len(bad.samples()) < bad.meetings == 148


def test_impossible_settings():
    with pytest.raises(ValueError, match='expected one of replace, blank, fail'):
        GuardedLoading(LOAD, 'ignore')
    with pytest.raises(ValueError, match='from 0 to 1'):
        GuardedLoading(LOAD, budget=2)
