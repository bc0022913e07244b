"""Starts the service: `mspn serve`."""

from __future__ import annotations

import argparse
import os
import socket
import time
from pathlib import Path

from ..errors import InputError, MissingPackage
from ..models import POSE, is_onnx, light_file

_PATIENCE = 5  # seconds that requests have to be answered when the service is told to end


def run(args: argparse.Namespace) -> None:
    """Loads the models, and answers until it is ended."""
    start = time.perf_counter()
    # OpenCV reads this when it is imported: no picture is decoded that has more pixels.
    os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'] = str(int(args.max_megapixels * 1e6))
    try:
        import python_multipart  # noqa: F401
        import uvicorn
        from PIL import Image

        from .app import make_app
        from .limits import Limits
        from .service import Service
    except ImportError as error:
        raise MissingPackage(
            f'mspn serve needs what `pip install "mspn_plugin[web]"` installs ({error.name} is '
            'missing)'
        ) from error
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and is looked at before anything is decoded
    limits = Limits(
        args.max_mb, args.max_megapixels, args.max_pictures, args.max_people, args.max_seconds
    )
    models = dict[str, Path]()
    for name, file in (_file(word, 'pose') for word in args.model or [POSE]):
        if models.setdefault(name, file) != file:
            raise InputError(f'{models[name]} and {file} have the same name; rename one of them')
    detector = args.detector and _file(args.detector, 'detector')[1]
    listening = _listen(args.host, args.port)
    service = Service(models, limits, detector=detector, device=args.device or 'cpu')
    app = make_app(service, page=args.page)
    host, port = listening.getsockname()[:2]
    shown = f'[{host}]' if ':' in host else host
    print(
        f'http://{shown}:{port} answers after {time.perf_counter() - start:.1f} s; Ctrl+C ends it',
        flush=True,
    )
    config = uvicorn.Config(
        app, log_level='critical', server_header=False, timeout_graceful_shutdown=_PATIENCE
    )
    uvicorn.Server(config).run(sockets=[listening])


def _file(word: str, kind: str) -> tuple[str, Path]:
    """The name of a model and its ONNX file; the word is one of the two."""
    path = light_file([word], kind, 'mspn serve')
    return (path.stem if is_onnx(word) else word), path


def _listen(host: str, port: int) -> socket.socket:
    kind = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=kind, backlog=256)
    except (OSError, OverflowError) as error:
        raise InputError(
            f'nothing can listen at {host}, port {port} ({error}); give another --port or --host'
        ) from error
