"""Poses and heatmaps over the image that they were found in: the one style of all drawings here.

Shapes: K keypoints, L limbs, H and W heatmap size, h and w image size. Colours: blue, green, red.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from .errors import InputError
from .media import decode
from .poses import Pose

Colour = tuple[int, int, int]

# Blue and orange stay apart for every kind of colour blindness, and from a light grey.
LEFT: Colour = (255, 166, 46)
RIGHT: Colour = (20, 140, 255)
MIDDLE: Colour = (228, 228, 228)
_SIDES = ('left_', 'right_')
_DARK = np.array((24.0, 20.0, 20.0))

_FAINT, _STRONG = 0.5, 1.3  # scores: an empty map gives 0.5, and a perfect peak 1.5
_OPACITY = (0.12, 0.95)  # of a faint and of a strong part

_SHIFT = 4  # OpenCV takes coordinates as whole numbers, here of 1/16 pixels
_SPREAD = 0.7, 0.4  # pixels that anti-aliasing adds at each side of a polygon, of a circle
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TRANSLUCENT = 0.8  # opacity where a heatmap is strongest


def draw_people(
    image: np.ndarray,
    people: Sequence[Pose],
    meta: Mapping[str, Any],
    *,
    keypoint_thr: float = 0.0,
    person_thr: float = 0.0,
    boxes: bool = False,
    scores: bool = False,
) -> np.ndarray:
    """Draws the skeletons of people.

    Limbs of the left side are blue, those of the right side orange, the others light grey; where no
    keypoint's name tells a side, the colours are those of ``meta``. The surer the network is of a
    keypoint, the larger, whiter and less transparent it is; a limb is as transparent as the less
    certain of its ends. Smaller people come to lie over larger ones.

    Args:
        image: ``(h, w, 3)`` uint8, which is not changed.
        people: Those in it. Keypoints that are not finite, or further outside than the image is
            large, are not drawn.
        meta: What the keypoints are: a model's or data set's parsed ``dataset_meta``.
        keypoint_thr: Leaves out keypoints with a lower score, and limbs that end there.
        person_thr: Leaves out people with a lower score.
        boxes: Whether to draw each person's box and number: the track's, which is written in any
            case where people are tracked, or else the index in ``people``.
        scores: Whether to write each person's score.

    Raises:
        InputError: The image is not of that kind, or ``meta`` is for other keypoints.
    """
    picture = decode(image, 'the image').copy()
    skeleton, limits = skeleton_of(meta), np.array(picture.shape[1::-1])
    figures = [_figure(person, limits, keypoint_thr, len(skeleton[2])) for person in people]
    order = [i for i, person in enumerate(people) if person.score >= person_thr]
    order.sort(key=lambda index: -figures[index].size)
    for index in order:
        if boxes:
            _draw_box(picture, figures[index])
        _draw_figure(picture, figures[index], *skeleton)
    for index in order:
        person = people[index]
        number, tracked = str(person.track or index), person.track is not None
        words = [number] * (boxes or tracked) + [f'{person.score:.2f}'] * scores
        _write(picture, words, figures[index])
    return picture


def overlay_heatmaps(image: np.ndarray, people: Sequence[Pose]) -> np.ndarray:
    """Lays the heatmaps of people over their image: the maximum over all keypoints and people.

    The image ``(h, w, 3)`` uint8 is unchanged where no heatmap rises, and in the picture that comes
    back it is violet over red to yellow where one does.

    Raises:
        InputError: The image is not of that kind, or a person has no heatmaps.
    """
    picture = decode(image, 'the image').copy()
    highest = np.zeros(picture.shape[:2], np.uint8)
    for index, person in enumerate(people):
        if person.heatmaps is None or person.region is None:
            raise InputError(
                f'person {index} has no heatmaps; set model.test_cfg.output_heatmaps to True'
            )
        _raise_to_heatmaps(highest, person.heatmaps, person.region)
    height = np.linspace(0, 1, 256)  # for each the opacity, and the colour times the opacity
    opacity = _TRANSLUCENT * np.clip((height - 0.03) / 0.6, 0, 1)
    levels = np.round(60 + 180 * height).astype(np.uint8)  # without the map's dark end
    colours = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_INFERNO) * opacity[:, None, None]
    layer = cv2.applyColorMap(highest, np.round(colours).astype(np.uint8))
    _blend(picture, layer, cv2.LUT(highest, np.round(255 * opacity).astype(np.uint8)))
    return picture


def limb_colour(start: int, end: int, meta: Mapping[str, Any]) -> Colour:
    """`LEFT` or `RIGHT`, if two keypoints' names tell that side alone, or else `MIDDLE`."""
    names = [meta['keypoint_id2name'][k] for k in (start, end)]
    left, right = (any(name.startswith(side) for name in names) for side in _SIDES)
    return MIDDLE if left == right else LEFT if left else RIGHT


def skeleton_of(meta: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The limbs' ends ``(L, 2)``, and the colours of limbs ``(L, 3)`` and joints ``(K, 3)``."""
    links = np.array(meta['skeleton_links'], int).reshape(-1, 2)
    if any(name.startswith(_SIDES) for name in meta['keypoint_name2id']):
        limbs: Any = [limb_colour(start, end, meta) for start, end in links.tolist()]
        joints: Any = [limb_colour(k, k, meta) for k in range(meta['num_keypoints'])]
    else:  # MMPose's are red, green, blue
        keys = ('skeleton_link_colors', 'keypoint_colors')
        limbs, joints = (np.reshape(meta[key], (-1, 3))[:, ::-1] for key in keys)
    return links, np.reshape(limbs, (-1, 3)).astype(float), np.array(joints, float)


class _Figure(NamedTuple):
    """A person as it is drawn, in image pixels."""

    points: np.ndarray
    shown: np.ndarray  # (K,), which keypoints are drawn
    strength: np.ndarray  # (K,), from 0, faint, to 1
    box: np.ndarray | None
    size: float
    width: float  # of a limb
    outline: float  # of the dark line around everything


def _figure(person: Pose, limits: np.ndarray, keypoint_thr: float, num_keypoints: int) -> _Figure:
    arrays = (person.keypoints, person.scores, person.box)
    points, score, box = (np.asarray(values, np.float64) for values in arrays)
    if len(points) != num_keypoints:
        raise InputError(
            f'a person has {len(points)} keypoints, but meta is for {num_keypoints}; give the '
            'dataset_meta of the model that found the person'
        )
    near = ((points > -limits) & (points < 2 * limits)).all(axis=1)
    strength = np.clip((score - _FAINT) / (_STRONG - _FAINT), 0, 1)
    has_box = np.isfinite(box).all() and (box[2:] > box[:2]).all()
    # The smaller of both: a box may be the whole image, and a keypoint may be anywhere.
    sizes = [(box[2:] - box[:2]).max()] if has_box else []
    sizes += [1.2 * np.ptp(points[near], axis=0).max()] if near.any() else []
    size = float(min(sizes, default=0.0))
    width = float(np.clip(size / 65, 1.0, 16.0))
    lines = dict(size=size, width=width, outline=0.4 + 0.2 * width)
    return _Figure(
        points, near & (score >= keypoint_thr), strength, box if has_box else None, **lines
    )


def _draw_figure(
    picture: np.ndarray, figure: _Figure, links: np.ndarray, limbs: np.ndarray, joints: np.ndarray
) -> None:
    """Draws limbs and joints on a transparent layer of the person's size, and blends that in."""
    seen, margin = figure.points[figure.shown], 2 * figure.width + figure.outline + 2
    if not len(seen):
        return
    low, region = _region(picture, seen.min(axis=0) - margin, seen.max(axis=0) + margin + 1)
    if not region.size:
        return
    layer = np.zeros((*region.shape[:2], 4), np.uint8)
    points, strength = figure.points - low, figure.strength
    # OpenCV replaces what it draws over, transparency included: the strongest comes last.
    weaker = strength[links].min(axis=1)
    order = np.argsort(weaker, kind='stable')
    order = order[figure.shown[links[order]].all(axis=1)]
    links, weaker = links[order], weaker[order]
    # Lines are thinner at the ends of short limbs, as in a face.
    lengths = np.hypot(*(points[links[:, 0]] - points[links[:, 1]]).T)
    shortest = np.full(len(points), np.inf)
    np.minimum.at(shortest, links.ravel(), lengths.repeat(2))
    widths = np.clip(0.25 * shortest, 0.5 * figure.width, figure.width)
    wide = widths[links].max(axis=1)
    for extra, colours in ((2 * figure.outline, _DARK), (0.0, limbs[order])):
        _draw_lines(layer, points[links], wide + extra, _paints(colours, weaker))

    order = np.argsort(strength, kind='stable')
    order = order[figure.shown[order]]
    sure = strength[order]
    white = joints[order] + (255 - joints[order]) * sure[:, None]
    radius = widths[order] * (0.55 + 0.4 * sure) + 0.1 - _SPREAD[1]
    radii = np.maximum(np.stack([radius + figure.outline, radius], axis=1), 0.2)
    paints = np.stack([_paints(_DARK, sure), _paints(white, sure)], axis=1)  # a disc on a disc
    discs = (_fixed(points[order].repeat(2, axis=0)), _fixed(radii.ravel()), paints.reshape(-1, 4))
    for centre, size, paint in zip(*(values.tolist() for values in discs), strict=True):
        cv2.circle(layer, centre, size, paint, -1, cv2.LINE_AA, _SHIFT)
    _blend(region, cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR), cv2.extractChannel(layer, 3))


def _paints(colours: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Colours times their opacity, and the opacity from 0 to 255: ``(n, 4)``."""
    opacity = (_OPACITY[0] + (_OPACITY[1] - _OPACITY[0]) * strength**0.5)[:, None]
    return np.hstack([opacity * colours, 255 * opacity])


def _draw_lines(layer: np.ndarray, ends: np.ndarray, widths: Any, paints: np.ndarray) -> None:
    """Draws n lines from ``(n, 2, 2)``, ``(n,)`` and ``(n, 4)``."""
    start, end = ends[:, 0], ends[:, 1]
    along = end - start
    half = np.maximum(0.5 * widths - _SPREAD[0], 0) / np.maximum(np.hypot(*along.T), 0.1)
    across = half[:, None] * along[:, ::-1] * (-1, 1)
    corners = np.stack([start + across, end + across, end - across, start - across], axis=1)
    for corner, paint in zip(_fixed(corners), paints.tolist(), strict=True):
        cv2.fillConvexPoly(layer, corner, paint, cv2.LINE_AA, _SHIFT)


def _fixed(values: np.ndarray) -> np.ndarray:
    return np.rint(values * 2**_SHIFT).astype(np.int32)


def _draw_box(picture: np.ndarray, figure: _Figure) -> None:
    if figure.box is None:
        return
    limits = np.tile(picture.shape[1::-1], 2)
    x1, y1, x2, y2 = np.clip(np.round(figure.box), -9, limits + 9).astype(int).tolist()
    thickness = max(1, round(figure.width / 5))
    cv2.rectangle(picture, (x1 - 1, y1 - 1), (x2 + 1, y2 + 1), _DARK.tolist(), thickness)
    cv2.rectangle(picture, (x1, y1), (x2, y2), MIDDLE, thickness)


def _write(picture: np.ndarray, words: list[str], figure: _Figure) -> None:
    """Writes white on a dark patch, above the box or else above the keypoints."""
    if not words or (figure.box is None and not figure.shown.any()):
        return
    corner = figure.points[figure.shown].min(axis=0) if figure.box is None else figure.box[:2]
    text, scale = '  '.join(words), float(np.clip(figure.size / 550, 0.4, 1.5))
    (width, height), below = cv2.getTextSize(text, _FONT, scale, 1)
    width, height = width + 6, height + below + 4
    limit = np.maximum(np.array(picture.shape[1::-1]) - (width, height), 0)
    x, y = np.clip(np.round(corner - (0, height)), 0, limit).astype(int).tolist()
    patch = picture[y : y + height, x : x + width]
    patch[...] = cv2.convertScaleAbs(patch, alpha=0.25)
    place = (x + 3, y + height - below)
    cv2.putText(picture, text, place, _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _raise_to_heatmaps(highest: np.ndarray, heatmaps: np.ndarray, region: np.ndarray) -> None:
    """Raises ``(h, w)`` uint8, in place, to a person's heatmaps where these are higher."""
    heatmap = np.nan_to_num(heatmaps.max(axis=0)).astype(np.float32)
    # Smooth and small first, then quick and large.
    heatmap = cv2.resize(heatmap, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    heatmap = np.clip(heatmap, 0, 255).astype(np.uint8)
    low, covered = _region(highest, np.ceil(region[:2]), np.floor(region[2:]) + 1)
    if not covered.size:
        return
    # From pixels of the region to cells; the first cell's centre lies half a cell from the corner.
    per_pixel = np.array(heatmap.shape[::-1]) / (region[2:] - region[:2])
    warp = np.column_stack([np.diag(per_pixel), (low - region[:2]) * per_pixel - 0.5])
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, covered.shape[::-1]
    spread = cv2.warpAffine(heatmap, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    np.maximum(covered, spread, out=covered)


def _region(picture: np.ndarray, low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
    """What of a region lies inside a picture: its corner, and a view of it."""
    limits = picture.shape[1::-1]
    (x1, y1), (x2, y2) = (np.clip(corner, 0, limits).astype(int) for corner in (low, high))
    return np.array((x1, y1)), picture[y1:y2, x1:x2]


def _blend(region: np.ndarray, colours: np.ndarray, opacity: np.ndarray) -> None:
    """Lays colours, multiplied by their opacity of 0 to 255, over a region, in place."""
    behind = cv2.cvtColor(cv2.bitwise_not(opacity), cv2.COLOR_GRAY2BGR)
    region[...] = cv2.add(cv2.multiply(region, behind, scale=1 / 255), colours)
