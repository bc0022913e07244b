"""A detector of MMDet and a pose model on an image, a folder, a video or a camera.

`mim run mspn_plugin topdown_demo DET_CONFIG DET_WEIGHTS POSE_CONFIG POSE_WEIGHTS --input PATH` is
`mspn predict PATH --model POSE_CONFIG POSE_WEIGHTS --detector DET_CONFIG DET_WEIGHTS`. Below the
folder --out it writes

    predictions.json     everybody, as COCO's keypoint results. image_id is the number of the frame,
                         from 0; for images the number that ends the file's name, if each ends in
                         one of its own. image is the file's name
    pictures/            for images: each of them with the poses
    <name>.mp4           for a video or a camera: the same with the poses, without sound

If the run ends early, what is done stays there: pictures, and .partial files that can be used.
"""

from __future__ import annotations

import argparse

from mspn.cli import predict_options, predict_with


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
    what = 'an image, a folder of images, a video, or webcam:0'
    add('--input', required=True, metavar='PATH', help=what)
    predict_options(parser)
    parser.set_defaults(boxes=None)
    args = parser.parse_args()
    args.detector = (args.det_config, args.det_weights)
    args.model = (args.pose_config, args.pose_weights)
    return args


main = predict_with(parse_arguments)

if __name__ == '__main__':
    main()
