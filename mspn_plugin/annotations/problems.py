"""What can be wrong with a keypoint data set: the kinds, how grave each is, and their tally."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

ERRORS = {
    'image-record': 'image records with unusable values',
    'duplicate-image-id': 'image ids that were used before',
    'annotation-record': 'annotations with unusable values',
    'duplicate-annotation-id': 'annotation ids that were used before',
    'unknown-image': 'annotations that name no image of the file',
    'unknown-category': 'annotations that name no category of the file',
    'bad-box': 'boxes that are no 4 finite numbers',
    'lost-person': 'labelled people whose box is empty or outside the image; they are left out',
    'keypoint-count': 'keypoint lists of the wrong length',
    'bad-keypoints': 'keypoints that are no finite numbers',
    'visibility': 'visibility flags other than 0, 1 and 2',
    'hidden-person': 'people that num_keypoints and the keypoints contradict each other about',
    'category': 'unusable categories',
    'keypoint-order': 'keypoints in another order than the skeleton has them',
    'skeleton': 'faults of the skeleton',
    'missing-image': 'images that are not there',
    'unreadable-image': 'images that cannot be decoded',
    'damaged-image': 'images that decode, with pixels that are damaged or end early',
    'image-size': 'images of another size than recorded',
}
"""Kinds that break a run or make it learn something else than the labels, and what they are."""

WARNINGS = {
    'duplicate-file-name': 'file names that were used before',
    'no-person-label': 'boxes that are empty or outside the image, of people without keypoints',
    'box-outside': 'boxes that reach out of the image by more than a pixel; they are cut off there',
    'keypoint-outside': 'people with labelled keypoints outside the image',
    'num-keypoints': 'people whose num_keypoints is not the number of labelled keypoints',
    'evaluation-fields': 'annotations without area or iscrowd, which the evaluation needs',
    'other-category': 'annotations of other categories than the first',
    'keypoint-names': 'names of keypoints that are not those of the skeleton',
    'skeleton-suspicion': 'oddities of the skeleton',
    'image-decoder': 'images about which the decoder complains',
    'nothing-labelled': 'images without a labelled person',
    'unused-file': 'images in the folder that the file does not list',
}
"""Kinds that a run survives, and that may be meant."""


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: A key of `ERRORS` or `WARNINGS`.
        name: What it is about, such as ``'annotation 7'``.
        text: What is wrong with it, to follow the name in a sentence.
    """

    kind: str
    name: str
    text: str

    def __str__(self) -> str:
        return f'{self.name} {self.text}'


class Tally:
    """Problems by kind, in the order in which the kinds are listed above."""

    def __init__(self) -> None:
        self._found: dict[str, list[Problem]] = {kind: [] for kind in (*ERRORS, *WARNINGS)}

    def add(self, problems: Iterable[Problem]) -> None:
        """Counts problems."""
        for problem in problems:
            self._found[problem.kind].append(problem)

    @property
    def num_errors(self) -> int:
        """How many problems break or corrupt a run."""
        return sum(len(self._found[kind]) for kind in ERRORS)

    @property
    def num_warnings(self) -> int:
        """How many other problems there are."""
        return sum(len(self._found[kind]) for kind in WARNINGS)

    def lines(self, count: int = 5) -> Iterable[str]:
        """A summary: each kind that occurs, with the first few problems of it.

        Args:
            count: How many of each kind to name.
        """
        for kinds, label in ((ERRORS, 'error'), (WARNINGS, 'warning')):
            for kind, meaning in kinds.items():
                found = self._found[kind]
                if found:
                    yield f'{label:8} {len(found):7,}  {meaning}'
                    yield from (f'                  {problem}' for problem in found[:count])
                    if len(found) > count:
                        yield f'                  and {len(found) - count:,} more'

    def record(self) -> dict[str, Any]:
        """All of it for a JSON report."""
        return {
            label: {
                kind: dict(
                    meaning=meaning,
                    count=len(self._found[kind]),
                    found=[dict(name=p.name, text=p.text) for p in self._found[kind]],
                )
                for kind, meaning in kinds.items()
                if self._found[kind]
            }
            for kinds, label in ((ERRORS, 'errors'), (WARNINGS, 'warnings'))
        }
