"""Data sets and what they need: the original MSPN's layouts and augmentation, synthetic people.

Importing this registers the data sets and the transforms.
"""

from .body import Coco2014Dataset, CocoPersonDataset, MegviiMpiiDataset
from .collate import collate_people
from .fast_transforms import (
    FastBBoxTransform,
    FastPackPoseInputs,
    FastTopdownAffine,
    LoadPersonImage,
)
from .guarded_loading import GuardedLoading
from .resumable import ResumableBatchSampler
from .transforms import BoxMargins, HalfBodyBox, RawAnnotation, UniformBoxTransform

__all__ = [
    'BoxMargins',
    'Coco2014Dataset',
    'CocoPersonDataset',
    'FastBBoxTransform',
    'FastPackPoseInputs',
    'FastTopdownAffine',
    'GuardedLoading',
    'HalfBodyBox',
    'LoadPersonImage',
    'MegviiMpiiDataset',
    'RawAnnotation',
    'ResumableBatchSampler',
    'UniformBoxTransform',
    'collate_people',
]
