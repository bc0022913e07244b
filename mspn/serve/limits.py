"""How much of anything the service takes, and the answer where it is more."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

_AT_ONCE = 5  # times what one request may hold is held of all of them


class Refused(HTTPException):
    """A request that cannot be answered: a status of HTTP, and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)


@dataclass(frozen=True)
class Limits:
    """Of one request, but for the last."""

    megabytes: float = 20
    megapixels: float = 40  # of all its pictures, decoded
    pictures: int = 16
    people: int = 200  # in a picture
    seconds: float = 30
    requests: int = 64  # at the same time; more are sent away


class Room:
    """What the requests that are being answered hold: bytes as they were sent, and pixels.

    Args:
        limits: What there is.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self.requests = limits, 0
        self._bytes, self._pixels = 0, 0.0
        self._waiting = deque[tuple[float, asyncio.Future[None]]]()

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request, or sends it away."""
        if self.requests >= self._limits.requests:
            raise _full(f'{self.requests} requests are being answered')
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    def take_bytes(self, count: int, of_request: int) -> None:
        """Notes bytes that have arrived, of a request that has so many now."""
        most = self._limits.megabytes * 1e6
        self._bytes += count
        if of_request > most:
            raise Refused(413, f'the request has more than {most / 1e6:g} MB; send less at once')
        if self._bytes > _AT_ONCE * most:
            raise _full('the requests that are being answered need all the memory there is')

    def give_bytes(self, count: int) -> None:
        """Notes that a request with so many bytes has been answered."""
        self._bytes -= count

    @contextlib.asynccontextmanager
    async def pixels(self, count: float) -> AsyncIterator[None]:
        """Waits until so many pixels may be decoded; who came first has them first."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        self._let_in()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._pixels -= count
            self._let_in()

    def _let_in(self) -> None:
        most = _AT_ONCE * self._limits.megapixels * 1e6
        while self._waiting and (not self._pixels or self._pixels + self._waiting[0][0] <= most):
            count, turn = self._waiting.popleft()
            if not turn.done():  # it may have been cancelled
                self._pixels += count
                turn.set_result(None)


def _full(why: str) -> Refused:
    return Refused(503, f'{why}; ask again in a second')


class BodyLimit:
    """ASGI middleware: no body of a request is read further than there is room.

    Args:
        app: What answers.
        room: The room.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], room: Room) -> None:
        self._app, self._room = app, room

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Any) -> None:
        """Answers a request."""
        held = 0

        async def limited() -> Any:
            nonlocal held
            message = await receive()
            count = len(message.get('body', b''))
            held += count
            self._room.take_bytes(count, held)
            return message

        try:
            await self._app(scope, limited if scope['type'] == 'http' else receive, send)
        finally:
            self._room.give_bytes(held)
