"""Checks of image files: each is decoded as training decodes it, on all cores."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import IO, NamedTuple

from mspn.errors import InputError, listed
from mspn.media import read_image

from ..datasets.guarded_loading import truncation
from .problems import Problem

_COMPLAINT = re.compile(r'Corrupt JPEG[^\n]*|Premature end[^\n]*|libpng error[^\n]*')
_DAMAGE = re.compile('premature end|bad Huffman code|libpng error', re.IGNORECASE)
_CHUNK = 16  # images at a time for a process: enough to make the way there cheap


class ImageFile(NamedTuple):
    """An image to check.

    Attributes:
        name: What to call it, such as ``'image 7 (000000000007.jpg)'``.
        path: Where it is.
        size: Width and height as recorded; ``None`` if they are unusable.
    """

    name: str
    path: Path
    size: tuple[int, int] | None


def image_file_problems(
    images: Sequence[ImageFile],
    *,
    jobs: int,
    decode: bool = True,
    progress: Callable[[int], object] = lambda done: None,
) -> Iterator[Problem]:
    """What is wrong with image files.

    Args:
        images: Those to look at.
        jobs: Processes to use.
        decode: Whether to decode the images, or only to look whether they are there.
        progress: Called with the number of images done so far.

    Yields:
        The problems, in the order of the images.

    Raises:
        InputError: A process ended while it decoded, which takes a broken decoder or too little
            memory.
    """
    if not decode:
        for image in images:
            yield from _presence(image)
        return
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    # A forked process has all imports already; decoding needs none of the threads that it lacks.
    method = 'fork' if sys.platform.startswith('linux') else 'spawn'
    context = multiprocessing.get_context(method)
    done = 0
    with ProcessPoolExecutor(min(jobs, len(chunks)) or 1, context, _prepare) as pool:
        try:
            for chunk, problems in zip(chunks, pool.map(_check, chunks), strict=True):
                yield from problems
                done += len(chunk)
                progress(done)
        except BrokenProcessPool as error:
            paths = [image.path for image in images[done : done + _CHUNK * jobs]]
            raise InputError(
                'a process was ended by the system while it decoded one of the images '
                f'{listed(paths)}; look at them, or use fewer --jobs if the memory was too small'
            ) from error


_log: IO[bytes] | None = None


def _prepare() -> None:
    """Sends what the decoders write to stderr to a file: it is all that they say of a fault."""
    global _log
    _log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
    os.dup2(_log.fileno(), 2)


def _complaints() -> str:
    if _log is None:
        return ''
    _log.seek(0)
    text = _log.read(100_000).decode(errors='replace')
    _log.seek(0)
    _log.truncate()
    return text


def _check(images: Sequence[ImageFile]) -> list[Problem]:
    return list(itertools.chain.from_iterable(_content(image) for image in images))


def _presence(image: ImageFile) -> Iterator[Problem]:
    try:
        there = image.path.is_file()
    except OSError:  # a name that is too long
        there = False
    if not there:
        what = 'is a folder' if os.path.isdir(image.path) else 'does not exist'
        yield Problem('missing-image', image.name, f'{what} at {image.path}')


def _content(image: ImageFile) -> Iterator[Problem]:
    missing = list(_presence(image))
    if missing:
        yield from missing
        return
    _complaints()
    pixels = read_image(image.path)
    if pixels is None:
        yield Problem('unreadable-image', image.name, f'cannot be decoded at {image.path}')
        return
    complaints = _COMPLAINT.findall(_complaints())
    damage = [complaint for complaint in complaints if _DAMAGE.search(complaint)]
    reason = damage[0] if damage else truncation(str(image.path))
    if reason:
        yield Problem('damaged-image', image.name, f'decodes, but {reason} at {image.path}')
    elif complaints:
        yield Problem('image-decoder', image.name, f'is odd to the decoder: {complaints[0]}')
    height, width = pixels.shape[:2]
    if image.size is not None and image.size != (width, height):
        turned = ', turned by its EXIF data?' if image.size == (height, width) else ''
        text = f'has {width}x{height} pixels, the record says {image.size[0]}x{image.size[1]}'
        yield Problem('image-size', image.name, text + turned)
