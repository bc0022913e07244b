"""``mspn doctor`` or ``python -m mspn.doctor``: what is missing or broken, and what mends it.

It must run where everything else fails, so this module imports the standard library only.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import json
import platform
import re
import shlex
import sys
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .version import __version__

_TORCH = 'pip install torch==2.11.0 torchvision==0.26.0'
_REINSTALL = 'pip install --no-deps --force-reinstall mspn_plugin'
# Names for pip, module, versions that work (tests compare pyproject.toml), what mends it, why. In
# the order of dependence, so that the first failure of an import is the cause of the others.
# fmt: off
PACKAGES = (
    ('numpy', 'numpy', '<2.4', 'pip install "numpy>=2,<2.4"', 'MMPose cannot draw with 2.4'),
    ('torch', 'torch', '>=2.6', _TORCH, 'older ones run code that a checkpoint holds'),
    ('torchvision', 'torchvision', '', _TORCH, ''),
    ('opencv opencv-python-headless opencv-python opencv-contrib-python-headless '
     'opencv-contrib-python', 'cv2', '', 'pip uninstall -y opencv-python opencv-python-headless && '
     'pip install "opencv-python-headless<5"', ''),
    ('setuptools', 'pkg_resources', '<82', 'pip install "setuptools>=77.0.3,<82"',
     '82 dropped pkg_resources, which MMEngine imports'),
    *((n, n, '', f'pip install {n}', '') for n in ('six', 'pycocotools', 'safetensors')),
    ('mmengine', 'mmengine', '>=0.10.7,<1', 'pip install mmengine==0.10.7', 'torch 2.6 needs it'),
    ('mmcv mmcv-lite', 'mmcv', '>=2.0.0,<2.2', 'pip uninstall -y mmcv mmcv-lite && '
     'pip install mmcv-lite==2.1.0', 'MMDetection 3.3.0 refuses 2.2'),
    ('mmdet', 'mmdet', '>=3.2,<3.4', 'pip install --no-deps mmdet==3.3.0', 'only to find people'),
    ('mmpose', 'mmpose', '>=1.3,<2', 'pip install --no-deps mmpose==1.3.2', 'written for 1.3'),
    ('openmim', 'mim', '', 'pip install --no-deps openmim==0.3.9', 'only for `mim`'),
)
OPTIONAL = {'mmdet', 'openmim'}
# Without torch and OpenMMLab but with this, an environment is meant for the light half.
RUNTIME = ('onnxruntime', 'onnxruntime', '>=1.20', 'pip install "onnxruntime>=1.20"', 'tested')
LIGHT = (*(row for row in PACKAGES if row[1] in ('numpy', 'cv2')), RUNTIME)
COMPONENTS = ('MODELS.MSPNBackbone', 'MODELS.MSPNNeck', 'MODELS.MultiStageHead',
              'MODELS.OHKMMSELoss', 'MODELS.MSPNPoseEstimator', 'KEYPOINT_CODECS.MultiLevelHeatmap')
# fmt: on


@dataclass
class Report:
    """What this Python has; a problem says what is wrong, what mends it, and if it is fatal."""

    ok: bool = True
    versions: dict[str, str | None] = field(default_factory=dict)
    device: str = 'unknown, because torch does not import'
    gaps: list[dict] = field(default_factory=list)
    problems: list[dict] = field(default_factory=list)

    def add(self, what: str, mend: str, *, fatal: bool = True) -> None:
        """Adds a problem."""
        self.problems.append({'what': what, 'mend': mend, 'fatal': fatal})
        self.ok = self.ok and not fatal

    def blame(self, error: BaseException, what: str, mend: str, *, fatal: bool = True) -> None:
        """Adds the cause of a failed import, unless it follows from what is already wrong."""
        text, known = ' '.join(f'{type(error).__name__}: {error}'.split())[:300], not self.ok
        if isinstance(error, ModuleNotFoundError) and error.name:
            lost = error.name.partition('.')[0]
            name = {'PIL': 'pillow', 'skimage': 'scikit-image', 'yaml': 'pyyaml'}.get(lost, lost)
            mend = {row[1]: row[3] for row in PACKAGES}.get(lost, f'pip install {name}')
            text, known = f'there is no module {lost}', mend in [p['mend'] for p in self.problems]
        if not known:
            self.add(f'{what}: {text}', mend, fatal=fatal)

    def check(self, names: str, module: str, bounds: str, mend: str, why: str) -> None:
        """Looks for one row of `PACKAGES`, its version, and whether it imports."""
        name, found = names.split()[0], []
        fatal = name not in OPTIONAL
        for known in names.split():
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found.append(importlib.metadata.version(known))
                if not fits(found[-1], bounds):
                    what = f'{known} is {found[-1]}, wanted is {bounds} ({why})'
                    self.add(what, mend, fatal=fatal)
        self.versions[name] = ' + '.join(found) or None
        if not found:
            what = f'{name} is not installed' + f' ({why})' * (not fatal)
            return self.add(what, mend, fatal=fatal)
        if name == 'mmcv' and len(found) > 1:
            self.add('mmcv and mmcv-lite overwrite each other: keep one', mend, fatal=False)
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a broken package raises
            self.blame(error, f'{name} {self.versions[name]} does not import', mend, fatal=fatal)


def fits(version: str, bounds: str) -> bool:
    """Whether a version is in a range; what follows its numbers (rc1, +cu130) does not count."""

    def numbers(text: str) -> list[int]:
        return [int(digits) for digits in re.findall(r'\d+', re.split(r'[^\d.]', text)[0])]

    return all(
        (numbers(version) < numbers(bound.lstrip('<>='))) == bound.startswith('<')
        for bound in filter(None, bounds.split(','))
    )


def collect() -> Report:
    """Examines this Python; nothing that is missing or broken makes it raise."""
    report = Report(versions={'mspn_plugin': __version__, 'python': platform.python_version()})
    if not (3, 11) <= sys.version_info < (3, 13):
        report.add(f'Python is {platform.python_version()}, wanted is 3.11 or 3.12', _REINSTALL)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        light = importlib.util.find_spec('onnxruntime') and not any(
            importlib.util.find_spec(module) for module in ('torch', 'mmengine', 'mmcv', 'mmpose')
        )
        for row in LIGHT if light else PACKAGES:
            report.check(*row)
        with contextlib.suppress(Exception):  # no torch, no CUDA, or a broken driver
            torch = sys.modules['torch']
            report.device = f'CPU, {torch.get_num_threads()} threads'
            report.device = f'CUDA {torch.version.cuda}: {torch.cuda.get_device_name()}'
        try:
            if light:
                report.device = 'no torch and OpenMMLab: poses from ONNX files, no training'
            elif report.ok:  # else it cannot work, and the cause is already in the report
                compat = importlib.import_module('mspn_plugin.compat')
                report.gaps = [asdict(gap) for gap in compat.close_gaps()]
                registry = importlib.import_module('mmpose.registry')
                for group, name in (component.split('.') for component in COMPONENTS):
                    if getattr(registry, group).get(name) is None:
                        report.add(f'MMPose does not know {name} of mspn_plugin', _REINSTALL)
        except Exception as error:
            report.blame(error.__cause__ or error, 'mspn_plugin does not import', _REINSTALL)
    installed = importlib.metadata.distributions(name='mspn_plugin')  # mim sees no checkout
    mims = [Path(str(found.locate_file('mspn_plugin/.mim'))) for found in installed]
    if report.versions.get('openmim') and not any(mim.is_dir() for mim in mims):
        what = 'mim cannot use this mspn_plugin: its installation is editable or incomplete'
        report.add(what, _REINSTALL, fatal=False)
    root = Path(__file__).resolve().parents[1]
    clone = (root / 'install' / 'bootstrap.py').is_file()
    for problem in report.problems:  # for this Python's pip; in a fresh clone, for make
        bare = not report.versions.get('torch') or problem['mend'] == _REINSTALL
        pip = problem['mend'].replace('pip ', f'{shlex.quote(sys.executable)} -m pip ')
        problem['mend'] = f'make -C {shlex.quote(str(root))} setup' if clone and bare else pip
    return report


def run(args: Any) -> int:
    """Prints the report; returns 0 if everything works, 1 if something is missing or broken."""
    report = collect()
    lines = ['packages', *(f'  {n:<12} {v or "-"}' for n, v in report.versions.items())]
    lines += ['machine', *(f'  {x}' for x in (platform.platform(), report.device, sys.executable))]
    for g in report.gaps:
        lines.append(f'gap {g["name"]}, {"closed" if g["active"] else "left alone"}: {g["detail"]}')
    for p in sorted(report.problems, key=lambda p: not p['fatal']):
        kind = 'ERROR' if p['fatal'] else 'warning'
        lines.append(f'{kind}: {p["what"]}; mend it with: {p["mend"]}')
    complete = ': every component is registered' * ('torch' in report.versions)
    lines += [f'no problems{complete}'] * (not report.problems)
    print(json.dumps(asdict(report), indent=2) if args.json else '\n'.join(lines))
    return int(not report.ok)


if __name__ == '__main__':
    from .cli import tool

    tool('doctor')()
