"""``mspn doctor`` or ``python -m mspn.doctor``: what is missing or broken, and what mends it.

It must run where everything else fails, so this module imports the standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import platform
import re
import shlex
import sys
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .version import __version__

_TORCH = 'pip install torch==2.11.0 torchvision==0.26.0'
_REINSTALL = 'pip install --no-deps --force-reinstall mspn_plugin'
# Names that pip may know it by, module, versions that work, what mends it, why. These bounds stand
# only here: a test compares pyproject.toml and install/requirements.in. In the order of dependence,
# so that the first failure of an import is the cause of the others.
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
        if isinstance(error, ModuleNotFoundError) and error.name:
            module = error.name.partition('.')[0]
            name = {'PIL': 'pillow', 'skimage': 'scikit-image', 'yaml': 'pyyaml'}.get(
                module, module
            )
            mend = {row[1]: row[3] for row in PACKAGES}.get(module, f'pip install {name}')
            if all(problem['mend'] != mend for problem in self.problems):
                self.add(f'{what}: there is no module {module}', mend, fatal=fatal)
        elif self.ok:
            text = ' '.join(f'{type(error).__name__}: {error}'.split())
            self.add(f'{what}: {text[:300]}', mend, fatal=fatal)

    def check(self, names: str, module: str, bounds: str, mend: str, why: str) -> None:
        """Looks for one row of `PACKAGES`, its version, and whether it imports."""
        name, found = names.split()[0], {}
        for known in names.split():
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[known] = importlib.metadata.version(known)
        self.versions[name] = ' + '.join(found.values()) or None
        fatal = name not in OPTIONAL
        if not found:
            what = f'{name} is not installed' + f' ({why})' * (not fatal)
            return self.add(what, mend, fatal=fatal)
        for known, version in found.items():
            if not fits(version, bounds):
                self.add(f'{known} is {version}, wanted is {bounds} ({why})', mend, fatal=fatal)
        if name == 'mmcv' and len(found) > 1:
            self.add('mmcv and mmcv-lite overwrite each other: keep one', mend, fatal=False)
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a broken package raises
            self.blame(error, f'{name} {self.versions[name]} does not import', mend, fatal=fatal)


def fits(version: str, bounds: str) -> bool:
    """Whether a version is in a range; what follows its numbers (rc1, +cu130) does not count."""
    for bound in filter(None, bounds.split(',')):
        number, limit = (
            [int(digits) for digits in re.findall(r'\d+', re.split(r'[^\d.]', text)[0])]
            for text in (version, bound.lstrip('<>='))
        )
        if (number < limit) == bound.startswith('>='):
            return False
    return True


def collect() -> Report:
    """Examines this Python; nothing that is missing or broken makes it raise."""
    report = Report(versions={'mspn_plugin': __version__, 'python': platform.python_version()})
    if not (3, 11) <= sys.version_info < (3, 13):
        report.add(f'Python is {platform.python_version()}, wanted is 3.11 or 3.12', _REINSTALL)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        for row in PACKAGES:
            report.check(*row)
        with contextlib.suppress(Exception):  # no torch, or a broken driver
            torch = sys.modules['torch']
            report.device = f'CPU, {torch.get_num_threads()} threads'
            if torch.cuda.is_available():
                report.device = f'CUDA {torch.version.cuda}: {torch.cuda.get_device_name()}'
        try:
            if report.ok:  # else it cannot work, and the cause is already in the report
                compat = importlib.import_module('mspn_plugin.compat')
                report.gaps = [asdict(gap) for gap in compat.close_gaps()]
                registry = importlib.import_module('mmpose.registry')
                for group, name in (component.split('.') for component in COMPONENTS):
                    if getattr(registry, group).get(name) is None:
                        report.add(f'MMPose does not know {name} of mspn_plugin', _REINSTALL)
        except Exception as error:
            report.blame(error.__cause__ or error, 'mspn_plugin does not import', _REINSTALL)
    root, python = Path(__file__).resolve().parents[1], shlex.quote(sys.executable)
    installed = importlib.metadata.distributions(name='mspn_plugin')  # mim sees no checkout
    mims = [Path(str(found.locate_file('mspn_plugin/.mim'))) for found in installed]
    if report.versions['openmim'] and not any(mim.is_dir() for mim in mims):
        what = 'mim cannot use this mspn_plugin: its installation is editable or incomplete'
        report.add(what, _REINSTALL, fatal=False)
    for problem in report.problems:  # for this Python's pip; in a fresh clone, for make
        bare = not report.versions['torch'] or problem['mend'] == _REINSTALL
        pip = re.sub(r'\bpip (?=install|uninst)', lambda _: f'{python} -m pip ', problem['mend'])
        clone = bare and (root / 'install' / 'bootstrap.py').is_file()
        problem['mend'] = f'make -C {shlex.quote(str(root))} setup' if clone else pip
    return report


def run(args: argparse.Namespace) -> int:
    """Prints the report; returns 0 if everything works, 1 if something is missing or broken."""
    report = collect()
    if args.json:
        print(json.dumps(asdict(report), indent=2))
        return int(not report.ok)
    print('packages', *(f'  {n:<12} {v or "-"}' for n, v in report.versions.items()), sep='\n')
    print(f'machine\n  {platform.platform()}\n  {report.device}\n  {sys.executable}')
    for gap in report.gaps:
        print(f'gap {gap["name"]}, {"closed" if gap["active"] else "left alone"}: {gap["detail"]}')
    for p in sorted(report.problems, key=lambda p: not p['fatal']):
        print(f'{"ERROR" if p["fatal"] else "warning"}: {p["what"]}; mend it with: {p["mend"]}')
    if not report.problems:
        print('no problems: every component is registered')
    return int(not report.ok)


def main(argv: list[str] | None = None) -> int:
    """``python -m mspn.doctor``; see `run`."""
    parser = argparse.ArgumentParser(prog='mspn doctor', description=__doc__)
    parser.add_argument('--json', action='store_true', help='print the report as JSON')
    return run(parser.parse_args(argv))


if __name__ == '__main__':
    raise SystemExit(main())
