"""Poses of the people in pictures and films: `mspn predict`, and two scripts in `tools/`.

The boxes come from a detector of MMDet or from a file, or are the whole images. If the run ends
early, what is done stays: pictures, and ``.partial`` files that can be used.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.registry import init_default_scope
from tqdm import tqdm

from mspn.detections import read_detections
from mspn.drawing import draw_people, overlay_heatmaps
from mspn.errors import InputError, listed, printable
from mspn.media import Frame, Media, check_window, number_at_end, open_media
from mspn.outputs import Outputs
from mspn.poses import Pose

from ..apis.detector import PersonDetector, check_device
from ..apis.pipeline import Boxes, people_in_frames
from ..apis.predictor import WHOLE_IMAGE, PosePredictor
from ..checkpoints.match import check_weights_fit
from .run_config import override, read_config

from mmpose.apis import init_model  # isort: skip  # after the plugin, which closes the gaps
from mmpose.models.pose_estimators import TopdownPoseEstimator  # isort: skip

_STOP_KEYS = (ord('q'), 27)  # 27 is Esc
_WINDOW = 'poses'


def run(args: argparse.Namespace) -> None:
    """Checks what was given, goes through it, and says where the results are."""
    # Deprecations inside these packages, which would break the progress bar into pieces.
    warnings.filterwarnings('ignore', module=r'(torch|mmengine|mmcv|mmdet|mmpose)\b')
    run = _Run(args)
    before = signal.signal(signal.SIGTERM, _terminate)  # so that files are finished and named
    try:
        run.go()
    except BaseException as error:
        if kept := ', '.join(map(str, run.outputs.kept())):
            print(f'ended after {run.frames} frames, which are kept: {kept}', file=sys.stderr)
        if isinstance(error, OSError):
            place, reason = error.filename or run.outputs.folder, error.strerror or error
            raise InputError(f'{place} cannot be read or written: {reason}') from error
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise InputError(
                f"a batch of {args.batch_size} people exceeds the device's memory; give a smaller "
                '--batch-size'
            ) from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    for line in run.report():
        print(printable(line))


def _terminate(*_: object) -> None:
    raise SystemExit(143)


class _Run:
    """What was asked for, and what was done so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.frames = self.people = self.drawn = 0
        if not (args.show or args.pictures or args.json):
            raise InputError('--no-pictures and --no-json leave nothing to do without --show')
        if args.show:
            check_window(_WINDOW)
        default = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
        args.det_device, args.pose_device = args.det_device or default, args.pose_device or default
        check_device(args.det_device)
        check_device(args.pose_device)
        self.source = open_media(args.input)
        self.is_film = self.source.size is not None
        if args.det_every > 1 and not self.is_film:
            raise InputError(
                f'--det-every {args.det_every} needs a video or a camera; the people of one image '
                'say nothing about the next image'
            )
        self.boxes = _BoxesOfFile(args, self.source) if args.boxes else None
        self.outputs = Outputs(
            self.source,
            args.out or Path('results') / self.source.name,
            results=args.results if args.json else None,
            picture=args.picture if args.pictures else None,
            overwrite=args.overwrite,
        )
        self.predictor = _load_predictor(args)
        find: Callable[[list[Frame]], list[Boxes]]
        find = self.boxes or (lambda frames: [(WHOLE_IMAGE, None) for _ in frames])
        if args.detector:
            options = dict(category=args.det_cat_id, score_thr=args.bbox_thr, nms_thr=args.nms_thr)
            detector = PersonDetector(*args.detector, device=args.det_device, **options)
            find = lambda frames: detector.detect([frame.pixels for frame in frames])  # noqa: E731
        self.results = people_in_frames(
            self.source,
            find,
            self.predictor,
            find_batch=args.det_batch_size if args.detector else 1,
            find_every=args.det_every,
            at_once=args.show or self.source.kind == 'webcam',
            oks_thr=args.oks_thr,
        )

    def go(self) -> None:
        """Predicts, draws and writes; a camera runs until a key stops it."""
        args, live = self.args, self.source.kind == 'webcam'
        with self.outputs, contextlib.suppress(*[KeyboardInterrupt] if live else []):
            for frame, people in self._counted():
                picture = frame.pixels
                if args.heatmaps:
                    picture = overlay_heatmaps(picture, people)
                if args.show or args.pictures:
                    thresholds = dict(keypoint_thr=args.keypoint_thr, person_thr=args.person_thr)
                    labels = dict(boxes=args.draw_boxes, scores=args.draw_boxes)
                    meta = self.predictor.meta
                    picture = draw_people(picture, people, meta, **thresholds, **labels)
                self.outputs.write(frame, people, picture)
                if args.show:
                    cv2.imshow(_WINDOW, picture)
                    if cv2.waitKey(int(self.is_film)) & 0xFF in _STOP_KEYS:  # 0 waits for a key
                        raise KeyboardInterrupt

    def _counted(self) -> Iterator[tuple[Frame, list[Pose]]]:
        """Passes results on, counts those that are done, and shows how fast they come."""
        self._start, total = time.perf_counter(), self.source.num_frames
        with tqdm(total=total, unit='frame', mininterval=0.5, file=sys.stderr) as bar:
            for frame, people in self.results:
                yield frame, people
                self.frames += 1
                self.people += len(people)
                self.drawn += sum(person.score >= self.args.person_thr for person in people)
                bar.set_postfix_str(f'{self.people} people, {self._rate()}', refresh=False)
                bar.update()

    def _rate(self) -> str:
        return f'{self.people / (time.perf_counter() - self._start):.1f} people/s'

    def report(self) -> Iterator[str]:
        """Says what was done, and what was not."""
        source, thr = self.source, self.args.person_thr
        drawn = f', of whom {self.drawn} score at least {thr}' if thr else ''
        what = 'frames' if self.is_film else 'images'
        yield f'{self.people} people in {self.frames} {what}{drawn}; {self._rate()}'
        if source.unreadable:
            yield f'{len(source.unreadable)} images could not be read: {listed(source.unreadable)}'
        if source.kind == 'video' and (source.num_frames or 0) > 1.02 * self.frames + 2:
            yield (
                f'the video ended after {self.frames} of the {source.num_frames} frames that it '
                'announces; it may be damaged there'
            )
        yield from self.boxes.left_over() if self.boxes else ()
        yield from (f'written: {place}' for place in self.outputs.places)


class _BoxesOfFile:
    """The boxes that a detection file has for images whose names end in their ids."""

    def __init__(self, args: argparse.Namespace, source: Media) -> None:
        self._detections = read_detections(args.boxes)
        self._limited = args.limit_to_detections
        self._outside: list[str] = []
        self._unnumbered = [path.name for path in source.paths if number_at_end(path) is None]
        self._images: dict[int, Path] = {}
        for path in source.paths:
            number = number_at_end(path)
            if number is not None and self._images.setdefault(number, path) is not path:
                raise InputError(
                    f'{self._images[number].name} and {path.name} in {path.parent} have the same '
                    f'image id, {number}; leave only one of them there'
                )
        if source.size is not None or not self._images:
            raise InputError(
                f'{args.input} holds no image with a name that ends in its id, such as 398905.jpg '
                'or COCO_val2014_000000398905.jpg, by which its boxes are found'
            )
        self._without = sorted(set(self._images) - set(self._detections.by_image))
        chosen = set(self._images) - set(self._without if self._limited else ())
        source.paths = [self._images[number] for number in sorted(chosen)]

    def __call__(self, frames: list[Frame]) -> list[Boxes]:
        """The boxes of some frames; those outside their image are noted."""
        return [self._of(frame) for frame in frames]

    def _of(self, frame: Frame) -> Boxes:
        if frame.id not in self._detections.by_image:
            return None, None
        boxes, scores = self._detections.by_image[frame.id]
        height, width = frame.pixels.shape[:2]
        inside = (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, :2] < (width, height)).all(axis=1)
        for box in boxes[~inside]:
            text = ' '.join(f'{value:.6g}' for value in box)
            self._outside.append(f'{text} of {frame.name} ({width}x{height})')
        return boxes[inside], scores[inside]

    def left_over(self) -> Iterator[str]:
        """What of the file and of the images did not fit together."""
        found = self._detections.by_image
        without = [self._images[number].name for number in self._without]
        elsewhere = sorted(set(found) - set(self._images))
        elsewhere_boxes = [box for number in elsewhere for box in found[number][1]]
        skipped = ' (left out)' if self._limited else ''
        for counted, what, named in (
            (without, f'images without detections{skipped}', without),
            (elsewhere_boxes, 'detections without an image, of the image ids', elsewhere),
            (self._outside, 'boxes outside their image', self._outside),
            (self._unnumbered, 'images whose names do not end in a number', self._unnumbered),
        ):
            if counted:
                yield f'left over: {len(counted)} {what}: {listed(named)}'
        if others := self._detections.other_categories:
            yield f'left over: {others} detections of other categories than 1'


def _load_predictor(args: argparse.Namespace) -> PosePredictor:
    """Builds the model of a config and loads the weights, which must be its own."""
    config, checkpoint = args.model
    cfg: Any = read_config(config)
    override(cfg, args.cfg_options, config)
    scope = cfg.get('default_scope', 'mmpose')
    if not {'backbone', 'head'} <= set(cfg.get('model', {})) or scope != 'mmpose':
        raise InputError(f'{config} describes no pose model; expected backbone and head in it')
    if args.heatmaps:
        cfg.model.setdefault('test_cfg', {})['output_heatmaps'] = True
    init_default_scope('mmpose')
    try:
        check_weights_fit(checkpoint, cfg.model)
    except InputError:
        raise
    except Exception as error:  # anything can be wrong in a config
        raise InputError(
            f'{config} cannot be built as a pose model: {error}; correct it, or --cfg-options'
        ) from error
    model = init_model(cfg, checkpoint, device=args.pose_device)
    if not isinstance(model, TopdownPoseEstimator):
        raise InputError(f'{config} describes a {type(model).__name__}; expected a top-down model')
    return PosePredictor(model, batch_size=args.batch_size, score_thr=args.score_thr)
