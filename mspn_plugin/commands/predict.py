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
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from tqdm import tqdm

from mspn.detections import read_detections
from mspn.drawing import draw_people, overlay_heatmaps
from mspn.errors import InputError, listed, printable
from mspn.media import Frame, Media, check_window, number_at_end, open_media
from mspn.outputs import Outputs
from mspn.poses import outside

from ..apis.detector import PersonDetector, check_device
from ..apis.pipeline import Boxes, people_in_frames
from ..apis.predictor import WHOLE_IMAGE, PosePredictor
from ..engine.start import check_weights_fit
from .run_config import override, read_config

from mmpose.apis import init_model  # isort: skip  # after the plugin, which closes the gaps
from mmpose.models.pose_estimators import TopdownPoseEstimator  # isort: skip

_STOP_KEYS = (ord('q'), 27)  # 27 is Esc
_WINDOW = 'poses'


def run(args: argparse.Namespace) -> None:
    """Checks what was given, goes through it, and says where the results are."""
    # Deprecations inside these packages would break the progress bar into pieces.
    warnings.filterwarnings('ignore', module=r'(torch|mmengine|mmcv|mmdet|mmpose)\b')
    job = _Job(args)
    # A job that its queue ends finishes its files and names them.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        job.run()
    except OSError as error:
        place, reason = error.filename or job.outputs.folder, error.strerror or error
        raise InputError(f'{place} cannot be read or written: {reason}') from error
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(
            f"a batch of {args.batch_size} people exceeds the device's memory; give a smaller "
            '--batch-size'
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)
    for line in job.report():
        print(printable(line))


class _Job:
    """What was asked for, and what was done so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.count, self.rate = args, Counter[str](), '0.0 people/s'
        if args.show:
            check_window(_WINDOW)
        elif not (args.pictures or args.json):
            raise InputError('--no-pictures and --no-json leave nothing to do without --show')
        device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
        find_device, pose_device = args.det_device or device, args.pose_device or device
        check_device(find_device)
        check_device(pose_device)
        self.source = source = open_media(args.input)
        self.is_film = source.size is not None
        if args.det_every > 1 and not self.is_film:
            raise InputError(
                f'--det-every {args.det_every} needs a video or a camera; the people of one image '
                'say nothing about the next image'
            )
        self.boxes = _BoxesOfFile(args, source) if args.boxes else None
        self.outputs = Outputs(
            source,
            args.out or Path('results') / source.name,
            results=args.results if args.json else None,
            picture=args.picture if args.pictures else None,
            overwrite=args.overwrite,
        )
        predictor = _load_predictor(args, pose_device)
        self.meta = predictor.meta
        find: Any = self.boxes or (lambda frames: [(WHOLE_IMAGE, None) for _ in frames])
        if args.detector:
            options = dict(category=args.det_cat_id, score_thr=args.bbox_thr, nms_thr=args.nms_thr)
            detector = PersonDetector(*args.detector, device=find_device, **options)
            find = lambda frames: detector.detect([f.pixels for f in frames])  # noqa: E731
        self.results = people_in_frames(
            source,
            find,
            predictor,
            find_batch=args.det_batch_size if args.detector else 1,
            find_every=args.det_every,
            at_once=args.show or source.kind == 'webcam',
            oks_thr=args.oks_thr,
        )

    def run(self) -> None:
        """Predicts, draws and writes; a camera runs until a key stops it."""
        args, count, total = self.args, self.count, self.source.num_frames
        stops = [KeyboardInterrupt] if self.source.kind == 'webcam' else []
        style = dict(keypoint_thr=args.keypoint_thr, person_thr=args.person_thr)
        style |= dict(boxes=args.draw_boxes, scores=args.draw_boxes)
        start = time.perf_counter()
        bar = tqdm(total=total, unit='frame', mininterval=0.5, file=sys.stderr)
        with self.outputs, contextlib.suppress(*stops), bar:
            for frame, people in self.results:
                picture = frame.pixels
                if args.heatmaps:
                    picture = overlay_heatmaps(picture, people)
                if args.show or args.pictures:
                    picture = draw_people(picture, people, self.meta, **style)
                self.outputs.write(frame, people, picture)
                drawn = sum(person.score >= args.person_thr for person in people)
                count.update(frames=1, people=len(people), drawn=drawn)
                self.rate = f'{count["people"] / (time.perf_counter() - start):.1f} people/s'
                bar.set_postfix_str(f'{count["people"]} people, {self.rate}', refresh=False)
                bar.update()
                if args.show:
                    cv2.imshow(_WINDOW, picture)
                    if cv2.waitKey(int(self.is_film)) & 0xFF in _STOP_KEYS:  # 0 waits for a key
                        raise KeyboardInterrupt

    def report(self) -> Iterator[str]:
        """Says what was done, and what was not."""
        source, thr, done = self.source, self.args.person_thr, self.count['frames']
        drawn = f', of whom {self.count["drawn"]} score at least {thr}' if thr else ''
        what = 'frames' if self.is_film else 'images'
        yield f'{self.count["people"]} people in {done} {what}{drawn}; {self.rate}'
        if source.unreadable:
            yield f'{len(source.unreadable)} images could not be read: {listed(source.unreadable)}'
        if source.kind == 'video' and (source.num_frames or 0) > 1.02 * done + 2:
            yield (
                f'the video ended after {done} of the {source.num_frames} frames that it '
                'announces; it may be damaged there'
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


def _load_predictor(args: argparse.Namespace, device: str) -> PosePredictor:
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
    except Exception as error:  # anything can be wrong in a config
        if isinstance(error, InputError):
            raise
        raise InputError(
            f'{config} cannot be built as a pose model: {error}; correct it, or --cfg-options'
        ) from error
    model = init_model(cfg, checkpoint, device=device)
    if not isinstance(model, TopdownPoseEstimator):
        raise InputError(f'{config} describes a {type(model).__name__}; expected a top-down model')
    return PosePredictor(model, batch_size=args.batch_size, score_thr=args.score_thr)
