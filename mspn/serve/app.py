"""The service over HTTP: ``POST /predict``, ``GET /health`` and ``GET /stats``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..errors import printable
from ..version import __version__
from .limits import BodyLimit, Refused
from .sent import read_request
from .service import Service


def make_app(service: Service, make_page: Callable[[Service], FastAPI] | None) -> FastAPI:
    """Makes the application; docs/serve.md describes what it answers.

    Args:
        service: What answers.
        make_page: Makes the application of the page, at ``/``. Gradio takes seconds to import,
            so it does that while requests are answered already.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, service.close)

            async def load(make: Callable[[Service], FastAPI]) -> FastAPI:
                page = await asyncio.to_thread(make, service)
                await stack.enter_async_context(page.router.lifespan_context(page))
                return page

            if make_page:
                loading = asyncio.create_task(load(make_page))

                async def page(scope: Any, receive: Any, send: Any) -> None:
                    await (await asyncio.shield(loading))(scope, receive, send)

                app.mount('/', page)
            yield

    # Its own pages of documentation would load scripts from another host.
    app = FastAPI(title='MSPN', version=__version__, openapi_url=None, lifespan=lifespan)
    app.add_middleware(BodyLimit, megabytes=service.limits.megabytes)

    @app.post('/predict')
    async def predict(request: Request) -> Response:
        start = time.perf_counter()
        try:
            try:
                async with asyncio.timeout(service.limits.seconds):
                    sent = await read_request(request, service.limits)
            except TimeoutError:
                raise Refused(408, 'the request did not arrive in time; send it again') from None
            answer = Response(service.to_json(sent, await service.answer(sent)))
            answer.headers['content-type'] = 'application/json'
        except HTTPException as error:
            answer = _sentence(error.status_code, str(error.detail))
        except Exception as error:  # not the request's fault, and no reason to end
            print(f'error: {printable(repr(error))}', flush=True)
            answer = _sentence(500, 'the service has failed; its output says why')
        service.count(answer.status_code, time.perf_counter() - start)
        return answer

    @app.get('/health')
    async def health() -> dict[str, Any]:
        return dict(status='ok', version=__version__, models=[*service.models])

    @app.get('/stats')
    async def stats() -> dict[str, Any]:
        return service.stats()

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return _sentence(error.status_code, str(error.detail))

    return app


def _sentence(status: int, text: str) -> Response:
    more = {'retry-after': '1'} if status == 503 else {}
    return JSONResponse(dict(error=printable(text)), status, more)
