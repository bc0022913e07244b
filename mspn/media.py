"""Images, folders, videos and cameras as streams of frames.

Whatever its kind, a source is read one frame at a time, so memory does not grow with its length.
Pixels are ``(h, w, 3)`` uint8, blue green red.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from .errors import InputError

Image = str | Path | np.ndarray

IMAGE_SUFFIXES = frozenset(
    '.bmp .dib .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp'.split()
)
"""What the name of an image in a folder ends in, in small letters."""

_USUAL_RATE = 25.0  # frames per second of a source that does not say
_HIGHEST_RATE = 1000.0


def read_image(path: Path) -> np.ndarray | None:
    """Pixels as MMPose's LoadImage decodes them; ``None`` if they cannot be read."""
    try:
        return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error, ValueError):
        return None


def decode(image: Any, name: str) -> np.ndarray:
    """Pixels of an image, as MMPose's LoadImage decodes it.

    Args:
        image: A path, or pixels, which come back as they are.
        name: What a message calls it.

    Raises:
        InputError: It cannot be read.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise InputError(
                f'{name} is an array of shape {image.shape} and type {image.dtype}; expected '
                '(h, w, 3) uint8, blue green red'
            )
        return image
    if not isinstance(image, (str, Path)):
        raise InputError(f'{name} is a {type(image).__name__}; expected a path or an array')
    path = Path(image)
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise InputError(f'{name} {what}; expected the file of an image')
    pixels = read_image(path)
    if pixels is None:
        raise InputError(f'{name} cannot be read as an image; it is damaged, or something else')
    return pixels


def number_at_end(path: Path) -> int | None:
    """The number in which the name of a file ends, such as 8 for ``COCO_val2014_000008.jpg``."""
    number = re.search(r'[0-9]+$', path.stem)
    return int(number[0]) if number else None


class Frame(NamedTuple):
    """One picture of a source.

    Attributes:
        name: The file's name; for a video its name and the number of the frame.
        id: What results call it: its place in the source, from 0; for images the number that ends
            its name, if every name ends in one of its own.
        pixels: ``(h, w, 3)`` uint8, blue green red.
    """

    name: str
    id: int
    pixels: np.ndarray


@dataclass
class Media:
    """A source of frames. Images can be read many times, a video or a camera once.

    Attributes:
        kind: What it is.
        name: Of the file without its suffix, of the folder, or ``webcam0``.
        paths: The files; empty for a camera. Images that are taken out of it are not read.
        size: Width and height in pixels, as shown: a video that is stored turned is turned back.
            None for images, each of which has its own.
        frame_rate: Frames per second, 25 where the source does not say.
        unreadable: Names of the images that could not be read so far.
    """

    kind: Literal['image', 'folder', 'video', 'webcam']
    name: str
    paths: list[Path]
    size: tuple[int, int] | None = None
    frame_rate: float = _USUAL_RATE
    unreadable: list[str] = field(default_factory=list)
    _announced: int = 0
    _film: Iterator[Frame] | None = None

    @property
    def num_frames(self) -> int | None:
        """As the source announces it, which may be an estimate; None if unknown."""
        return len(self.paths) if self.size is None else self._announced or None

    def __iter__(self) -> Iterator[Frame]:
        """Reads the frames one by one, and goes on after an image that cannot be read.

        Raises:
            ValueError: The frames of a video or a camera were read before.
            InputError: In the end, if no image could be read.
        """
        if self.size is None:
            return self._images()
        film, self._film = self._film, None
        if film is None:
            raise ValueError(f'the frames of {self.name} were read before; open it again')
        return film

    def numbered(self) -> list[tuple[int, Path]]:
        """The images with the ids of their frames."""
        numbers = {number_at_end(path): path for path in self.paths}
        own = None not in numbers and len(numbers) == len(self.paths)
        return [(n or 0, path) for n, path in (numbers.items() if own else enumerate(self.paths))]

    def _images(self) -> Iterator[Frame]:
        self.unreadable = []
        for id, path in self.numbered():
            pixels = read_image(path)
            if pixels is None:
                self.unreadable.append(path.name)
            else:
                yield Frame(path.name, id, pixels)
        if self.unreadable and len(self.unreadable) == len(self.paths):
            raise InputError(
                f'none of the {len(self.paths)} images in {self.paths[0].parent} can be read; '
                f'the first one is {self.unreadable[0]}; they may be damaged, or no images at all'
            )


def open_media(source: str | Path) -> Media:
    """Opens an image, a folder of images, a video or a camera.

    Args:
        source: A path, or ``webcam:0`` for the first camera.

    Raises:
        InputError: There is no such thing, or it holds no picture that can be read.
    """
    text = str(source)
    if text.startswith('webcam:'):
        number = text.removeprefix('webcam:')
        if not (number.isascii() and number.isdigit()):
            raise InputError(f'{source} names no camera; expected webcam:0, webcam:1, ...')
        return _film(int(number))
    if re.match(r'[a-z]+://', text, re.IGNORECASE):
        raise InputError(
            f'{source} is an address, and nothing is fetched from a network; save it as a file '
            'first, and give that'
        )
    path = Path(source)
    if not path.exists():
        raise InputError(
            f'{path} does not exist; expected an image, a folder of images, a video, or webcam:0'
        )
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if _is_image_name(file))
        if not paths:
            raise InputError(
                f'there is no image in the folder {path}; expected files such as .jpg or .png '
                'directly in it'
            )
        return Media('folder', path.resolve().name, paths)
    if not path.stat().st_size:
        raise InputError(f'{path} is an empty file; expected an image or a video')
    # OpenCV takes the images img_001.jpg, img_002.jpg, ... for a video: images come first.
    if not (_is_image_name(path) or cv2.haveImageReader(text)):
        return _film(path)
    if read_image(path) is None:
        raise InputError(f'{path} cannot be read as an image; it may be damaged, so fetch it again')
    return Media('image', path.stem, [path])


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != '.' and not path.is_dir()


def _film(source: Path | int) -> Media:
    capture = open_capture(source if isinstance(source, int) else str(source))
    opened = capture.isOpened()
    first = capture.read()[1] if opened else None
    if first is None:
        capture.release()
        raise InputError(_no_film(source, opened=opened))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    media = Media('webcam', f'webcam{source}', [])
    if isinstance(source, Path):
        media = Media('video', source.stem, [source])
        media._announced = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    media.size = (first.shape[1], first.shape[0])
    media.frame_rate = rate if 0 < rate <= _HIGHEST_RATE else _USUAL_RATE
    media._film = _film_frames(capture, first, media.name)
    return media


def _film_frames(capture: Any, pixels: np.ndarray, name: str) -> Iterator[Frame]:
    found, index = True, 0
    try:
        while found:
            yield Frame(f'{name}_{index:06d}', index, pixels)
            found, pixels = capture.read()
            index += 1
    finally:
        capture.release()


def _no_film(source: Path | int, *, opened: bool) -> str:
    if isinstance(source, int):
        what = 'gives no picture' if opened else 'cannot be opened'
        return (
            f'the camera webcam:{source} {what}; connect it, close other programs that use it, or '
            'give the number of another one'
        )
    if opened:
        return f'the video {source} has 0 frames that can be read; record or fetch it again'
    return (
        f'{source} cannot be read as an image or a video; it may be damaged, have no frames, or be '
        'of a format that OpenCV does not know'
    )


def open_capture(source: str | int) -> cv2.VideoCapture:
    """Opens without the decoder's own messages; what fails is said in a sentence."""
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # read when the first video is opened
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(source)
    finally:
        log.setLogLevel(level)


def check_window(name: str) -> None:
    """Opens a window, or raises an `InputError`; some builds of OpenCV would end the process."""
    display = os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    problem = ''
    if 'GUI: NONE' in ' '.join(cv2.getBuildInformation().split()):
        problem = 'needs an OpenCV with windows, and opencv-python-headless has none; install '
        problem += 'opencv-python in its place'
    elif sys.platform.startswith('linux') and not display:
        problem = 'needs a display, and DISPLAY names none'
    else:
        try:
            cv2.namedWindow(name, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            problem = f'cannot open a window ({error.err})'
    if problem:
        raise InputError(f'--show {problem}, or leave out --show and look at the pictures in --out')
