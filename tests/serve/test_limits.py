"""How much the service holds at the same time, and that it gives back what it took."""

import asyncio
import base64
import contextlib
import gc
import http.client
import json
import threading
import time

import pytest
from serving import PHOTOS, Running, ask, form, png_of

from mspn.json_files import parse_json
from mspn.serve.limits import BodyLimit, Limits, Refused, Room

LIMITS = Limits(megabytes=1, megapixels=1, requests=2)


def test_requests():
    async def many():
        room = Room(LIMITS)
        with room.request(), room.request():
            with pytest.raises(Refused) as refused, room.request():
                pass
            assert (refused.value.status_code, room.requests) == (503, 2)
        assert room.requests == 0

    asyncio.run(many())


def test_bytes_of_one_and_of_all():
    """Through the middleware: what arrives is counted, and given back however it ends."""
    room = Room(LIMITS)
    states = []

    async def app(scope, receive, send):
        for _ in range(scope['messages']):
            await receive()
        states.append(room._bytes)
        if other := scope.get('meanwhile'):
            await other

    async def send(message):
        pass

    async def receive():
        return dict(type='http.request', body=bytes(400_000))

    def request(messages, **more):
        return BodyLimit(app, room)(dict(type='http', messages=messages, **more), receive, send)

    async def run():
        await request(2)
        assert (states, room._bytes) == ([800_000], 0)
        with pytest.raises(Refused) as refused:
            await request(3)
        assert (refused.value.status_code, room._bytes) == (413, 0)
        nested = request(2)
        for _ in range(7):
            nested = request(2, meanwhile=nested)
        with pytest.raises(Refused) as refused:
            await nested
        assert (refused.value.status_code, room._bytes) == (503, 0)

    asyncio.run(run())


def test_pixels_wait_for_their_turn_and_are_given_back():
    async def run():
        room, order = Room(LIMITS), []

        async def use(name, count, seconds=0.02):
            async with room.pixels(count):
                order.append(name)
                assert room._pixels <= max(count, 5e6)
                await asyncio.sleep(seconds)

        # The large one comes third, and is not overtaken for ever by the small ones behind it.
        names = [('a', 3e6), ('b', 2e6), ('large', 5e6), ('c', 1e6), ('d', 1e6)]
        await asyncio.gather(*(use(*each) for each in names))
        assert order == ['a', 'b', 'large', 'c', 'd'] and room._pixels == 0

        # Those who give up while they wait, or while they hold, leave nothing behind.
        for delay in (0, 0.001, 0.01, 0.02, 0.03):
            tasks = [asyncio.create_task(use('x', 4e6)) for _ in range(4)]
            await asyncio.sleep(delay)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert room._pixels == 0
        await asyncio.wait_for(use('last', 9e6), 1)

    asyncio.run(run())


def test_parsing_in_threads_leaves_the_garbage_collector_on():
    content = b'[' + b'{"a": [1, 2, 3]},' * 3000 + b'0]'

    def parse():
        for _ in range(20):
            parse_json(content, 'a', expected='b')

    threads = [threading.Thread(target=parse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gc.isenabled()


@pytest.fixture(scope='module')
def hasty():
    running = Running('--max-seconds', '0.02')
    yield running
    assert 'Traceback' not in running.end()


def test_answers_that_take_too_long(hasty):
    body, kind = form(*[('a', 'a.jpg', (PHOTOS / 'astronaut.jpg').read_bytes())] * 8)
    statuses = [ask(hasty, body, kind)[0] for _ in range(20)]
    assert set(statuses) <= {408, 503} and 503 in statuses
    time.sleep(2)
    stats = ask(hasty, method='GET', path='/stats')[1]
    assert stats['being_answered'] == 0 and sum(stats['requests'].values()) == 20


def stalled(running):
    """A connection whose request never arrives as a whole."""
    connection = http.client.HTTPConnection(running.host, running.port, timeout=20)
    connection.putrequest('POST', '/predict')
    connection.putheader('Content-Length', '1000')
    connection.endheaders(b'only this')
    return connection


def test_requests_that_do_not_arrive(hasty):
    assert stalled(hasty).getresponse().status == 408


def test_it_ends_although_requests_are_open():
    running = Running('--no-page')
    connections = [stalled(running) for _ in range(3)]
    time.sleep(0.5)
    start = time.monotonic()
    printed = running.end()
    assert time.monotonic() - start < 10 and 'Traceback' not in printed
    assert all(connection.sock for connection in connections)


def test_a_request_of_very_many_people_ends_when_it_is_late():
    running = Running('--max-seconds', '2', '--max-megapixels', '400')
    photo = (PHOTOS / 'astronaut.jpg').read_bytes()
    image = dict(data=base64.b64encode(photo).decode(), boxes=[[0, 0, 300, 500]] * 200)
    crowd = json.dumps(dict(images=[image] * 16)), 'application/json'
    start = time.perf_counter()
    status, answer = ask(running, *crowd)
    assert (status, time.perf_counter() - start < 15) == (503, True), answer
    assert ask(running, photo)[0] == 200  # within 2 s, although the crowd would take half a minute
    assert ask(running, method='GET', path='/stats')[1]['being_answered'] == 0
    # More than Pillow opens by itself: the limit that was asked for is the one that holds.
    assert ask(running, png_of(19_000, 19_000), 'image/png')[0] == 415
    assert ask(running, png_of(21_000, 21_000), 'image/png')[0] == 413
    other = threading.Thread(target=ended_early, args=(running, *crowd))
    other.start()
    time.sleep(0.5)
    start = time.perf_counter()
    assert 'Traceback' not in running.end()
    assert time.perf_counter() - start < 15
    other.join()


def ended_early(running, *crowd):
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask(running, *crowd)
