"""The training curve, from the records that MMEngine writes."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use('Agg')  # files only, no display needed

from matplotlib import pyplot as plt

Series = dict[int, float]


def read_scalars(work_dir: Path) -> tuple[dict[str, Series], dict[str, Series]]:
    """Reads every run in a work folder; where a resumed run repeats a step, the later one counts.

    Args:
        work_dir: The work folder of ``tools/train.py``.

    Returns:
        Training values by iteration and validation values by epoch, by name.
    """
    training: dict[str, Series] = {}
    validation: dict[str, Series] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a run that was killed while it wrote
            series = training if 'loss' in record else validation
            for key, value in record.items():
                if isinstance(value, (int, float)):
                    series.setdefault(key, {})[record['step']] = value
    return training, validation


def plot_training(work_dir: Path, picture: Path) -> None:
    """Draws loss and accuracy over the iterations, and AP over the epochs.

    Args:
        work_dir: The work folder of ``tools/train.py``.
        picture: The PNG file to write.

    Raises:
        ValueError: Nothing was logged there.
    """
    training, validation = read_scalars(work_dir)
    if 'loss' not in training:
        raise ValueError(f'{work_dir} holds no record of a training run')
    panels = [
        ('loss, all units together', 'iteration', training['loss'], '#c44e52'),
        ('accuracy on training crops', 'iteration', training.get('acc_pose', {}), '#4c72b0'),
        ('AP on validation people', 'epoch', validation.get('coco/AP', {}), '#55a868'),
    ]
    panels = [panel for panel in panels if panel[2]]
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.2), squeeze=False)
    for axis, (title, step, series, colour) in zip(axes[0], panels, strict=True):
        axis.plot(list(series), list(series.values()), color=colour, marker='.', markersize=4)
        axis.set(title=title, xlabel=step)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.spines[['top', 'right']].set_visible(False)
    figure.tight_layout()
    figure.savefig(picture, dpi=120)
    plt.close(figure)
