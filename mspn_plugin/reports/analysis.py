"""Where poses are wrong: errors of each keypoint, kinds of errors, and what each costs in AP.

Shapes: N people, K keypoints. Places are in image pixels.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from ..annotations.records import count_labelled, is_labelled
from ..compat.coco_api.xtcocotools.cocoeval import COCOeval

JITTER, INVERSION, SWAP, MISS = KINDS = ('jitter', 'inversion', 'swap', 'miss')
_MATCHED = 0.1  # OKS from which a pose is taken to be meant for a person
_GOOD, _NEAR = 0.85, 0.5  # similarities of a keypoint that is right, and of one that is near
STATS = ('AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)', 'AR (L)')


@dataclass(frozen=True)
class Skeleton:
    """What the keypoints are."""

    names: list[str]
    mirrored: np.ndarray  # (K,), the index of each keypoint's mirror partner, or its own
    sigmas: np.ndarray  # (K,)


@dataclass(frozen=True)
class Pair:
    """A labelled person and the pose that was found for them."""

    truth: dict[str, Any]  # the annotation
    found: dict[str, Any]  # the result
    similarity: float  # OKS
    errors: np.ndarray  # (K,), distances, NaN where nothing is labelled
    kinds: list[str | None]  # of each keypoint: one of `KINDS`, or nothing if it is right


def evaluate(
    content: Mapping[str, Any], results: Sequence[dict[str, Any]], sigmas: np.ndarray
) -> dict[str, float]:
    """COCO's ten numbers of results; -1 stands for "no such person"."""
    if not results:
        return dict.fromkeys(STATS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dict(content)
        truth.createIndex()
        evaluation = COCOeval(
            truth, truth.loadRes([dict(r) for r in results]), 'keypoints', sigmas, True
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(STATS, map(float, evaluation.stats), strict=True))


def similarities(truth: Mapping[str, Any], points: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """How near places ``(K, 2)`` are to a person's keypoints, each from 0 to 1, as in OKS.

    NaN where nothing is labelled. The formula is that of COCO's evaluation.
    """
    keypoints = np.array(truth['keypoints'], float).reshape(-1, 3)
    squared = ((points - keypoints[:, :2]) ** 2).sum(axis=1)
    near = np.exp(-squared / (2 * (truth['area'] + np.spacing(1)) * (2 * sigmas) ** 2))
    return np.where(keypoints[:, 2] > 0, near, np.nan)


def match(
    content: Mapping[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton
) -> tuple[list[Pair], list[dict[str, Any]]]:
    """The labelled people with the poses that are meant for them, and the people without one.

    As in COCO's evaluation the poses of an image choose in the order of their scores; a pose takes
    the person to whom it is most similar, from an OKS of 0.1 on.
    """
    people, poses = dict[Any, list[Any]](), dict[Any, list[Any]]()
    for person in content['annotations']:
        if is_labelled(person) and not person.get('iscrowd'):
            people.setdefault(person['image_id'], []).append(person)
    for result in results:
        poses.setdefault(result['image_id'], []).append(result)
    pairs, alone = list[Pair](), list[dict[str, Any]]()
    for image, its in people.items():
        free = list(its)
        for result in sorted(poses.get(image, []), key=lambda r: -r['score'])[:20]:
            points = _places(result)
            oks = [np.nanmean(similarities(p, points, skeleton.sigmas)) for p in free]
            if oks and max(oks) >= _MATCHED:
                person = free.pop(int(np.argmax(oks)))
                others = [other for other in its if other is not person]
                pairs.append(_pair(person, result, max(oks), others, skeleton))
        alone += free
    return pairs, alone


def _places(result: Mapping[str, Any]) -> np.ndarray:
    return np.array(result['keypoints'], float).reshape(-1, 3)[:, :2]


def _pair(
    person: dict[str, Any], result: dict[str, Any], oks: float, others: list[Any], sk: Skeleton
) -> Pair:
    points, keypoints = _places(result), np.array(person['keypoints'], float).reshape(-1, 3)
    own = similarities(person, points, sk.sigmas)
    # How near each place is to the partner of its keypoint, and to either of another person.
    partner = similarities(person, points[sk.mirrored], sk.sigmas)[sk.mirrored]
    partner[sk.mirrored == np.arange(len(partner))] = np.nan
    foreign = np.full((1, len(own)), np.nan)
    for other in others:
        same = similarities(other, points, sk.sigmas)
        mirrored = similarities(other, points[sk.mirrored], sk.sigmas)[sk.mirrored]
        foreign = np.vstack([foreign, same, mirrored])
    table = np.nan_to_num(np.stack([own, partner, np.nanmax(np.nan_to_num(foreign), axis=0)]))
    nearest, near = table.argmax(axis=0), table.max(axis=0)  # of equal ones the own
    kinds: list[str | None] = []
    for index, which in enumerate(nearest):
        if np.isnan(own[index]):
            kinds.append(None)
        elif near[index] < _NEAR:
            kinds.append(MISS)
        elif which:
            kinds.append(INVERSION if which == 1 else SWAP)
        else:
            kinds.append(None if near[index] >= _GOOD else JITTER)
    errors = np.linalg.norm(points - keypoints[:, :2], axis=1)
    errors = np.where(keypoints[:, 2] > 0, errors, np.nan)
    return Pair(person, result, float(oks), errors, kinds)


def mended(results: Sequence[dict[str, Any]], pairs: Sequence[Pair], kind: str) -> list[Any]:
    """The results with every error of a kind mended: the keypoint lies where it is labelled."""
    changed = {}
    for pair in pairs:
        if kind in pair.kinds:
            keypoints = list(pair.found['keypoints'])
            for index, its in enumerate(pair.kinds):
                if its == kind:
                    keypoints[3 * index : 3 * index + 2] = pair.truth['keypoints'][
                        3 * index : 3 * index + 2
                    ]
            changed[id(pair.found)] = {**pair.found, 'keypoints': keypoints}
    return [changed.get(id(result), result) for result in results]


def error_kinds(
    content: Mapping[str, Any],
    results: Sequence[dict[str, Any]],
    pairs: Sequence[Pair],
    sigmas: np.ndarray,
) -> dict[str, dict[str, float]]:
    """For each kind of error: how many keypoints, their part of all, and the AP without it.

    The kinds are those of Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance
    Pose Estimation" (2017), by what a keypoint is nearest to: jitter, its own place, but not well;
    inversion, its mirror partner; swap, that keypoint or its partner of somebody else; miss, none
    of them. To mend one is to put it where it is labelled; the paper leaves a part of the error.
    """
    labelled = sum(int(np.isfinite(pair.errors).sum()) for pair in pairs)
    table = {}
    for kind in KINDS:
        count = sum(pair.kinds.count(kind) for pair in pairs)
        ap = evaluate(content, mended(results, pairs, kind), sigmas)['AP'] if count else None
        table[kind] = dict(count=count, part=count / max(labelled, 1))
        if ap is not None:
            table[kind]['ap'] = ap
    return table


def keypoint_table(pairs: Sequence[Pair], skeleton: Skeleton) -> list[dict[str, Any]]:
    """For each keypoint: how often it is labelled, its errors, PCK and scores.

    ``part`` is the median error as a part of the longer side of the box, and ``pck`` how many
    errors are at most a tenth of that side.
    """
    table = []
    sides = np.array([max(*pair.truth['bbox'][2:], 1.0) for pair in pairs])
    shape = (len(pairs), len(skeleton.names))
    errors = np.array([pair.errors for pair in pairs]).reshape(shape)
    scores = np.array([pair.found['keypoints'][2::3] for pair in pairs], float).reshape(shape)
    for index, name in enumerate(skeleton.names):
        seen = np.isfinite(errors[:, index])
        row: dict[str, Any] = dict(name=name, seen=int(seen.sum()))
        if seen.any():
            pixels, parts = errors[seen, index], errors[seen, index] / sides[seen]
            row |= dict(mean=float(pixels.mean()), median=float(np.median(pixels)))
            row |= dict(part=float(np.median(parts)), pck=float((parts <= 0.1).mean()))
            row |= dict(score=float(scores[seen, index].mean()))
        for kind in KINDS:
            row[kind] = sum(pair.kinds[index] == kind for pair in pairs)
        table.append(row)
    return table


def ap_of_groups(
    content: Mapping[str, Any],
    results: Sequence[dict[str, Any]],
    pairs: Sequence[Pair],
    sigmas: np.ndarray,
) -> dict[str, list[tuple[str, int, float]]]:
    """AP of the people of some size, and of some number of labelled keypoints.

    The others are left out of account, and so are the poses that are meant for them.
    """
    people = [p for p in content['annotations'] if is_labelled(p) and not p.get('iscrowd')]
    thirds = [round(len(sigmas) * part / 3) for part in (0, 1, 2, 3)]
    counts = [
        (f'{low + 1} to {high}', low + 0.5, high + 0.5)
        for low, high in zip(thirds, thirds[1:], strict=False)
        if high > low
    ]
    sizes = [('up to 64 x 64', 0.0, 64.0**2), ('to 128 x 128', 64.0**2, 128.0**2)]
    sizes.append(('larger', 128.0**2, math.inf))
    groups = dict[str, list[tuple[str, int, float]]]()
    for title, key, ranges in (
        ('size of the box, in pixels', lambda p: p['bbox'][2] * p['bbox'][3], sizes),
        ('labelled keypoints', lambda p: count_labelled(p['keypoints']), counts),
    ):
        groups[title] = []
        for name, low, high in ranges:
            ids = {p['id'] for p in people if low <= key(p) < high}
            rest = [{**p, 'iscrowd': int(p['id'] not in ids)} for p in content['annotations']]
            part = {**content, 'annotations': rest}
            theirs = {id(pair.found) for pair in pairs if pair.truth['id'] not in ids}
            ours = [result for result in results if id(result) not in theirs]
            value = evaluate(part, ours, sigmas)['AP'] if ids else -1.0
            groups[title].append((name, len(ids), value))
    return groups


def confidence(pairs: Sequence[Pair], bins: int = 8) -> list[tuple[float, float, int]]:
    """Groups of keypoints by score: its mean, the median error as a part of the box, how many."""
    rows = []
    for pair in pairs:
        side = max(*pair.truth['bbox'][2:], 1.0)
        for error, score in zip(pair.errors, pair.found['keypoints'][2::3], strict=True):
            if np.isfinite(error):
                rows.append((float(score), float(error) / side))
    rows.sort()
    groups = [group for group in np.array_split(np.array(rows).reshape(-1, 2), bins) if len(group)]
    return [(float(g[:, 0].mean()), float(np.median(g[:, 1])), len(g)) for g in groups]
