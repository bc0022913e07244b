"""The doctor in healthy, broken and empty environments."""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mspn
from mspn import doctor

PACKAGE = Path(mspn.__file__).parent
ROOT = Path(__file__).resolve().parents[1]
MENDS = {names.split()[0]: mend for names, _, _, mend, _ in doctor.PACKAGES}


def run_doctor(*arguments, path, cwd, flags=(), module='mspn.doctor'):
    command = [sys.executable, *flags, '-m', module, *arguments]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, path))}
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def report_of(monkeypatch):
    """Collects a report as if some versions were others (None: missing) and some imports failed."""
    real_version, real_import = importlib.metadata.version, importlib.import_module

    def collect(versions=(), error=None, modules=()):
        def version(name):
            if dict(versions).get(name, '') is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return dict(versions).get(name) or real_version(name)

        def import_module(module, *args):
            if module in modules:
                raise error
            return real_import(module, *args)

        monkeypatch.setattr(importlib.metadata, 'version', version)
        monkeypatch.setattr(importlib, 'import_module', import_module)
        return doctor.collect()

    return collect


def problem_about(report, text):
    (problem,) = [p for p in report.problems if text in p['what']]
    return problem


@pytest.mark.slow
@pytest.mark.parametrize('module', ['mspn.doctor', 'mspn_plugin.doctor'])
def test_a_healthy_environment_is_fine(module, tmp_path):
    run = run_doctor('--json', path=[PACKAGE.parent], cwd=tmp_path, module=module)
    report = json.loads(run.stdout)
    assert (run.returncode, report['ok']) == (0, True), report['problems']
    assert report['versions']['mspn_plugin'] == mspn.__version__
    assert all(report['versions'].values())
    gaps = {gap['name'] for gap in report['gaps']}
    assert gaps == {'mmcv._ext', 'xtcocotools', 'torch.load', 'load_url'}
    assert report['device'].startswith(('CPU, ', 'CUDA '))


@pytest.mark.parametrize('clone', [False, True])
def test_it_runs_where_nothing_else_is_installed(clone, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / 'mspn', ignore=shutil.ignore_patterns('__pycache__'))
    if clone:
        (tmp_path / 'install').mkdir()
        (tmp_path / 'install' / 'bootstrap.py').touch()
    run = run_doctor(path=[tmp_path], flags=['-S'], cwd=tmp_path)
    assert run.returncode == 1 and run.stderr == ''
    lines = run.stdout.splitlines()
    for name, mend in MENDS.items():
        (line,) = [text for text in lines if f': {name} is not installed' in text]
        assert line.startswith('warning' if name in doctor.OPTIONAL else 'ERROR')
        wanted = f'make -C {tmp_path} setup' if clone else mend.rpartition('pip ')[2]
        assert wanted in line
    assert 'unknown, because torch does not import' in run.stdout


@pytest.mark.parametrize('broken', [False, True])
def test_the_light_half_alone_is_enough(broken, report_of, monkeypatch, capsys):
    real = importlib.util.find_spec
    heavy = ('torch', 'mmengine', 'mmcv', 'mmpose')
    monkeypatch.setattr(importlib.util, 'find_spec', lambda m: None if m in heavy else real(m))
    report = report_of(dict(onnxruntime='1.19.2') if broken else {})
    assert report.ok is not broken and set(report.versions) & {*heavy, 'six'} == set()
    monkeypatch.setattr(doctor, 'collect', lambda: report)
    assert doctor.run(argparse.Namespace(json=False)) == broken
    said = capsys.readouterr().out.splitlines()
    assert 'no torch' in ' '.join(said)
    assert ('onnxruntime is 1.19.2' in said[-1]) if broken else said[-1] == 'no problems'


def test_a_package_that_pip_knows_and_python_does_not_find(tmp_path):
    hide = 'import sys\nsys.modules.update(torch=None, torchvision=None)\n'
    (tmp_path / 'sitecustomize.py').write_text(hide)
    run = run_doctor(path=[tmp_path, PACKAGE.parent], cwd=tmp_path)
    (line,) = [text for text in run.stdout.splitlines() if 'there is no module torch;' in text]
    assert line.startswith('ERROR: torch ') and 'install torch==2.11.0' in line
    # what fails only because torch is missing is not reported beside it
    assert run.returncode == 1 and run.stdout.count('ERROR') == 1


def test_a_wrong_version_is_an_error_with_its_command(report_of, monkeypatch):
    for versions, what, mend in (
        (dict(setuptools='82.0.1'), 'setuptools is 82.0.1, wanted is <82', '>=77.0.3,<82'),
        (dict(numpy='2.4.0'), 'numpy is 2.4.0, wanted is <2.4', '"numpy>=2,<2.4"'),
        (dict(torch='2.5.1+cu121'), 'torch is 2.5.1+cu121', 'torch==2.11.0 torchvision==0.26.0'),
        (dict(mmengine='0.10.6'), 'mmengine is 0.10.6', 'mmengine==0.10.7'),
        ({'mmcv-lite': '2.2.0'}, 'mmcv-lite is 2.2.0', 'uninstall -y mmcv mmcv-lite && '),
        ({'mmcv': None, 'mmcv-lite': None}, 'mmcv is not installed', 'mmcv-lite==2.1.0'),
        (dict(mmpose='0.29.0'), 'mmpose is 0.29.0', '--no-deps mmpose==1.3.2'),
        (dict(mmpose=None), 'mmpose is not installed', '--no-deps mmpose==1.3.2'),
        (dict(six=None), 'six is not installed', 'pip install six'),
    ):
        monkeypatch.setattr(sys, 'executable', '/opt/my env/bin/python')
        report = report_of(versions)
        problem = problem_about(report, what)
        assert problem['fatal'] and mend in problem['mend'] and '\n' not in problem['what']
        assert not report.ok
        assert all("'/opt/my env/bin/python' -m pip" in c for c in problem['mend'].split(' && '))


def test_what_works_passes_and_what_can_be_done_without_is_a_warning(report_of):
    for versions, what in (
        (dict(mmdet=None), 'mmdet is not installed (only to find people'),
        (dict(openmim=None), 'openmim is not installed (only for `mim'),
        ({'mmcv': '2.1.0', 'mmcv-lite': '2.1.0'}, 'overwrite each other'),
        ({'torch': '2.13.0+cpu', 'mmengine': '0.11.0rc1', 'mmcv-lite': '2.0.1'}, None),
    ):
        report = report_of(versions)
        assert report.ok and len(report.problems) == bool(what)
        assert not what or not problem_about(report, what)['fatal']


def test_what_fails_to_import_or_is_not_registered_is_named_in_one_line(report_of, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(doctor, 'COMPONENTS', ('MODELS.MSPNBackbone', 'MODELS.NoSuchHead'))
        found = [problem['what'] for problem in doctor.collect().problems]
        assert found == ['MMPose does not know NoSuchHead of mspn_plugin']
    for missing, mend in (('mmpose.x', 'mmpose==1.3.2'), ('yaml', 'pip install pyyaml')):
        report = report_of(error=ModuleNotFoundError('', name=missing), modules=['mmpose'])
        problem = problem_about(report, f'there is no module {missing.removesuffix(".x")}')
        assert problem['mend'].endswith(mend)
    error = ImportError('libGL.so.1: cannot open\n shared object file')
    report = report_of(error=error, modules=['cv2', 'mmcv'])  # both for the same reason
    (problem,) = [p for p in report.problems if p['fatal']]
    assert 'opencv' in problem['what'] and 'cannot open shared object file' in problem['what']
    assert 'opencv-python-headless' in problem['mend']


def test_the_bounds_are_those_of_the_project_and_the_pinned_list_keeps_them():
    rows = {names.split()[-1]: row for names, *row in doctor.PACKAGES}
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    for line in (*project['optional-dependencies']['mim'], *project['dependencies']):
        name, bounds = re.match(r'([\w-]+)(.*)', line).groups()
        assert bounds in ('', rows[name][1]), line
    text = (ROOT / 'install' / 'requirements.txt').read_text()
    pinned = dict(re.findall(r'^([\w-]+)==(\S+)', text, re.M))
    assert pinned.keys() >= rows.keys() - {'opencv-contrib-python'}
    for name, (_, bounds, mend, why) in rows.items():
        version = pinned.get(name, '0')
        assert doctor.fits(version, bounds) and 'pip install' in mend and bool(bounds) <= bool(why)
        assert re.findall(rf'\b{name}==([\d.]+)', mend) in ([], [version])
