"""tools/topdown_demo.py: detector and pose model on images, folders and videos."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mspn import media, outputs
from mspn.media import open_media
from mspn_plugin.apis.detector import PersonDetector

mmdet_apis = pytest.importorskip('mmdet.apis')

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'topdown_demo.py'
TINY = 'mspn-tiny_1xb16-20e_coco-128x96'
LONG = 'MSPN_TEST_MINUTES' in os.environ
MINUTES = float(os.environ.get('MSPN_TEST_MINUTES', '0.5'))
"""Length of the video whose memory is measured; the bar is for 10."""


@pytest.fixture(scope='module')
def some(untrained_models):
    """The models, and thresholds with which the detector finds a few people."""
    return (*untrained_models, '--bbox-thr', 0, '--nms-thr', 0.2, '--device', 'cpu')


def write_video(path, count, *, rate=12.5, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, size)
    for index in range(count):
        frame = np.full((size[1], size[0], 3), 90, np.uint8)
        cv2.circle(frame, (3 * index % size[0], size[1] // 2), size[1] // 4, (30, 200, 250), -1)
        writer.write(frame)
    writer.release()
    return path


def predictions(folder):
    return json.loads((folder / 'predictions.json').read_text())


def test_a_folder_in_coco_s_layout(call_tool, some, people, tmp_path, capsys):
    images = tmp_path / 'images'
    shutil.copytree(people / 'val2017', images)
    (images / '99.jpg').write_text('not an image')
    out = tmp_path / 'out'
    call_tool('topdown_demo', *some, '--input', images, '--out', out, '--draw-boxes')
    printed, bar = capsys.readouterr()
    found = predictions(out)
    assert f'{len(found)} people in 3 images' in printed
    assert '1 images could not be read: 99.jpg' in printed
    assert f'written: {out / "predictions.json"}' in printed
    assert f'{len(found)} people, ' in bar and 'people/s' in bar
    assert {entry['image'] for entry in found} == {p.name for p in (people / 'val2017').iterdir()}
    assert all(int(Path(entry['image']).stem) == entry['image_id'] for entry in found)
    truth = COCO(people / 'annotations' / 'person_keypoints_val2017.json')
    assert len(truth.loadRes(str(out / 'predictions.json')).anns) == len(found) > 3
    for path in (people / 'val2017').iterdir():
        before, after = cv2.imread(str(path)), cv2.imread(str(out / 'pictures' / path.name))
        assert before.shape == after.shape and np.abs(before.astype(int) - after).max() > 60
    assert len(list((out / 'pictures').iterdir())) == 3


def test_an_image_with_heatmaps_and_no_json(call_tool, some, people, tmp_path):
    image = next((people / 'val2017').iterdir())
    named = shutil.copy(image, tmp_path / 'somebody.jpg')
    common = [*some, '--input', named, '--out', tmp_path / 'out']
    call_tool('topdown_demo', *common, '--show-heatmaps', '--no-save-json')
    (written,) = (tmp_path / 'out').rglob('*.*')
    assert written == tmp_path / 'out' / 'pictures' / 'somebody.jpg'
    call_tool('topdown_demo', *common, '--no-pictures')
    assert {(e['image_id'], e['image']) for e in predictions(tmp_path / 'out')} == {(0, named.name)}


@pytest.mark.parametrize(('every', 'detections'), [(1, 10), (4, 3)])
def test_a_video(call_tool, some, tmp_path, monkeypatch, every, detections):
    detect, seen = PersonDetector.detect, []

    def counted(self, images):
        seen.extend(images)
        return detect(self, images)

    monkeypatch.setattr(PersonDetector, 'detect', counted)
    video = write_video(tmp_path / 'walk.mp4', 10)
    arguments = [*some, '--input', video, '--out', tmp_path / 'out', '--det-every', every]
    call_tool('topdown_demo', *arguments, '--det-batch-size', 4)
    assert len(seen) == detections
    drawn = open_media(tmp_path / 'out' / 'walk.mp4')
    assert (drawn.size, drawn.frame_rate, drawn.num_frames) == ((64, 48), 12.5, 10)
    found = predictions(tmp_path / 'out')
    assert {entry['image_id'] for entry in found} == set(range(10)) and 'image' not in found[0]
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['predictions.json', 'walk.mp4']


class Camera:
    """A camera whose user presses Ctrl-C during the fourth frame."""

    frames = 0

    def __init__(self, source):
        self.real = None if isinstance(source, int) else CAPTURE(source)

    def isOpened(self):
        return True if self.real is None else self.real.isOpened()

    def get(self, what):
        return 0.0 if self.real is None else self.real.get(what)

    def read(self):
        if self.real is not None:
            return self.real.read()
        Camera.frames += 1
        if Camera.frames > 3:
            raise KeyboardInterrupt
        return True, np.full((48, 64, 3), 60 * Camera.frames, np.uint8)

    def release(self):
        pass


CAPTURE = cv2.VideoCapture


def test_a_camera_runs_until_the_keyboard_stops_it(call_tool, some, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(media.cv2, 'VideoCapture', Camera)
    arguments = [*some, '--input', 'webcam:0', '--out', tmp_path / 'out']
    call_tool('topdown_demo', *arguments)
    assert 'people in 3 frames' in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        'predictions.json',
        'webcam0.mp4',
    ]


def test_results_are_replaced_only_on_demand(call_tool, capsys, some, tmp_path):
    video = write_video(tmp_path / 'walk.mp4', 2)
    arguments = [*some, '--input', video, '--out', tmp_path / 'out']
    call_tool('topdown_demo', *arguments)
    message = fails(call_tool, capsys, *arguments)
    assert 'predictions.json exists' in message and '--overwrite' in message
    call_tool('topdown_demo', *arguments, '--overwrite', '--score-thr', 99)
    assert predictions(tmp_path / 'out') == []
    # Never the source, though.
    arguments = [*some, '--input', video, '--out', tmp_path, '--overwrite']
    assert 'would replace its source' in fails(call_tool, capsys, *arguments)
    assert open_media(video).num_frames == 2


def test_what_was_done_is_kept_and_named(call_tool, some, tmp_path, monkeypatch, capsys):
    """A run that ends early leaves a video that plays and a JSON that can be read."""
    write = outputs.VideoFile.write

    def failing(self, pixels):
        if self.count == 3:
            raise OSError(28, 'No space left on device')
        write(self, pixels)

    monkeypatch.setattr(outputs.VideoFile, 'write', failing)
    video, out = write_video(tmp_path / 'walk.mp4', 9), tmp_path / 'out'
    with pytest.raises(SystemExit):
        call_tool('topdown_demo', *some, '--input', video, '--out', out)
    named = f'{out / "predictions.partial.json"}, {out / "walk.partial.mp4"}'
    message = capsys.readouterr().err
    assert f'ended after 3 frames, which are kept: {named}' in message
    assert f'error: {out} cannot be read or written: No space' in message
    entries = json.loads((out / 'predictions.partial.json').read_text())
    assert {entry['image_id'] for entry in entries} >= {0, 1, 2}
    assert len(list(open_media(out / 'walk.partial.mp4'))) == 3
    assert len(list(out.iterdir())) == 2

    monkeypatch.undo()  # and the next run starts anew
    monkeypatch.setattr(sys, 'argv', [])
    call_tool('topdown_demo', *some, '--input', video, '--out', out)
    assert sorted(p.name for p in out.iterdir()) == ['predictions.json', 'walk.mp4']


def fails(call_tool, capsys, *arguments):
    """Calls the tool, expects one sentence and status 2, and returns the sentence."""
    with pytest.raises(SystemExit) as caught:
        call_tool('topdown_demo', *arguments)
    assert caught.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'error: ' in message
    return message


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['--input', 'absent.mp4'], 'absent.mp4 does not exist'),
        (['--input', 'empty'], 'no image in the folder'),
        (['--input', 'text.mp4'], 'cannot be read as an image or a video'),
        (['--input', 'broken.jpg'], 'cannot be read as an image'),
        (['--input', 'none.mp4'], 'none.mp4 cannot be read'),
        (['--input', 'broken'], 'none of the 1 images in broken can be read'),
        (['--input', 'http://host/a.mp4'], 'http://host/a.mp4 is an address'),
        (['--input', 'webcam:97'], 'the camera webcam:97 cannot be opened'),
        (['--out', 'broken.jpg'], 'the folder broken.jpg cannot be made: File exists'),
        (['--det-every', 0], '--det-every: 0 is not a whole number from 1'),
        (['--input', 'images', '--det-every', 2], 'needs a video or a camera'),
        (['--batch-size', 0], '--batch-size: 0 is not'),
        (['--bbox-thr', 2], '--bbox-thr: 2 is not a number from 0 to 1'),
        (['--nms-thr', -1], '--nms-thr: -1 is not a number from 0 to 1'),
        (['--no-pictures', '--no-save-json'], 'leave nothing to do'),
        (['--det-cat-id', 3], 'categories 0 to 0, and 3 is none of them'),
        (['--device', 'toaster'], "the device 'toaster' cannot be used"),
        (['--pose-device', 'cuda:97'], "the device 'cuda:97' cannot be used"),
        (['--cfg-options', 'model.type.x=1'], '--cfg-options do not fit'),
        (['--cfg-options', 'model.head.x=1'], 'cannot be built as a pose model'),
    ],
)
def test_bad_input(call_tool, capsys, untrained_models, tmp_path, monkeypatch, options, expected):
    monkeypatch.chdir(tmp_path)
    for folder in ('empty', 'images', 'broken'):
        (tmp_path / folder).mkdir()
    for name in ('text.mp4', 'broken.jpg', 'broken/a.jpg'):
        (tmp_path / name).write_text('neither image nor video')
    cv2.imwrite('images/a.png', np.zeros((9, 9, 3), np.uint8))
    write_video('none.mp4', 0)
    video = write_video('walk.mp4', 1)
    options = options if '--input' in options else [*options, '--input', video]
    options = options if '--out' in options else [*options, '--out', 'out']
    assert expected in fails(call_tool, capsys, *untrained_models, *options)
    assert not [path for path in Path('out').rglob('*') if path.is_file()]


def test_models_that_do_not_belong_together(call_tool, capsys, untrained_models, tmp_path):
    det_config, det_weights, pose_config, pose_weights = untrained_models
    video = ['--input', write_video(tmp_path / 'walk.mp4', 1), '--out', tmp_path / 'out']
    for wrong, expected in (
        (('nothing', det_weights, pose_config, pose_weights), 'detector config nothing does not'),
        ((det_config, 'no.pth', pose_config, pose_weights), 'checkpoint no.pth does not exist'),
        ((det_config, pose_weights, pose_config, pose_weights), 'does not fit the detector'),
        ((pose_config, det_weights, pose_config, pose_weights), 'come before those of the pose'),
        (
            (det_config, det_weights, 'nothing', pose_weights),
            'the config nothing.py does not exist',
        ),
        ((det_config, det_weights, pose_config, det_weights), 'does not fit the config'),
        ((det_config, det_weights, det_config, pose_weights), 'describes no pose model'),
    ):
        assert expected in fails(call_tool, capsys, *wrong, *video)
    assert not [path for path in (tmp_path / 'out').rglob('*') if path.is_file()]


def test_show_without_a_display(call_tool, capsys, untrained_models, tmp_path, monkeypatch):
    video = ['--input', write_video(tmp_path / 'walk.mp4', 1), '--show']
    monkeypatch.setattr(cv2, 'getBuildInformation', lambda: '  GUI:      NONE\n')
    assert 'opencv-python-headless has none' in fails(call_tool, capsys, *untrained_models, *video)
    monkeypatch.setattr(cv2, 'getBuildInformation', lambda: '  GUI:      QT5\n')
    monkeypatch.setattr(sys, 'platform', 'linux')
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    assert 'DISPLAY names none' in fails(call_tool, capsys, *untrained_models, *video)

    def no_window(*_):
        raise cv2.error('nobody is at home')

    monkeypatch.setenv('DISPLAY', ':97')
    monkeypatch.setattr(cv2, 'namedWindow', no_window)
    assert '--show cannot open a window' in fails(call_tool, capsys, *untrained_models, *video)


@pytest.mark.parametrize(('key', 'status'), [(ord('x'), None), (ord('q'), 130)])
def test_show(call_tool, some, tmp_path, monkeypatch, key, status):
    shown = []
    monkeypatch.setattr(cv2, 'getBuildInformation', lambda: '')
    monkeypatch.setenv('DISPLAY', ':97')
    monkeypatch.setattr(cv2, 'namedWindow', lambda *_: None)
    monkeypatch.setattr(cv2, 'imshow', lambda _, picture: shown.append(picture))
    monkeypatch.setattr(cv2, 'waitKey', lambda _: key)
    video = ['--input', write_video(tmp_path / 'walk.mp4', 3), '--out', tmp_path / 'out', '--show']
    if status is None:
        call_tool('topdown_demo', *some, *video)
        assert len(shown) == 3
    else:
        with pytest.raises(SystemExit) as caught:
            call_tool('topdown_demo', *some, *video)
        assert caught.value.code == status and len(shown) == 1
        assert (tmp_path / 'out' / 'walk.partial.mp4').is_file()


@pytest.mark.slow
def test_a_killed_run_keeps_what_it_has(some, tmp_path):
    """A job that its queue ends gets SIGTERM."""
    video, out = write_video(tmp_path / 'walk.mp4', 3000), tmp_path / 'out'
    command = [sys.executable, '-W', 'ignore', TOOL, *some, '--input', video, '--out', out]
    command += ['--det-every', 3]
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
    assert json.loads(partial.read_text())
    assert open_media(out / 'walk.partial.mp4').num_frames > 3


MEASURE = """
import importlib.util, json, resource, sys
import mspn_plugin
from mspn import media

result, tool, *arguments = sys.argv[1:]
sizes, read = [], media.Media.__iter__

def measured(film):
    for frame in read(film):
        pages = int(open('/proc/self/statm').read().split()[1])
        sizes.append(pages * resource.getpagesize())
        yield frame

media.Media.__iter__ = measured
spec = importlib.util.spec_from_file_location('tool', tool)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
sys.argv = [tool, *arguments]
module.main()
json.dump(sizes, open(result, 'w'))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='measures memory as Linux does')
@pytest.mark.parametrize('options', [[], ['--det-every', 5]][: 2 if LONG else 1])
def test_memory_does_not_grow_with_the_length_of_a_video(some, tmp_path, options):
    """After a tenth of the video, the first of ten minutes, memory grows by less than 50 MB."""
    count = round(MINUTES * 60 * 10)
    video = write_video(tmp_path / 'long.mp4', count, rate=10, size=(640, 480))
    script, result = tmp_path / 'measure.py', tmp_path / 'sizes.json'
    script.write_text(MEASURE)
    command = [sys.executable, '-W', 'ignore', script, result, TOOL, *some, '--input', video]
    command += ['--out', tmp_path / 'out', '--batch-size', 16, *options]
    done = subprocess.run([*map(str, command)], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    sizes = np.array(json.loads(result.read_text())) / 2**20
    assert len(sizes) == count
    first = max(count // 10, 150)  # the start takes what the libraries keep
    growth = sizes[first:].max() - sizes[:first].max()
    print(f'{count} frames: at most {sizes.max():.0f} MB, growth {growth:.1f} MB')
    assert growth < 50
    assert open_media(tmp_path / 'out' / 'long.mp4').num_frames == count
