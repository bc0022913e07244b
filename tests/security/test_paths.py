"""No name in a stranger's file decides where something is written, or what a terminal shows."""

import json
import shutil
import socket
import subprocess
import sys
from unittest.mock import Mock

import pytest

from mspn.errors import exit_with_sentence, printable
from mspn.json_files import MAX_DEPTH, read_json
from mspn.media import open_media
from mspn_plugin import InputError
from mspn_plugin.annotations.keypoint_file import check_annotations
from mspn_plugin.annotations.records import file_name_problem

ESCAPES = ['../../x', '/etc/passwd', 'a/../../x', '..', '..\\..\\x', 'C:\\x', '\\\\host\\x', 'a\0b']


def test_names_that_leave_the_image_folder_and_names_that_stay_in_it():
    for name in (*ESCAPES, '', None, 7, '\ud800'):
        assert file_name_problem(name)
    for name in ('a.jpg', 'val2014/a.jpg', 'a..b.jpg', '...', 'ä ö.jpg', '-rf'):
        assert file_name_problem(name) is None


def test_annotation_files_with_names_that_leave_the_image_folder(people, tmp_path):
    content = json.loads((people / 'annotations/person_keypoints_val2017.json').read_text())
    for name in ESCAPES:
        content['images'][1]['file_name'] = name
        (path := tmp_path / 'people.json').write_text(json.dumps(content))
        with pytest.raises(InputError, match=r'people\.json: image \d+ has the file name'):
            check_annotations(path, 17)


def test_nothing_is_written_elsewhere(people, untrained_models, call_tool, tmp_path, capsys):
    *_, config, weights = untrained_models
    (images := tmp_path / 'inside' / 'images').mkdir(parents=True)
    names = '..7 | -rf 8 | $(touch canary)9 | ; touch canary;10 | %s%n11 | a\nb12 | \x1b[31m13'
    for name in (f'{stem}.jpg' for stem in names.split(' | ')):
        shutil.copyfile(people / 'val2017' / '000000000007.jpg', images / name)
    (tmp_path / 'd.json').write_text('[]')
    out = tmp_path / 'inside' / 'out'
    call_tool('infer', config, weights, images, '--det-file', tmp_path / 'd.json', '--out', out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['d.json', 'inside']
    assert sorted(p.name for p in (tmp_path / 'inside').iterdir()) == ['images', 'out']
    written = {'results.json', *(f'{number}_res.jpg' for number in range(8, 14))}
    assert {p.name for p in out.iterdir()} == written
    assert '\x1b' not in capsys.readouterr().out


PLAYLISTS = [
    '#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:{port}/x.ts\n#EXT-X-ENDLIST\n',
    'ffconcat version 1.0\nfile http://127.0.0.1:{port}/x.mp4\n',
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>',
]


@pytest.mark.parametrize('name', ['a.mp4', 'a.m3u8', 'a.ffconcat', 'a.mpd', 'a.sdp'])
@pytest.mark.parametrize('text', PLAYLISTS)
def test_a_playlist_for_a_video_reaches_no_network(name, text, tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as server:
        server.setblocking(False)
        (tmp_path / name).write_text(text.format(port=server.getsockname()[1]))
        with pytest.raises(InputError, match='cannot be read as an image or a video'):
            open_media(tmp_path / name)
        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()


def test_json_that_is_not_sane(tmp_path):
    for content, words in (
        (b'[' * 100_000, 'nested more than'),
        *((b'[' * n + b']' * n, 'nested more than') for n in (900, MAX_DEPTH + 2)),
        (b'{"a":' * 40 + b'1' + b'}' * 40, 'nested more than'),
        (b'{"a": 1, "b": 2, "a": 3}', 'the key "a" stands twice'),
        (b'\xff\xfe[\0]\0', 'is not UTF-8'),
        (b'\xef\xbb\xbf[]', 'cannot be read as JSON'),
        (b'[' + b'9' * 5000 + b']', 'cannot be read as JSON'),
        (b'[1] [2]', 'cannot be read as JSON'),
    ):
        (path := tmp_path / 'a.json').write_bytes(content)
        with pytest.raises(InputError, match=words) as caught:
            read_json(path, 'the file', expected='a list')
        assert str(path) in str(caught.value) and len(str(caught.value)) < 500


def test_json_that_is(tmp_path, monkeypatch):
    path = tmp_path / 'a.json'
    path.write_bytes(b'[' * MAX_DEPTH + b'NaN' + b']' * MAX_DEPTH)
    assert read_json(path, 'the file', expected='a list')
    path.write_bytes(b'\xef\xbb\xbf[1e999]')
    assert read_json(path, 'the file', expected='a list', mark=True) == [float('inf')]
    monkeypatch.setattr('mspn.json_files.MAX_BYTES', 5)
    for name, words in (
        ('a.json', 'has 10 bytes; expected at most 5'),
        ('no.json', 'does not exist; expected a list'),
        ('x' * 300, 'cannot be read'),
        ('/dev/zero', 'does not exist'),
    ):
        with pytest.raises(InputError, match=words):
            read_json(tmp_path / name, 'the file', expected='a list')


def test_messages_stay_on_one_line_and_have_no_control_codes(capsys):
    odd = InputError('the file "a\nb\x1b[31m\ud800ä" is odd')
    with pytest.raises(SystemExit):
        exit_with_sentence(Mock(side_effect=odd, __name__='main'))()
    assert capsys.readouterr().err == 'error: the file "a\\nb\\x1b[31m\\ud800ä" is odd\n'
    assert printable('plain text, ä ö') == 'plain text, ä ö'


def test_what_the_system_refuses_is_a_sentence(capsys, monkeypatch):
    refused = PermissionError(13, 'Permission denied', 'locked/a.jpg')
    with pytest.raises(SystemExit) as caught:
        exit_with_sentence(Mock(side_effect=refused, __name__='main'))()
    assert caught.value.code == 2
    assert capsys.readouterr().err == 'error: locked/a.jpg cannot be used: Permission denied\n'
    with pytest.raises(OSError, match='no file'):  # nobody could mend it
        exit_with_sentence(Mock(side_effect=OSError('no file'), __name__='main'))()
    command = f'{sys.executable} -u -m mspn models | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)  # noqa: S602
    assert done.stdout.count('\n') == 1 and not done.stderr
