"""The results of a run over frames: pictures or a video, and predictions as JSON."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType

import numpy as np
from mmpose.structures import PoseDataSample

from .coco_results import ResultsFile, coco_results
from .errors import InputError
from .media import Film, Frame, Media, PictureFolder, VideoFile, picture_name


class Outputs:
    """Writes what is wanted of every frame; nothing appears under its name before it is complete.

    As a context manager. ``predictions.json`` holds COCO's keypoint results. Its ``image_id`` is
    the number of the frame in a film; for images the number that is the file's name if all of them
    have one, as in COCO, and else the place in the source. For images there is also ``image``, the
    file's name. Pictures lie in ``pictures/``, and a film is ``<name>.mp4``.

    Attributes:
        places: What is there when a run has ended as it should.
        draws: Whether `write` needs a picture.

    Args:
        source: What the frames come from.
        folder: Where to write; made if it is not there.
        pictures: Whether to write pictures, or the video.
        predictions: Whether to write ``predictions.json``.
        overwrite: Whether results of another run may be replaced.

    Raises:
        InputError: There are results already, a result would replace its source, or the folder
            cannot be made.
    """

    def __init__(
        self,
        source: Media,
        folder: Path,
        *,
        pictures: bool = True,
        predictions: bool = True,
        overwrite: bool = False,
    ) -> None:
        self._source = source
        self._ids = _numbers_in_names(source)
        self._json = ResultsFile(folder / 'predictions.json') if predictions else None
        self._video: VideoFile | None = None
        self._pictures: PictureFolder | None = None
        if pictures and isinstance(source, Film):
            path = folder / f'{source.name}.mp4'
            self._video = VideoFile(path, frame_rate=source.frame_rate, size=source.size)
        elif pictures:
            self._pictures = PictureFolder(folder / 'pictures')
        self._files = [file for file in (self._json, self._video) if file]
        self._open = contextlib.ExitStack()
        self.draws = pictures
        self.places = [file.path for file in self._files]
        targets = list(self.places)
        if self._pictures:
            self.places.append(self._pictures.folder)
            targets += [self._pictures.folder / picture_name(p.name) for p in source.paths]
        _check(source, targets, overwrite=overwrite)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f'the folder {folder} cannot be made: {error.strerror}; write to another one'
            ) from error

    def __enter__(self) -> Outputs:
        """Opens the files.

        Raises:
            InputError: The folder cannot be written to.
        """
        with contextlib.ExitStack() as stack:
            for file in self._files:
                try:
                    file.partial.unlink(missing_ok=True)  # of another run
                    stack.enter_context(file)
                except OSError as error:
                    raise InputError(
                        f'{file.partial} cannot be written: {error.strerror}; write to another '
                        'folder'
                    ) from error
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write(self, frame: Frame, people: list[PoseDataSample], picture: np.ndarray | None) -> None:
        """Adds a frame.

        Args:
            frame: One of the source's.
            people: Those in it.
            picture: What to write for it; None if nothing is drawn.

        Raises:
            InputError: It cannot be written, or a prediction is not a number.
        """
        if self._json:
            entries = coco_results(people, self._ids[frame.index] if self._ids else frame.index)
            if not isinstance(self._source, Film):
                entries = [dict(entry, image=frame.name) for entry in entries]
            try:
                self._json.write(entries)
            except OSError as error:
                raise InputError(
                    f'{self._json.partial} cannot be written: {error.strerror}; make room there, '
                    'or write to another folder'
                ) from error
        if self._pictures and picture is not None:
            self._pictures.write(frame.name, picture)
        if self._video and picture is not None:
            self._video.write(picture)

    def kept(self) -> list[Path]:
        """What is there of a run that ended early."""
        kept = [file.partial for file in self._files if file.count and file.partial.exists()]
        return kept + ([self._pictures.folder] if self._pictures and self._pictures.count else [])


def _numbers_in_names(source: Media) -> list[int]:
    """The numbers that the files' names are; empty if any is something else."""
    stems = [] if isinstance(source, Film) else [path.stem for path in source.paths]
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]
    return numbers if len(set(numbers)) == len(stems) else []


def _check(source: Media, targets: list[Path], *, overwrite: bool) -> None:
    inputs = {path.resolve() for path in source.paths}
    for target in targets:
        if target.resolve() in inputs:
            raise InputError(f'the result would replace its source {target}; write elsewhere')
        if target.exists() and not overwrite:
            raise InputError(
                f'{target} exists; write to another folder, or allow overwriting (--overwrite)'
            )
