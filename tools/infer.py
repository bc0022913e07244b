"""Poses of the people in a folder of images, whose boxes a detection file gives.

`mim run mspn_plugin infer CONFIG CHECKPOINT IMAGES --det-file FILE`, as the original, is
`mspn predict IMAGES --model CONFIG CHECKPOINT --boxes FILE` with other names of what it writes:
<id>_res.jpg for each image, with the poses that reach --score-thr, and results.json with all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mspn.cli import predict_options, predict_with, score


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0], conflict_handler='resolve'
    )
    predict_options(parser)
    add = parser.add_argument
    add('config', help='path of a config, or the name of one of this package')
    add('checkpoint', help='the weights: a file or a URL')
    add('input', metavar='images', help='folder of images whose names end in their ids')
    what = 'JSON list of boxes: image_id, category_id 1, bbox (x y width height), score'
    add('--det-file', dest='boxes', type=Path, required=True, metavar='FILE', help=what)
    what = "draw people with this score, the box's times the mean of the keypoints' (%(default)s)"
    add('--score-thr', dest='person_thr', type=score, default=0.7, metavar='SCORE', help=what)
    names = dict(results='results.json', picture='{id}_res.jpg', out=Path('infer_results'))
    parser.set_defaults(detector=None, score_thr=0.0, oks_thr=1.0, **names)
    args = parser.parse_args()
    args.model = (args.config, args.checkpoint)
    return args


main = predict_with(parse_arguments)

if __name__ == '__main__':
    main()
