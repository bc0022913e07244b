"""The report: one HTML file that opens anywhere, without a server and without the network."""

from __future__ import annotations

import html
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from mmpose.datasets.datasets.utils import parse_pose_metainfo

from mspn.version import __version__

from ..annotations.run_data import skeleton_of_dataset
from . import figures
from .analysis import (
    KINDS,
    STATS,
    ap_of_groups,
    confidence,
    error_kinds,
    evaluate,
    keypoint_table,
    match,
)
from .runs import Run

_WORST = 24
_MEANINGS = dict(
    jitter='near the right place, but not on it',
    inversion='on the mirror partner: left and right are confused',
    swap="on somebody else's keypoint",
    miss='near nothing of the kind',
)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; margin: .6em 0 } td, th { padding: .15em .8em; text-align: right;
  border-bottom: 1px solid #eee } th { font-weight: 600 } td:first-child, th:first-child
  { text-align: left; padding-left: 0 }
.big { font-size: 2em; font-weight: 600 } .plots { display: flex; flex-wrap: wrap; gap: 1em }
.plots svg { width: 500px; max-width: 100%; height: auto } .people { display: flex;
  flex-wrap: wrap; gap: 12px } figure { margin: 0; font-size: 12px; color: #555 }
p.note { color: #555; font-size: 13px } li { font-size: 13px; overflow-wrap: anywhere }
"""


class _Findings:
    """What there is to say about a run."""

    def __init__(self, run: Run) -> None:
        self.run, skeleton = run, run.skeleton
        sigmas = skeleton.sigmas
        self.stats = evaluate(run.truth, run.results, sigmas)
        self.pairs, self.alone = match(run.truth, run.results, skeleton)
        self.kinds = error_kinds(run.truth, run.results, self.pairs, sigmas)
        self.keypoints = keypoint_table(self.pairs, skeleton)
        self.groups = ap_of_groups(run.truth, run.results, self.pairs, sigmas)


def page(runs: Sequence[Run]) -> str:
    """The report of one run, or of two that are compared, as HTML."""
    findings = [_Findings(run) for run in runs]
    title = ' and '.join(run.name for run in runs)
    parts = [f'<h1>Report on {html.escape(title)}</h1>']
    for section in (_summary, _curves, _keypoints, _kinds, _groups, _people, _data, _how):
        parts += section(findings)
    body = '\n'.join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>'
        f'<body>\n{body}\n</body></html>\n'
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(tag: str, cells: Sequence[Any]) -> str:
        return ''.join(f'<{tag}>{html.escape(str(cell))}</{tag}>' for cell in cells)

    body = ''.join(f'<tr>{line("td", row)}</tr>' for row in rows)
    return f'<table><tr>{line("th", head)}</tr>{body}</table>'


def _number(value: float | None, digits: int = 3) -> str:
    return '–' if value is None or value == -1 else f'{value:.{digits}f}'


def _summary(findings: Sequence[_Findings]) -> Iterator[str]:
    for found in findings:
        people = len(found.pairs) + len(found.alone)
        name = f'{html.escape(found.run.name)}: ' if len(findings) > 1 else ''
        yield (
            f'<p>{name}<span class="big">AP {_number(found.stats["AP"])}</span> on {people} people '
            f'in {len(found.run.truth["images"])} pictures; {len(found.alone)} were not found</p>'
        )
    rows = [[key, *(_number(found.stats[key]) for found in findings)] for key in STATS]
    alike = findings[0].run.truth == findings[-1].run.truth
    if not alike:
        yield '<p><b>They were evaluated on different labels: these numbers do not compare.</b></p>'
    if len(findings) > 1 and alike:
        for row, key in zip(rows, STATS, strict=True):
            first, second = (found.stats[key] for found in findings)
            row.append('–' if -1 in (first, second) else f'{second - first:+.3f}')
    names = [found.run.name for found in findings]
    yield _table(['', *names, *(['difference'] if len(findings) > 1 and alike else [])], rows)
    yield (
        '<p class="note">COCO\'s evaluation with the sigmas of the skeleton; a dash: no such '
        'people.</p>'
    )


def _curves(findings: Sequence[_Findings]) -> Iterator[str]:
    keys = dict.fromkeys(key for found in findings for key in found.run.curves)
    if not keys:
        return
    yield '<h2>While it learned</h2><div class="plots">'
    first = [key for key in ('coco/AP', 'loss', 'acc_pose', 'lr') if key in keys]
    rest = [key for key in keys if key.startswith('loss_')]
    for key in (*first, *rest):
        runs = [(found.run.name, found.run.curves.get(key, {})) for found in findings]
        unit = findings[0].run.unit
        yield figures.curve(key, runs, unit=unit, log=key.startswith('loss'))
    yield '</div>'


def _keypoints(findings: Sequence[_Findings]) -> Iterator[str]:
    yield '<h2>Keypoints</h2>'
    head = ['', 'labelled', 'mean error', 'median', 'part of the box', 'PCK@0.1', 'score', *KINDS]
    for found in findings:
        if len(findings) > 1:
            yield f'<p>{html.escape(found.run.name)}</p>'
        rows = []
        for row in found.keypoints:
            numbers = [_number(row.get(key), d) for key, d in _COLUMNS]
            rows.append([row['name'], row['seen'], *numbers, *(row[kind] for kind in KINDS)])
        yield _table(head, rows)
        yield figures.kinds_by_keypoint(found.keypoints)
    yield (
        '<p class="note">Errors in pixels of the picture; part of the box: the median error '
        'divided by the longer side of the box; PCK@0.1: how many errors are at most a tenth of '
        'that side. Of people who were found.</p>'
    )
    groups = [(found.run.name, confidence(found.pairs)) for found in findings]
    yield f'<div class="plots">{figures.confidence_plot(groups)}</div>'


_COLUMNS = (('mean', 1), ('median', 1), ('part', 3), ('pck', 3), ('score', 2))


def _kinds(findings: Sequence[_Findings]) -> Iterator[str]:
    yield '<h2>Kinds of errors, and what mending each would give</h2>'
    for found in findings:
        if len(findings) > 1:
            yield f'<p>{html.escape(found.run.name)}</p>'
        rows = []
        for kind in KINDS:
            entry = found.kinds[kind]
            gain = entry['ap'] - found.stats['AP'] if 'ap' in entry else None
            numbers = [entry['count'], f'{entry["part"]:.1%}', _number(entry.get('ap'))]
            rows.append([kind, _MEANINGS[kind], *numbers, '–' if gain is None else f'{gain:+.3f}'])
        yield _table(['', 'the keypoint lies', 'number', 'of all', 'AP without', 'gain'], rows)
    yield (
        '<p class="note">The kinds are those of Ronchi and Perona (2017): right from a keypoint '
        'similarity of 0.85 on, jitter from 0.5. AP without: with each of them put where it is '
        'labelled.</p>'
    )


def _groups(findings: Sequence[_Findings]) -> Iterator[str]:
    yield '<h2>Which people</h2>'
    names = [found.run.name for found in findings]
    for title in findings[0].groups:
        columns = [found.groups[title] for found in findings]
        rows = [
            [group[0][0], *(text for _, n, value in group for text in (n, _number(value)))]
            for group in zip(*columns, strict=True)
        ]
        head = (text for name in names for text in ('people', f'AP {name}'))
        yield _table([title, *head], rows)


def _worst(found: _Findings) -> list[tuple[dict[str, Any], dict[str, Any] | None, str]]:
    """People, what was found, and a caption: the worst that were found, or else who was not."""
    pairs = sorted(found.pairs, key=lambda pair: pair.similarity)
    people: list[Any] = [(p.truth, p.found, f'similarity {p.similarity:.2f}') for p in pairs]
    return [*people[:_WORST], *((truth, None, 'not found') for truth in found.alone)][:_WORST]


def _people(findings: Sequence[_Findings]) -> Iterator[str]:
    found = findings[-1]
    meta = parse_pose_metainfo(skeleton_of_dataset(found.run.dataset))
    files = {image['id']: image['file_name'] for image in found.run.truth['images']}
    worst, gone = _worst(found), 0
    yield f'<h2>The {len(worst)} people that are found worst'
    yield f'{" by " + html.escape(found.run.name) if len(findings) > 1 else ""}</h2>'
    yield '<p class="note">Left the labels, right what was found.</p><div class="people">'
    for truth, pose, what in worst:
        file = files[truth['image_id']]
        if source := figures.person_picture(truth, pose, found.run.images / file, meta):
            text = f'{what}, {html.escape(file)}'
            yield f'<figure><img src="{source}" alt=""><figcaption>{text}</figcaption></figure>'
        else:
            gone += 1
    yield '</div>'
    if gone:
        images = html.escape(str(found.run.images))
        yield f'<p class="note">{gone} pictures cannot be read in {images}.</p>'


def _data(findings: Sequence[_Findings]) -> Iterator[str]:
    yield '<h2>The data</h2>'
    for found in findings:
        notes = found.run.notes
        if len(findings) > 1:
            yield f'<p>{html.escape(found.run.name)}</p>'
        items = ''.join(f'<li>{html.escape(note)}</li>' for note in notes)
        yield f'<ul>{items}</ul>' if notes else '<p>Nothing was left out or mended.</p>'


def _how(findings: Sequence[_Findings]) -> Iterator[str]:
    yield '<h2>How it was made</h2>'
    rows = []
    for found in findings:
        cfg = found.run.config
        seed = dict(cfg.get('randomness') or {}).get('seed')
        rows += [
            ['command', cfg.get('command') or 'not recorded'],
            ['seed', 'none was set' if seed is None else seed],
            ['weights', Path(found.run.checkpoint).name],
        ]
    packages = ('torch', 'mmengine', 'mmpose', 'numpy')
    versions = [f'{name} {metadata.version(name)}' for name in packages]
    own = [f'mspn {__version__}', f'Python {platform.python_version()}']
    rows.append(['versions', ', '.join([*own, *versions])])
    yield _table(['', ''], rows)
