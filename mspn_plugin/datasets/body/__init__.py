"""Data sets of people. MMPose's inferencer takes its detector of people for what is in `body`."""

from .coco import CocoPersonDataset
from .coco2014 import Coco2014Dataset
from .mpii import MegviiMpiiDataset

__all__ = ['Coco2014Dataset', 'CocoPersonDataset', 'MegviiMpiiDataset']
