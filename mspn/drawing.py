"""Poses and heatmaps, drawn over the image that they were found in.

Shapes: K keypoints, H and W heatmap size, h and w image size. Colours are blue, green, red.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from mmpose.structures import PoseDataSample

from mspn_plugin.apis.people import instance_score

from .errors import InputError

Colour = tuple[int, int, int]

# Blue and orange stay apart for every kind of colour blindness, and from a light grey.
LEFT: Colour = (255, 166, 46)
RIGHT: Colour = (20, 140, 255)
MIDDLE: Colour = (228, 228, 228)
_DARK: Colour = (24, 20, 20)
_WHITE: Colour = (255, 255, 255)

_FAINT, _STRONG = 0.5, 1.3  # scores: an empty map gives 0.5, and a perfect peak 1.5
_OPACITY = (0.12, 0.95)  # of a faint and of a strong part

_SHIFT = 4  # OpenCV takes coordinates as whole numbers, here of 1/16 pixels
_SPREAD = 0.7, 0.4  # pixels that anti-aliasing adds at each side of a polygon, of a circle
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TRANSLUCENT = 0.8  # opacity where a heatmap is strongest


def draw_people(
    image: np.ndarray,
    people: Sequence[PoseDataSample],
    meta: dict[str, Any],
    *,
    keypoint_thr: float = 0.0,
    person_thr: float = 0.0,
    boxes: bool = False,
    scores: bool = False,
) -> np.ndarray:
    """Draws the skeletons of people.

    Limbs of the left side are blue, those of the right side orange, the others light grey. The
    surer the network is of a keypoint, the larger, whiter and less transparent it is; a limb is as
    transparent as the less certain of its ends. Smaller people come to lie over larger ones.

    Args:
        image: ``(h, w, 3)`` uint8.
        people: One person each, as `infer_people` gives them.
        meta: What the keypoints are: a model's or data set's parsed ``dataset_meta``.
        keypoint_thr: Leaves out keypoints with a lower score, and limbs that end there.
        person_thr: Leaves out people whose score, as `instance_score` gives it, is lower.
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
    order = [i for i, person in enumerate(people) if instance_score(person) >= person_thr]
    order.sort(key=lambda index: -figures[index].size)
    for index in order:
        if boxes:
            _draw_box(picture, figures[index])
        _draw_figure(picture, figures[index], skeleton)
    for index in order:
        text = [str(index)] if boxes else []
        text += [f'{instance_score(people[index]):.2f}'] if scores else []
        if text:
            _write(picture, '  '.join(text), figures[index])
    return picture


def overlay_heatmaps(image: np.ndarray, people: Sequence[PoseDataSample]) -> np.ndarray:
    """Lays the heatmaps of people over their image: the maximum over all keypoints and people.

    Args:
        image: ``(h, w, 3)`` uint8.
        people: As `infer_people` gives them if the model's ``test_cfg.output_heatmaps`` is set:
            with ``pred_fields.heatmaps`` ``(K, H, W)``, 255 for a perfect peak.

    Returns:
        A new image, unchanged where no heatmap rises, and from violet over red to yellow where
        one does.

    Raises:
        InputError: The image is not of that kind, or a person has no heatmaps.
    """
    picture = _copy(image)
    highest = np.zeros(picture.shape[:2], np.uint8)
    for index, person in enumerate(people):
        if 'pred_fields' not in person or 'heatmaps' not in person.pred_fields:
            raise InputError(
                f'person {index} has no heatmaps; set model.test_cfg.output_heatmaps to True'
            )
        _raise_to_heatmaps(highest, person)
    colours, opacity = _heat_tables()
    _blend(picture, cv2.applyColorMap(highest, colours), cv2.LUT(highest, opacity))
    return picture


def limb_colour(start: int, end: int, meta: dict[str, Any]) -> Colour:
    """The colour of the side that a limb belongs to.

    Args:
        start: A keypoint, and
        end: another or the same one.
        meta: As for `draw_people`; names start with ``left_`` or ``right_``.

    Returns:
        `LEFT` or `RIGHT` if the limb's ends name only that side, or else `MIDDLE`.
    """
    names = [meta['keypoint_id2name'][k] for k in (start, end)]
    left, right = (any(n.startswith(side) for n in names) for side in ('left_', 'right_'))
    return MIDDLE if left == right else LEFT if left else RIGHT


@dataclass(frozen=True)
class _Skeleton:
    """What connects the keypoints, and the colours.

    Attributes:
        links: ``(L, 2)``, the keypoints that are a limb's ends.
        limbs: ``(L, 3)``, colours of the limbs.
        joints: ``(K, 3)``, colours of the keypoints.
    """

    links: np.ndarray
    limbs: np.ndarray
    joints: np.ndarray


def _skeleton(meta: dict[str, Any]) -> _Skeleton:
    links = [tuple(link) for link in meta['skeleton_links']]
    return _Skeleton(
        np.array(links, int).reshape(-1, 2),
        np.array([limb_colour(a, b, meta) for a, b in links], float).reshape(-1, 3),
        np.array([limb_colour(k, k, meta) for k in range(meta['num_keypoints'])], float),
    )


@dataclass(frozen=True)
class _Figure:
    """A person as it is drawn.

    Attributes:
        points: ``(K, 2)`` in image pixels.
        shown: ``(K,)``, which of them to draw.
        strength: ``(K,)`` from 0, faint, to 1.
        box: x1, y1, x2, y2, if there is one.
        size: Of the person, in image pixels.
    """

    points: np.ndarray
    shown: np.ndarray
    strength: np.ndarray
    box: np.ndarray | None
    size: float

    @property
    def width(self) -> float:
        """Width of a limb, in pixels."""
        return float(np.clip(self.size / 65, 1.0, 16.0))

    @property
    def outline(self) -> float:
        """Width of the dark line around everything, in pixels."""
        return 0.4 + 0.2 * self.width


def _figure(
    person: PoseDataSample, limits: tuple[int, int], keypoint_thr: float, num_keypoints: int
) -> _Figure:
    found = person.pred_instances
    points = np.asarray(found.keypoints[0], np.float64)
    score = np.asarray(found.keypoint_scores[0], np.float64)
    if len(points) != num_keypoints:
        raise InputError(
            f'a person has {len(points)} keypoints, but meta is for {num_keypoints}; give the '
            'dataset_meta of the model that found the person'
        )
    near = np.all((points > np.negative(limits)) & (points < np.multiply(limits, 2)), axis=1)
    strength = np.clip((score - _FAINT) / (_STRONG - _FAINT), 0, 1)
    box = np.asarray(found.bboxes[0], np.float64) if 'bboxes' in found else None
    if box is not None and not (np.isfinite(box).all() and (box[2:] > box[:2]).all()):
        box = None
    # The smaller of both: a box may be the whole image, and a keypoint may be anywhere.
    sizes = [] if box is None else [float((box[2:] - box[:2]).max())]
    sizes += [1.2 * float(np.ptp(points[near], axis=0).max())] if near.any() else []
    return _Figure(points, near & (score >= keypoint_thr), strength, box, min(sizes, default=0.0))


def _draw_figure(picture: np.ndarray, figure: _Figure, skeleton: _Skeleton) -> None:
    """Draws limbs and joints on a transparent layer of the person's size, and blends that in."""
    joints = np.flatnonzero(figure.shown)
    if not len(joints):
        return
    margin = 2 * figure.width + figure.outline + 2
    limits = np.array(picture.shape[1::-1])
    low, high = (
        np.clip(corner, 0, limits).astype(int)
        for corner in (
            figure.points[joints].min(axis=0) - margin,
            figure.points[joints].max(axis=0) + margin + 1,
        )
    )
    if (high <= low).any():
        return
    layer = np.zeros((*(high - low)[::-1], 4), np.uint8)
    points, strength = figure.points - low, figure.strength
    limbs = np.flatnonzero(figure.shown[skeleton.links].all(axis=1))
    # OpenCV replaces what it draws over, transparency included: the strongest comes last.
    joints = joints[np.argsort(strength[joints], kind='stable')]
    weaker = strength[skeleton.links].min(axis=1)
    limbs = limbs[np.argsort(weaker[limbs], kind='stable')]
    links = skeleton.links[limbs]

    widths = _widths(figure, links)
    wide = widths[links].max(axis=1)
    for extra, colours in ((2 * figure.outline, np.array(_DARK)), (0.0, skeleton.limbs[limbs])):
        _draw_lines(layer, points[links], wide + extra, _paints(colours, weaker[limbs]))
    sure = strength[joints]
    white = skeleton.joints[joints] + (255 - skeleton.joints[joints]) * sure[:, None]
    radii = widths[joints] * (0.55 + 0.4 * sure) + 0.1
    _draw_circles(  # each with its outline below it
        layer,
        points[joints].repeat(2, axis=0),
        np.stack([radii + figure.outline, radii], axis=1).ravel(),
        np.stack([_paints(np.array(_DARK), sure), _paints(white, sure)], axis=1).reshape(-1, 4),
    )
    region = picture[low[1] : high[1], low[0] : high[0]]
    _blend(region, cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR), cv2.extractChannel(layer, 3))


def _widths(figure: _Figure, links: np.ndarray) -> np.ndarray:
    """Width of the limbs at each keypoint ``(K,)``: less where limbs are short, as in a face."""
    lengths = np.hypot(*(figure.points[links[:, 0]] - figure.points[links[:, 1]]).T)
    shortest = np.full(len(figure.points), np.inf)
    np.minimum.at(shortest, links.ravel(), lengths.repeat(2))
    return np.clip(0.25 * shortest, 0.5 * figure.width, figure.width)


def _paints(colours: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Colours times their opacity, and the opacity from 0 to 255.

    Args:
        colours: ``(n, 3)``, or ``(3,)`` for all.
        strength: ``(n,)``.

    Returns:
        ``(n, 4)``.
    """
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


def _draw_circles(
    layer: np.ndarray, centres: np.ndarray, radii: np.ndarray, paints: np.ndarray
) -> None:
    """Draws n filled circles from ``(n, 2)``, ``(n,)`` and ``(n, 4)``."""
    sizes = _fixed(np.maximum(radii - _SPREAD[1], 0.2)).tolist()
    for centre, size, paint in zip(_fixed(centres).tolist(), sizes, paints.tolist(), strict=True):
        cv2.circle(layer, centre, size, paint, -1, cv2.LINE_AA, _SHIFT)


def _fixed(values: np.ndarray) -> np.ndarray:
    return np.rint(values * 2**_SHIFT).astype(np.int32)


def _draw_box(picture: np.ndarray, figure: _Figure) -> None:
    if figure.box is None:
        return
    limits = np.tile(picture.shape[1::-1], 2)
    x1, y1, x2, y2 = np.clip(np.round(figure.box), -9, limits + 9).astype(int).tolist()
    thickness = max(1, round(figure.width / 5))
    cv2.rectangle(picture, (x1 - 1, y1 - 1), (x2 + 1, y2 + 1), _DARK, thickness)
    cv2.rectangle(picture, (x1, y1), (x2, y2), MIDDLE, thickness)


def _write(picture: np.ndarray, text: str, figure: _Figure) -> None:
    """Writes white on a dark patch, above the box or else above the keypoints."""
    if figure.box is not None:
        corner = figure.box[:2]
    elif figure.shown.any():
        corner = figure.points[figure.shown].min(axis=0)
    else:
        return
    scale = float(np.clip(figure.size / 550, 0.4, 1.5))
    (width, height), below = cv2.getTextSize(text, _FONT, scale, 1)
    width, height = width + 6, height + below + 4
    limit = np.maximum(np.array(picture.shape[1::-1]) - (width, height), 0)
    x, y = np.clip(np.round(corner - (0, height)), 0, limit).astype(int).tolist()
    patch = picture[y : y + height, x : x + width]
    patch[...] = cv2.convertScaleAbs(patch, alpha=0.25)
    cv2.putText(picture, text, (x + 3, y + height - below), _FONT, scale, _WHITE, 1, cv2.LINE_AA)


def _raise_to_heatmaps(highest: np.ndarray, person: PoseDataSample) -> None:
    """Raises ``(h, w)`` uint8, in place, to a person's heatmaps where these are higher."""
    heatmap = np.nan_to_num(person.pred_fields.numpy().heatmaps.max(axis=0)).astype(np.float32)
    # Smooth and small first, then quick and large.
    heatmap = cv2.resize(heatmap, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    heatmap = np.clip(heatmap, 0, 255).astype(np.uint8)
    cells = np.array(heatmap.shape[::-1])
    scale = np.asarray(person.metainfo['input_scale'], np.float64)
    corner = np.asarray(person.metainfo['input_center'], np.float64) - 0.5 * scale
    limits = np.array(highest.shape[::-1])
    low = np.clip(np.ceil(corner), 0, limits).astype(int)
    high = np.clip(np.floor(corner + scale) + 1, 0, limits).astype(int)
    if (high <= low).any():
        return
    # From pixels of the region to cells; the first cell's centre lies half a cell from the corner.
    per_pixel = cells / scale
    offset = (low - corner) * per_pixel - 0.5
    warp = np.array([[per_pixel[0], 0, offset[0]], [0, per_pixel[1], offset[1]]])
    width, height = (high - low).tolist()
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    spread = cv2.warpAffine(
        heatmap, warp, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    region = highest[low[1] : high[1], low[0] : high[0]]
    np.maximum(region, spread, out=region)


def _heat_tables() -> tuple[np.ndarray, np.ndarray]:
    """For every height the colour times its opacity ``(256, 1, 3)``, and the opacity ``(256,)``."""
    height = np.linspace(0, 1, 256)
    opacity = _TRANSLUCENT * np.clip((height - 0.03) / 0.6, 0, 1)
    levels = np.round(60 + 180 * height).astype(np.uint8)  # without the map's dark end
    colours = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_INFERNO)
    dimmed = np.round(colours * opacity[:, None, None]).astype(np.uint8)
    return dimmed, np.round(255 * opacity).astype(np.uint8)


def _blend(region: np.ndarray, colours: np.ndarray, opacity: np.ndarray) -> None:
    """Lays a layer over a region, in place.

    Args:
        region: ``(h, w, 3)``.
        colours: ``(h, w, 3)``, multiplied by the opacity.
        opacity: ``(h, w)`` from 0 to 255.
    """
    behind = cv2.cvtColor(cv2.bitwise_not(opacity), cv2.COLOR_GRAY2BGR)
    region[...] = cv2.add(cv2.multiply(region, behind, scale=1 / 255), colours)


def _copy(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        found = getattr(image, 'shape', type(image).__name__)
        raise InputError(f'the image is {found}; expected an array (h, w, 3), blue green red')
    if image.dtype != np.uint8:
        raise InputError(f'the image is of type {image.dtype}; expected uint8, from 0 to 255')
    return image.copy()
