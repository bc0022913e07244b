"""The service over HTTP: ``POST /predict``, what is known of it, and the page that asks it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ..errors import printable
from ..version import __version__
from .limits import BodyLimit
from .sent import read_request
from .service import Service

_PAGE = {'/': 'page.html', '/page.js': 'page.js'}
# What the page may load: this service, and what it has made itself.
_POLICY = "default-src 'self'; style-src 'unsafe-inline'; img-src blob: data:; media-src blob:"
_HANGED_UP = 499  # nobody reads the answer; proxies count it under this number


def make_app(service: Service, *, page: bool = True) -> Starlette:
    """Makes the application; docs/serve.md describes what it answers."""

    async def predict(request: Request) -> Response:
        start, sent, limits = time.perf_counter(), None, service.limits
        try:
            with service.room.request():
                async with asyncio.timeout(limits.seconds):
                    sent = await read_request(request, limits)
                    text = await service.answer(sent)
            answer = Response(text, media_type='application/json')
        except TimeoutError:
            late = 'there is no answer' if sent else 'the request has not arrived'
            answer = _sentence(
                503 if sent else 408, f'{late} after {limits.seconds:g} s; send it again later'
            )
        except HTTPException as error:
            answer = _sentence(error.status_code, str(error.detail))
        except ClientDisconnect:
            answer = Response(status_code=_HANGED_UP)
        except Exception as error:  # not the request's fault, and no reason to end
            print(f'error: {printable(repr(error))}', flush=True)
            answer = _sentence(500, 'the service has failed; its output says why')
        service.count(answer.status_code, time.perf_counter() - start)
        return answer

    async def health(_: Request) -> Response:
        return JSONResponse(dict(status='ok', version=__version__, models=[*service.models]))

    async def stats(_: Request) -> Response:
        return JSONResponse(service.stats())

    async def models(_: Request) -> Response:
        return JSONResponse(dict(models=service.describe()))

    async def of_page(request: Request) -> Response:
        file = Path(__file__).with_name(_PAGE[request.url.path])
        headers = {'content-security-policy': _POLICY, 'x-content-type-options': 'nosniff'}
        return FileResponse(file, headers=headers | {'cache-control': 'no-cache'})

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _sentence(error.status_code, str(error.detail))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    routes = [Route('/predict', predict, methods=['POST'])]
    routes += [Route(f'/{get.__name__}', get) for get in (health, stats, models)]
    routes += [Route(path, of_page) for path in _PAGE if page]
    handlers: Any = {HTTPException: refused}
    middleware = [Middleware(BodyLimit, room=service.room)]
    return Starlette(
        routes=routes, exception_handlers=handlers, middleware=middleware, lifespan=lifespan
    )


def _sentence(status: int, text: str) -> Response:
    more = {'retry-after': '1'} if status == 503 else {}
    return JSONResponse(dict(error=printable(text)), status, more)
