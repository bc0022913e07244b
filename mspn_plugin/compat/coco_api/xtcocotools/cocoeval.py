"""Average precision of keypoints with the options that MMPose's top-down data sets use.

All numbers come out of pycocotools. It knows one kind of person: keypoints under ``keypoints``, an
area under ``area``, an id above 0. Before it runs, every record is copied to that form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval as _PycocoEval


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
        if iouType == 'keypoints':
            if sigmas is not None:
                self.params.kpt_oks_sigmas = np.asarray(sigmas)
            truths = [self._as_truth(record, use_area) for record in cocoGt.anns.values()]
            # pycocotools reads the id 0 as "no match".
            shift = max(0, 1 - min((record['id'] for record in truths), default=1))
            truths = [{**record, 'id': record['id'] + shift} for record in truths]
            found = [self._counted(record) for record in cocoDt.anns.values()]
            # A detection without any keypoint score above zero has found nothing: no false alarm.
            found = [record for record in found if record['num_keypoints']]
            self.cocoGt, self.cocoDt = _with(cocoGt, truths), _with(cocoDt, found)
        self.sigmas = getattr(self.params, 'kpt_oks_sigmas', None)

    def _as_truth(self, record: dict[str, Any], use_area: bool) -> dict[str, Any]:
        if not use_area:  # xtcocotools takes this part of the box for the visible person
            area = record['bbox'][2] * record['bbox'][3] * 0.53
        elif 'area' in record:
            area = record['area']
        else:
            raise ValueError(
                f'annotation {record["id"]} has no "area"; evaluate with use_area=False, which '
                'takes the scale of a person from its box'
            )
        return {**self._counted(record), 'area': area, 'iscrowd': int(record.get('iscrowd') or 0)}

    def _counted(self, record: dict[str, Any]) -> dict[str, Any]:
        """Returns a copy with the number of keypoints whose visibility or score is above zero."""
        keypoints = np.asarray(record['keypoints'], dtype=float)  # (3 * K,): x, y, v of each
        expected = len(self.params.kpt_oks_sigmas)
        if len(keypoints) != 3 * expected:
            raise ValueError(
                f'the evaluation was given {expected} sigmas, but a record of image '
                f'{record["image_id"]} has {len(keypoints) / 3:g} keypoints'
            )
        return {**record, 'keypoints': keypoints, 'num_keypoints': (keypoints[2::3] > 0).sum()}


def _with(coco: COCO, records: list[dict[str, Any]]) -> COCO:
    """Returns a data set of the same images and categories with these annotations."""
    other = COCO()
    other.dataset = {**coco.dataset, 'annotations': records}
    other.createIndex()
    return other
