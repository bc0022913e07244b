"""tools/topdown_demo.py, `mspn predict --detector`: on images, folders, videos and cameras."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from films import Camera, names, read, walk

from mspn.media import open_media
from mspn_plugin.apis.detector import PersonDetector

mmdet_apis = pytest.importorskip('mmdet.apis')

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'topdown_demo.py'
PYTHON = (sys.executable, '-W', 'ignore')
MINUTES = float(os.environ.get('MSPN_TEST_MINUTES', '0.5'))  # of video; the bar is for 10


@pytest.fixture(scope='module')
def some(untrained_models):
    """The models, and thresholds with which the detector finds a few people."""
    return (*untrained_models, '--bbox-thr', 0, '--nms-thr', 0.2, '--device', 'cpu')


@pytest.fixture
def demo(call_tool, refused, some, tmp_path):
    """Runs the tool; with a status that is not 0 gives what it said."""

    def demo(source, *options, models=some, status=0):
        arguments = [*models, '--input', source, '--out', tmp_path / 'out', *options]
        if status:
            return refused('topdown_demo', *arguments, status=status)
        call_tool('topdown_demo', *arguments)

    return demo


def test_a_folder_in_coco_s_layout_and_one_image(demo, people, tmp_path, capsys):
    images, out = tmp_path / 'images', tmp_path / 'out'
    shutil.copytree(people / 'val2017', images)
    (images / '99.jpg').write_text('not an image')
    demo(images, '--draw-boxes')
    printed, bar = capsys.readouterr()
    found = read(out / 'predictions.json')
    assert f'{len(found)} people in 3 images' in printed
    assert '1 images could not be read: 99.jpg' in printed
    assert f'written: {out / "predictions.json"}' in printed
    assert f'{len(found)} people, ' in bar and 'people/s' in bar
    assert sorted({entry['image'] for entry in found}) == names(people / 'val2017')
    assert all(int(Path(entry['image']).stem) == entry['image_id'] for entry in found)
    assert len(found) > 3
    assert names(out / 'pictures') == names(people / 'val2017')
    for path in (people / 'val2017').iterdir():
        before, after = cv2.imread(str(path)), cv2.imread(str(out / 'pictures' / path.name))
        assert before.shape == after.shape and np.abs(before.astype(int) - after).max() > 60
    shutil.rmtree(out)
    one = shutil.copy(path, tmp_path / 'one.jpg')
    demo(one, '--show-heatmaps', '--no-save-json')
    assert [*out.rglob('*.*')] == [out / 'pictures' / 'one.jpg']
    demo(one, '--no-pictures')
    (found,) = {(entry['image_id'], entry['image']) for entry in read(out / 'predictions.json')}
    assert found == (0, 'one.jpg')


@pytest.mark.parametrize(('every', 'detections'), [(1, 10), (4, 3)])
def test_a_video(demo, tmp_path, monkeypatch, every, detections):
    detect, seen = PersonDetector.detect, []
    counted = lambda self, images: seen.extend(images) or detect(self, images)  # noqa: E731
    monkeypatch.setattr(PersonDetector, 'detect', counted)
    video, out = walk(tmp_path / 'walk.mp4', 10), tmp_path / 'out'
    demo(video, '--det-every', every, '--det-batch-size', 4)
    assert len(seen) == detections
    drawn = open_media(out / 'walk.mp4')
    assert (drawn.size, drawn.frame_rate, drawn.num_frames) == ((64, 48), 12.5, 10)
    found = read(out / 'predictions.json')
    assert {entry['image_id'] for entry in found} == set(range(10)) and 'image' not in found[0]
    assert names(out) == ['predictions.json', 'walk.mp4']
    if every == 1:
        message = demo(video, status=2)
        assert 'predictions.json exists' in message and '--overwrite' in message
        demo(video, '--overwrite', '--score-thr', 99)
        assert read(out / 'predictions.json') == []
        # Never the source, though.
        message = demo(video, '--out', tmp_path, '--overwrite', status=2)
        assert 'replace its source' in message and open_media(video).num_frames == 10


def test_a_video_that_is_cut_and_a_camera_that_the_keyboard_stops(
    demo, tmp_path, capsys, monkeypatch
):
    class Stopped(Camera):
        left = 3

        def read(self):
            if self.left == 0:
                raise KeyboardInterrupt  # during the fourth frame
            return super().read()

    capture = cv2.VideoCapture
    opened = lambda s: Stopped(s) if isinstance(s, int) else capture(s)  # noqa: E731
    monkeypatch.setattr(cv2, 'VideoCapture', opened)
    demo('webcam:0')
    assert 'people in 3 frames' in capsys.readouterr().out
    assert names(tmp_path / 'out') == ['predictions.json', 'webcam0.mp4']
    frames = list(open_media(walk(tmp_path / 'walk.mp4', 12)))[:7]
    monkeypatch.setattr('mspn.media._film_frames', lambda *_: iter(frames))
    demo(tmp_path / 'walk.mp4', '--overwrite')
    assert 'ended after 7 of the 12 frames that it announces' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ([], 'rtmdet.py describes no pose model'),
        (['--input', 'broken'], 'none of the 1 images in broken can be read'),
        (['--out', 'text.mp4'], 'the folder text.mp4 cannot be made: File exists'),
        (['--det-every', 0], '--det-every: 0 is not a whole number from 1'),
        (['--input', 'images', '--det-every', 2], 'needs a video or a camera'),
        (['--bbox-thr', 2], '--bbox-thr: 2 is not a number from 0 to 1'),
        (['--no-pictures', '--no-save-json'], 'leave nothing to do'),
        (['--pose-device', 'cuda:97'], "the device 'cuda:97' cannot be used"),
        (['--cfg-options', 'model.type.x=1'], '--cfg-options do not fit'),
        (['--cfg-options', 'model.head.x=1'], 'cannot be built as a pose model'),
    ],
)
def test_bad_input(demo, some, tmp_path, monkeypatch, options, expected):
    monkeypatch.chdir(tmp_path)
    for name in ('text.mp4', 'broken/a.jpg', 'images/a.png'):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text('neither image nor video')
    cv2.imwrite('images/a.png', np.zeros((9, 9, 3), np.uint8))
    models = some if options else (*some[2:4], *some[:2], *some[4:])  # or in the wrong order
    assert expected in demo(walk('walk.mp4', 1), *options, models=models, status=2)
    assert not [path for path in Path('out').rglob('*') if path.is_file()]


def test_show(demo, tmp_path, monkeypatch):
    film, pictures, key = walk(tmp_path / 'walk.mp4', 3), [], ord('q')
    monkeypatch.setattr(sys, 'platform', 'linux')
    monkeypatch.setattr(cv2, 'getBuildInformation', lambda: '  GUI:      NONE\n')
    assert 'opencv-python-headless has none' in demo(film, '--show', status=2)
    monkeypatch.setattr(cv2, 'getBuildInformation', lambda: '  GUI:      QT5\n')
    monkeypatch.setenv('DISPLAY', '')
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    assert 'DISPLAY names none' in demo(film, '--show', status=2)
    monkeypatch.setenv('DISPLAY', ':97')
    monkeypatch.setattr(cv2, 'namedWindow', Mock(side_effect=cv2.error('nobody is at home')))
    assert '--show cannot open a window' in demo(film, '--show', status=2)
    monkeypatch.setattr(cv2, 'namedWindow', lambda *_: None)
    monkeypatch.setattr(cv2, 'imshow', lambda _, picture: pictures.append(picture))
    monkeypatch.setattr(cv2, 'waitKey', lambda _: key)
    demo(film, '--show', status=130)
    assert (tmp_path / 'out' / 'walk.partial.mp4').is_file() and len(pictures) == 1
    key = ord('x')
    demo(film, '--show')  # starts anew
    assert len(pictures) == 4 and names(tmp_path / 'out') == ['predictions.json', 'walk.mp4']


@pytest.mark.slow
def test_a_killed_run_keeps_what_it_has(some, tmp_path):
    """A job that its queue ends gets SIGTERM."""
    video, out = walk(tmp_path / 'walk.mp4', 3000), tmp_path / 'out'
    command = [*PYTHON, TOOL, *some, '--input', video, '--out', out, '--det-every', 3]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    partial = out / 'predictions.partial.json'
    for _ in range(1200):
        if process.poll() is not None or partial.is_file() and partial.stat().st_size > 9999:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 143, printed[-2000:]
    assert re.search(r'ended after \d+ frames, which are kept: .*walk\.partial\.mp4', printed)
    assert read(partial) and open_media(out / 'walk.partial.mp4').num_frames > 3


MEASURE = """
import json, resource, runpy, sys
from mspn import media
result, *sys.argv = sys.argv[1:]
sizes, read = [], media.Media.__iter__
def measured(film):
    for frame in read(film):
        sizes.append(int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize())
        yield frame
media.Media.__iter__ = measured
runpy.run_path(sys.argv[0], run_name='__main__')
json.dump(sizes, open(result, 'w'))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='measures memory as Linux does')
def test_memory_does_not_grow_with_the_length_of_a_video(some, tmp_path):
    """After a tenth of the video, the first of ten minutes, memory grows by less than 50 MB."""
    count, result = round(MINUTES * 60 * 10), tmp_path / 'sizes.json'
    video = walk(tmp_path / 'long.mp4', count, size=(640, 480))
    command = [*PYTHON, '-c', MEASURE, result, TOOL, *some]
    command += ['--input', video, '--out', tmp_path / 'out', '--batch-size', 16]
    done = subprocess.run([*map(str, command)], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    sizes = np.array(read(result)) / 2**20
    assert len(sizes) == count
    first = max(count // 10, 150)  # the start takes what the libraries keep
    growth = sizes[first:].max() - sizes[:first].max()
    print(f'{count} frames: at most {sizes.max():.0f} MB, growth {growth:.1f} MB')
    assert growth < 50 and open_media(tmp_path / 'out' / 'long.mp4').num_frames == count
