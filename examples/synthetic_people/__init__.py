"""Synthetic people: a small data set in COCO's format for users, demos and tests without COCO.

The folder follows the making of a picture: `pose` (joint angles) and `anatomy` (bones in space),
`outfit` and `body` (solids in clothes), `raster` (depth), `materials` and `render` (a drawn
person), `painting`, `background` and `occluders` (the place), `layers` and `scene` (composition and
true visibility), `coco` and `dataset` (files).

Example:
    >>> from synthetic_people import make_synthetic_people
    >>> paths = make_synthetic_people('data/synthetic', num_train=400, num_val=80)
    >>> paths.train_annotations
    PosixPath('data/synthetic/annotations/person_keypoints_train2017.json')
"""

from .dataset import SyntheticPeople, make_synthetic_people

__all__ = ['SyntheticPeople', 'make_synthetic_people']
