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
from typing import Any, NamedTuple

import cv2
import numpy as np

from .errors import InputError, is_text

Image = str | Path | np.ndarray

IMAGE_SUFFIXES = frozenset(
    '.bmp .dib .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp'.split()
)
"""What the name of an image in a folder ends in, in small letters."""

LARGEST = 32_766  # pixels in a row or column, of which OpenCV cuts crops out
_USUAL_RATE = 25.0  # frames per second of a source that does not say
_NO_RATE = 1000.0  # what OpenCV says of a film whose frames have times in milliseconds, and no rate
_TIMED = 30  # frames


def read_image(path: Path) -> np.ndarray | None:
    """Pixels as MMPose's LoadImage decodes them; ``None`` if they cannot be read."""
    try:
        return decode_content(Path(path).read_bytes()) if Path(path).is_file() else None
    except (OSError, ValueError):
        return None


def decode_content(content: bytes) -> np.ndarray | None:
    """Pixels of what the file of an image holds, likewise."""
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # of nothing, or of more pixels than OpenCV is allowed
        return None


def decode(image: Any, name: str) -> np.ndarray:
    """Pixels of an image, a path or such pixels; an InputError calls it by ``name``."""
    if isinstance(image, (str, Path)):
        path = Path(image)
        if not path.is_file():
            problem = 'is a folder' if path.is_dir() else 'does not exist'
            raise InputError(f'{name} {problem}; expected the file of an image')
        if (pixels := read_image(path)) is None:
            raise InputError(f'{name} cannot be read as an image; it is damaged, or something else')
        return pixels
    if not isinstance(image, np.ndarray):
        raise InputError(f'{name} is a {type(image).__name__}; expected a path or an array')
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(
            f'{name} is an array of shape {image.shape} and type {image.dtype}; expected (h, w, 3) '
            'uint8, blue green red'
        )
    return image


def check_text(path: Path) -> None:
    """Raises an `InputError` for a name that is no text, which OpenCV does not survive."""
    if not is_text(str(path)):
        raise InputError(f'the name {path} is not UTF-8; rename it')


def number_at_end(path: Path) -> int | None:
    """The number in which the name of a file ends, such as 8 for ``COCO_val2014_000008.jpg``."""
    number = re.search(r'[0-9]+$', path.stem)
    return int(number[0]) if number else None


class Frame(NamedTuple):
    """One picture of a source.

    Its id is what results call it: its place in the source, from 0, or for images the number that
    ends its name, if every name ends in one of its own.
    """

    name: str  # of the file; for a video its name and the number of the frame
    id: int
    pixels: np.ndarray


@dataclass
class Media:
    """A source of frames. Images can be read many times, a video or a camera once."""

    kind: str  # image, folder, video or webcam
    name: str  # of the file without its suffix, of the folder, or webcam0
    paths: list[Path]  # the files; of images those that are read
    size: tuple[int, int] | None = None  # width and height; None for images, which have their own
    frame_rate: float = _USUAL_RATE
    num_announced: int = 0  # frames of a video; it may be an estimate
    unreadable: list[str] = field(default_factory=list)  # names of the images so far
    _film: Iterator[Frame] | None = None

    @property
    def num_frames(self) -> int | None:
        """As the source announces it; None if unknown."""
        return len(self.paths) if self.size is None else self.num_announced or None

    def numbered(self) -> list[tuple[int, Path]]:
        """The images with the ids of their frames."""
        numbers = {number_at_end(path): path for path in self.paths}
        own = None not in numbers and len(numbers) == len(self.paths)
        return [(n or 0, path) for n, path in (numbers.items() if own else enumerate(self.paths))]

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

    def _images(self) -> Iterator[Frame]:
        self.unreadable = []
        for id, path in self.numbered():
            pixels = read_image(path)
            if pixels is not None and max(pixels.shape) <= LARGEST:
                yield Frame(path.name, id, pixels)
            else:
                self.unreadable.append(path.name)
        if self.unreadable and len(self.unreadable) == len(self.paths):
            raise InputError(
                f'none of the {len(self.paths)} images in {self.paths[0].parent} can be read; '
                f'the first one is {self.unreadable[0]}; they may be damaged, or no images at all'
            )


def open_media(source: str | Path) -> Media:
    """Opens an image, a folder of images, a video, or a camera, the first of which is ``webcam:0``.

    Raises:
        InputError: There is no such thing, or it holds no picture that can be read.
    """
    text, path = str(source), Path(source)
    if camera := re.fullmatch(r'webcam:(.*)', text, re.DOTALL):
        if not re.fullmatch(r'[0-9]{1,9}', camera[1]):
            raise InputError(f'{source} names no camera; expected webcam:0, webcam:1, ...')
        return _film(int(camera[1]))
    if re.match(r'[a-z]+://', text, re.IGNORECASE):
        raise InputError(f'{source} is an address, and nothing is fetched; save it as a file first')
    check_text(path)
    kinds = 'an image, a folder of images, a video, or webcam:0'
    if not path.exists():
        raise InputError(f'{path} does not exist; expected {kinds}')
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if _is_image_name(file))
        if not paths:
            raise InputError(f'there is no image in the folder {path}, such as a .jpg or .png')
        return Media('folder', path.resolve().name, paths)
    if not path.stat().st_size:
        raise InputError(f'{path} is an empty file; expected {kinds}')
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
    opened, (_, first) = capture.isOpened(), capture.read()
    if first is None:
        problem = f'{source} cannot be read as an image or a video; it may be damaged, have no '
        problem += 'frames, or be of a format that OpenCV does not know'
        if isinstance(source, int):
            what = 'gives no picture' if opened else 'cannot be opened'
            problem = f'the camera webcam:{source} {what}; connect it, close other programs that '
            problem += 'use it, or give another number'
        elif opened:
            problem = f'the video {source} has 0 frames that can be read; record or fetch it again'
        raise InputError(problem)
    media = Media('webcam', f'webcam{source}', [])
    if isinstance(source, Path):
        media = Media('video', source.stem, [source])
        media.num_announced = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    media.size = (first.shape[1], first.shape[0])
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    if isinstance(source, Path) and not 0 < rate < _NO_RATE:  # and no number of frames
        rate, media.num_announced = _measured_rate(source), 0
    media.frame_rate = rate if 0 < rate < _NO_RATE else _USUAL_RATE
    media._film = _film_frames(capture, first, media.name)
    return media


def _measured_rate(path: Path) -> float:
    """Frames per second of the beginning of a film, by the times of its frames; 0 if unknown."""
    capture, times = open_capture(str(path)), list[float]()
    while len(times) < _TIMED and capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    span = times[-1] - times[0] if times else 0.0
    return 1000 * (len(times) - 1) / span if span > 0 else 0.0


def _film_frames(capture: Any, pixels: Any, name: str) -> Iterator[Frame]:
    index = 0
    while pixels is not None:
        yield Frame(f'{name}_{index:06d}', index, pixels)
        index, (_, pixels) = index + 1, capture.read()


def open_capture(source: str | int) -> cv2.VideoCapture:
    """Opens without the decoder's own messages; what fails is said in a sentence."""
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # read when the first video is opened
    log = cv2.utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(source)
    finally:
        log.setLogLevel(level)


def check_window(name: str) -> None:
    """Opens a window, or raises an `InputError`; some builds of OpenCV would end the process."""
    display = os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    if 'GUI: NONE' in ' '.join(cv2.getBuildInformation().split()):
        problem = 'needs an OpenCV with windows, and opencv-python-headless has none'
    elif sys.platform.startswith('linux') and not display:
        problem = 'needs a display, and DISPLAY names none'
    else:
        try:
            return cv2.namedWindow(name, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            problem = f'cannot open a window ({error.err})'
    raise InputError(f'--show {problem}; leave it out and look at the pictures in --out')
