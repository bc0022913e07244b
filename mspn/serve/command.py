"""Starts the service: `mspn serve`."""

from __future__ import annotations

import argparse
import importlib.util
import socket
import time
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingPackage
from ..models import POSE, find_model

_INSTALL = 'needs what `pip install "mspn_plugin[web]"` installs'


def run(args: argparse.Namespace) -> None:
    """Loads the models, and answers until it is ended."""
    start = time.perf_counter()
    try:
        import uvicorn

        if args.page and importlib.util.find_spec('gradio') is None:
            raise ModuleNotFoundError(name='gradio')
        from .app import make_app
        from .limits import Limits
        from .service import Service
    except ImportError as error:
        raise MissingPackage(f'mspn serve {_INSTALL} ({error.name} is missing)') from error
    limits = Limits(
        args.max_mb, args.max_megapixels, args.max_pictures, args.max_people, args.max_seconds
    )
    models = dict(_file(word, 'pose') for word in args.model or [POSE])
    detector = args.detector and _file(args.detector, 'detector')[1]
    listening = _listen(args.host, args.port)
    service = Service(models, limits, detector=detector, device=args.device or 'cpu')
    app = make_app(service, _page if args.page else None)
    host, port = listening.getsockname()[:2]
    shown = f'[{host}]' if ':' in host else host
    print(
        f'http://{shown}:{port} answers after {time.perf_counter() - start:.1f} s; Ctrl+C ends it',
        flush=True,
    )
    config = uvicorn.Config(app, log_level='warning', server_header=False)
    uvicorn.Server(config).run(sockets=[listening])


def _page(service: Any) -> Any:
    from .page import make_page  # seconds

    return make_page(service)


def _file(word: str, kind: str) -> tuple[str, Path]:
    """The name of a model and its ONNX file; the word is one of the two."""
    path = Path(word)
    if path.suffix.lower() == '.onnx':
        return path.stem, path
    found = find_model(word, kind)
    if len(found) > 1:
        raise InputError(
            f'{word} is a config and weights, and the service takes ONNX files; write one with '
            f'`mspn export {" ".join(found)} -o {path.name}.onnx`'
        )
    return word, Path(found[0])


def _listen(host: str, port: int) -> socket.socket:
    kind = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=kind, backlog=256)
    except (OSError, OverflowError) as error:
        raise InputError(
            f'nothing can listen at {host}, port {port} ({error}); give another --port or --host'
        ) from error
