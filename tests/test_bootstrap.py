"""`install/bootstrap.py` with a stand-in for uv that only writes down how it was called."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FAKE_UV = """
import json, os, pathlib, shutil, sys
home = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
if arguments == ['--version']:
    print('uv 0.13.9')
else:
    name = ' '.join(arguments[:2]) if arguments[0] == 'pip' else arguments[0]
    with open(home / 'calls.jsonl', 'a') as calls:
        calls.write(json.dumps([name, arguments, dict(os.environ)]) + '\\n')
    failure = home / f'{name}.fails'
    if failure.exists():
        sys.exit(failure.read_text())
    if name == 'venv':
        shutil.rmtree('.venv', ignore_errors=True)
        python = pathlib.Path('.venv/bin/python')
        python.parent.mkdir(parents=True)
        python.symlink_to(os.path.realpath(sys.executable))
        (python.parents[1] / 'pyvenv.cfg').write_text('prompt = mspn_plugin\\n')
"""


class Checkout:
    """A small copy of this repository in which `bootstrap.py` finds the stand-in on PATH."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / 'checkout with a space'
        self.tools = folder / 'tools'
        self.tools.mkdir(parents=True)
        (self.tools / 'uv.py').write_text(FAKE_UV)
        (self.tools / 'uv').write_text(f'#!/bin/sh\nexec "{sys.executable}" "$0.py" "$@"\n')
        (self.tools / 'uv').chmod(0o755)
        shutil.copytree(ROOT / 'install', self.root / 'install')
        for name in ('setup.py', 'configs/a.py', 'mspn_plugin/__init__.py'):
            (self.root / name).parent.mkdir(exist_ok=True)
            (self.root / name).write_text(f'# {name}\n')

    def setup(self, **variables: str) -> tuple[list[str], str, int]:
        """Runs the set-up; returns what it asked uv to do, what it printed, and its exit status."""
        log = self.tools / 'calls.jsonl'
        log.write_text('')
        env = {'PATH': f'{self.tools}:{os.environ["PATH"]}', 'HOME': str(self.tools)}
        env |= {'PIP_CONFIG_FILE': os.devnull, **variables}
        command = [sys.executable, self.root / 'install' / 'bootstrap.py']
        done = subprocess.run(command, env=env, stdout=-1, stderr=subprocess.STDOUT, text=True)
        self.calls = [json.loads(line) for line in log.read_text().splitlines()]
        return [name for name, *_ in self.calls], done.stdout, done.returncode


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


EVERYTHING = ['venv', 'pip sync', 'build', 'pip install']


def test_second_run_does_nothing_and_the_sources_stay_clean(checkout):
    before = set(os.listdir(checkout.root))
    called, said, status = checkout.setup()
    assert (called, status) == (EVERYTHING, 0), said
    (arguments,) = (arguments for name, arguments, _ in checkout.calls if name == 'pip sync')
    assert {'--require-hashes', '--compile-bytecode'} <= set(arguments)
    assert arguments[arguments.index('--only-binary') + 1] == ':all:'
    assert all(f'[{number}/3]' in said for number in (1, 2, 3))
    assert checkout.setup() == ([], '', 0)
    assert set(os.listdir(checkout.root)) - before == {'.venv', '.cache'}


def test_only_what_changed_is_done_again(checkout):
    def after(change, *arguments):
        change(*arguments)
        done = checkout.setup()[0]
        assert checkout.setup()[0] == []
        return done

    def grow(name):
        (checkout.root / name).parent.mkdir(exist_ok=True)
        (checkout.root / name).open('a').write('# changed\n')

    checkout.setup()
    for name in ('mspn_plugin/__init__.py', 'configs/new.py', 'tools/new.py'):
        assert after(grow, name) == ['build', 'pip install']
    assert after(grow, 'install/requirements.txt') == EVERYTHING[1:]
    assert after(grow, 'tests/test_new.py') == []
    assert after((checkout.root / 'configs' / 'a.py').unlink) == ['build', 'pip install']
    checkout.root = checkout.root.rename(checkout.root.with_name('moved'))
    assert after((checkout.root / 'setup.py').touch) == EVERYTHING
    assert after((checkout.root / '.venv' / 'bin' / 'python').unlink) == EVERYTHING


def test_failed_step_says_what_mends_it_and_is_repeated(tmp_path):
    for call, output, mend in (
        ('venv', 'error: No interpreter found for Python >=3.11', 'install Python 3.11'),
        ('pip sync', 'dns error: failed to lookup address information', 'check the connection'),
        ('pip sync', 'operation timed out', 'HTTPS_PROXY'),
        ('pip sync', 'invalid peer certificate: UnknownIssuer', 'SSL_CERT_FILE'),
        ('pip sync', 'No space left on device (os error 28)', 'free some space'),
        ('venv', 'python3: No module named pip', 'give this Python a pip'),
        ('build', 'SyntaxError: invalid syntax', 'read the lines above'),
    ):
        checkout = Checkout(tmp_path / mend)
        failure = checkout.tools / f'{call}.fails'
        failure.write_text(output)
        called, said, status = checkout.setup()
        assert status == 1 and 'Setup failed' in said and output in said
        assert mend in said.partition('To mend it, ')[2] and 'Traceback' not in said
        failure.unlink()
        redone, said, status = checkout.setup()
        assert (redone, status) == (EVERYTHING[EVERYTHING.index(call) :], 0)


def test_environment_of_somebody_else_is_left_alone_and_any_python_from_3_8_reads_it(checkout):
    ast.parse((ROOT / 'install' / 'bootstrap.py').read_text(), feature_version=(3, 8))
    config = checkout.root / '.venv' / 'pyvenv.cfg'
    config.parent.mkdir()
    config.write_text('prompt = mine\n')
    called, said, status = checkout.setup()
    assert (called, status) == ([], 1) and 'Move it away' in said
    assert config.read_text() == 'prompt = mine\n'


def test_users_variables_lead_neither_elsewhere_nor_are_lost(checkout):
    elsewhere = dict.fromkeys('VIRTUAL_ENV PYTHONPATH UV_PYTHON PIP_TARGET'.split(), '/elsewhere')
    checkout.setup(PIP_INDEX_URL='http://mirror.test/simple', UV_CACHE_DIR='/cache', **elsewhere)
    for name, arguments, env in checkout.calls:
        assert not elsewhere.keys() & env.keys()
        assert env['UV_DEFAULT_INDEX'] == 'http://mirror.test/simple'
        assert env['UV_CACHE_DIR'] == '/cache'
        python = name == 'venv' or arguments[arguments.index('--python') + 1]
        assert python in (True, str(checkout.root / '.venv' / 'bin' / 'python'))
