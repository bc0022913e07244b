"""Makes `.venv` ready: `make setup`, and the first thing that `make demo` and `make test` do.

Needs only the Python (3.8 or later) that runs it. What is through is noted in `.venv`, so the next
run does nothing, or carries on where this one stopped. The plugin is installed as a user gets it
(from a wheel, not editable: mim does not see editable packages). `bootstrap.py lock` makes
`requirements.txt` from `requirements.in` instead.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV, CACHE = ROOT / '.venv', ROOT / '.cache'
PYTHON, STAMP = VENV / 'bin' / 'python', VENV / '.mspn-setup.json'
REQUIREMENTS = ROOT / 'install' / 'requirements.txt'
WHEEL_OF = ('mspn', 'mspn_plugin', 'configs', 'tools', 'model-index.yml', 'pyproject.toml')
WHEEL_OF += ('setup.py', 'MANIFEST.in', 'README.md', 'LICENSE')
# Variables that would send the tools to another environment or to other versions than the list's.
MISLEADING = re.compile(
    'PYTHON(PATH|HOME)|VIRTUAL_ENV|CONDA_PREFIX|PIP_(TARGET|PREFIX|CONSTRAINT|NO_BINARY|USER)|UV_'
    '(PYTHON|SYSTEM_PYTHON|CONSTRAINT|OVERRIDE|EXCLUDE_NEWER|NO_BINARY|TORCH_BACKEND|TARGET|PREFIX)'
)
# What a user may have told pip, and uv's names for it.
PIP_SETTINGS = ('index-url', 'trusted-host', 'cert', 'proxy')
UV_SETTINGS = ('UV_DEFAULT_INDEX', 'UV_INSECURE_HOST', 'SSL_CERT_FILE', 'HTTPS_PROXY')
NETWORK = 'check the connection; a network may need HTTPS_PROXY, SSL_CERT_FILE or UV_DEFAULT_INDEX.'
# What a tool says when it fails, and what mends it. The first that fits counts.
MENDS = {
    'no space left|os error 28|disk quota': 'free some space: about 8 GB are needed.',
    'no module named pip': 'install uv, or give this Python a pip (`apt install python3-pip`).',
    'no interpreter found|no download found': 'install Python 3.11 or 3.12.',
    'resolv|dns|connect|timed? ?out|fetch|sending|certificate|unreachable|versions: none': NETWORK,
    '': 'read the lines above, and run it again.',
}


def run(*command, show: bool = True, cwd: Path = ROOT) -> str:
    """Runs a tool and returns what it prints; RuntimeError with that if it fails."""
    said, pipes = '', {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True}
    with subprocess.Popen(list(map(str, command)), cwd=str(cwd), **pipes) as process:
        for line in process.stdout:
            said += line
            print('     ', line.rstrip(), flush=True) if show else None
    if process.returncode:
        raise RuntimeError(said)
    return said


def find_uv() -> str:
    """Returns the uv on PATH or one fetched with pip, whose index and proxy it gets."""
    for name in filter(MISLEADING.fullmatch, list(os.environ)):
        del os.environ[name]
    os.environ.update(PIP_REQUIRE_VIRTUALENV='0', UV_CUSTOM_COMPILE_COMMAND='make lock')
    os.environ.setdefault('UV_HTTP_TIMEOUT', '180')
    pip = [sys.executable, '-m', 'pip']
    listed = run(*pip, 'config', 'list', show=False) if importlib.util.find_spec('pip') else ''
    for name, uv_name in zip(PIP_SETTINGS, UV_SETTINGS):
        found = re.findall(rf"^(?::env:|global|install)\.{name}='(.*)'$", listed, re.MULTILINE)
        if found:
            os.environ.setdefault(uv_name, found[0])
    ours, pinned = CACHE / 'uv' / 'bin' / 'uv', CACHE / 'uv.txt'
    for uv in filter(os.path.isfile, (shutil.which('uv') or '', str(ours))):
        if re.match(r'uv (0\.([89]|\d\d)|[1-9])', run(uv, '--version', show=False)):
            return uv
    # The entry reaches from "uv==" to the first line that does not end with a backslash.
    pinned.write_text(re.search(r'^uv==(?:.*\\\n)*.*\n', REQUIREMENTS.read_text(), re.M).group())
    run(*pip, 'install', '--no-deps', '--require-hashes', '-r', pinned, '--target', ours.parents[1])
    return str(ours)


def files_in(*names: str) -> list:
    """Returns these files of the checkout and all in these folders, but nothing made or hidden."""
    paths = [path for name in names for path in (ROOT / name, *(ROOT / name).rglob('*'))]
    return sorted(p for p in paths if p.is_file() and p.suffix != '.pyc' and p.name[0] != '.')


def digest(*names: str) -> str:
    """Changes with the names and the contents of files."""
    parts = [(str(f), hashlib.sha256(f.read_bytes()).hexdigest()) for f in files_in(*names)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def install_plugin(uv: str) -> None:
    """Makes a wheel from a copy of the sources, so that the checkout stays clean; installs it."""
    options = ['--python', PYTHON, '--offline', '--no-cache']
    with tempfile.TemporaryDirectory() as folder:
        for file in files_in(*WHEEL_OF):
            copy = Path(folder, file.relative_to(ROOT))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(file), str(copy))
        run(uv, 'build', *options, '--wheel', '--no-build-isolation', folder, show=False)
        options += '--no-deps --no-index --compile-bytecode --reinstall'.split()
        options += ['--find-links', f'{folder}/dist', 'mspn_plugin']
        run(uv, 'pip', 'install', *options, show=False)


def setup() -> None:
    """Does what is not done yet; a step that is done again takes the later ones with it."""
    base = sys.executable if sys.version_info[:2] in ((3, 11), (3, 12)) else 'cpython>=3.11,<3.13'
    venv = ['venv', '--no-project', '--clear', '--prompt', 'mspn_plugin', '--python', base, VENV]
    sync = ['pip', 'sync', '--python', PYTHON, '--require-hashes', '--only-binary', ':all:']
    sync += ['--compile-bytecode', REQUIREMENTS]
    steps = (
        ('Python 3.11 or 3.12 in .venv', str(VENV), lambda uv: run(uv, *venv)),
        ('install/requirements.txt', digest('install/requirements.txt'), lambda uv: run(uv, *sync)),
        ('mspn_plugin itself', digest(*WHEEL_OF), install_plugin),
    )
    done = json.loads(STAMP.read_text()) if STAMP.is_file() and PYTHON.exists() else []
    if done == [wanted for _, wanted, _ in steps]:
        return
    config = VENV / 'pyvenv.cfg'
    if VENV.exists() and not (config.exists() and 'prompt = mspn_plugin' in config.read_text()):
        sys.exit('Setup failed: .venv is not from here and left alone. Move it away or delete it.')
    uv = find_uv()
    for i, (title, wanted, work) in enumerate(steps):
        if done[i : i + 1] != [wanted]:
            print(f'[{i + 1}/3] {title}', flush=True)
            done = done[:i]
            if i:
                STAMP.write_text(json.dumps(done))
            work(uv)
            done.append(wanted)
            STAMP.write_text(json.dumps(done))


def lock() -> None:
    """Renews `requirements.txt`; versions that still fit stay (delete the file for the newest)."""
    options = '--config-file uv.toml --universal --python-version 3.11 --generate-hashes --quiet'
    files = ['--no-emit-index-url', 'requirements.in', '-o', REQUIREMENTS.name]
    run(find_uv(), 'pip', 'compile', *options.split(), *files, cwd=REQUIREMENTS.parent)


if __name__ == '__main__':
    CACHE.mkdir(exist_ok=True)
    with open(str(CACHE / 'setup.lock'), 'w') as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        try:
            lock() if sys.argv[1:] == ['lock'] else setup()
        except (RuntimeError, OSError) as error:
            mend = next(MENDS[sign] for sign in MENDS if re.search(sign, str(error), re.IGNORECASE))
            sys.exit(f'\nSetup failed:\n{error}\nTo mend it, {mend}')
