"""Pictures and films to people, without torch: what a service calls."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..batches import WHOLE_IMAGE, Item, ahead, called
from ..errors import InputError
from ..media import Frame, Image, Media, decode, open_media
from ..models import SHIPPED, default_detector, onnx_file
from ..pipeline import distinct, people_in_frames, whole_images
from ..poses import People, Pose, check_thresholds, names_of
from .detector import DetectorModel
from .model_file import Providers
from .pose import AHEAD, PoseModel

AT_ONCE = 8  # images in a batch of the detector


class Predictor:
    """A pose model, and a detector if there is one. Made once; many threads may call it.

    Needs numpy, OpenCV and ONNX Runtime.

    Args:
        pose: The pose model, a file that `mspn export` has written; by default the one that ships.
        detector: What finds the people where no boxes are given, likewise; the default needs a
            pose model of people.
        device: ``'cpu'``, ``'cuda'``, ``'cuda:N'``, or a list of ONNX Runtime's providers.
        threads: Of the CPU; as many as there are cores if absent.
        batch_size: People in a batch.
        score_thr: Leaves out people whose score, the box's times the mean of the keypoints', is
            not above this.
        box_thr: Leaves out boxes of the detector with a lower score.
        nms_thr: Of two boxes that overlap more, the one of lower score is left out.
        oks_thr: Of two poses that are more alike (object keypoint similarity) likewise.

    Raises:
        InputError: A file is not usable.
        MissingPackage: ONNX Runtime is not installed.
    """

    def __init__(
        self,
        pose: str | Path | None = None,
        detector: str | Path | None = None,
        *,
        device: Providers = 'cpu',
        threads: int | None = None,
        batch_size: int = 16,
        score_thr: float = 0.0,
        box_thr: float = 0.3,
        nms_thr: float = 0.3,
        oks_thr: float = 0.9,
    ) -> None:
        where: Any = dict(device=device, threads=threads)
        file = onnx_file(SHIPPED[0]) if pose is None else pose
        self.pose = PoseModel(file, batch_size=batch_size, score_thr=score_thr, **where)
        check_thresholds(score_thr=box_thr, nms_thr=nms_thr)
        self._options = where | dict(score_thr=box_thr, nms_thr=nms_thr)
        self._loading = threading.Lock()
        self._detector: DetectorModel | None = None
        if detector is not None:
            self._detector = DetectorModel(detector, **self._options)
        self.oks_thr = oks_thr
        self.meta = self.pose.meta

    def predict(self, picture: Image, boxes: Any = None, *, scores: Any = None) -> People:
        """Finds the people in one picture, a path or pixels ``(h, w, 3)`` uint8 BGR.

        Args:
            picture: The picture.
            boxes: ``(N, 4)``, x1 y1 x2 y2 in pixels, or ``'whole_image'`` for one person; absent,
                the detector finds them.
            scores: The boxes' scores ``(N,)``, 1 each if absent.

        Raises:
            InputError: The picture or a box is not usable; or there are no boxes, and no
                detector for what the model's keypoints are.
        """
        if boxes is not None:
            return People(self.pose.predict(picture, boxes, scores=scores), self.meta)
        frame = _read(0, picture)
        (found, marks), *_ = self.detect([frame])
        poses = self.pose.predict(frame.pixels, found, scores=marks)
        return People(distinct(poses, self.meta['sigmas'], self.oks_thr), self.meta)

    def predict_many(self, pictures: Iterable[Image], boxes: Any = None) -> Iterator[People]:
        """Finds the people in pictures, which share batches; no more of them are in memory.

        Args:
            pictures: Paths or pixels.
            boxes: For every picture its boxes, or ``'whole_image'`` for all; absent, the detector
                finds them.

        Yields:
            The people of every picture, in order. An `InputError` comes after those before.
        """
        if boxes is not None and not isinstance(boxes, str):
            items = (Item(picture, own) for picture, own in zip(pictures, boxes, strict=True))
            found: Iterator[tuple[Any, list[Pose]]] = self.pose.stream(items)
        else:
            found = self._in_frames(ahead(_read, enumerate(pictures), AHEAD), boxes)
        return (People(poses, self.meta) for _, poses in found)

    def stream(
        self, source: str | Path | Media, boxes: str | None = None, *, detect_every: int = 1
    ) -> Iterator[tuple[Frame, People]]:
        """Finds the people in an image, a folder, a video or a camera, frame by frame.

        Args:
            source: As `open_media` takes it, or what that has opened.
            boxes: ``'whole_image'`` for one person in every frame, instead of the detector's.
            detect_every: Detects in every so manieth frame; in between boxes follow the poses.

        Yields:
            Every frame and its people. Memory does not grow with the length.
        """
        media = source if isinstance(source, Media) else open_media(source)
        if detect_every < 1 or (detect_every > 1 and media.size is None):
            raise InputError(
                f'detect_every is {detect_every}; expected 1 or more for a film, and 1 for '
                'pictures, of which one says nothing about the next'
            )
        at_once = media.kind == 'webcam'
        found = self._in_frames(iter(media), boxes, find_every=detect_every, at_once=at_once)
        return ((frame, People(poses, self.meta)) for frame, poses in found)

    def detect(self, frames: Sequence[Frame]) -> list[tuple[Any, Any]]:
        """Boxes and their scores for some frames."""
        with self._loading:  # only once, and only if people have to be found
            if self._detector is None:
                file = default_detector(names_of(self.meta))
                self._detector = DetectorModel(file, **self._options)
        return list(self._detector.detect([frame.pixels for frame in frames]))

    def _in_frames(
        self, frames: Iterable[Frame], boxes: str | None, **options: Any
    ) -> Iterator[tuple[Frame, list[Pose]]]:
        if boxes is None:
            find: Any = self.detect
        elif boxes == WHOLE_IMAGE:
            find = whole_images
        else:
            raise InputError(f"boxes is {boxes!r}; expected numbers or '{WHOLE_IMAGE}'")
        options |= dict(find_batch=AT_ONCE, oks_thr=self.oks_thr)
        return people_in_frames(frames, find, self.pose, **options)


def _read(index: int, picture: Image) -> Frame:
    return Frame(str(index), index, decode(picture, called(index, picture)))


_default = functools.lru_cache(maxsize=1)(Predictor)


def predict(picture: Image, boxes: Any = None) -> People:
    """Finds the people in one picture with the models that ship; arguments as of a `Predictor`.

    The models are loaded at the first call. For other models and settings make a `Predictor`.
    """
    return _default().predict(picture, boxes)
