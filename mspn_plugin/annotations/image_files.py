"""Checks of image files: each is decoded as training decodes it, on all cores."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from mspn.errors import InputError, listed
from mspn.media import read_image

from ..datasets.guarded_loading import truncation
from .problems import Problem
from .records import UNKNOWN, Size

_COMPLAINT = re.compile(r'Corrupt JPEG[^\n]*|Premature end[^\n]*|libpng error[^\n]*')
_DAMAGE = re.compile('premature end|bad Huffman code|libpng error', re.IGNORECASE)
_CHUNK = 16  # images at a time for a process: enough to make the way there cheap

ImageFile = tuple[str, Path, Size]  # what messages call it, its place, its size as recorded


def image_file_problems(
    images: Sequence[ImageFile], *, jobs: int, decode: bool, progress: Callable[[int], object]
) -> Iterator[Problem]:
    """What is wrong with image files, in their order; parameters and errors of `check_dataset`."""
    if not decode:
        yield from (p for image in images for p in decoding_problems(image, decode=False))
        return
    # A forked process has all imports already; decoding needs none of the threads that it lacks.
    method = 'fork' if sys.platform.startswith('linux') else 'spawn'
    context, done = multiprocessing.get_context(method), 0
    with ProcessPoolExecutor(min(jobs, len(images)) or 1, context) as pool:
        try:
            for problems in pool.map(decoding_problems, images, chunksize=_CHUNK):
                yield from problems
                progress(done := done + 1)
        except BrokenProcessPool as error:
            paths = listed([path for _, path, _ in images[done : done + _CHUNK * jobs]])
            text = f'a process was ended by the system while it decoded one of the images {paths}'
            mend = 'look at them, or use fewer --jobs if the memory was too small'
            raise InputError(f'{text}; {mend}') from error


def _decoded(path: Path) -> tuple[np.ndarray | None, list[str]]:
    """Pixels, and what the decoder wrote to stderr: it is all that it says of a fault."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            pixels = read_image(path)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        log.seek(0)
        return pixels, _COMPLAINT.findall(log.read(100_000).decode(errors='replace'))


def decoding_problems(image: ImageFile, *, decode: bool = True) -> list[Problem]:
    """What is wrong with an image file, also by what its decoder says of it."""
    (name, path, size), found = image, list[Problem]()
    if not os.path.isfile(path):
        what = 'is a folder' if os.path.isdir(path) else 'does not exist'
        return [Problem('missing-image', name, f'{what} at {path}')]
    if not decode:
        return []
    pixels, complaints = _decoded(path)
    if pixels is None:
        return [Problem('unreadable-image', name, f'cannot be decoded at {path}')]
    if reason := next(filter(_DAMAGE.search, complaints), None) or truncation(str(path)):
        found.append(Problem('damaged-image', name, f'decodes, but {reason} at {path}'))
    elif complaints:
        found.append(Problem('image-decoder', name, f'is odd to the decoder: {complaints[0]}'))
    height, width = pixels.shape[:2]
    if size not in (UNKNOWN, (width, height)):
        turned = ', turned by its EXIF data?' if size == (height, width) else ''
        text = f'has {width}x{height} pixels, the record says {size[0]}x{size[1]}{turned}'
        found.append(Problem('image-size', name, text))
    return found
