"""Average precision of keypoints with the options that MMPose's top-down data sets use.

All numbers come out of pycocotools. It knows one kind of person: keypoints under ``keypoints``, an
area under ``area``, a score under ``score``. Before it runs, every record is copied to that form.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval as _PycocoEval

__all__ = ['COCOeval']

# Where a data set has no areas of the visible person, xtcocotools takes this part of the box.
_AREA_OF_BOX = 0.53


class COCOeval(_PycocoEval):
    """pycocotools' evaluation with chosen sigmas, and with areas from boxes where there are none.

    After `summarize`, `stats` are AP, AP.5, AP.75, AP(M), AP(L) and five AR likewise, in [0, 1]; -1
    stands for "no such person".
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
            iouType: ``'keypoints'``; ``'bbox'`` and ``'segm'`` are left to pycocotools entirely.
            sigmas: ``(K,)``, the labelling noise of each keypoint; ``None`` means those of COCO.
            use_area: Whether the scale of a person is its ``area``. ``False`` takes 0.53 x the area
                of its box, for data sets without areas (AI Challenger).

        Raises:
            NotImplementedError: The type of evaluation is none of the above.
        """
        if iouType not in ('keypoints', 'bbox', 'segm'):
            raise NotImplementedError(
                f'iouType {iouType!r} (whole-body parts, CrowdPose) needs the real xtcocotools, '
                'which wants Python 3.11 or older and numpy below 2: pip install xtcocotools; the '
                'stand-in of mspn_plugin knows keypoints, bbox and segm'
            )
        super().__init__(cocoGt, cocoDt, iouType)
        self.use_area = use_area
        if iouType == 'keypoints' and sigmas is not None:
            self.params.kpt_oks_sigmas = np.asarray(sigmas)
        self.sigmas = getattr(self.params, 'kpt_oks_sigmas', None)

    def _prepare(self) -> None:
        """Fills the tables that pycocotools evaluates, with copies of the records in its form."""
        if self.params.iouType != 'keypoints':
            super()._prepare()
            return
        truths = [self._as_truth(record) for record in self._records(self.cocoGt)]
        found = [self._counted(record) for record in self._records(self.cocoDt)]
        self._gts = _group(truths)
        # A detection without any keypoint score above zero has found nothing: it is no false alarm.
        self._dts = _group(record for record in found if record['num_keypoints'])
        self.evalImgs: Any = []
        self.eval: dict[str, Any] = {}

    def _records(self, coco: Any) -> list[dict[str, Any]]:
        categories = self.params.catIds if self.params.useCats else []
        return coco.loadAnns(coco.getAnnIds(imgIds=self.params.imgIds, catIds=categories))

    def _as_truth(self, record: dict[str, Any]) -> dict[str, Any]:
        if not self.use_area:
            area = record['bbox'][2] * record['bbox'][3] * _AREA_OF_BOX
        elif 'area' in record:
            area = record['area']
        else:
            raise ValueError(
                f'annotation {record["id"]} has no "area"; evaluate with use_area=False, which '
                'takes the scale of a person from its box'
            )
        person = {**self._counted(record), 'area': area, 'iscrowd': int(record.get('iscrowd') or 0)}
        return {**person, 'ignore': int(person['iscrowd'] or person['num_keypoints'] == 0)}

    def _counted(self, record: dict[str, Any]) -> dict[str, Any]:
        """Returns a copy with the number of keypoints whose visibility or score is above zero."""
        keypoints = np.asarray(record['keypoints'], dtype=float)  # (3 * K,): x, y, v of each
        expected = len(self.params.kpt_oks_sigmas)
        if len(keypoints) != 3 * expected:
            raise ValueError(
                f'the evaluation was given {expected} sigmas, but a record of image '
                f'{record["image_id"]} has {len(keypoints) / 3:g} keypoints'
            )
        labelled = np.count_nonzero(keypoints[2::3] > 0)
        return {**record, 'keypoints': keypoints, 'num_keypoints': labelled}


def _group(records: Iterable[dict[str, Any]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Sorts by image and category; ids below 1 shift, as pycocotools reads 0 as "no match"."""
    records = list(records)
    shift = max(0, 1 - min((record['id'] for record in records), default=1))
    groups: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        key = record['image_id'], record['category_id']
        groups[key].append({**record, 'id': record['id'] + shift})
    return groups
