"""Checks of image files: each is decoded as training decodes it, on all cores."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from mspn.errors import InputError, listed
from mspn.media import read_image

from ..datasets.guarded_loading import truncation
from .problems import Problem
from .records import UNKNOWN, Size

_COMPLAINT = re.compile(r'Corrupt JPEG[^\n]*|Premature end[^\n]*|libpng error[^\n]*')
_DAMAGE = re.compile('premature end|bad Huffman code|libpng error', re.IGNORECASE)
_CHUNK = 16  # images at a time for a process: enough to make the way there cheap

_CODE = re.compile('%[0-9a-fA-F]{2}')
_ORIENTATION = 0x0112  # the EXIF tag


class ImageFile(NamedTuple):
    """An image of an annotation file."""

    name: str  # as messages call it
    path: Path
    size: Size  # as recorded
    record: int = -1  # its number in its list


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
            paths = listed([image.path for image in images[done : done + _CHUNK * jobs]])
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
    name, path, _, record = image
    found = header_problems(image)
    if not decode or found and found[0].kind == 'missing-image':
        return found
    turned = any(problem.kind == 'exif-turned' for problem in found)
    found = [problem for problem in found if problem.kind == 'exif-turned']  # decoding knows better
    pixels, complaints = _decoded(path)
    if pixels is None:
        return [Problem('unreadable-image', name, f'cannot be decoded at {path}', record)]
    if reason := next(filter(_DAMAGE.search, complaints), None) or truncation(str(path)):
        found.append(Problem('damaged-image', name, f'decodes, but {reason} at {path}', record))
    elif complaints:
        found.append(Problem('image-decoder', name, f'is odd to the decoder: {complaints[0]}'))
    return found + _size_problems(image, (pixels.shape[1], pixels.shape[0]), by_exif=turned)


def header_problems(image: ImageFile) -> list[Problem]:
    """What is wrong with an image file by its name, and by the size and EXIF data of its header."""
    if not os.path.isfile(image.path):
        what = 'is a folder' if os.path.isdir(image.path) else 'does not exist'
        text = f'{what} at {image.path}{oddity(image.path)}'
        return [Problem('missing-image', image.name, text, image.record)]
    if (header := upright_size(image.path)) is None:
        text = f'cannot be decoded at {image.path}'
        return [Problem('unreadable-image', image.name, text, image.record)]
    size, turned = header
    text = 'is turned by its EXIF data, and read upright; its labels must be so, too'
    found = [Problem('exif-turned', image.name, text, image.record)] if turned else []
    return found + _size_problems(image, size, by_exif=turned)


def upright_size(path: Path) -> tuple[tuple[int, int], bool] | None:
    """Width and height of a picture as it is read, and whether its EXIF data turn it.

    ``None`` if its header cannot be read.
    """
    if not os.path.isfile(path):  # a device or a pipe may have no end
        return None
    try:
        with PIL.Image.open(path) as picture:
            width, height = picture.size
            try:
                orientation = picture.getexif().get(_ORIENTATION, 1)
            except Exception:  # whatever Pillow raises for damaged EXIF data, as struct.error
                orientation = 1
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None
    is_across = orientation in (5, 6, 7, 8)
    return ((height, width) if is_across else (width, height)), orientation in range(2, 9)


def renamed(path: Path) -> Path | None:
    """The file that a name may mean which has another case, back-slashes, or %-codes."""
    plain = urllib.parse.unquote(path.name.replace('\\', '/'))
    for name in dict.fromkeys((plain, plain.rpartition('/')[2])):
        if (other := path.parent / name) != path and '..' not in other.parts:
            if os.path.isfile(other):  # its name may be too long for one
                return other
    if os.path.isdir(path.parent):
        alike = (p for p in path.parent.iterdir() if p.name.lower() == path.name.lower())
        return next(alike, None)
    return None


def oddity(path: Path) -> str:
    """What is odd about the name of a file that is not there, to end a sentence; may be empty."""
    odd = ['the name has back-slashes, as Windows writes them'] if '\\' in path.name else []
    if _CODE.search(path.name):
        odd.append(f'the name has %-codes and stands for {urllib.parse.unquote(path.name)}')
    if other := renamed(path):
        odd.append(f'there is {other.name}')
    return f' ({", but ".join(odd)})' if odd else ''


def _size_problems(
    image: ImageFile, size: tuple[int, int], *, by_exif: bool = False
) -> list[Problem]:
    if image.size in (UNKNOWN, size):
        return []
    why = 'its EXIF data turn it' if by_exif else 'width and height change places'
    turned = f' ({why})' if image.size == size[::-1] else ''
    text = f'has {size[0]}x{size[1]} pixels, the record says {image.size[0]}x{image.size[1]}'
    return [Problem('image-size', image.name, text + turned, image.record)]
