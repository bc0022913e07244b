"""Images, folders, videos and cameras as streams of frames, and places to write pictures to.

Whatever its kind, a source is read one frame at a time, so memory does not grow with its length.
Pixels are ``(h, w, 3)`` uint8, blue green red.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import cv2
import numpy as np

from .errors import InputError
from .images import read_image

Kind = Literal['image', 'folder', 'video', 'webcam']

IMAGE_SUFFIXES = frozenset(
    '.bmp .dib .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp'.split()
)
"""What the name of an image in a folder ends in, in small letters."""

_WRITTEN_AS_THEY_ARE = frozenset('.bmp .jpeg .jpg .png .tif .tiff .webp'.split())
_USUAL_RATE = 25.0  # frames per second of a source that does not say
_HIGHEST_RATE = 1000.0


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
        name: The file's name; for a video its name and the number of the frame.
        index: Place in the source, from 0. An image that cannot be read has one too.
        pixels: ``(h, w, 3)`` uint8, blue green red.
    """

    name: str
    index: int
    pixels: np.ndarray


class ImageFiles:
    """One image, or the images of a folder in the order of their names.

    Attributes:
        kind: ``'image'`` or ``'folder'``.
        name: Of the file or folder, without the file's suffix.
        paths: The files.
        unreadable: Names of those that could not be read so far.
        frame_rate: None; images are no film.
        size: None; every image has its own.
    """

    frame_rate = None
    size = None

    def __init__(self, path: Path) -> None:
        self.kind: Kind = 'folder' if path.is_dir() else 'image'
        self.name = path.resolve().name if self.kind == 'folder' else path.stem
        self.unreadable: list[str] = []
        if self.kind == 'folder':
            self.paths = sorted(file for file in path.iterdir() if _is_image_name(file))
            if not self.paths:
                raise InputError(
                    f'there is no image in the folder {path}; expected files such as .jpg or .png '
                    'directly in it'
                )
        else:
            self.paths = [path]
            if read_image(path) is None:
                raise InputError(
                    f'{path} cannot be read as an image; it may be damaged, so fetch it again'
                )

    @property
    def num_frames(self) -> int:
        """The number of files, readable or not."""
        return len(self.paths)

    def __iter__(self) -> Iterator[Frame]:
        """Reads the images one by one, and goes on after one that cannot be read.

        Raises:
            InputError: In the end, if none could be read.
        """
        self.unreadable = []
        for index, path in enumerate(self.paths):
            pixels = read_image(path)
            if pixels is None:
                self.unreadable.append(path.name)
            else:
                yield Frame(path.name, index, pixels)
        if len(self.unreadable) == len(self.paths):
            raise InputError(
                f'none of the {len(self.paths)} images in {self.paths[0].parent} can be read; '
                f'the first one is {self.unreadable[0]}; they may be damaged, or no images at all'
            )


class Film:
    """A video file or a camera; it can be gone through once.

    Attributes:
        kind: ``'video'`` or ``'webcam'``.
        name: Of the file without its suffix, or ``webcam0``.
        paths: The file; empty for a camera.
        frame_rate: Frames per second, 25 where the source does not say.
        size: Width and height in pixels, as shown: a video that is stored turned is turned back.
        num_frames: As the file announces it, which may be an estimate; None if unknown.
        num_read: How many were read so far.
        unreadable: Empty; a video ends at a place that cannot be read.
    """

    def __init__(self, source: Path | int) -> None:
        self.kind: Kind = 'webcam' if isinstance(source, int) else 'video'
        self.name = f'webcam{source}' if isinstance(source, int) else source.stem
        self.unreadable: list[str] = []
        self.num_read = 0
        self.paths = [] if isinstance(source, int) else [source]
        self._capture = _open_capture(source if isinstance(source, int) else str(source))
        opened = self._capture.isOpened()
        found, first = self._capture.read() if opened else (False, None)
        if not found or first is None:
            self._capture.release()
            raise InputError(_no_film(source, opened=opened))
        self._first: np.ndarray | None = first
        self.size = (first.shape[1], first.shape[0])
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.frame_rate = rate if 0 < rate <= _HIGHEST_RATE else _USUAL_RATE
        announced = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = announced if announced > 0 and self.kind == 'video' else None

    def __iter__(self) -> Iterator[Frame]:
        """Reads the frames one by one.

        Raises:
            ValueError: They were read before.
        """
        pixels, self._first = self._first, None
        if pixels is None:
            raise ValueError(f'the frames of {self.name} were read before; open it again')
        try:
            while pixels is not None:
                index, self.num_read = self.num_read, self.num_read + 1
                yield Frame(f'{self.name}_{index:06d}', index, pixels)
                found, pixels = self._capture.read()
                pixels = pixels if found else None
        finally:
            self._capture.release()


Media = ImageFiles | Film


def open_media(source: str | Path) -> Media:
    """Opens an image, a folder of images, a video or a camera.

    Args:
        source: A path, or ``webcam:0`` for the first camera.

    Returns:
        An iterable of `Frame`, with ``kind``, ``name``, ``frame_rate``, ``size``, ``num_frames``
        and ``unreadable``.

    Raises:
        InputError: There is no such thing, or it holds no picture that can be read.
    """
    if str(source).startswith('webcam:'):
        number = str(source).removeprefix('webcam:')
        if not (number.isascii() and number.isdigit()):
            raise InputError(f'{source} names no camera; expected webcam:0, webcam:1, ...')
        return Film(int(number))
    path = Path(source)
    if not path.exists():
        raise InputError(
            f'{path} does not exist; expected an image, a folder of images, a video, or webcam:0'
        )
    if path.is_dir():
        return ImageFiles(path)
    if not path.stat().st_size:
        raise InputError(f'{path} is an empty file; expected an image or a video')
    # OpenCV takes the images img_001.jpg, img_002.jpg, ... for a video: images come first.
    if _is_image_name(path) or cv2.haveImageReader(str(path)):
        return ImageFiles(path)
    return Film(path)


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != '.' and not path.is_dir()


def _open_capture(source: str | int) -> cv2.VideoCapture:
    """Opens without the decoder's own messages; what fails is said in a sentence."""
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # read when the first video is opened
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(source)
    finally:
        log.setLogLevel(level)


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


def picture_name(name: str) -> str:
    """The name under which `PictureFolder` writes: formats that are rare become ``.png``."""
    return name if Path(name).suffix.lower() in _WRITTEN_AS_THEY_ARE else f'{name}.png'


class PictureFolder:
    """Writes pictures into a folder; none is ever there half.

    Attributes:
        folder: Made when the first picture comes.
        count: Pictures written so far.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.count = 0

    def write(self, name: str, pixels: np.ndarray) -> Path:
        """Writes a picture.

        Args:
            name: A file name; see `picture_name`.
            pixels: ``(h, w, 3)`` uint8, blue green red.

        Returns:
            The picture's path.

        Raises:
            InputError: It cannot be written.
        """
        path = self.folder / picture_name(name)
        unfinished = path.with_name(f'.{path.name}.unfinished')
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _, content = cv2.imencode(path.suffix.lower(), pixels)
            unfinished.write_bytes(content.tobytes())
            os.replace(unfinished, path)
        except OSError as error:
            raise InputError(f'the picture {path} cannot be written: {error.strerror}') from error
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
        self.count += 1
        return path


class VideoFile:
    """A video that grows beside its place and is moved there when it is complete.

    As a context manager. If the block ends with an exception, what there is of the video is
    finished, so that it plays, and stays under its own name, `partial`.

    Attributes:
        path: Where the complete video goes, ``.mp4``; a file there is replaced.
        partial: Where it grows: ``walk.partial.mp4`` for ``walk.mp4``.
        count: Frames written so far.

    Args:
        path: As above.
        frame_rate: Frames per second.
        size: Width and height of the frames. The format needs even numbers, so the last column or
            row of others is left out.
    """

    def __init__(self, path: str | Path, *, frame_rate: float, size: tuple[int, int]) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(f'{self.path.stem}.partial{self.path.suffix}')
        self.count = 0
        self._rate, self._size = frame_rate, size

    def __enter__(self) -> VideoFile:
        """Opens the file.

        Raises:
            InputError: OpenCV cannot write such a video there.
        """
        code = cv2.VideoWriter.fourcc(*'mp4v')
        self._writer = cv2.VideoWriter(str(self.partial), code, self._rate, self._size)
        if not self._writer.isOpened():
            raise InputError(
                f'no video of {self._size[0]}x{self._size[1]} pixels can be written to '
                f'{self.partial}; expected a folder that can be written to and the ending .mp4'
            )
        self.count = 0
        return self

    def write(self, pixels: np.ndarray) -> None:
        """Adds a frame.

        Raises:
            InputError: It is of another size; OpenCV would leave it out and say nothing.
        """
        if pixels.shape[1::-1] != self._size:
            width, height = pixels.shape[1::-1]
            raise InputError(
                f'frame {self.count} has {width}x{height} pixels, but those before it '
                f'{self._size[0]}x{self._size[1]}; a video has one size, so cut the source there'
            )
        self._writer.write(pixels)
        self.count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.release()
        if not self.count:
            self.partial.unlink(missing_ok=True)
        elif kind is None:
            self._check()
            os.replace(self.partial, self.path)

    def _check(self) -> None:
        """OpenCV does not say when a disk is full; the file does."""
        capture = _open_capture(str(self.partial))
        stored = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        readable = stored > 0 and capture.read()[0]
        capture.release()
        if stored != self.count or not readable:
            raise InputError(
                f'the video {self.partial} holds {stored} frames, but {self.count} were written; '
                'make room on the disk and run again'
            )
