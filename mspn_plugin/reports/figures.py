"""The plots and pictures of a report, as text that stands in the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mspn.drawing import draw_people
from mspn.media import read_image
from mspn.poses import Pose

from .analysis import KINDS

COLOURS = ('#1f6fb2', '#d9822b')  # of a run, and of the one it is compared with
_KIND_COLOURS = dict(zip(KINDS, ('#f2c14e', '#d1495b', '#8f5fb8', '#5b6770'), strict=True))
_SIZE = 260  # pixels of the longer side of a person's picture
_MARGIN = 0.25
_SEEN = 0.6


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'mspn'}):
        figure.savefig(text, format='svg', metadata={'Date': None}, transparent=True)
    content = text.getvalue()
    return content[content.index('<svg') :]


def _axes(width: float = 5.2, height: float = 2.6) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout='constrained')
    axes = figure.subplots()
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(True, color='#dddddd', linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def curve(
    title: str,
    runs: Sequence[tuple[str, Mapping[float, float]]],
    *,
    unit: str = 'epoch',
    log: bool = False,
) -> str:
    """One number by epoch, of one run or two."""
    figure, axes = _axes()
    for (name, values), colour in zip(runs, COLOURS, strict=False):
        if values:
            style = dict(marker='o', markersize=3) if len(values) < 40 else {}
            label = _literal(name)
            axes.plot([*values], [*values.values()], color=colour, label=label, lw=1.4, **style)
    axes.set_title(title, fontsize=9, loc='left')
    axes.set_xlabel(unit, fontsize=8)
    if log:
        axes.set_yscale('log')
    if len(runs) > 1:
        axes.legend(fontsize=8, frameon=False)
    return _svg(figure)


def _literal(name: str) -> str:
    """A name as Matplotlib shows it: between two dollars it would read mathematics."""
    return name.replace('$', r'\$')


def kinds_by_keypoint(rows: Sequence[Mapping[str, Any]]) -> str:
    """Bars: of each keypoint what part is wrong, and how."""
    figure, axes = _axes(8.5, max(2.0, 0.24 * len(rows) + 0.8))
    left = np.zeros(len(rows))
    for kind in KINDS:
        parts = np.array([row[kind] / max(row['seen'], 1) for row in rows])
        axes.barh(range(len(rows)), parts, left=left, color=_KIND_COLOURS[kind], label=kind)
        left += parts
    axes.set_yticks(range(len(rows)), [_literal(row['name']) for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel('part of the labelled keypoints', fontsize=8)
    axes.legend(fontsize=8, frameon=False, ncols=4, loc='lower left', bbox_to_anchor=(0, 1))
    return _svg(figure)


def confidence_plot(groups: Sequence[tuple[str, Sequence[tuple[float, float, int]]]]) -> str:
    """The median error by the score of the keypoint."""
    figure, axes = _axes()
    for (name, values), colour in zip(groups, COLOURS, strict=False):
        axes.plot(
            [v[0] for v in values],
            [v[1] for v in values],
            marker='o',
            color=colour,
            label=_literal(name),
        )
    axes.set_xlabel('score of the keypoint', fontsize=8)
    axes.set_ylabel('median error, part of the box', fontsize=8)
    axes.set_ylim(bottom=0)
    if len(groups) > 1:
        axes.legend(fontsize=8, frameon=False)
    return _svg(figure)


def person_picture(
    truth: Mapping[str, Any], found: Mapping[str, Any] | None, image: Path, meta: Mapping[str, Any]
) -> str | None:
    """The truth and what was found, side by side, as the address of a JPEG in the page."""
    picture = read_image(image)
    if picture is None:
        return None
    x, y, w, h = truth['bbox']
    x1, y1 = max(int(x - _MARGIN * w), 0), max(int(y - _MARGIN * h), 0)
    part = picture[y1 : int(y + (1 + _MARGIN) * h) + 1, x1 : int(x + (1 + _MARGIN) * w) + 1]
    if not part.size:
        return None
    scale = _SIZE / max(part.shape[:2])
    size = [max(round(scale * side), 1) for side in part.shape[1::-1]]
    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    sides = []
    for record in (truth, found):
        if record is None:
            sides.append(part)
            continue
        points = np.array(record['keypoints'], np.float32).reshape(-1, 3)
        scores = points[:, 2]
        if record is truth:
            scores = np.where(scores > 0, np.float32(1.3), np.float32(0))
        places = (points[:, :2] - (x1, y1)) * scale
        pose = Pose(places.astype(np.float32), scores, np.array([0, 0, *part.shape[1::-1]]))
        thr = 0.5 if record is truth else _SEEN
        sides.append(draw_people(part, [pose], meta, keypoint_thr=thr))
    both = np.hstack([sides[0], np.full((part.shape[0], 4, 3), 255, np.uint8), sides[1]])
    _, data = cv2.imencode('.jpg', both, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()
