"""What can be wrong with labels: the one table of kinds, how a run takes each, and their tally."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

from mspn.errors import listed

STOPS = 'stops a run'
LEFT_OUT = 'is left out, and a run says so'
MENDED = 'is mended, and a run says so'
SAID = 'is said by a run'
NOTED = 'is said by the check alone'


class Kind(NamedTuple):
    """A kind of problem: how a run takes it, what it is, and what to type about it.

    `remedy` completes a sentence. Where it offers ``--mend``, that option corrects it; where it
    offers ``--allow``, the problem may be meant, and that option goes on in spite of it.
    """

    effect: str
    meaning: str
    remedy: str = 'correct the file (`mspn check` lists all of its faults)'


KINDS = {
    'image-record': Kind(STOPS, 'image records with unusable values'),
    'annotation-record': Kind(STOPS, 'annotations with unusable values'),
    'category-record': Kind(STOPS, 'unusable category records'),
    'category': Kind(STOPS, 'categories that are absent or doubled'),
    'unknown-category': Kind(STOPS, 'annotations that name no category of the file'),
    'keypoint-count': Kind(STOPS, 'keypoint lists of the wrong length'),
    'bad-keypoints': Kind(STOPS, 'keypoints that are no finite numbers'),
    'visibility': Kind(STOPS, 'visibility flags other than 0, 1 and 2'),
    'no-labels': Kind(STOPS, 'files without a single person to learn from'),
    'duplicate-image-id': Kind(STOPS, 'image ids that were used before'),
    'skeleton': Kind(STOPS, 'faults of the skeleton', 'correct the metainfo'),
    'units': Kind(
        STOPS,
        'numbers that are not pixels, or boxes that are not x, y, width, height',
        'write pixels, and boxes as x, y, width, height; if it is meant, give --allow units',
    ),
    'keypoint-order': Kind(
        STOPS,
        'keypoints in another order than the skeleton has them',
        'put the metainfo, or the labels, in the order of the other; if the names alone are '
        'wrong, give --allow keypoint-order',
    ),
    'area': Kind(
        STOPS,
        'areas that are no positive number, by which the evaluation divides',
        'correct the file, or give --mend, which takes 0.53 of the box in their place',
    ),
    'iscrowd': Kind(
        STOPS,
        'iscrowd other than 0 and 1',
        'correct the file, or give --mend, which takes all but 1 and true as 0',
    ),
    'bad-box': Kind(
        STOPS,
        'boxes that are no 4 finite numbers',
        'correct the file, or give --mend, which puts boxes around the labelled keypoints',
    ),
    'duplicate-annotation-id': Kind(
        STOPS,
        'annotation ids that were used before',
        'correct the file, or give --mend, which numbers the later ones anew',
    ),
    'no-image-size': Kind(
        STOPS,
        'images without a width or height',
        'correct the file, or give --mend, which takes them from the pictures',
    ),
    'image-size': Kind(
        STOPS,
        'images of another size than recorded',
        'correct the file, or give --mend, which takes the sizes of the pictures as they are read, '
        'upright',
    ),
    'missing-image': Kind(
        STOPS,
        'images that are not there',
        'put it there, or correct the file; --mend corrects names that have another case, '
        'back-slashes or %-codes',
    ),
    'lost-person': Kind(
        LEFT_OUT,
        'labelled people whose box is empty or outside the image',
        '--mend puts boxes around their keypoints instead',
    ),
    'hidden-person': Kind(
        LEFT_OUT,
        'people that num_keypoints and the keypoints contradict each other about',
        '--mend counts their keypoints instead',
    ),
    'unknown-image': Kind(LEFT_OUT, 'annotations that name no image of the file', ''),
    'unreadable-image': Kind(LEFT_OUT, 'images that cannot be decoded', ''),
    'damaged-image': Kind(LEFT_OUT, 'images that decode, with damaged pixels or an early end', ''),
    'other-category': Kind(
        MENDED, 'annotations of other categories', '--category NAME reads another one'
    ),
    'no-area': Kind(MENDED, 'labelled people without an area; it is taken as 0.53 of the box', ''),
    'keypoint-names': Kind(SAID, 'names of keypoints that are not those of the skeleton', ''),
    'skeleton-suspicion': Kind(SAID, 'oddities of the skeleton', ''),
    'labelled-crowd': Kind(
        SAID, 'labelled people that iscrowd marks as a crowd: nobody learns from them', ''
    ),
    'exif-turned': Kind(
        SAID,
        'images that their EXIF data turn; they are read upright, and labels must be so, too',
        '',
    ),
    'nameless-category': Kind(NOTED, 'categories without a name', ''),
    'duplicate-file-name': Kind(NOTED, 'file names that were used before', ''),
    'no-person-label': Kind(NOTED, 'bad boxes of people without keypoints', ''),
    'box-outside': Kind(NOTED, 'boxes more than a pixel out of the image; a run cuts them off', ''),
    'keypoint-outside': Kind(NOTED, 'people with labelled keypoints outside the image', ''),
    'num-keypoints': Kind(NOTED, 'people with a wrong num_keypoints', ''),
    'image-decoder': Kind(NOTED, 'images about which the decoder complains', ''),
    'nothing-labelled': Kind(NOTED, 'images without a labelled person', ''),
    'unused-file': Kind(NOTED, 'images in the folder that the file does not list', ''),
}

ERRORS = frozenset(name for name, kind in KINDS.items() if kind.effect in (STOPS, LEFT_OUT))
WARNINGS = frozenset(KINDS) - ERRORS
ALLOWED = tuple(name for name, kind in KINDS.items() if '--allow' in kind.remedy)
"""Kinds that ``--allow`` takes."""

BY_OPTION = frozenset(name for name, kind in KINDS.items() if '--mend' in kind.remedy)
"""Kinds that ``--mend`` corrects."""


class Problem(NamedTuple):
    """One thing that is wrong, of a kind in the table; name and text make a sentence."""

    kind: str
    name: str  # such as 'annotation 7'
    text: str
    record: int = -1  # its number in its list

    def __str__(self) -> str:
        return f'{self.name} {self.text}'


class Tally(list[Problem]):
    """Problems, to be counted and named by kind, in the order of the table."""

    def count_of(self, kinds: Container[str]) -> int:
        """How many problems of some kinds, such as `ERRORS`, there are."""
        return sum(problem.kind in kinds for problem in self)

    def of(self, *kinds: str) -> list[Problem]:
        """The problems of some kinds."""
        return [problem for problem in self if problem.kind in kinds]

    def first_stop(self, allowed: Iterable[str] = ()) -> tuple[Problem, int] | None:
        """The first problem that stops a run, and how many there are of its kind."""
        passed = set(allowed)
        for problem in self:
            if KINDS[problem.kind].effect == STOPS and problem.kind not in passed:
                return problem, len(self.of(problem.kind))
        return None

    def said(self, *, by_option: bool = False) -> Iterator[str]:
        """What a run says that goes on: a line for each kind, also of what ``--mend`` corrected."""
        for name, kind in KINDS.items():
            is_mended = by_option and '--mend' in kind.remedy
            if (is_mended or kind.effect in (LEFT_OUT, MENDED, SAID)) and (found := self.of(name)):
                more = f', and {len(found) - 1:,} more' if len(found) > 1 else ''
                effect = ', left out' if kind.effect == LEFT_OUT else ''
                ending = f'; {kind.remedy}' if kind.remedy else ''
                if is_mended:
                    effect, ending = ', mended', ''
                yield f'{len(found):,} {kind.meaning}{effect} ({found[0]}{more}){ending}'

    def said_of_lost(self) -> Iterator[str]:
        """What is said of people who are lost although ``--mend`` was given."""
        if lost := self.of('lost-person'):
            names = listed([problem.name for problem in lost], 3)
            yield (
                f'{len(lost):,} of them left out all the same, as no keypoint of theirs is in the '
                f'picture ({names})'
            )

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
        by_kind = dict[str, list[dict[str, str]]]()
        for problem in self:
            entry = dict(name=problem.name, text=problem.text)
            by_kind.setdefault(problem.kind, []).append(entry)
        for name, kind in KINDS.items():
            if found := by_kind.get(name):
                part = record['errors' if name in ERRORS else 'warnings']
                part[name] = dict(meaning=kind.meaning, count=len(found), found=found)
        return record
