"""What can be wrong with labels: the kinds, how grave each is, and their tally."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, NamedTuple

# Kinds of problems that no run begins with, and their meaning.
STOPS = {
    'image-record': 'image records with unusable values',
    'annotation-record': 'annotations with unusable values',
    'category-record': 'unusable category records',
    'bad-box': 'boxes that are no 4 finite numbers',
    'keypoint-count': 'keypoint lists of the wrong length',
    'bad-keypoints': 'keypoints that are no finite numbers',
    'visibility': 'visibility flags other than 0, 1 and 2',
    'no-labels': 'files without a single labelled keypoint',
}

# These and what breaks a run, or makes it learn something else than the labels.
ERRORS = STOPS | {
    'duplicate-image-id': 'image ids that were used before',
    'duplicate-annotation-id': 'annotation ids that were used before',
    'unknown-image': 'annotations that name no image of the file',
    'unknown-category': 'annotations that name no category of the file',
    'lost-person': 'labelled people whose box is empty or outside the image; they are left out',
    'hidden-person': 'people that num_keypoints and the keypoints contradict each other about',
    'category': 'categories that are absent, doubled or without a name',
    'keypoint-order': 'keypoints in another order than the skeleton has them',
    'skeleton': 'faults of the skeleton',
    'missing-image': 'images that are not there',
    'unreadable-image': 'images that cannot be decoded',
    'damaged-image': 'images that decode, with pixels that are damaged or end early',
    'image-size': 'images of another size than recorded',
}

# What a run survives, and may be meant.
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


class Problem(NamedTuple):
    """One thing that is wrong, of a kind in the table; name and text make a sentence."""

    kind: str
    name: str  # such as 'annotation 7'
    text: str

    def __str__(self) -> str:
        return f'{self.name} {self.text}'


class Tally(list[Problem]):
    """Problems, to be counted and named by kind, in the order of the table."""

    def count_of(self, kinds: Container[str]) -> int:
        """How many problems of some kinds, such as `ERRORS`, there are."""
        return sum(problem.kind in kinds for problem in self)

    def lines(self, count: int = 5) -> Iterator[str]:
        """A summary: each kind that occurs, with the first `count` problems of it."""
        for label, kinds in self.record().items():
            for kind in kinds.values():
                yield f'{label[:-1]:8} {kind["count"]:7,}  {kind["meaning"]}'
                yield from (f'{"":18}{p["name"]} {p["text"]}' for p in kind['found'][:count])
                if kind['count'] > count:
                    yield f'{"":18}and {kind["count"] - count:,} more'

    def record(self) -> dict[str, Any]:
        """All of it for a JSON report."""
        record: dict[str, Any] = dict(errors={}, warnings={})
        for kind, meaning in (ERRORS | WARNINGS).items():
            if found := [dict(name=p.name, text=p.text) for p in self if p.kind == kind]:
                part = record['errors' if kind in ERRORS else 'warnings']
                part[kind] = dict(meaning=meaning, count=len(found), found=found)
        return record
