"""MPII with the training labels of the original MSPN."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmpose.datasets.datasets import MpiiDataset
from mmpose.registry import DATASETS


@DATASETS.register_module()
class MegviiMpiiDataset(MpiiDataset):
    """MPII whose training joints lie where they are; parameters as MMPose's ``MpiiDataset``.

    MPII counts pixels from 1. MMPose makes the boxes count from 0, but not the joints, so a model
    would learn to be off by a pixel. In training (``test_mode=False``), this class makes the joints
    count from 0 too, and sets the visibility of labelled joints to 2 (visible), as the original
    does: MPII does not tell occluded joints apart. In tests both stay, because MMPose's
    ``MpiiPCKAccuracy`` adds 1 to the predictions and compares them with labels from 1.
    """

    def _load_annotations(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        people, images = super()._load_annotations()
        if not self.test_mode:
            for person in people:
                person['keypoints'] = person['keypoints'] - 1
                labelled = person['keypoints_visible'] > 0
                person['keypoints_visible'] = np.where(labelled, 2, 0).astype(np.float32)
        return people, images
