"""``python -m mspn_plugin.doctor``: what is installed, what is missing, and how to mend it.

It must run where everything else fails, so this module imports the standard library only;
`mspn_plugin/__init__.py` registers nothing in a process that asks for the doctor.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import importlib.metadata
import io
import json
import platform
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TORCH = 'pip install torch==2.11.0 torchvision==0.26.0'
# From a clone, `make setup` instead.
_REINSTALL = 'pip install --no-deps --force-reinstall mspn_plugin'
_PYTHONS = ((3, 11), (3, 13))  # from, below


@dataclass(frozen=True)
class Requirement:
    """A package that must be there, or had better be.

    Attributes:
        name: What the report calls it.
        module: What Python imports.
        mend: The command that installs a version that works, whatever is there now.
        versions: Those that work, such as ``>=0.10.7,<1``; empty: all.
        reason: Why others do not, or what the package is for if it is not `fatal`.
        fatal: Whether training, testing or inference fails without it.
        distributions: The names under which pip may know it; empty: only `name`.
    """

    name: str
    module: str
    mend: str
    versions: str = ''
    reason: str = ''
    fatal: bool = True
    distributions: tuple[str, ...] = ()


# In the order of dependence, so that the first failure of an import is the cause of the others.
# fmt: off
REQUIREMENTS = (
    Requirement('numpy', 'numpy', 'pip install "numpy>=2,<2.4"', '<2.4',
                'MMPose cannot draw with 2.4'),
    Requirement('torch', 'torch', _TORCH, '>=2.6', 'older ones run code that a checkpoint holds'),
    Requirement('torchvision', 'torchvision', _TORCH),
    Requirement('opencv', 'cv2', 'pip uninstall -y opencv-python opencv-python-headless && '
                'pip install "opencv-python-headless<5"',
                distributions=('opencv-python-headless', 'opencv-python',
                               'opencv-contrib-python-headless', 'opencv-contrib-python')),
    Requirement('setuptools', 'pkg_resources', 'pip install "setuptools>=77.0.3,<82"', '<82',
                '82 dropped pkg_resources, which MMEngine imports'),
    Requirement('six', 'six', 'pip install six'),
    Requirement('pycocotools', 'pycocotools', 'pip install pycocotools'),
    Requirement('mmengine', 'mmengine', 'pip install mmengine==0.10.7', '>=0.10.7,<1',
                'older ones fail with torch 2.6 and newer'),
    Requirement('mmcv', 'mmcv', 'pip uninstall -y mmcv mmcv-lite && pip install mmcv-lite==2.1.0',
                '>=2.0.0,<2.2', 'MMDetection 3.3.0 refuses 2.2',
                distributions=('mmcv', 'mmcv-lite')),
    Requirement('mmdet', 'mmdet', 'pip install --no-deps mmdet==3.3.0', '>=3.2,<3.4',
                'only needed to find people in whole pictures', fatal=False),
    Requirement('mmpose', 'mmpose', 'pip install --no-deps mmpose==1.3.2', '>=1.3,<2',
                'this package was written for 1.3'),
    Requirement('openmim', 'mim', 'pip install --no-deps openmim==0.3.9', '',
                'only needed for `mim train`, `mim test` and `mim run`', fatal=False),
    Requirement('protobuf', 'google.protobuf', 'pip install "protobuf>=4.22"', '>=4.22',
                'only needed to convert MindSpore weights', fatal=False),
    Requirement('safetensors', 'safetensors', 'pip install safetensors', '',
                'only needed for .safetensors weights', fatal=False),
)
# fmt: on

# Modules whose distribution has another name, for those that MMPose imports and we do not list.
_DISTRIBUTION_OF = {
    'PIL': 'pillow',
    'json_tricks': 'json-tricks',
    'model_index': 'model-index',
    'skimage': 'scikit-image',
    'yaml': 'pyyaml',
}

COMPONENTS = {
    'MODELS': (
        'MSPNBackbone',
        'MSPNNeck',
        'MultiStageHead',
        'OHKMMSELoss',
    ),
    'KEYPOINT_CODECS': ('MultiLevelHeatmap',),
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        what: The sentence for the user.
        mend: The one command that puts it right.
        fatal: Whether something fails; otherwise it is a warning.
    """

    what: str
    mend: str
    fatal: bool = True


@dataclass
class Report:
    """All that the doctor found out.

    Attributes:
        versions: The version of every package, by name; ``None`` where it is missing.
        device: What torch computes on.
        gaps: `mspn_plugin.compat.Gap` records, as dictionaries.
        problems: What is wrong, the causes first.
    """

    versions: dict[str, str | None] = field(default_factory=dict)
    device: str = 'unknown, because torch does not import'
    gaps: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing fails; warnings are allowed."""
        return not any(problem.fatal for problem in self.problems)


def collect() -> Report:
    """Examines this Python.

    Returns:
        The report; nothing that is missing or broken makes it raise.
    """
    report = Report()
    _check_versions(report)
    with _quiet():
        for wanted in REQUIREMENTS:
            if report.versions[wanted.name] is not None:
                _try_import(report, wanted)
        _check_torch(report)
        _check_gaps(report)
        if report.ok:  # else it cannot work, and the cause is already in the report
            _check_components(report)
    _check_mim(report)
    report.problems = [
        dataclasses.replace(problem, mend=_runnable(problem.mend, report))
        for problem in report.problems
    ]
    return report


def _check_versions(report: Report) -> None:
    report.versions['mspn_plugin'] = importlib.import_module('mspn.version').__version__
    report.versions['python'] = platform.python_version()
    low, high = _PYTHONS
    if not low <= sys.version_info[:2] < high:
        what = f'Python is {platform.python_version()}; 3.11 and 3.12 work'
        report.problems.append(Problem(what, 'python3.11 -m venv .venv'))
    for wanted in REQUIREMENTS:
        found = _installed(wanted.distributions or (wanted.name,))
        report.versions[wanted.name] = ' + '.join(found.values()) or None
        if not found:
            what = f'{wanted.name} is not installed' + f' ({wanted.reason})' * (not wanted.fatal)
            report.problems.append(Problem(what, wanted.mend, wanted.fatal))
        for name, version in found.items():
            if not _fits(version, wanted.versions):
                what = f'{name} is {version}, wanted is {wanted.versions} ({wanted.reason})'
                report.problems.append(Problem(what, wanted.mend, wanted.fatal))
        if wanted.name == 'mmcv' and len(found) > 1:
            what = 'mmcv and mmcv-lite are both installed and overwrite each other'
            report.problems.append(Problem(what, wanted.mend, fatal=False))


def _try_import(report: Report, wanted: Requirement) -> None:
    try:
        importlib.import_module(wanted.module)
    except Exception as error:  # whatever a broken package raises
        what = f'{wanted.name} {report.versions[wanted.name]} does not import'
        _blame(report, error, what, wanted.mend, fatal=wanted.fatal)


def _check_torch(report: Report) -> None:
    torch = sys.modules.get('torch')
    if torch is None:
        return
    with contextlib.suppress(Exception):  # a broken driver
        report.device = f'CPU, {torch.get_num_threads()} threads'
        if torch.cuda.is_available():
            properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
            cards = [f'{p.name} ({p.total_memory / 2**30:.0f} GiB)' for p in properties]
            report.device = f'CUDA {torch.version.cuda}: {", ".join(cards)}'
    if 'torchvision' in sys.modules and not hasattr(torch.ops.torchvision, 'nms'):
        what = f'torchvision {report.versions["torchvision"]} has no compiled operators here'
        report.problems.append(Problem(what, _TORCH))


def _check_gaps(report: Report) -> None:
    compat = importlib.import_module(f'{__package__}.compat')
    try:
        report.gaps = [dataclasses.asdict(gap) for gap in compat.close_gaps()]
    except Exception as error:
        _blame(report, error, 'the version gaps cannot be closed', _REINSTALL)


def _check_components(report: Report) -> None:
    """Does what ``import mspn_plugin`` does in any other process, and looks at the result."""
    what = 'mspn_plugin does not import'
    try:
        importlib.import_module(str(__package__))._register()
        registry = importlib.import_module('mmpose.registry')
        missing = [
            name
            for group, names in COMPONENTS.items()
            for name in names
            if getattr(registry, group).get(name) is None
        ]
    except Exception as error:
        _blame(report, error.__cause__ or error, what, _REINSTALL)
        return
    if missing:
        what = f'MMPose does not know {", ".join(missing)} of mspn_plugin'
        report.problems.append(Problem(what, _REINSTALL))


def _check_mim(report: Report) -> None:
    """Looks for what mim reads; it asks for the installed package, never for a checkout."""
    if report.versions['openmim'] is None:
        return
    try:
        distribution = importlib.metadata.distribution('mspn_plugin')
        if Path(str(distribution.locate_file('mspn_plugin/.mim'))).is_dir():
            return
        what = 'mim cannot use mspn_plugin, because its installation is editable or incomplete'
    except importlib.metadata.PackageNotFoundError:
        what = 'mim does not find mspn_plugin, because it is not installed'
    report.problems.append(Problem(what, _REINSTALL, fatal=False))


def _blame(
    report: Report, error: BaseException, what: str, mend: str, *, fatal: bool = True
) -> None:
    """Adds the cause of a failure to the report, unless the report already has it."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition('.')[0]
        wanted = next((w for w in REQUIREMENTS if w.module == module), None)
        name = wanted.name if wanted else _DISTRIBUTION_OF.get(module, module)
        mend = wanted.mend if wanted else f'pip install {name}'
        if all(problem.mend != mend for problem in report.problems):
            what = f'{what}: there is no module {module}'
            report.problems.append(Problem(what, mend, fatal))
    elif report.ok:  # a failure of another kind follows from what is already wrong
        text = ' '.join(f'{type(error).__name__}: {error}'.split())
        report.problems.append(Problem(f'{what}: {text[:300]}', mend, fatal))


def _installed(distributions: tuple[str, ...]) -> dict[str, str]:
    """Returns the versions of those distributions that are installed."""
    versions = {}
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _fits(version: str, versions: str) -> bool:
    """Whether a version is in a range; what follows its numbers (rc1, +cu130) does not count."""
    number = _numbers(version)
    for bound in filter(None, versions.split(',')):
        limit = _numbers(bound.lstrip('<>='))
        if number < limit if bound.startswith('>=') else number >= limit:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r'\d+(\.\d+)*', version)
    return tuple(map(int, match.group().split('.'))) if match else ()


def _runnable(mend: str, report: Report) -> str:
    """Returns the command for the place where we are: this Python, or a clone yet to be set up."""
    clone = Path(__file__).resolve().parents[1]
    bare = report.versions['torch'] is None or mend == _REINSTALL
    if bare and (clone / 'install' / 'bootstrap.py').is_file():
        return 'make setup' if Path.cwd() == clone else f'make -C {shlex.quote(str(clone))} setup'
    pip = shutil.which('pip')
    if pip and Path(pip).parent == Path(sys.executable).parent:
        return mend
    return re.sub(r'\bpip (?=install|uninstall)', f'{shlex.quote(sys.executable)} -m pip ', mend)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what other packages print and warn about out of the report."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        yield


def _as_text(report: Report) -> str:
    lines = ['packages']
    lines += [f'  {name:<13}{version or "-"}' for name, version in report.versions.items()]
    lines += ['machine', f'  {platform.platform()}', f'  {report.device}', f'  {sys.executable}']
    lines += ['version gaps'] if report.gaps else []
    for gap in report.gaps:
        state = 'closed' if gap['active'] else 'left alone'
        lines.append(f'  {gap["name"]:<13}{state}: {gap["detail"]}')
    lines.append('problems' if report.problems else 'no problems: every component is registered')
    for problem in sorted(report.problems, key=lambda problem: not problem.fatal):
        kind = 'ERROR' if problem.fatal else 'warning'
        lines.append(f'  {kind}: {problem.what}; mend it with: {problem.mend}')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    """Prints the report.

    Args:
        argv: The arguments; ``None`` means those of the process.

    Returns:
        The exit status: 0 if everything works, 1 if something is missing or broken.
    """
    parser = argparse.ArgumentParser(prog='python -m mspn_plugin.doctor', description=__doc__)
    parser.add_argument('--json', action='store_true', help='print the report as JSON')
    arguments = parser.parse_args(argv)
    report = collect()
    if arguments.json:
        print(json.dumps({'ok': report.ok, **dataclasses.asdict(report)}, indent=2))
    else:
        print(_as_text(report))
    return 0 if report.ok else 1


if __name__ == '__main__':
    raise SystemExit(main())
