"""The doctor in healthy, broken and empty environments."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mspn_plugin
from mspn_plugin import doctor

PACKAGE = Path(mspn_plugin.__file__).parent


def run_doctor(*arguments, path, flags=(), cwd):
    return subprocess.run(
        [sys.executable, *flags, '-m', 'mspn_plugin.doctor', *arguments],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, path))},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def report_of(monkeypatch):
    """Collects a report as if some distributions had other versions; ``None`` is missing."""
    real = importlib.metadata.version
    monkeypatch.setattr(doctor, '_check_components', lambda report: None)  # slow, and not asked for
    monkeypatch.setattr(doctor, '_runnable', lambda mend, report: mend)

    def collect(versions):
        def version(name):
            if versions.get(name, '') is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions.get(name) or real(name)

        monkeypatch.setattr(importlib.metadata, 'version', version)
        return doctor.collect()

    return collect


def problem_about(report, text):
    (problem,) = [p for p in report.problems if text in p.what]
    return problem


@pytest.mark.slow
def test_a_healthy_environment_is_fine(tmp_path):
    run = run_doctor('--json', path=[PACKAGE.parent], cwd=tmp_path)
    report = json.loads(run.stdout)
    assert (run.returncode, report['ok']) == (0, True), report['problems']
    assert report['versions']['mspn_plugin'] == mspn_plugin.__version__
    assert all(report['versions'].values())
    assert {gap['name'] for gap in report['gaps']} == {
        'mmcv._ext',
        'xtcocotools',
        'torch.load',
        'load_url',
    }
    assert report['device'].startswith(('CPU, ', 'CUDA '))


@pytest.fixture
def empty(tmp_path):
    """A folder with the package alone, for a Python that sees no site-packages."""
    shutil.copytree(PACKAGE, tmp_path / 'mspn_plugin', ignore=shutil.ignore_patterns('__pycache__'))
    return tmp_path


def test_it_runs_where_nothing_else_is_installed(empty):
    run = run_doctor(path=[empty], flags=['-S'], cwd=empty)
    assert run.returncode == 1 and run.stderr == ''
    lines = run.stdout.splitlines()
    for requirement in doctor.REQUIREMENTS:
        (line,) = [text for text in lines if f': {requirement.name} is not installed' in text]
        assert line.startswith('  ERROR' if requirement.fatal else '  warning')
        assert requirement.mend.rpartition('pip ')[2] in line
    assert 'unknown, because torch does not import' in run.stdout


def test_a_fresh_clone_is_told_to_run_make_setup(empty):
    (empty / 'install').mkdir()
    (empty / 'install' / 'bootstrap.py').touch()
    run = run_doctor('--json', path=[empty], flags=['-S'], cwd=empty)
    report = json.loads(run.stdout)
    assert (run.returncode, report['ok']) == (1, False)
    assert {problem['mend'] for problem in report['problems']} == {'make setup'}


def test_a_package_that_pip_knows_and_python_does_not_find(tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(
        'import sys\nsys.modules.update(torch=None, torchvision=None)\n'
    )
    run = run_doctor(path=[tmp_path, PACKAGE.parent], cwd=tmp_path)
    assert run.returncode == 1
    (line,) = [text for text in run.stdout.splitlines() if 'there is no module torch;' in text]
    assert line.startswith('  ERROR: torch ') and 'install torch==2.11.0' in line
    # what fails only because torch is missing is not reported beside it
    assert run.stdout.count('  ERROR') == 1


def test_nothing_is_wrong_with_what_is_installed_here(report_of):
    assert [p for p in report_of({}).problems if p.fatal] == []


@pytest.mark.parametrize(
    ('versions', 'what', 'mend'),
    [
        (
            {'setuptools': '82.0.1'},
            'setuptools is 82.0.1, wanted is <82',
            '"setuptools>=77.0.3,<82"',
        ),
        ({'numpy': '2.4.0'}, 'numpy is 2.4.0, wanted is <2.4', '"numpy>=2,<2.4"'),
        ({'torch': '2.5.1+cu121'}, 'torch is 2.5.1+cu121', 'torch==2.11.0 torchvision==0.26.0'),
        ({'mmengine': '0.10.6'}, 'mmengine is 0.10.6', 'mmengine==0.10.7'),
        ({'mmcv-lite': '2.2.0'}, 'mmcv-lite is 2.2.0', 'uninstall -y mmcv mmcv-lite && '),
        ({'mmcv': None, 'mmcv-lite': None}, 'mmcv is not installed', 'mmcv-lite==2.1.0'),
        ({'mmpose': '0.29.0'}, 'mmpose is 0.29.0', '--no-deps mmpose==1.3.2'),
        ({'mmpose': None}, 'mmpose is not installed', '--no-deps mmpose==1.3.2'),
        ({'six': None}, 'six is not installed', 'pip install six'),
    ],
)
def test_a_wrong_version_is_an_error_with_its_command(report_of, versions, what, mend):
    report = report_of(versions)
    problem = problem_about(report, what)
    assert problem.fatal and mend in problem.mend and '\n' not in problem.what
    assert not report.ok


@pytest.mark.parametrize(
    ('versions', 'what'),
    [
        ({'mmdet': None}, 'mmdet is not installed (only needed to find people'),
        ({'openmim': None}, 'openmim is not installed (only needed for `mim'),
        ({'mmcv': '2.1.0', 'mmcv-lite': '2.1.0'}, 'overwrite each other'),
    ],
)
def test_what_can_be_done_without_is_a_warning(report_of, versions, what):
    report = report_of(versions)
    assert not problem_about(report, what).fatal
    assert report.ok


def test_versions_that_work_are_let_through(report_of):
    fine = {'torch': '2.13.0+cpu', 'mmengine': '0.11.0rc1', 'mmcv-lite': '2.0.1', 'numpy': '2.3.9'}
    assert [p for p in report_of(fine).problems if p.fatal] == []


def test_an_import_that_fails_names_the_module_that_is_missing(report_of, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmpose', None)
    problem = problem_about(report_of({}), 'there is no module mmpose')
    assert problem.mend == 'pip install --no-deps mmpose==1.3.2'


def test_a_module_that_mmpose_does_not_list_gets_its_command(report_of, monkeypatch):
    def broken(module, *args):
        if module == 'mmpose':
            raise ModuleNotFoundError("No module named 'json_tricks'", name='json_tricks')
        return real(module, *args)

    real = importlib.import_module
    monkeypatch.setattr(importlib, 'import_module', broken)
    assert problem_about(report_of({}), 'no module json_tricks').mend == 'pip install json-tricks'


def test_a_library_that_does_not_load_is_one_line(report_of, monkeypatch):
    def broken(module, *args):
        if module in ('cv2', 'mmcv'):
            raise ImportError('libGL.so.1: cannot open\n shared object file')
        return real(module, *args)

    real = importlib.import_module
    monkeypatch.setattr(importlib, 'import_module', broken)
    report = report_of({})
    (problem,) = [p for p in report.problems if p.fatal]  # mmcv fails for the same reason
    assert 'opencv' in problem.what and 'libGL.so.1: cannot open shared object file' in problem.what
    assert 'opencv-python-headless' in problem.mend


def test_components_that_are_not_registered_are_named(monkeypatch):
    monkeypatch.setattr(doctor, 'COMPONENTS', {'MODELS': ('MSPNBackbone', 'NoSuchHead')})
    report = doctor.Report()
    doctor._check_components(report)
    assert [p.what for p in report.problems] == ['MMPose does not know NoSuchHead of mspn_plugin']


def test_commands_name_this_python_if_pip_on_the_path_is_another(monkeypatch):
    report = doctor.Report(versions={'torch': '2.11.0'})
    monkeypatch.setattr(shutil, 'which', lambda name: '/usr/bin/pip')
    monkeypatch.setattr(sys, 'executable', '/opt/my env/bin/python')
    command = doctor._runnable('pip uninstall -y mmcv && pip install mmcv-lite==2.1.0', report)
    assert command == (
        "'/opt/my env/bin/python' -m pip uninstall -y mmcv && "
        "'/opt/my env/bin/python' -m pip install mmcv-lite==2.1.0"
    )
    monkeypatch.setattr(shutil, 'which', lambda name: '/opt/my env/bin/pip')
    assert doctor._runnable('pip install six', report) == 'pip install six'


def test_every_requirement_says_why_and_how():
    for requirement in doctor.REQUIREMENTS:
        assert 'pip install' in requirement.mend
        assert bool(requirement.versions) <= bool(requirement.reason)
        assert requirement.fatal or requirement.reason
