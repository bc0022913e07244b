"""A detector of MMDet and a pose model on an image, a folder, a video or a camera.

Below the folder --out it writes

    predictions.json     everybody, as COCO's keypoint results. image_id is the number of the frame,
                         from 0; for images the number that is the file's name, if all of them
                         have one, or else the place in the sorted folder. image is the file's name
    pictures/            for images: each of them with the poses
    <name>.mp4           for a video or a camera: the same with the poses, without sound

If the run ends early, what is done stays there: pictures, and .partial files that can be used.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import DictAction
from mmengine.registry import init_default_scope
from tqdm import tqdm

from mspn.drawing import draw_people, overlay_heatmaps
from mspn.errors import exit_with_sentence, listed, printable
from mspn.media import Media, open_media
from mspn.outputs import Outputs
from mspn_plugin import InputError
from mspn_plugin.apis.detector import PersonDetector, check_device
from mspn_plugin.apis.pipeline import people_in_frames
from mspn_plugin.commands.run_config import override, read_config
from mspn_plugin.engine.start import check_weights_fit

from mmpose.apis import init_model  # isort: skip  # after the plugin, which closes the gaps
from mmpose.models.pose_estimators import TopdownPoseEstimator  # isort: skip

_STOP_KEYS = (ord('q'), 27)  # 27 is Esc


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('det_config', help='path of an MMDet config, or the name of one that comes with MMDet')
    add('det_weights', help="the detector's weights, a file or a URL")
    add('pose_config', help='path of a config, or the name of one of this package')
    add('pose_weights', help="the pose model's weights, a file or a URL")
    add(
        '--input',
        required=True,
        metavar='PATH',
        help='an image, a folder of images, a video, or webcam:0',
    )
    add('--out', type=Path, metavar='FOLDER', help='default: results/<name of the input>')
    add('--overwrite', action='store_true', help='replace results of an earlier run')
    switch = argparse.BooleanOptionalAction
    add('--pictures', action=switch, default=True, help='write pictures, or the video')
    add('--save-json', action=switch, default=True, help='write predictions.json')
    add('--show', action='store_true', help='show every picture in a window; q or Esc ends the run')
    add('--show-heatmaps', action='store_true', help='lay the heatmaps over the pictures')
    add('--draw-boxes', action='store_true', help='draw boxes and scores too')
    add(
        '--keypoint-thr',
        type=float,
        default=0.0,
        metavar='SCORE',
        help='draw only keypoints with this score; one of which nothing is seen has 0.5',
    )
    add(
        '--person-thr',
        type=float,
        default=0.0,
        metavar='SCORE',
        help='draw only people with this score; predictions.json has all',
    )
    add(
        '--score-thr',
        type=float,
        default=0.0,
        metavar='SCORE',
        help="leave out people with a lower score, the box's times the mean of the keypoints'",
    )
    add('--det-cat-id', type=int, default=0, metavar='N', help="index of people (COCO's: 0)")
    add('--bbox-thr', type=float, default=0.3, metavar='SCORE', help='lowest score of a box')
    add(
        '--nms-thr',
        type=float,
        default=0.3,
        metavar='IOU',
        help='of two boxes that overlap more, the one with the lower score is left out',
    )
    add(
        '--oks-thr',
        type=float,
        default=0.9,
        metavar='OKS',
        help='of two poses that are more alike than this (object keypoint similarity), the one '
        'with the lower score is left out; 1 keeps all',
    )
    add(
        '--det-every',
        type=int,
        default=1,
        metavar='N',
        help='detect in every Nth frame only; between them boxes follow the poses',
    )
    add('--batch-size', type=int, default=64, metavar='N', help='people in a batch')
    add('--det-batch-size', type=int, default=8, metavar='N', help='frames in a batch')
    add('--device', help='cpu, cuda or cuda:N (default: cuda if there is one)')
    add('--det-device', metavar='DEVICE', help='another one for the detector')
    add('--pose-device', metavar='DEVICE', help='another one for the pose model')
    add(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help="override settings of the pose model's config",
    )
    return parser.parse_args()


def check_options(args: argparse.Namespace) -> None:
    """Checks what can be checked before anything is opened, and fills in the devices."""
    for option in ('det_every', 'batch_size', 'det_batch_size'):
        if getattr(args, option) < 1:
            name = option.replace('_', '-')
            raise InputError(f'--{name} is {getattr(args, option)}; expected at least 1')
    for option in ('bbox_thr', 'nms_thr', 'oks_thr'):
        if not 0 <= getattr(args, option) <= 1:
            name = option.replace('_', '-')
            raise InputError(f'--{name} is {getattr(args, option)}; expected 0 to 1')
    if not (args.show or args.pictures or args.save_json):
        raise InputError(
            '--no-pictures and --no-save-json leave nothing to do; leave one of them out, or use '
            '--show'
        )
    if args.show:
        check_window()
    default = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    args.det_device = args.det_device or default
    args.pose_device = args.pose_device or default
    check_device(args.det_device)
    check_device(args.pose_device)


def check_window() -> None:
    """Checks that --show can open a window; some builds of OpenCV end the process if not."""
    system = sys.platform.startswith('linux')
    remedy = 'leave out --show and look at the pictures in --out'
    if 'GUI: NONE' in ' '.join(cv2.getBuildInformation().split()):
        raise InputError(
            '--show needs an OpenCV with windows, and opencv-python-headless has none; install '
            f'opencv-python in its place, or {remedy}'
        )
    if system and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        raise InputError(f'--show needs a display, and DISPLAY names none; {remedy}')
    try:
        cv2.namedWindow('poses', cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise InputError(f'--show cannot open a window ({error.err}); {remedy}') from error


def load_models(args: argparse.Namespace) -> tuple[PersonDetector, Any]:
    """Loads detector and pose model; both checkpoints must fit."""
    cfg = read_config(args.pose_config)
    override(cfg, args.cfg_options, args.pose_config)
    if 'head' not in cfg.get('model', {}) or cfg.get('default_scope', 'mmpose') != 'mmpose':
        raise InputError(
            f'{args.pose_config} describes no pose model; its config and weights come after those '
            'of the detector'
        )
    if args.show_heatmaps:
        cfg.model.setdefault('test_cfg', {})['output_heatmaps'] = True
    init_default_scope('mmpose')
    try:
        check_weights_fit(args.pose_weights, cfg.model)
    except InputError:
        raise
    except Exception as error:  # anything can be wrong in a config
        raise InputError(
            f'{args.pose_config} cannot be built as a pose model: {error}; correct it, or '
            '--cfg-options'
        ) from error
    detector = PersonDetector(
        args.det_config,
        args.det_weights,
        device=args.det_device,
        category=args.det_cat_id,
        score_thr=args.bbox_thr,
        nms_thr=args.nms_thr,
    )
    model = init_model(cfg, args.pose_weights, device=args.pose_device)
    if not isinstance(model, TopdownPoseEstimator):
        raise InputError(
            f'{args.pose_config} describes a {type(model).__name__}; expected a top-down model'
        )
    return detector, model


def draw(frame: Any, people: list[Any], meta: dict[str, Any], args: argparse.Namespace) -> Any:
    """Draws the people of a frame."""
    picture = frame.pixels
    if args.show_heatmaps:
        picture = overlay_heatmaps(picture, people)
    return draw_people(
        picture,
        people,
        meta,
        keypoint_thr=args.keypoint_thr,
        person_thr=args.person_thr,
        boxes=args.draw_boxes,
        scores=args.draw_boxes,
    )


def with_progress(results: Iterator[Any], total: int | None, counts: dict[str, int]) -> Any:
    """Passes results on, counts them, and shows how fast they come."""
    start = time.perf_counter()
    with tqdm(total=total, unit='frame', mininterval=0.5, file=sys.stderr) as bar:
        for frame, people in results:
            yield frame, people
            counts['frames'] += 1
            counts['people'] += len(people)
            rate = counts['people'] / (time.perf_counter() - start)
            text = f'{counts["people"]} people, {rate:.1f} people/s'
            bar.set_postfix_str(text, refresh=False)
            bar.update()


def run(args: argparse.Namespace, source: Media, outputs: Outputs, counts: dict[str, int]) -> None:
    """Goes through the source; a camera runs until a key stops it."""
    detector, model = load_models(args)
    results = people_in_frames(
        source,
        detector,
        model,
        batch_size=args.batch_size,
        det_batch_size=args.det_batch_size,
        det_every=args.det_every,
        at_once=args.show or source.kind == 'webcam',
        score_thr=args.score_thr,
        oks_thr=args.oks_thr,
    )
    live = source.kind == 'webcam'
    with outputs, contextlib.suppress(*[KeyboardInterrupt] if live else []):
        for frame, people in with_progress(results, source.num_frames, counts):
            wanted = args.show or outputs.draws
            picture = draw(frame, people, model.dataset_meta, args) if wanted else None
            outputs.write(frame, people, picture)
            if args.show:
                cv2.imshow('poses', picture)
                key = cv2.waitKey(0 if source.size is None else 1)  # images wait for a key
                if key & 0xFF in _STOP_KEYS:
                    raise KeyboardInterrupt


def report(source: Media, outputs: Outputs, counts: dict[str, int]) -> None:
    """Says what was done, and what was not."""
    what = 'images' if source.size is None else 'frames'
    print(f'{counts["people"]} people in {counts["frames"]} {what}')
    if source.unreadable:
        names = listed(source.unreadable)
        print(printable(f'{len(source.unreadable)} images could not be read: {names}'))
    if source.kind == 'video' and (source.num_frames or 0) > 1.02 * counts['frames'] + 2:
        print(
            f'the video ended after {counts["frames"]} of the {source.num_frames} frames that it '
            'announces; it may be damaged there'
        )
    for place in outputs.places:
        print(f'written: {place}')


@exit_with_sentence
def main() -> None:
    """Checks what was given, goes through it, and says where the results are."""
    args = parse_arguments()
    check_options(args)
    source = open_media(args.input)
    if args.det_every > 1 and source.size is None:
        raise InputError(
            f'--det-every {args.det_every} needs a video or a camera; the people of one image say '
            'nothing about the next image'
        )
    outputs = Outputs(
        source,
        args.out or Path('results') / source.name,
        pictures=args.pictures,
        predictions=args.save_json,
        overwrite=args.overwrite,
    )
    counts = dict(frames=0, people=0)
    try:
        run(args, source, outputs, counts)
    except BaseException:
        if kept := ', '.join(map(str, outputs.kept())):
            print(f'ended after {counts["frames"]} frames, which are kept: {kept}', file=sys.stderr)
        raise
    report(source, outputs, counts)


def _terminate(*_: object) -> None:
    raise SystemExit(143)


if __name__ == '__main__':
    # Deprecations inside these packages, which would break the progress bar into pieces.
    warnings.filterwarnings('ignore', module=r'(torch|mmengine|mmcv|mmdet|mmpose)\b')
    signal.signal(signal.SIGTERM, _terminate)  # so that files are finished and named
    main()
