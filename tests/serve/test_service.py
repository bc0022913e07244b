"""The service over HTTP: right answers for all, and a sentence for everything that is wrong."""

import base64
import concurrent.futures
import http.client
import io
import json
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import weakref
from concurrent.futures import CancelledError

import cv2
import numpy as np
import psutil
import pytest
from PIL import Image
from serving import PHOTOS, Running, ask, form, png_of

import mspn
from mspn.media import read_image
from mspn.runtime import Predictor
from mspn.runtime.shared import SharedPredictor

DOCUMENTATION = PHOTOS.parents[1] / 'docs' / 'serve.md'


def ask_json(running, **request):
    return ask(running, json.dumps(request), 'application/json')


def base64_of(content):
    return base64.b64encode(content).decode()


def same(people, expected):
    """Whether the people of an answer are those of an offline prediction."""
    wanted = json.loads(expected.to_json())
    assert len(people) == len(wanted)
    for one, other in zip(people, wanted, strict=True):
        assert one['box'] == pytest.approx(other['box'], abs=0.05)
        assert one['score'] == pytest.approx(other['score'], abs=1e-3)
        for name, numbers in other['keypoints'].items():
            assert one['keypoints'][name] == pytest.approx(numbers, abs=0.05)


def test_every_form_of_a_request(running, photo):
    expected = mspn.predict(PHOTOS / 'astronaut.jpg')
    status, answer = ask(running, photo)
    assert status == 200
    assert answer['model'] == 'mspn-small' and answer['keypoints'][0] == 'nose'
    (image,) = answer['images']
    assert (image['width'], image['height']) == read_image(PHOTOS / 'astronaut.jpg').shape[1::-1]
    same(image['people'], expected)

    second = (PHOTOS / 'cameraman.jpg').read_bytes()
    body, kind = form(('a', 'one.jpg', photo), ('b', 'two.jpg', second), ('box_thr', None, b'0.3'))
    status, answer = ask(running, body, kind)
    assert status == 200 and [image['name'] for image in answer['images']] == ['one.jpg', 'two.jpg']
    same(answer['images'][0]['people'], expected)
    same(answer['images'][1]['people'], mspn.predict(PHOTOS / 'cameraman.jpg'))

    box = [20, 10, 400, 500]
    status, answer = ask_json(running, images=[dict(data=base64_of(photo), boxes=[box])])
    assert status == 200
    same(answer['images'][0]['people'], mspn.predict(PHOTOS / 'astronaut.jpg', [box]))
    status, answer = ask(running, photo, path='/predict?boxes=whole_image')
    same(answer['images'][0]['people'], mspn.predict(PHOTOS / 'astronaut.jpg', 'whole_image'))


@pytest.mark.skipif(not shutil.which('curl'), reason='there is no curl here')
def test_the_examples_of_the_documentation(running, photo, tmp_path, monkeypatch, capsys):
    text = DOCUMENTATION.read_text(encoding='utf-8')
    commands = [line for line in text.splitlines() if line.startswith('curl ')]
    assert len(commands) == 2
    for name in ('photo.jpg', 'one.jpg', 'two.jpg'):
        (tmp_path / name).write_bytes(photo)
    for command in commands:
        words = shlex.split(command.replace(':8000', f':{running.port}'))
        printed = subprocess.run(words, capture_output=True, cwd=tmp_path, check=True).stdout
        assert all(image['people'] for image in json.loads(printed)['images'])
    asked, answered = map(json.loads, re.findall(r'```json\n(.*?)```', text, re.S))
    asked['images'][0]['data'] = base64_of(photo)
    status, answer = ask_json(running, **asked)
    assert status == 200 and answer.keys() == answered.keys()
    (image,), (described,) = answer['images'], answered['images']
    assert image.keys() == described.keys()
    assert image['people'][0].keys() == described['people'][0].keys()
    monkeypatch.chdir(tmp_path)
    exec(re.search(r'```python\n(.*?)```', text, re.S)[1], {})
    assert re.fullmatch(r'\[([1-9]), \1\]\n', capsys.readouterr().out)


def test_pictures_with_something_behind_them(running, photo):
    """As the short films of phones, in which there are markers of JPEG by chance."""
    expected = ask(running, photo)[1]['images'][0]['people']
    behind = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
    for content in (photo + behind, photo + b'\xff\xda' * 500):
        status, answer = ask(running, content)
        assert status == 200 and answer['images'][0]['people'] == expected
    half = photo[: len(photo) // 2] + b'\x00' + behind.replace(b'\xff\xd9', b'')[:100]
    assert ask(running, half)[0] == 415


def test_thresholds(running, photo):
    for box_thr in (0.05, 0.6):
        predictor = Predictor(box_thr=box_thr)
        status, answer = ask(running, photo, path=f'/predict?box_thr={box_thr}')
        same(answer['images'][0]['people'], predictor.predict(PHOTOS / 'astronaut.jpg'))
    _, answer = ask(running, photo, path='/predict?box_thr=0.05&score_thr=0.5')
    predictor = Predictor(box_thr=0.05, score_thr=0.5)
    same(answer['images'][0]['people'], predictor.predict(PHOTOS / 'astronaut.jpg'))


def test_many_at_the_same_time_get_their_own_answers(running, photo):
    pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    sent, expected = [], []
    for shift in range(12):
        moved = np.roll(pixels, 16 * shift, axis=1)
        sent.append(cv2.imencode('.png', moved)[1].tobytes())
        expected.append(mspn.predict(moved))
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda content: ask(running, content, 'image/png'), sent))
    for (status, answer), people in zip(answers, expected, strict=True):
        assert status == 200
        same(answer['images'][0]['people'], people)


def tiff_of(width, height):
    stream = io.BytesIO()
    Image.new('RGB', (8, 8)).save(stream, 'TIFF')
    content = bytearray(stream.getvalue())
    start = struct.unpack_from('<I', content, 4)[0]
    for entry in range(struct.unpack_from('<H', content, start)[0]):
        place = start + 2 + 12 * entry
        if (tag := struct.unpack_from('<H', content, place)[0]) in (256, 257):
            struct.pack_into('<HI', content, place + 2, 4, 1)
            struct.pack_into('<I', content, place + 8, width if tag == 256 else height)
    return bytes(content)


DATA = object()  # stands for the photograph in base64
ABUSE = {
    'nothing': (lambda p: (b'', 'image/jpeg'), 400),
    'nothing, of no type': (lambda p: (b'', ''), 400),
    'one byte': (lambda p: (b'\xff', 'image/jpeg'), 415),
    'a text': (lambda p: (b'no picture at all', 'image/jpeg'), 415),
    'a text of its own type': (lambda p: (b'no picture', 'text/plain'), 415),
    'a page': (lambda p: (b'<html><script>alert(1)</script></html>', 'image/png'), 415),
    'a vector graphic': (
        lambda p: (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'image/svg+xml'),
        415,
    ),
    'half of a JPEG': (lambda p: (p[: len(p) // 2], 'image/jpeg'), 415),
    'the head of a JPEG': (lambda p: (p[:200], 'image/jpeg'), 415),
    'a JPEG of noise': (lambda p: (p[:600] + bytes(range(256)) * 40, 'image/jpeg'), 415),
    'a PNG without its end': (lambda p: (png_of(64, 64, bytes(64 * 193))[:-20], 'image/png'), 415),
    'a PNG without rows': (lambda p: (png_of(64, 64), 'image/png'), 415),
    'a bomb': (lambda p: (png_of(30_000, 30_000, bytes(10**6)), 'image/png'), 413),
    'a bomb of TIFF': (lambda p: (tiff_of(200_000, 200_000), 'image/tiff'), 413),
    'a thin bomb': (lambda p: (png_of(2**31 - 1, 1), 'image/png'), (413, 415)),
    'no pixels': (lambda p: (png_of(0, 0), 'image/png'), 415),
    'a JPEG of a thousand scans': (
        lambda p: (p[:-2] + b'\xff\xda\x00\x08\x01\x01\x00\x00?\x00' * 1000 + p[-2:], 'image/jpeg'),
        415,
    ),
    'a line too long to crop': (lambda p: (png_of(33_000, 2, bytes(2 * 99_001)), 'image/png'), 400),
    'too many bytes': (lambda p: (p + bytes(5_000_000), 'image/jpeg'), 413),
    'too many bytes in a form': (lambda p: form(('a', 'a.jpg', p + bytes(5_000_000))), 413),
    'too many pictures': (lambda p: form(*[('a', 'a.jpg', p[:2000])] * 17), 413),
    'far too many pictures': (lambda p: form(*[('a', 'a.jpg', p[:20])] * 1100), 400),
    'a form without a limit': (lambda p: (b'--x', 'multipart/form-data'), 400),
    'a form cut off': (lambda p: (form(('a', 'a.jpg', p))[0][:3000], form()[1]), (400, 415)),
    'a form without its last part': (
        lambda p: (form(('a', 'a.jpg', p), ('box_thr', None, b'0.9'))[0][:-20], form()[1]),
        400,
    ),
    'a form in no character set': (
        lambda p: (form(('a', 'a.jpg', p))[0], form()[1] + '; charset=undefined'),
        400,
    ),
    'boxes that are no text': (lambda p: dict(images=[dict(data=DATA)], boxes='\ud800'), 400),
    'a form without a picture': (lambda p: form(('box_thr', None, b'0.3')), 400),
    'a form with an unknown field': (
        lambda p: form(('a', 'a.jpg', p), ('threshold', None, b'0.3')),
        400,
    ),
    'no JSON': (lambda p: (b'{"images": [', 'application/json'), 400),
    'JSON of another kind': (lambda p: (b'[1, 2]', 'application/json'), 400),
    'deep JSON': (lambda p: (b'[' * 40_000, 'application/json'), 400),
    'JSON of many parts': (lambda p: (b'[],' * 1_000_000, 'application/json'), 413),
    'a huge number': (lambda p: (b'{"images": [' + b'9' * 5000 + b']}', 'application/json'), 400),
    'no UTF-8': (lambda p: (b'{"images": ["\xff\xfe"]}', 'application/json'), 400),
    'an empty list': (lambda p: dict(images=[]), 400),
    'no base64': (lambda p: dict(images=[dict(data='*' * 100)]), 400),
    'a number for data': (lambda p: dict(images=[dict(data=5)]), 400),
    'an address': (lambda p: dict(images=[dict(url='http://127.0.0.1/a.jpg')]), 400),
    'an unknown setting': (lambda p: dict(images=[dict(data=DATA)], threshold=0.5), 400),
    'an unknown model': (lambda p: dict(images=[dict(data=DATA)], model='../../etc/passwd'), 404),
    'a list for the model': (lambda p: dict(images=[dict(data=DATA)], model=[1]), 400),
    'a threshold of NaN': (lambda p: dict(images=[dict(data=DATA)], box_thr=float('nan')), 400),
    'a threshold of text': (lambda p: dict(images=[dict(data=DATA)], box_thr='high'), 400),
    'a threshold of true': (lambda p: dict(images=[dict(data=DATA)], box_thr=True), 400),
    'a box of NaN': (
        lambda p: dict(images=[dict(data=DATA, boxes=[[0, 0, float('nan'), 9]])]),
        400,
    ),
    'an infinite box': (
        lambda p: dict(images=[dict(data=DATA, boxes=[[0, 0, float('inf'), 9]])]),
        400,
    ),
    'three numbers': (lambda p: dict(images=[dict(data=DATA, boxes=[[0, 0, 9]])]), 400),
    'boxes of text': (lambda p: dict(images=[dict(data=DATA, boxes='all')]), 400),
    'ragged boxes': (lambda p: dict(images=[dict(data=DATA, boxes=[[0, 0, 9, 9], [1]])]), 400),
    'boxes as an object': (lambda p: dict(images=[dict(data=DATA, boxes=dict(x=1))]), 400),
    'a box outside': (lambda p: dict(images=[dict(data=DATA, boxes=[[9000, 0, 9100, 9]])]), 400),
    'a box turned round': (lambda p: dict(images=[dict(data=DATA, boxes=[[90, 90, 9, 9]])]), 400),
    '10,000 boxes': (
        lambda p: dict(images=[dict(data=DATA, boxes=[[0, 0, 99, 99]] * 10_000)]),
        413,
    ),
}


def test_abuse(running, photo):
    process = psutil.Process(running.process.pid)
    before = process.memory_info().rss
    for name, (make, expected) in ABUSE.items():
        made = make(photo)
        if isinstance(made, dict):
            for image in made['images']:
                if image.get('data') is DATA:
                    image['data'] = base64_of(photo)
            made = (json.dumps(made), 'application/json')
        status, answer = ask(running, *made)
        allowed = expected if isinstance(expected, tuple) else (expected,)
        assert status in allowed, (name, status, answer)
        assert list(answer) == ['error'] and len(answer['error']) > 20, (name, answer)
        assert 'Traceback' not in answer['error'] and '\n' not in answer['error'], name
    assert process.memory_info().rss - before < 400e6
    assert ask(running, photo)[0] == 200
    assert ask(running, method='GET', path='/health')[1]['status'] == 'ok'


@pytest.mark.parametrize(
    ('method', 'path', 'expected'),
    [
        ('GET', '/predict', 405),
        ('GET', '/../../../../etc/passwd', 404),
        ('GET', '/%2e%2e/%2e%2e/etc/passwd', 404),
        ('GET', '/docs', 404),
        ('POST', '/predict?boxes=[[1,2', 400),
        ('POST', '/predict?model=%00', 404),
    ],
)
def test_other_ways(running, photo, method, path, expected):
    status, answer = ask(running, photo if method == 'POST' else b'', path=path, method=method)
    assert status == expected and list(answer) == ['error']


def test_raw_sockets(running, photo):
    """What no client would send: nothing hangs, and the service stays."""
    for content in (
        b'\x00\xff' * 1000,
        b'GET / HTTP/9.9\r\n\r\n',
        b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n' + photo,
        b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n',
        b'POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n',
    ):
        with socket.create_connection((running.host, running.port), timeout=10) as connection:
            connection.sendall(content)
    assert ask(running, photo)[0] == 200


def test_chunked_bodies_end_at_the_limit(running):
    connection = http.client.HTTPConnection(running.host, running.port, timeout=30)

    def chunks():
        for _ in range(1000):
            yield bytes(100_000)

    try:
        connection.request('POST', '/predict', chunks(), encode_chunked=True)
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):  # it has closed what it does not read
        status = 413
    assert status == 413


def test_names_are_only_repeated(running, photo):
    name = '../../etc/passwd\x1b[31m' + 'x' * 1000
    body, kind = form(('a', '../../etc/passwd', photo))
    assert ask(running, body, kind)[1]['images'][0]['name'] == '../../etc/passwd'
    status, answer = ask_json(running, images=[dict(data=base64_of(b'abc'), name=name)])
    assert status == 415 and '\x1b' not in answer['error'] and len(answer['error']) < 500


def test_it_counts(running, photo):
    before = ask(running, method='GET', path='/stats')[1]
    ask(running, photo)
    ask(running, b'')
    after = ask(running, method='GET', path='/stats')[1]
    assert after['requests']['200'] == before['requests'].get('200', 0) + 1
    assert after['requests']['400'] == before['requests'].get('400', 0) + 1
    assert after['pictures'] == before['pictures'] + 1
    assert 0 < after['latency_ms']['p50'] <= after['latency_ms']['p95']


def test_a_predictor_that_threads_share():
    shared = SharedPredictor()
    pixels = read_image(PHOTOS / 'astronaut.jpg')
    futures = [shared.submit(pixels, box) for box in (None, [[0, 0, 300, 500]], 'whole_image', [])]
    counts = [len(future.result(30)) for future in futures]
    assert counts[0] >= 1 and counts[1:] == [1, 1, 0]
    with pytest.raises(mspn.InputError, match='has no area'):
        shared.submit(pixels, [[5, 5, 5, 5]])
    # A network that fails reaches who has asked, and nobody later.
    shared.predictor.pose.stream, stream = None, shared.predictor.pose.stream
    with pytest.raises(TypeError):
        shared.submit(pixels).result(30)
    shared.predictor.pose.stream = stream
    assert len(shared.submit(pixels).result(30)) == counts[0]
    shared.close()
    assert not any(thread.name == 'batches' for thread in threading.enumerate())


def test_a_crowd_takes_turns_with_others_and_can_be_given_up():
    shared = SharedPredictor()
    pixels = read_image(PHOTOS / 'astronaut.jpg')
    boxes = np.array([[i, i, 300 + i, 500] for i in range(80)], np.float32)
    expected = shared.predictor.pose.predict(pixels, boxes)
    crowds = [shared.submit(pixels, boxes) for _ in range(6)]
    assert len(shared.submit(pixels, boxes[:1]).result(30)) == 1
    assert sum(crowd.done() for crowd in crowds) <= 2  # the latest was answered before the rest
    begun, waiting = crowds[-2:]
    for crowd in (begun, waiting):
        crowd.cancel()
    for crowd in (begun, waiting):
        with pytest.raises(CancelledError):
            crowd.result(30)
    for crowd in crowds[:-2]:
        for found, one in zip(crowd.result(60), expected, strict=True):
            np.testing.assert_allclose(found.keypoints, one.keypoints, atol=0.1)
    shared.close()


def test_pixels_of_what_is_given_up_are_free_at_once():
    shared = SharedPredictor()
    stream, go_on = shared.predictor.pose.stream, threading.Event()
    shared.predictor.pose.stream = lambda items: go_on.wait(30) and stream(items)
    busy = shared.submit(np.zeros((64, 64, 3), np.uint8), 'whole_image')
    while not busy.running():
        time.sleep(0.01)
    pixels = np.zeros((512, 512, 3), np.uint8)
    gone = weakref.ref(pixels)
    waiting = shared.submit(pixels, 'whole_image')
    del pixels
    assert waiting.cancel()
    assert gone() is None
    go_on.set()
    assert len(busy.result(30)) == 1
    shared.close()


def test_what_cannot_be_served(tmp_path, capsys, photo):
    from mspn.cli import main

    (tmp_path / 'a.onnx').write_bytes(b'nothing')
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, expected in (
            (['--port', port], 'nothing can listen'),
            (['--host', '203.0.113.7'], 'nothing can listen'),
            (['--model', str(tmp_path / 'a.onnx'), '--port', '0'], 'cannot be opened as an ONNX'),
            (['--model', 'mspn-large', '--port', '0'], 'there is no pose model'),
            (['--model', 'mspn-small', str(tmp_path / 'b.onnx'), '--port', '0'], 'does not exist'),
            (
                ['--model', str(tmp_path / 'b' / 'a.onnx'), str(tmp_path / 'a.onnx')],
                'have the same name',
            ),
        ):
            with pytest.raises(SystemExit) as ended:
                main(['serve', '--no-page', *options])
            assert ended.value.code == 2
            assert expected in capsys.readouterr().err


def test_it_ends_when_it_is_told_to(photo):
    running = Running('--no-page')
    assert ask(running, photo)[0] == 200
    assert running.start_seconds < 5
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) in (0, 130, -2)
    assert 'Traceback' not in running.process.stdout.read()
