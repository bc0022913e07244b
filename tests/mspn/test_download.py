"""Files are fetched once and whole: cut, resumed, changed, absent."""

import hashlib
import http.server
import threading

import pytest

from mspn.download import fetch, home, place_of
from mspn.errors import InputError

CONTENT = bytes(range(256)) * 5000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one file, in parts if asked; cuts the connection where it is told."""

    protocol_version = 'HTTP/1.1'
    cut_at: int | None = None
    ranges = True
    asked: list = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked.append(self.headers.get('Range'))
        if not self.path.startswith('/weights'):
            self.send_error(404, 'Not Found')
            return
        start = 0
        if self.ranges and (wanted := self.headers.get('Range')):
            start = int(wanted.removeprefix('bytes=').removesuffix('-'))
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header('Content-Range', f'bytes */{len(CONTENT)}')
                self.send_header('Content-Length', '0')
                self.end_headers()
                return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.cut_at])
        self.close_connection = True


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setenv('MSPN_HOME', str(tmp_path / 'home'))
    for name, value in dict(cut_at=None, ranges=True, asked=[]).items():
        monkeypatch.setattr(Server, name, value)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{running.server_port}/weights-1234.pth'
        running.shutdown()


def test_a_file_is_fetched_once(address):
    path = fetch(address, sha256=SHA)
    assert path == place_of(address) == home() / 'weights' / 'weights-1234.pth'
    assert path.read_bytes() == CONTENT and fetch(address) == path
    assert fetch(address, sha256=SHA[:8]) == path and Server.asked == [None]


@pytest.mark.parametrize('ranges', [True, False])
def test_what_was_cut_goes_on(address, monkeypatch, ranges):
    monkeypatch.setattr(Server, 'cut_at', 70_000)
    monkeypatch.setattr(Server, 'ranges', ranges)
    with pytest.raises(InputError, match='was cut after 70000 of 1280000 bytes; try again'):
        fetch(address, sha256=SHA)
    assert not place_of(address).exists()
    monkeypatch.setattr(Server, 'cut_at', None)
    assert fetch(address, sha256=SHA).read_bytes() == CONTENT
    assert Server.asked == [None, 'bytes=70000-']
    assert [path.name for path in place_of(address).parent.iterdir()] == ['weights-1234.pth']


def test_a_whole_file_that_was_not_moved_yet(address):
    partial = place_of(address).with_name('weights-1234.pth.partial')
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT)
    assert fetch(address, sha256=SHA).read_bytes() == CONTENT


def test_more_than_there_is_begins_anew(address):
    partial = place_of(address).with_name('weights-1234.pth.partial')
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT + b'of another file')
    assert fetch(address, sha256=SHA).read_bytes() == CONTENT


def test_another_file_is_not_kept(address):
    with pytest.raises(InputError, match='holds another file than it should: its SHA-256'):
        fetch(address, sha256='0123456789abcdef')
    assert not list(place_of(address).parent.iterdir())


def test_no_file_no_server_no_folder(address, monkeypatch, tmp_path):
    with pytest.raises(InputError, match='cannot be fetched: the server answers 404 Not Found'):
        fetch(address.replace('weights-', 'none-'))
    with pytest.raises(InputError, match='cannot be fetched: .*; try again, or fetch it by'):
        fetch('http://127.0.0.1:9/weights.pth')
    (tmp_path / 'file').touch()
    monkeypatch.setenv('MSPN_HOME', str(tmp_path / 'file'))
    with pytest.raises(InputError, match='cannot be fetched'):
        fetch(address)
