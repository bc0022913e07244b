"""Poses and heatmaps over the image that they were found in: the one style of all drawings here.

Shapes: K keypoints, L limbs, H and W heatmap size, h and w image size. Colours: blue, green, red.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from .errors import InputError
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
        image: ``(h, w, 3)`` uint8.
        people: Those in it.
        meta: What the keypoints are: a model's or data set's parsed ``dataset_meta``.
        keypoint_thr: Leaves out keypoints with a lower score, and limbs that end there.
        person_thr: Leaves out people with a lower score.
        boxes: Whether to draw each person's box and number, the index in ``people``.
        scores: Whether to write each person's score.

    Returns:
        A new image. Keypoints that are not finite, or further outside than the image is large, are
        not in it.

    Raises:
        InputError: The image is not of that kind, or ``meta`` is for other keypoints.
    """
    picture = _copy(image)
    limits = (picture.shape[1], picture.shape[0])
    skeleton = _skeleton(meta)
    figures = [_figure(person, limits, keypoint_thr, len(skeleton.joints)) for person in people]
    order = [i for i, person in enumerate(people) if person.score >= person_thr]
    order.sort(key=lambda index: -figures[index].size)
    for index in order:
        if boxes:
            _draw_box(picture, figures[index])
        _draw_figure(picture, figures[index], skeleton)
    for index in order:
        text = [str(index)] if boxes else []
        text += [f'{people[index].score:.2f}'] if scores else []
        if text:
            _write(picture, '  '.join(text), figures[index])
    return picture


def overlay_heatmaps(image: np.ndarray, people: Sequence[Pose]) -> np.ndarray:
    """Lays the heatmaps of people over their image: the maximum over all keypoints and people.

    Args:
        image: ``(h, w, 3)`` uint8.
        people: Those in it, of a model whose ``test_cfg.output_heatmaps`` is set.

    Returns:
        A new image, unchanged where no heatmap rises, and from violet over red to yellow where
        one does.

    Raises:
        InputError: The image is not of that kind, or a person has no heatmaps.
    """
    picture = _copy(image)
    highest = np.zeros(picture.shape[:2], np.uint8)
    for index, person in enumerate(people):
        if person.heatmaps is None or person.region is None:
            raise InputError(
                f'person {index} has no heatmaps; set model.test_cfg.output_heatmaps to True'
            )
        _raise_to_heatmaps(highest, person.heatmaps, person.region)
    # For every height the opacity, and the colour times the opacity.
    height = np.linspace(0, 1, 256)
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


class _Skeleton(NamedTuple):
    """The limbs' ends ``(L, 2)``, and colours of limbs ``(L, 3)`` and of keypoints ``(K, 3)``."""

    links: np.ndarray
    limbs: np.ndarray
    joints: np.ndarray


def _skeleton(meta: Mapping[str, Any]) -> _Skeleton:
    links = np.array(meta['skeleton_links'], int).reshape(-1, 2)
    if any(name.startswith(_SIDES) for name in meta['keypoint_name2id']):
        limbs: Any = [limb_colour(start, end, meta) for start, end in links.tolist()]
        joints: Any = [limb_colour(k, k, meta) for k in range(meta['num_keypoints'])]
    else:  # MMPose's are red, green, blue
        limbs = np.array(meta['skeleton_link_colors']).reshape(-1, 3)[:, ::-1]
        joints = np.array(meta['keypoint_colors']).reshape(-1, 3)[:, ::-1]
    return _Skeleton(links, np.array(limbs, float).reshape(-1, 3), np.array(joints, float))


@dataclass(frozen=True)
class _Figure:
    """A person as it is drawn: in image pixels, ``strength`` ``(K,)`` from 0, faint, to 1."""

    points: np.ndarray
    shown: np.ndarray
    strength: np.ndarray
    box: np.ndarray | None
    size: float

    @property
    def width(self) -> float:
        """Width of a limb."""
        return float(np.clip(self.size / 65, 1.0, 16.0))

    @property
    def outline(self) -> float:
        """Width of the dark line around everything."""
        return 0.4 + 0.2 * self.width


def _figure(
    person: Pose, limits: tuple[int, int], keypoint_thr: float, num_keypoints: int
) -> _Figure:
    points = np.asarray(person.keypoints, np.float64)
    score = np.asarray(person.scores, np.float64)
    if len(points) != num_keypoints:
        raise InputError(
            f'a person has {len(points)} keypoints, but meta is for {num_keypoints}; give the '
            'dataset_meta of the model that found the person'
        )
    near = np.all((points > np.negative(limits)) & (points < np.multiply(limits, 2)), axis=1)
    strength = np.clip((score - _FAINT) / (_STRONG - _FAINT), 0, 1)
    box = np.asarray(person.box, np.float64)
    has_box = np.isfinite(box).all() and (box[2:] > box[:2]).all()
    # The smaller of both: a box may be the whole image, and a keypoint may be anywhere.
    sizes = [float((box[2:] - box[:2]).max())] if has_box else []
    sizes += [1.2 * float(np.ptp(points[near], axis=0).max())] if near.any() else []
    shown = near & (score >= keypoint_thr)
    return _Figure(points, shown, strength, box if has_box else None, min(sizes, default=0.0))


def _draw_figure(picture: np.ndarray, figure: _Figure, skeleton: _Skeleton) -> None:
    """Draws limbs and joints on a transparent layer of the person's size, and blends that in."""
    joints = np.flatnonzero(figure.shown)
    if not len(joints):
        return
    margin = 2 * figure.width + figure.outline + 2
    limits = np.array(picture.shape[1::-1])
    low = np.clip(figure.points[joints].min(axis=0) - margin, 0, limits).astype(int)
    high = np.clip(figure.points[joints].max(axis=0) + margin + 1, 0, limits).astype(int)
    if (high <= low).any():
        return
    layer = np.zeros((*(high - low)[::-1], 4), np.uint8)
    points, strength = figure.points - low, figure.strength
    # OpenCV replaces what it draws over, transparency included: the strongest comes last.
    joints = joints[np.argsort(strength[joints], kind='stable')]
    limbs = np.flatnonzero(figure.shown[skeleton.links].all(axis=1))
    weaker = strength[skeleton.links].min(axis=1)
    limbs = limbs[np.argsort(weaker[limbs], kind='stable')]
    links = skeleton.links[limbs]

    widths = _widths(figure, links)
    wide = widths[links].max(axis=1)
    for extra, colours in ((2 * figure.outline, _DARK), (0.0, skeleton.limbs[limbs])):
        _draw_lines(layer, points[links], wide + extra, _paints(colours, weaker[limbs]))
    sure = strength[joints]
    white = skeleton.joints[joints] + (255 - skeleton.joints[joints]) * sure[:, None]
    radii = widths[joints] * (0.55 + 0.4 * sure) + 0.1
    paints = np.stack([_paints(_DARK, sure), _paints(white, sure)], axis=1)
    for centre, radius, (dark, paint) in zip(points[joints], radii, paints, strict=True):
        _draw_circle(layer, centre, radius + figure.outline, dark)
        _draw_circle(layer, centre, radius, paint)
    region = picture[low[1] : high[1], low[0] : high[0]]
    _blend(region, cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR), cv2.extractChannel(layer, 3))


def _widths(figure: _Figure, links: np.ndarray) -> np.ndarray:
    """Width of the limbs at each keypoint ``(K,)``: less where limbs are short, as in a face."""
    lengths = np.hypot(*(figure.points[links[:, 0]] - figure.points[links[:, 1]]).T)
    shortest = np.full(len(figure.points), np.inf)
    np.minimum.at(shortest, links.ravel(), lengths.repeat(2))
    return np.clip(0.25 * shortest, 0.5 * figure.width, figure.width)


def _paints(colours: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Colours times their opacity, and the opacity from 0 to 255: ``(n, 4)``."""
    opacity = (_OPACITY[0] + (_OPACITY[1] - _OPACITY[0]) * strength**0.5)[:, None]
    return np.hstack([opacity * colours, 255 * opacity])


def _draw_lines(
    layer: np.ndarray, ends: np.ndarray, widths: np.ndarray, paints: np.ndarray
) -> None:
    """Draws n lines from ``(n, 2, 2)``, ``(n,)`` and ``(n, 4)``."""
    start, end = ends[:, 0], ends[:, 1]
    along = end - start
    half = np.maximum(0.5 * widths - _SPREAD[0], 0) / np.maximum(np.hypot(*along.T), 0.1)
    across = half[:, None] * along[:, ::-1] * (-1, 1)
    corners = np.stack([start + across, end + across, end - across, start - across], axis=1)
    for corner, paint in zip(_fixed(corners), paints.tolist(), strict=True):
        cv2.fillConvexPoly(layer, corner, paint, cv2.LINE_AA, _SHIFT)


def _draw_circle(layer: np.ndarray, centre: np.ndarray, radius: float, paint: np.ndarray) -> None:
    size = int(_fixed(np.maximum(radius - _SPREAD[1], 0.2)))
    cv2.circle(layer, _fixed(centre).tolist(), size, paint.tolist(), -1, cv2.LINE_AA, _SHIFT)


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


def _write(picture: np.ndarray, text: str, figure: _Figure) -> None:
    """Writes white on a dark patch, above the box or else above the keypoints."""
    if figure.box is None and not figure.shown.any():
        return
    corner = figure.points[figure.shown].min(axis=0) if figure.box is None else figure.box[:2]
    scale = float(np.clip(figure.size / 550, 0.4, 1.5))
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
    corner, limits = region[:2], np.array(highest.shape[::-1])
    low = np.clip(np.ceil(corner), 0, limits).astype(int)
    high = np.clip(np.floor(region[2:]) + 1, 0, limits).astype(int)
    if (high <= low).any():
        return
    # From pixels of the region to cells; the first cell's centre lies half a cell from the corner.
    per_pixel = np.array(heatmap.shape[::-1]) / (region[2:] - corner)
    warp = np.column_stack([np.diag(per_pixel), (low - corner) * per_pixel - 0.5])
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (high - low).tolist()
    spread = cv2.warpAffine(heatmap, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    covered = highest[low[1] : high[1], low[0] : high[0]]
    np.maximum(covered, spread, out=covered)


def _blend(region: np.ndarray, colours: np.ndarray, opacity: np.ndarray) -> None:
    """Lays colours, multiplied by their opacity of 0 to 255, over a region, in place."""
    behind = cv2.cvtColor(cv2.bitwise_not(opacity), cv2.COLOR_GRAY2BGR)
    region[...] = cv2.add(cv2.multiply(region, behind, scale=1 / 255), colours)


def _copy(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        found = getattr(image, 'shape', type(image).__name__)
        raise InputError(f'the image is {found}; expected an array (h, w, 3), blue green red')
    if image.dtype != np.uint8:
        raise InputError(f'the image is of type {image.dtype}; expected uint8, from 0 to 255')
    return image.copy()
