"""Average precision of keypoints, also for data sets that pycocotools does not know.

All numbers come out of pycocotools. It knows one kind of person: keypoints under ``keypoints``, an
area under ``area``, a score under ``score``. Before it runs, every record is copied to that form.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval as _PycocoEval

__all__ = ['COCOeval']

_WHOLEBODY = ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')

# evaluation type -> the fields whose keypoints it concatenates
_FIELDS = {
    'keypoints': ('keypoints',),
    'keypoints_crowd': ('keypoints',),
    'keypoints_body': ('keypoints',),
    'keypoints_foot': ('foot_kpts',),
    'keypoints_face': ('face_kpts',),
    'keypoints_lefthand': ('lefthand_kpts',),
    'keypoints_righthand': ('righthand_kpts',),
    'keypoints_wholebody': _WHOLEBODY,
}

# Where a data set has no areas of the visible person, xtcocotools takes this part of the box.
_AREA_OF_BOX = 0.53

# CrowdPose: crowd index of an image below 0.2 easy, below 0.8 medium, else hard.
_CROWD_LEVELS = (('easy', 0.0, 0.2), ('medium', 0.2, 0.8), ('hard', 0.8, float('inf')))


class COCOeval(_PycocoEval):
    """pycocotools' evaluation with chosen sigmas, areas from boxes, whole-body parts and CrowdPose.

    Attributes:
        stats: After `summarize`, for keypoints ``AP, AP.5, AP.75, AP(M), AP(L), AR, AR.5, AR.75,
            AR(M), AR(L)``; for ``keypoints_crowd`` ``AP, AP.5, AP.75, AR, AR.5, AR.75, AP(easy),
            AP(medium), AP(hard)``. All lie in [0, 1]; -1 stands for "no such person".
    """

    # Names and order of the arguments are those of xtcocotools; MMPose passes all five by position.
    def __init__(
        self,
        cocoGt: Any = None,
        cocoDt: Any = None,
        iouType: str = 'keypoints',
        sigmas: Any = None,
        use_area: bool = True,
    ) -> None:
        """Prepares an evaluation.

        Args:
            cocoGt: The COCO object of the annotations.
            cocoDt: The COCO object of the detections, as ``cocoGt.loadRes`` returns it.
            iouType: ``'keypoints'``, ``'keypoints_crowd'``, ``'keypoints_wholebody'`` or
                ``'keypoints_'`` + ``body``, ``foot``, ``face``, ``lefthand``, ``righthand``;
                ``'bbox'`` and ``'segm'`` are left to pycocotools entirely.
            sigmas: ``(K,)``, the labelling noise of each keypoint; ``None`` means those of COCO.
            use_area: Whether the scale of a person is its ``area``. ``False`` takes 0.53 x the area
                of its box, for data sets without areas (CrowdPose, AI Challenger).

        Raises:
            ValueError: The type of evaluation is none of the above.
        """
        self.keypoint_type = iouType if iouType in _FIELDS else None
        if self.keypoint_type is None and iouType not in ('bbox', 'segm'):
            raise ValueError(
                f'iouType is {iouType!r}; expected one of {", ".join(_FIELDS)}, bbox, segm'
            )
        super().__init__(cocoGt, cocoDt, 'keypoints' if self.keypoint_type else iouType)
        self.use_area = use_area
        if self.keypoint_type and sigmas is not None:
            self.params.kpt_oks_sigmas = np.asarray(sigmas)
        self.sigmas = getattr(self.params, 'kpt_oks_sigmas', None)

    def evaluate(self) -> None:
        """Matches detections and annotations in every image; see pycocotools."""
        if self.keypoint_type not in (None, 'keypoints'):
            print(f'Keypoints of type *{self.keypoint_type}*')
        super().evaluate()

    def summarize(self) -> None:
        """Prints the table of results and keeps them in `stats`."""
        if self.keypoint_type != 'keypoints_crowd':
            super().summarize()
            return
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            super().summarize()
        # CrowdPose splits by crowding, not by size: drop the rows of medium and large persons.
        for line in printed.getvalue().splitlines():
            if 'area=   all' in line:
                print(line)
        by_crowding = []
        for level, low, high in _CROWD_LEVELS:
            precision = self._precision_of_crowding(low, high)
            print(f' Average Precision  (AP) @[ crowding={level:>6s} ] = {precision:0.3f}')
            by_crowding.append(precision)
        self.stats: Any = np.concatenate([self.stats[[0, 1, 2, 5, 6, 7]], by_crowding])

    def _prepare(self) -> None:
        """Fills the tables that pycocotools evaluates, with copies of the records in its form."""
        if self.keypoint_type is None:
            super()._prepare()
            return
        truths = [self._as_truth(record) for record in self._records(self.cocoGt)]
        found = [self._as_detection(record) for record in self._records(self.cocoDt)]
        self._gts = _group(_with_positive_ids(truths))
        # A detection without any keypoint score above zero has found nothing: it is no false alarm.
        self._dts = _group(_with_positive_ids(d for d in found if d['num_keypoints']))
        self.evalImgs: Any = []
        self.eval: dict[str, Any] = {}

    def _records(self, coco: Any) -> list[dict[str, Any]]:
        categories = self.params.catIds if self.params.useCats else []
        return coco.loadAnns(coco.getAnnIds(imgIds=self.params.imgIds, catIds=categories))

    def _as_truth(self, record: dict[str, Any]) -> dict[str, Any]:
        keypoints = self._keypoints(record)
        if self.keypoint_type == 'keypoints_crowd':
            labelled = record['num_keypoints']  # CrowdPose counts only the unoccluded ones
        else:
            labelled = np.count_nonzero(keypoints[2::3] > 0)
        if not self.use_area:
            area = record['bbox'][2] * record['bbox'][3] * _AREA_OF_BOX
        elif 'area' in record:
            area = record['area']
        else:
            raise ValueError(
                f'annotation {record["id"]} has no "area"; evaluate with use_area=False, which '
                'takes the scale of a person from its box'
            )
        crowd = int(record.get('iscrowd') or 0)
        return {
            **record,
            'keypoints': keypoints,
            'num_keypoints': labelled,
            'area': area,
            'iscrowd': crowd,
            'ignore': int(bool(crowd) or labelled == 0),
        }

    def _as_detection(self, record: dict[str, Any]) -> dict[str, Any]:
        keypoints = self._keypoints(record)
        score = record['score']
        if _FIELDS[str(self.keypoint_type)] != ('keypoints',):  # a part may have its own score
            part = str(self.keypoint_type).removeprefix('keypoints_')
            score = record.get(f'{part}_score', score)
        return {
            **record,
            'keypoints': keypoints,
            'num_keypoints': np.count_nonzero(keypoints[2::3] > 0),
            'score': score,
        }

    def _keypoints(self, record: dict[str, Any]) -> np.ndarray:
        """Returns the ``(3 * K,)`` numbers x, y, v of the keypoints that are evaluated."""
        fields = _FIELDS[str(self.keypoint_type)]
        missing = [field for field in fields if field not in record]
        if missing:
            raise ValueError(
                f'{self.keypoint_type} needs the field "{missing[0]}", which a record of image '
                f'{record["image_id"]} lacks'
            )
        keypoints = np.concatenate([np.asarray(record[field], dtype=float) for field in fields])
        expected = len(self.params.kpt_oks_sigmas)
        if len(keypoints) != 3 * expected:
            raise ValueError(
                f'{self.keypoint_type} was given {expected} sigmas, but a record of image '
                f'{record["image_id"]} has {len(keypoints) / 3:g} keypoints'
            )
        return keypoints

    def _precision_of_crowding(self, low: float, high: float) -> float:
        """Returns the AP of the images with a crowd index in [low, high); -1 if there are none."""
        images = self.cocoGt.loadImgs(self.params.imgIds)
        if any('crowdIndex' not in image for image in images):
            raise ValueError('keypoints_crowd needs the "crowdIndex" of every image (CrowdPose)')
        chosen = [image['id'] for image in images if low <= image['crowdIndex'] < high]
        if not chosen:
            return -1.0
        part = type(self)(
            self.cocoGt, self.cocoDt, 'keypoints_crowd', self.sigmas, use_area=self.use_area
        )
        part.params = copy.deepcopy(self.params)
        part.params.imgIds = chosen
        with contextlib.redirect_stdout(io.StringIO()):
            part.evaluate()
            part.accumulate()
        # xtcocotools rounds these three, and only these.
        return round(float(np.mean(part.eval['precision'][:, :, :, 0, :])), 4)


def _group(records: Iterable[dict[str, Any]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    groups: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        groups[record['image_id'], record['category_id']].append(record)
    return groups


def _with_positive_ids(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Shifts the ids if one is below 1: pycocotools reads an id of 0 as "no match"."""
    records = list(records)
    shift = 1 - min((record['id'] for record in records), default=1)
    if shift > 0:
        for record in records:
            record['id'] += shift
    return records
