"""Rows of evaluation: `tools/test.py` of both sides, from the command to the numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import mmpose

from mspn.errors import InputError
from mspn_plugin.zoo import get_config

from .bench import SIDES, Bench
from .material import first_images, point_at
from .network import Network
from .rows import Group, Row, timed_row
from .rows_inference import compare_predictions
from .rows_people import SMALL

_TOOL = '.mim/tools/test.py'


class Evaluation(Group):
    """Both sides' test scripts, in processes of their own, on the same images and boxes."""

    name = 'evaluation'
    title = 'Evaluation (tools/test.py, wall time)'

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        sizes = bench.sizes
        self.jobs = [(sizes.network, sizes.evaluated), (SMALL, sizes.small_images)]

    def check(self) -> str:
        """Compares keypoints of both networks with flip test."""
        counts = [compare_predictions(self.bench, network) for network, _ in self.jobs]
        return f'{sum(counts)} keypoints with the two networks'

    def measure(self) -> Iterable[Row]:
        """Times the commands; the network of the benchmark once per side and two repeats."""
        bench, settings = self.bench, self.bench.settings
        for network, images in self.jobs:
            folder = bench.folder / f'evaluation-{network.file_name}'
            annotations, boxes, count, people = first_images(
                settings.data_root, settings.detections, images, folder
            )
            small = network is SMALL
            commands = {}
            for side in SIDES:
                cfg = bench.config(side, network)
                point_at(cfg, settings.data_root, annotations=annotations, boxes=boxes)
                path = folder / f'{side}.py'
                cfg.dump(path)
                commands[side] = self._command(side, path, network, folder)
            times = bench.alternate(
                {side: partial(self._run, command) for side, command in commands.items()},
                repeats=min(bench.slow_repeats, 3 if small else 2),
                warm_up=0,
                least_time=0,
            )
            yield timed_row(
                'evaluation-small' if small else 'evaluation',
                f'test.py, {network}, {count} images, {people} boxes',
                times,
                unit='s',
                bar=1.5,
                operations=2 * people * bench.operations(network),
                peak=bench.peak(),
                note='start of Python and imports included',
            )

    def _command(self, side: str, config: Path, network: Network, folder: Path) -> list[str]:
        root = Path(mmpose.__file__).parent if side == 'stock' else None
        tool = root / _TOOL if root else _own_tool()
        weights = self.bench.weights(network)
        work = folder / f'work-{side}'
        return [sys.executable, str(tool), str(config), str(weights), '--work-dir', str(work)]

    def _run(self, command: list[str]) -> None:
        environment = dict(os.environ, PYTHONWARNINGS='ignore')
        if self.bench.settings.threads != os.cpu_count():
            environment['OMP_NUM_THREADS'] = str(self.bench.settings.threads)
        if not self.bench.on_gpu:
            environment['CUDA_VISIBLE_DEVICES'] = ''
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise InputError(
                f'{" ".join(command)} failed: {(done.stderr or done.stdout).strip()[-800:]}'
            )


def _own_tool() -> Path:
    """This package's test script: beside the configs, wherever those are."""
    for folder in Path(get_config('mspn50-2stg_8xb32-210e_coco-256x192')).parents:
        if (folder / 'tools' / 'test.py').is_file():
            return folder / 'tools' / 'test.py'
    raise InputError('tools/test.py of mspn_plugin is missing; reinstall the package')
