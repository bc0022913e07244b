"""Pictures of a report and of cost against work."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use('Agg')  # files only, no display needed

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from .report import Report
from .scale import Curve, Scale

_STOCK, _OURS, _BAR = '#8c8c8c', '#c44e52', '#333333'
_DPI = 100


def plot_scale(scale: Scale, folder: Path) -> list[Path]:
    """Draws a picture for every group of curves: ``scale_<name>.png``.

    Args:
        scale: The curves.
        folder: Where to write.

    Returns:
        The paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, curves in scale.plots.items():
        columns = min(2, len(curves))
        rows = -(-len(curves) // columns)
        figure, axes = plt.subplots(
            rows, columns, figsize=(4.6 * columns + 0.6, 3.4 * rows), squeeze=False
        )
        for axis in axes.flat[len(curves) :]:
            axis.set_visible(False)
        for axis, curve in zip(axes.flat, curves, strict=False):
            _draw(axis, curve)
        figure.tight_layout()
        paths.append(folder / f'scale_{name}.png')
        figure.savefig(paths[-1], dpi=_DPI)
        plt.close(figure)
    return paths


def _draw(axis: Axes, curve: Curve) -> None:
    """One panel; logarithmic where the work grows by more than a factor of ten."""
    for label, values, colour in (
        ('stock MMPose', curve.stock, _STOCK),
        ('mspn_plugin', curve.ours, _OURS),
    ):
        axis.plot(curve.amounts, values, color=colour, marker='o', markersize=4, label=label)
    wide = max(curve.amounts) > 10 * min(curve.amounts)
    if wide:
        axis.set_xscale('log')
        axis.set_yscale('log')
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
    else:
        axis.set_ylim(bottom=0)
    axis.set_xticks(curve.amounts)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axis.set_title(curve.title, fontsize=10)
    axis.set_xlabel(curve.over)
    axis.set_ylabel(curve.unit)
    axis.grid(alpha=0.3)
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(frameon=False, fontsize=9)


def plot_ratios(report: Report, folder: Path) -> Path:
    """Draws how many times as fast every row is, and its bar: ``ratios_<device>.png``.

    Sizes are left out: of them less is better.

    Args:
        report: The rows.
        folder: Where to write.

    Returns:
        The path.
    """
    rows = [row for row in report.rows if row.ratio and not row.is_size][::-1]
    figure, axis = plt.subplots(figsize=(8.6, 0.32 * len(rows) + 1.1))
    for position, row in enumerate(rows):
        ratio = row.ratio or 0.0
        axis.barh(position, ratio, color=_OURS, height=0.6)
        # Right of the bar's line too, if that is where the number would be.
        near = row.bar and ratio < row.bar < 1.4 * ratio
        end = (row.bar or 0.0) if near else ratio
        axis.text(end * 1.04, position, f'{ratio:.3g}x', va='center', fontsize=8)
        if row.bar:
            axis.plot([row.bar] * 2, [position - 0.4, position + 0.4], color=_BAR, linewidth=2)
    axis.axvline(1, color=_STOCK, linewidth=1)
    axis.set_xscale('log')
    most = max([2.0, *(max(row.ratio or 0, row.bar or 0) for row in rows)])
    axis.set_ylim(-0.8, len(rows) - 0.2)
    axis.set_xlim(min([0.8, *(row.ratio or 1 for row in rows)]), most * 1.8)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= most * 1.8]
    axis.set_xticks(ticks)
    axis.set_yticks(range(len(rows)), [row.what for row in rows], fontsize=8)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel('times as fast as stock MMPose; black: the bar')
    axis.spines[['top', 'right']].set_visible(False)
    figure.tight_layout()
    kind = 'cpu' if report.facts.get('CUDA') == 'not used' else 'cuda'
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'ratios_{kind}.png'
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)
    return path
