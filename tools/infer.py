"""Poses of the people in a folder of images, whose boxes a detection file gives.

Writes a picture <id>_res.jpg for each image, with the poses whose score is above the threshold, and
results.json with all poses, in COCO's format.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import DictAction
from mmengine.registry import init_default_scope
from tqdm import tqdm

from mspn.coco_results import ResultsFile, coco_results
from mspn.detections import Detections, read_detections
from mspn.drawing import draw_people
from mspn.errors import exit_with_sentence, listed, printable
from mspn.images import read_image
from mspn_plugin import InputError
from mspn_plugin.apis import infer_people
from mspn_plugin.apis.people import instance_score
from mspn_plugin.commands.run_config import override, read_config
from mspn_plugin.engine.start import check_weights_fit

from mmpose.apis import init_model  # isort: skip  # after the plugin, which closes the gaps

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
RESULTS = 'results.json'


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('config', help='path of a config, or the name of one of this package')
    parser.add_argument('checkpoint', help='the weights: a file or a URL')
    parser.add_argument(
        'images',
        type=Path,
        help='folder of images whose names end in their ids, such as 398905.jpg',
    )
    parser.add_argument(
        '--det-file',
        type=Path,
        required=True,
        metavar='FILE',
        help='JSON list of boxes: image_id, category_id 1, bbox (x y width height), score',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('infer_results'),
        metavar='FOLDER',
        help='folder for pictures and results (default: %(default)s)',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.7,
        metavar='SCORE',
        help="draw people whose score, the box's times the mean of the keypoints', is above this "
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=64,
        metavar='PEOPLE',
        help='people in a batch; as many images wait in memory (default: %(default)s)',
    )
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: cuda where there is one)')
    parser.add_argument(
        '--limit-to-detections',
        action='store_true',
        help='no pictures of images without detections, which otherwise get theirs unchanged',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace files of the same names in the folder'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, such as model.test_cfg.flip_test=False',
    )
    return parser.parse_args()


def find_images(folder: Path) -> tuple[dict[int, Path], list[str]]:
    """Finds the images of a folder.

    Args:
        folder: The folder; those inside it are not searched.

    Returns:
        The images by their ids, sorted, and the names of images that do not end in a number.

    Raises:
        InputError: There are none, or two have the same id.
    """
    if not folder.is_dir():
        what = 'is a file' if folder.exists() else 'does not exist'
        raise InputError(f'{folder} {what}; give the folder of the images')
    images: dict[int, Path] = {}
    unnumbered = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith('.') or path.is_dir():
            continue
        number = re.search(r'[0-9]+$', path.stem)
        if number is None:
            unnumbered.append(path.name)
            continue
        other = images.setdefault(int(number[0]), path)
        if other is not path:
            raise InputError(
                f'{other.name} and {path.name} in {folder} have the same image id, '
                f'{int(number[0])}; leave only one of them there'
            )
    if not images:
        found = f'{len(unnumbered)} images, but none' if unnumbered else 'no image'
        raise InputError(
            f'{folder} holds {found} with a name that ends in its id, such as 398905.jpg or '
            f'COCO_val2014_000000398905.jpg ({", ".join(SUFFIXES)}); give another folder'
        )
    return dict(sorted(images.items())), unnumbered


def check_options(args: argparse.Namespace) -> None:
    """Checks the numbers and the folder to write to."""
    if not 0 <= args.score_thr < float('inf'):  # up to 1.5: a perfect heatmap's keypoint scores
        raise InputError(f'--score-thr is {args.score_thr}; expected a number from 0 on')
    if args.batch_size < 1:
        raise InputError(f'--batch-size is {args.batch_size}; expected at least 1')
    out = args.out
    if out.exists() and not out.is_dir():
        raise InputError(f'--out: {out} is a file; give the name of a folder')
    if out.is_dir() and any(out.iterdir()) and not args.overwrite:
        raise InputError(
            f'--out: the folder {out} is not empty; give another, or --overwrite to replace files '
            'of the same names in it'
        )


def pick_device(name: str | None) -> str:
    """The device to run on, which works."""
    if name is None:
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.zeros(1, device=name)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip('.')
        raise InputError(
            f'--device {name} cannot be used on this machine ({reason}); give another, such as cpu'
        ) from error
    return name


def load_model(args: argparse.Namespace) -> Any:
    """Builds the model of a config and loads the weights, which must be its own."""
    cfg = read_config(args.config)
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    override(cfg, args.cfg_options, args.config)
    if not {'backbone', 'head'} <= set(cfg.get('model', {})):
        raise InputError(f'{args.config} describes no pose model; expected backbone and head in it')
    cfg.model.backbone.init_cfg = None  # the checkpoint holds all weights
    device = pick_device(args.device)
    check_weights_fit(args.checkpoint, cfg.model)
    return init_model(cfg, args.checkpoint, device=device)


class Tally:
    """What a run did, and what it could not do."""

    def __init__(self) -> None:
        self.people = self.drawn = self.pictures = 0
        self.unreadable: list[str] = []
        self.outside: list[str] = []


class Feed:
    """The images, boxes and scores for `infer_people`, and what its results belong to.

    Args:
        images: The images by their ids.
        detections: The boxes.
        tally: Where images that cannot be read and boxes outside their image are noted.
    """

    def __init__(self, images: dict[int, Path], detections: Detections, tally: Tally) -> None:
        self._images, self._detections, self._tally = images, detections, tally
        self.waiting: deque[tuple[int, np.ndarray]] = deque()
        self._boxes: deque[np.ndarray] = deque()
        self._scores: deque[np.ndarray] = deque()

    def images(self) -> Iterator[np.ndarray]:
        """Decodes one image after the other, each once; it then waits for its people."""
        nobody = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        for image_id, path in self._images.items():
            image = read_image(path)
            if image is None:
                self._tally.unreadable.append(path.name)
                continue
            boxes, scores = self._detections.by_image.get(image_id, nobody)
            height, width = image.shape[:2]
            inside = (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, :2] < (width, height)).all(axis=1)
            for box in boxes[~inside]:
                text = ' '.join(f'{value:.6g}' for value in box)
                self._tally.outside.append(f'{text} of {path.name} ({width}x{height})')
            self.waiting.append((image_id, image))
            self._boxes.append(boxes[inside])
            self._scores.append(scores[inside])
            yield image
        if self._images and len(self._tally.unreadable) == len(self._images):
            raise InputError(
                f'none of the {len(self._images)} images can be read, the first one is '
                f'{self._tally.unreadable[0]}; they may be damaged, or no images at all'
            )

    def boxes(self) -> Iterator[np.ndarray]:
        """The boxes of the images that `images` gave."""
        while self._boxes:
            yield self._boxes.popleft()

    def scores(self) -> Iterator[np.ndarray]:
        """Their scores."""
        while self._scores:
            yield self._scores.popleft()


def write_picture(path: Path, image: np.ndarray) -> None:
    """Writes a JPEG."""
    encoded, data = cv2.imencode('.jpg', image)
    if not encoded:
        raise InputError(f'{path} cannot be written; {image.shape[:2]} pixels are no JPEG')
    path.write_bytes(data.tobytes())


def infer(
    model: Any, images: dict[int, Path], detections: Detections, args: argparse.Namespace
) -> Tally:
    """Predicts, draws and writes."""
    tally = Tally()
    feed = Feed(images, detections, tally)
    found = infer_people(
        model,
        feed.images(),
        feed.boxes(),
        box_scores=feed.scores(),
        batch_size=args.batch_size,
    )
    total = sum(len(detections.by_image[i][1]) for i in images if i in detections.by_image)
    results = ResultsFile(args.out / RESULTS)
    try:
        with results, tqdm(total=total, unit='people', file=sys.stderr) as bar:
            for people in found:
                image_id, image = feed.waiting.popleft()
                results.write(coco_results(people, image_id))
                seen = [person for person in people if instance_score(person) > args.score_thr]
                picture = draw_people(image, seen, model.dataset_meta)
                write_picture(args.out / f'{image_id}_res.jpg', picture)
                tally.people += len(people)
                tally.drawn += len(seen)
                tally.pictures += 1
                bar.update(len(people))
    except BaseException:
        if results.count:
            print(
                f'not all images were done; the {results.count} people found so far are in '
                f'{results.partial}',
                file=sys.stderr,
            )
        raise
    return tally


def report(
    tally: Tally,
    images: dict[int, Path],
    unnumbered: list[str],
    detections: Detections,
    args: argparse.Namespace,
) -> Iterator[str]:
    """The lines of the summary."""
    yield f'images      {len(images)}, of which {tally.pictures} were done'
    yield f'people      {tally.people}, of whom {tally.drawn} score above {args.score_thr}'
    yield f'written     {args.out / RESULTS} and {tally.pictures} pictures beside it'
    without = [path.name for image, path in images.items() if image not in detections.by_image]
    elsewhere = [image for image in sorted(detections.by_image) if image not in images]
    boxes = sum(len(detections.by_image[image][1]) for image in elsewhere)
    skipped = ' (left out)' if args.limit_to_detections else ''
    for count, what, things in (
        (len(without), f'images without detections{skipped}', without),
        (boxes, 'detections without an image, of the image ids', elsewhere),
        (len(tally.unreadable), 'images that cannot be read', tally.unreadable),
        (len(tally.outside), 'boxes outside their image', tally.outside),
        (len(unnumbered), 'images whose names do not end in a number', unnumbered),
    ):
        if count:
            yield f'left over   {count} {what}: {listed(things)}'
    if detections.other_categories:
        yield f'left over   {detections.other_categories} detections of other categories than 1'


@exit_with_sentence
def main() -> None:
    """Checks everything that was given, then infers."""
    args = parse_arguments()
    try:
        check_options(args)
        images, unnumbered = find_images(args.images)
        detections = read_detections(args.det_file)
        model = load_model(args)
        args.out.mkdir(parents=True, exist_ok=True)
        chosen = images
        if args.limit_to_detections:
            chosen = {i: path for i, path in images.items() if i in detections.by_image}
        begin = time.monotonic()
        tally = infer(model, chosen, detections, args)
    except OSError as error:
        raise InputError(
            f'{error.filename or args.out} cannot be read or written: {error.strerror or error}'
        ) from error
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(
            f"a batch of {args.batch_size} people exceeds the device's memory; give a smaller "
            '--batch-size'
        ) from error
    seconds = time.monotonic() - begin
    for line in report(tally, images, unnumbered, detections, args):
        print(printable(line))
    print(f'time        {seconds:.1f} s, {tally.people / max(seconds, 1e-9):.1f} people/s')


if __name__ == '__main__':
    main()
