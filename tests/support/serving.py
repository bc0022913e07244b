"""A service, started by its command as a user does, and what it is sent."""

import http.client
import json
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

COMMAND = Path(sys.executable).with_name('mspn')
PHOTOS = Path(__file__).parents[2] / 'examples' / 'photos'


class Running:
    """A process that answers."""

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [COMMAND, 'serve', '--port', '0', *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {'OMP_NUM_THREADS': '2'} | (environment or {}),
        )
        line = self.process.stdout.readline()
        found = re.match(r'http://(127\.0\.0\.1):(\d+) ', line)
        assert found, line + self.process.stdout.read()
        self.host, self.port = found[1], int(found[2])
        self.start_seconds = time.perf_counter() - start

    def end(self) -> str:
        """Ends it as Ctrl+C or a service manager does; gives what it has printed since."""
        self.process.terminate()
        printed, _ = self.process.communicate(timeout=20)
        return printed


def png_of(width, height, rows=b''):
    """A PNG that says it has so many pixels."""

    def chunk(kind, content):
        whole = kind + content
        return struct.pack('>I', len(content)) + whole + struct.pack('>I', zlib.crc32(whole))

    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    parts = chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + parts


def ask(running, body=b'', kind='image/jpeg', path='/predict', method='POST', **headers):
    """The status and the JSON of an answer."""
    connection = http.client.HTTPConnection(running.host, running.port, timeout=60)
    connection.request(method, path, body, {'Content-Type': kind, **headers} if kind else headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def form(*parts):
    """A form of parts (name, file name or None, content): its body and its type."""
    lines = []
    for name, file, content in parts:
        more = '' if file is None else f'; filename="{file}"'
        head = f'--limit\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        lines += [head.encode(), content, b'\r\n']
    return b''.join([*lines, b'--limit--\r\n']), 'multipart/form-data; boundary=limit'
