"""Synthetic people: a small data set in COCO's format for users, demos and tests without COCO.

The folder follows the making of a picture: `pose` (skeletons in space), `mesh` and `figure` (a
person in clothes), `background` and `scene` (composition and true visibility), `dataset` (files).
"""

from .dataset import SyntheticPeople, make_synthetic_people

__all__ = ['SyntheticPeople', 'make_synthetic_people']
