"""Poses of the people in pictures and films: `mspn predict`, and two scripts in `tools/`.

The pose model is an ONNX file, for which neither torch nor OpenMMLab is imported, or a config with
a checkpoint. The boxes come from a detector or from a file, or are the whole images. If the run
ends early, what is done stays: pictures, and ``.partial`` files that can be used.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .detections import read_detections
from .drawing import draw_people, overlay_heatmaps
from .errors import InputError, listed, printable
from .media import Frame, Media, check_window, number_at_end, open_media
from .models import POSE, default_detector, find_model, is_onnx
from .outputs import Outputs
from .pipeline import Boxes, PoseFinder, people_in_frames, whole_images
from .poses import names_of, outside
from .progress import Progress
from .runtime import DetectorModel, PoseModel
from .tracking import Smoother, Tracker

_STOP_KEYS = (ord('q'), 27)  # 27 is Esc
_WINDOW = 'poses'


def run(args: argparse.Namespace) -> None:
    """Checks what was given, goes through it, and says where the results are."""
    if getattr(args, 'engine', 'local') == 'ray':  # the scripts in tools/ have no such option
        from .cluster import run as run_on_cluster

        return run_on_cluster(args)
    job = _Job(args)
    # A job that its queue ends finishes its files and names them.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        job.run()
    except OSError as error:
        place, reason = error.filename or job.outputs.folder, error.strerror or error
        raise InputError(f'{place} cannot be read or written: {reason}') from error
    finally:
        signal.signal(signal.SIGTERM, before)
    for line in job.report():
        print(printable(line))


class _Job:
    """What was asked for, and what was done so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.drawn, self.tracks = args, 0, set[int | None]()
        if args.show:
            check_window(_WINDOW)
        elif not (args.pictures or args.json or args.csv):
            raise InputError('--no-pictures and --no-json leave nothing to do without --show')
        self.source = source = open_media(args.input)
        self.is_film = source.size is not None
        for option, value, usual in (
            ('--det-every', args.det_every, 1),
            ('--track', args.track, False),
            ('--smooth', args.smooth, 0.0),
        ):
            if value != usual and not self.is_film:
                raise InputError(
                    f'{option} needs a video or a camera; the people of one image say nothing '
                    'about the next image'
                )
        self.boxes = _BoxesOfFile(args, source) if args.boxes else None
        self.outputs = Outputs(
            source,
            Path(args.out or Path('results') / source.name),
            results=args.results if args.json else None,
            picture=args.picture if args.pictures else None,
            table='people.csv' if args.csv else None,
            overwrite=args.overwrite,
        )
        finder, detect = _load(args)
        self.meta = finder.meta
        self.outputs.keypoints = names_of(self.meta)
        find: Any = self.boxes or whole_images
        if detect:
            find = lambda frames: detect([frame.pixels for frame in frames])  # noqa: E731
        self.results = people_in_frames(
            source,
            find,
            finder,
            find_batch=args.det_batch_size if detect else 1,
            find_every=args.det_every,
            at_once=args.show or source.kind == 'webcam',
            oks_thr=args.oks_thr,
        )
        if args.track or args.smooth:
            self.results = self._tracked(self.results)

    def _tracked(self, results: Any) -> Iterator[Any]:
        tracker = Tracker(self.meta['sigmas'])
        smoother = Smoother(self.args.smooth, frame_rate=self.source.frame_rate)
        for frame, people in results:
            people = smoother.update(tracker.update(people))
            if not self.args.track:  # the numbers served the smoothing alone
                people = [dataclasses.replace(person, track=None) for person in people]
            yield frame, people

    def run(self) -> None:
        """Predicts, draws and writes; a camera runs until a key stops it."""
        args = self.args
        stops = [KeyboardInterrupt] if self.source.kind == 'webcam' else []
        style = dict(keypoint_thr=args.keypoint_thr, person_thr=args.person_thr)
        style |= dict(boxes=args.draw_boxes, scores=args.draw_boxes)
        self.bar = Progress(self.source.num_frames, 'frames' if self.is_film else 'images')
        with self.outputs, contextlib.suppress(*stops), self.bar:
            for frame, people in self.results:
                picture = frame.pixels
                if args.heatmaps:
                    picture = overlay_heatmaps(picture, people)
                if args.show or args.pictures:
                    picture = draw_people(picture, people, self.meta, **style)
                self.outputs.write(frame, people, picture)
                self.drawn += sum(person.score >= args.person_thr for person in people)
                self.tracks.update(person.track for person in people)
                self.bar.add(len(people))
                if args.show:
                    cv2.imshow(_WINDOW, picture)
                    if cv2.waitKey(int(self.is_film)) & 0xFF in _STOP_KEYS:  # 0 waits for a key
                        raise KeyboardInterrupt

    def report(self) -> Iterator[str]:
        """Says what was done, and what was not."""
        source, thr, bar = self.source, self.args.person_thr, self.bar
        drawn = f', of whom {self.drawn} score at least {thr}' if thr else ''
        what = 'frames' if self.is_film else 'images'
        yield f'{bar.people} people in {bar.frames} {what}{drawn}; {bar.rate}'
        if self.args.track:
            yield f'{len(self.tracks - {None})} different people'
        if source.unreadable:
            yield f'{len(source.unreadable)} images could not be read: {listed(source.unreadable)}'
        missing = (source.num_frames or 0) - bar.frames
        if source.kind == 'video' and missing > 0.02 * bar.frames + 2:
            yield (
                f'the video ended after {bar.frames} of the {source.num_frames} frames that it '
                f'announces: {missing} are missing; it may be damaged there'
            )
        yield from self.boxes.left_over() if self.boxes else ()
        yield from (f'written: {place}' for place in self.outputs.places)


class _BoxesOfFile:
    """The boxes that a detection file has for images whose names end in their ids."""

    def __init__(self, args: argparse.Namespace, source: Media) -> None:
        self._detections, limited = read_detections(args.boxes), args.limit_to_detections
        found, named, unnumbered = self._detections.by_image, dict[int, Path](), []
        for path in source.paths:
            if (number := number_at_end(path)) is None:
                unnumbered.append(path.name)
            elif named.setdefault(number, path) is not path:
                raise InputError(
                    f'{named[number].name} and {path.name} in {path.parent} have the same image '
                    f'id, {number}; leave only one of them there'
                )
        if source.size is not None or not named:
            raise InputError(
                f'{args.input} holds no image with a name that ends in its id, such as 398905.jpg '
                'or COCO_val2014_000000398905.jpg, by which its boxes are found'
            )
        elsewhere = sorted(set(found) - set(named))
        without = [named[number].name for number in sorted(set(named) - set(found))]
        source.paths = [named[n] for n in sorted(named) if n in found or not limited]
        boxes = sum(len(found[number][1]) for number in elsewhere)
        others, self._outside = self._detections.other_categories, list[str]()
        # What of the file and of the images does not fit together.
        self._left: list[tuple[int, str, list[Any]]] = [
            (len(without), 'images without detections' + ' (left out)' * limited, without),
            (boxes, 'detections without an image, of the image ids', elsewhere),
            (len(unnumbered), 'images whose names do not end in a number', unnumbered),
            (others, 'detections of other categories than 1', []),
        ]

    def __call__(self, frames: list[Frame]) -> list[Boxes]:
        """The boxes of a frame; those outside its image are noted."""
        (frame,), nobody = frames, (np.zeros((0, 4)), np.zeros(0))
        boxes, scores = self._detections.by_image.get(frame.id, nobody)
        height, width = frame.pixels.shape[:2]
        out = outside(boxes, (width, height))
        for box in boxes[out]:
            text = ' '.join(f'{value:.6g}' for value in box)
            self._outside.append(f'{text} of {frame.name} ({width}x{height})')
        return [(boxes[~out], scores[~out])]

    def left_over(self) -> Iterator[str]:
        """What did not fit together, a line each."""
        outside = (len(self._outside), 'boxes outside their image', self._outside)
        for count, what, things in (*self._left, outside):
            if count:
                yield f'left over: {count} {what}' + (f': {listed(things)}' if things else '')


def _own_detector(model: list[str]) -> list[str]:
    """The detector that was trained beside a model of `mspn new`, if there is one."""
    folder = Path(model[0]).parent
    if len(model) == 1 or not (folder / 'detector.py').is_file():
        return []
    with contextlib.suppress(InputError):
        return find_model(str(folder), 'detector')
    return []


def _load(args: argparse.Namespace) -> tuple[PoseFinder, Any]:
    """The pose model, and what detects where no boxes are given: ONNX files, or torch's."""
    args.model = args.model or [POSE]
    for option, kind in (('model', 'pose'), ('detector', 'detector')):
        words = getattr(args, option)
        if words and len(words) == 1 and not is_onnx(words[0]):
            setattr(args, option, find_model(words[0], kind))
    light = [len(model) == 1 for model in (args.model, args.detector or [''])]
    if not all(light):
        from mspn_plugin.commands import predict as torch_half  # seconds
    finder: PoseFinder
    if light[0]:
        for option, value in (('--heatmaps', args.heatmaps), ('--cfg-options', args.cfg_options)):
            if value:
                raise InputError(f'{option} is for a config and a checkpoint, not an ONNX file')
        more: Any = dict(batch_size=args.batch_size, score_thr=args.score_thr)
        finder = PoseModel(*args.model, device=args.pose_device or args.device or 'cpu', **more)
    else:
        device = args.pose_device or args.device or torch_half.best_device()
        finder = torch_half.load_poses(args, device)
    if args.boxes or args.whole_image:
        return finder, None
    detector = args.detector or _own_detector(args.model)
    light[1] = len(detector) == 1 if detector else True
    if not detector:
        names = names_of(finder.meta)
        detector = [default_detector(names, str(finder.meta.get('dataset_name', '')))]
    more = dict(score_thr=args.bbox_thr, nms_thr=args.nms_thr)
    device = args.det_device or args.device
    if light[1]:
        if args.det_cat_id:
            raise InputError(
                '--det-cat-id is for a config; an ONNX file finds what it was made for'
            )
        return finder, DetectorModel(*detector, device=device or 'cpu', **more).detect
    device = device or torch_half.best_device()
    more['category'] = args.det_cat_id
    return finder, torch_half.load_detector(*detector, device=device, **more).detect
