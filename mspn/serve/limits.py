"""How much of anything the service takes, and the answer where it is more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

_AT_ONCE = 5  # times what one request may decode is decoded of all of them


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
    """Lets requests wait until those before them need less memory, and sends away too many.

    Args:
        limits: What there is.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self.requests, self._pixels = limits, 0, 0.0
        self._changed = asyncio.Condition()

    @contextlib.contextmanager
    def request(self) -> Any:
        """Counts a request."""
        if self.requests >= self._limits.requests:
            raise Refused(
                503, f'{self.requests} requests are being answered; ask again in a second'
            )
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    @contextlib.asynccontextmanager
    async def pixels(self, count: float) -> AsyncIterator[None]:
        """Waits until so many pixels may be decoded."""
        most = _AT_ONCE * self._limits.megapixels * 1e6
        async with self._changed:
            await self._changed.wait_for(lambda: not self._pixels or self._pixels + count <= most)
            self._pixels += count
        try:
            yield
        finally:
            async with self._changed:
                self._pixels -= count
                self._changed.notify_all()


_Message = MutableMapping[str, Any]


class BodyLimit:
    """ASGI middleware: no body of a request is read further than the limit.

    Args:
        app: What answers.
        megabytes: The limit.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], megabytes: float) -> None:
        self._app, self._most = app, megabytes * 1e6

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Any) -> None:
        """Answers a request."""
        count = 0

        async def limited() -> _Message:
            nonlocal count
            message: _Message = await receive()
            count += len(message.get('body', b''))
            if count > self._most:
                raise Refused(
                    413, f'the request has more than {self._most / 1e6:g} MB; send smaller pictures'
                )
            return message

        await self._app(scope, limited if scope['type'] == 'http' else receive, send)
