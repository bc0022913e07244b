"""What a run over frames writes: pictures or a video, and people as COCO's keypoint results."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .atomic_io import write_whole
from .errors import InputError
from .media import Frame, Media, check_text, open_capture
from .poses import Pose, coco_results

_WRITTEN_AS_THEY_ARE = frozenset('.bmp .jpeg .jpg .png .tif .tiff .webp'.split())


def picture_name(name: str) -> str:
    """The name under which a picture is written: formats that are rare become ``.png``."""
    return name if Path(name).suffix.lower() in _WRITTEN_AS_THEY_ARE else f'{name}.png'


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Writes a picture whole, or raises an `InputError`; see `picture_name` for its name.

    One that is too large for its format becomes a ``.png`` too.
    """
    encoded, content = cv2.imencode(path.suffix.lower(), pixels)
    if not encoded:  # some formats hold fewer pixels
        path = path.with_name(f'{path.name}.png')
        encoded, content = cv2.imencode('.png', pixels)
    if not encoded:
        height, width = pixels.shape[:2]
        raise InputError(f'{path} cannot be written: the format holds no {width}x{height} pixels')
    write_whole(path, content.tobytes(), sync=False)


class _GrowingFile:
    """A file that grows under a name of its own and is moved to its place when it is complete.

    As a context manager. If the block ends with an exception, or the process is killed, what there
    is stays under that name, unless it is nothing; a file at `path` is then as it was.

    Attributes:
        path: Where the complete file goes; a file there is replaced.
        partial: Where it grows: ``walk.partial.mp4`` for ``walk.mp4``.
        count: What has been written so far: entries, or frames.
    """

    _empty_counts = False  # whether a file with nothing in it is a result

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(f'{self.path.stem}.partial{self.path.suffix}')
        self.count = 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and (self.count or self._empty_counts):
            os.replace(self.partial, self.path)
        elif not self.count:
            with contextlib.suppress(OSError):
                self.partial.unlink()


class ResultsFile(_GrowingFile):
    """A JSON list, valid after every `write`."""

    _empty_counts = True

    def __enter__(self) -> ResultsFile:
        self.partial.write_bytes(b'')
        self.count = self._size = 0  # the size is without the closing bracket
        self._append('[')
        return self

    def write(self, entries: Iterable[dict[str, Any]]) -> None:
        """Adds entries, all or none; a number that is not finite is a ValueError."""
        lines = [json.dumps(entry, allow_nan=False) for entry in entries]
        if lines:
            self._append((',\n' if self.count else '\n') + ',\n'.join(lines))
            self.count += len(lines)

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        if kind:
            with contextlib.suppress(OSError):
                self._append('')  # over what an interrupted or failed write may have left
        super().__exit__(kind, *raised)

    def _append(self, text: str) -> None:
        with self.partial.open('r+b') as file:
            file.seek(self._size)
            file.write(f'{text}\n]\n'.encode())
            file.truncate()
        self._size += len(text.encode())


class CsvFile(_GrowingFile):
    """A table with a line for each person: frame, person, box, and x, y, score of each keypoint."""

    _empty_counts = True

    keypoints: Sequence[str] = ()  # their names, before it is entered

    def __enter__(self) -> CsvFile:
        self.count = 0
        head = 'frame image person track score x1 y1 x2 y2'.split()
        head += [f'{name}_{part}' for name in self.keypoints for part in ('x', 'y', 'score')]
        self.partial.write_text(self._lines([head]), encoding='utf-8', newline='')
        return self

    def write(self, frame: Frame, people: Sequence[Pose]) -> None:
        """Adds the people of a frame; ``track`` is empty where nobody is tracked."""
        rows = []
        for index, person in enumerate(people):
            points = np.column_stack([person.keypoints, person.scores]).ravel()
            track = '' if person.track is None else person.track
            numbers = [person.score, *np.asarray(person.box).tolist(), *points.tolist()]
            row = [frame.id, frame.name, index, track, *(f'{number:.6g}' for number in numbers)]
            rows.append(row)
        options: Any = dict(encoding='utf-8', errors='backslashreplace', newline='')
        with self.partial.open('a', **options) as file:
            file.write(self._lines(rows))  # in one piece: an end in between leaves whole lines
        self.count += len(rows)

    @staticmethod
    def _lines(rows: Iterable[Sequence[Any]]) -> str:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return text.getvalue()


class VideoFile(_GrowingFile):
    """A video ``.mp4`` without sound, which plays even if the run ended early.

    The format needs even numbers of pixels, so the last column or row of others is left out.

    Raises:
        InputError: When entered, if there can be no such video, and when left, if it is damaged.
    """

    def __init__(self, path: str | Path, *, frame_rate: float, size: tuple[int, int]) -> None:
        super().__init__(path)
        # MPEG-4 writes a rate as a fraction of numbers below 65536.
        digits = next((n for n in (3, 2, 1) if frame_rate * 10**n < 65_000), 0)
        self._rate = max(round(frame_rate, digits), 0.01)
        self._size, self._pixels = size, f'{size[0]}x{size[1]}'

    def __enter__(self) -> VideoFile:
        self.count, code = 0, cv2.VideoWriter.fourcc(*'mp4v')
        self._writer = cv2.VideoWriter(str(self.partial), code, self._rate, self._size)
        if not self._writer.isOpened():
            raise InputError(
                f'no video of {self._pixels} pixels can be written to {self.partial}; expected a '
                'folder that can be written to and the ending .mp4'
            )
        return self

    def write(self, pixels: np.ndarray) -> None:
        """Adds a frame; one of another size, which OpenCV would leave out, is an InputError."""
        height, width = pixels.shape[:2]
        if (width, height) != self._size:
            raise InputError(
                f'frame {self.count} has {width}x{height} pixels, but those before it '
                f'{self._pixels}; a video has one size, so cut the source there'
            )
        self._writer.write(pixels)
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        self._writer.release()
        if kind is None and self.count:  # OpenCV does not say when a disk is full; the file does
            capture = open_capture(str(self.partial))
            stored = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
            if stored != self.count or not capture.read()[0]:
                raise InputError(
                    f'the video {self.partial} holds {stored} frames, but {self.count} were '
                    'written; make room on the disk and run again'
                )
        super().__exit__(kind, *raised)


class Outputs:
    """Writes what is wanted of every frame; nothing appears under its name before it is complete.

    As a context manager; if its block ends early, it says what is kept. The list of people holds
    COCO's keypoint results, and for images their names (``image``). A film becomes ``<name>.mp4``.

    Args:
        source: What the frames come from.
        folder: Where to write; it is made when the outputs are entered.
        results: Name of the list of people; None for none.
        table: Name of a CSV table of the people; None for none. It takes the names of the keypoints
            from ``keypoints``, which is to be set before the outputs are entered.
        picture: Names of the pictures, where ``{name}`` is the source's and ``{id}`` the frame's;
            None for neither pictures nor a video.
        overwrite: Whether results of another run may be replaced.

    Raises:
        InputError: There are results already, a result would replace its source, or, when it is
            entered, the folder cannot be made.
    """

    def __init__(
        self,
        source: Media,
        folder: Path,
        *,
        results: str | None = 'predictions.json',
        picture: str | None = 'pictures/{name}',
        table: str | None = None,
        overwrite: bool = False,
    ) -> None:
        check_text(folder)
        self.folder, self._written, self._images = folder, 0, source.size is None
        self.keypoints: Sequence[str] = ()
        self._json = ResultsFile(folder / results) if results else None
        self._csv = CsvFile(folder / table) if table else None
        self._video, self._pictures = None, dict[int, Path]()
        if picture and source.size is not None:
            path = folder / f'{source.name}.mp4'
            self._video = VideoFile(path, frame_rate=source.frame_rate, size=source.size)
        elif picture:
            for id, path in source.numbered():
                self._pictures[id] = folder / picture.format(name=picture_name(path.name), id=id)
        self._files = [file for file in (self._json, self._csv, self._video) if file]
        self._folders = sorted({path.parent for path in self._pictures.values()})
        targets = [file.path for file in self._files]
        self.places = targets + self._folders  # what is there when all is done
        targets += self._pictures.values()
        if twice := [path for path, count in Counter(targets).items() if count > 1]:
            raise InputError(f'two images would be written as {twice[0]}; rename one of them')
        inputs = {path.resolve() for path in source.paths}
        for target in targets:
            if target.resolve() in inputs:
                raise InputError(f'the result would replace its source {target}; write elsewhere')
            if target.exists() and not overwrite:
                raise InputError(
                    f'{target} exists; write to another folder, or allow overwriting (--overwrite)'
                )

    def __enter__(self) -> Outputs:
        if self._csv:
            self._csv.keypoints = self.keypoints
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f'the folder {self.folder} cannot be made: {error.strerror}; write to another one'
            ) from error
        with contextlib.ExitStack() as stack:
            for file in self._files:
                stack.enter_context(file)
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: Any) -> None:
        self._open.__exit__(kind, *raised)
        kept = [file.partial for file in self._files if file.count]
        kept += self._folders if self._written else []
        if kind and kept:
            names = ', '.join(map(str, kept))
            print(f'ended after {self._written} frames, which are kept: {names}', file=sys.stderr)

    def write(self, frame: Frame, people: Sequence[Pose], picture: np.ndarray) -> None:
        """Adds a frame of the source, its people, and what it looks like with them.

        Raises:
            InputError: The picture cannot be written, or a prediction is not a number.
            OSError: Another file cannot be written.
        """
        if self._json:
            more = dict(image=frame.name) if self._images else {}
            self._json.write(entry | more for entry in coco_results(people, frame.id))
        if self._csv:
            self._csv.write(frame, people)
        if self._video:
            self._video.write(picture)
        elif self._pictures:
            write_picture(self._pictures[frame.id], picture)
        self._written += 1
