"""Makes `.venv` ready: `make setup`, and the first thing that `make demo` and `make test` do.

Needs only the Python (3.8 or later) that runs it. Four steps: find or fetch uv; create `.venv`
with Python 3.11 or 3.12; install exactly what `requirements.txt` lists; install the plugin itself
the way a user gets it (from a wheel, not editable: mim does not see editable packages).

The last three leave a stamp in `.venv` once they are through, and a step whose stamp fits is
skipped. So the next run carries on where an interrupted one stopped, and does nothing if nothing
changed. `bootstrap.py lock` makes `requirements.txt` from `requirements.in` instead.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from steps import DISK_GB, NETWORK, NO_PIP, NO_PYTHON, ROOT, Failure, run, say, step, succeeds

VENV = ROOT / '.venv'
CACHE = ROOT / '.cache'
REQUIREMENTS = ROOT / 'install' / 'requirements.txt'
SOURCES = (
    *('mspn', 'mspn_plugin', 'configs', 'tools', 'model-index.yml'),
    *('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE'),
)
PYTHONS = ((3, 11), (3, 12))
OLDEST_UV = (0, 8)

# Variables that would send the tools to another environment or to other versions than the list's.
NOT_PASSED_ON = (
    *('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV', 'CONDA_PREFIX'),
    *('PIP_TARGET', 'PIP_PREFIX', 'PIP_CONSTRAINT', 'PIP_NO_BINARY'),
    *('UV_PYTHON', 'UV_SYSTEM_PYTHON', 'UV_CONSTRAINT', 'UV_OVERRIDE', 'UV_EXCLUDE_NEWER'),
    *('UV_NO_BINARY', 'UV_TORCH_BACKEND', 'UV_TARGET', 'UV_PREFIX'),
)
# What a user may have told pip, and uv's name for it.
PIP_TO_UV = {
    'index-url': 'UV_DEFAULT_INDEX',
    'trusted-host': 'UV_INSECURE_HOST',
    'cert': 'SSL_CERT_FILE',
    'proxy': 'HTTPS_PROXY',
}


# --- what is there already


def source_files() -> list[Path]:
    """Every file that the wheel is made from, relative to the checkout."""
    found: list[Path] = []
    for path in (ROOT / name for name in SOURCES):
        found += path.rglob('*') if path.is_dir() else [path]
    files = [file.relative_to(ROOT) for file in found if file.is_file()]
    return sorted(f for f in files if f.suffix != '.pyc' and not f.name.startswith('.'))


def digests() -> dict[str, str]:
    """What each stamp has to say: it changes with whatever the step depends on."""
    sources = hashlib.sha256()
    for file in source_files():
        content = (ROOT / file).read_bytes()
        sources.update(f'{file.as_posix()} {len(content)}\n'.encode() + content)
    return {
        'python': str(VENV),  # the scripts in .venv hold this path: a moved checkout needs new ones
        'packages': hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest(),
        'plugin': sources.hexdigest(),
    }


def fits(name: str, digest: str) -> bool:
    """Whether the step that leaves this stamp is through, with the same input as now."""
    stamp = VENV / f'.mspn-{name}'
    return stamp.is_file() and stamp.read_text() == digest


@contextlib.contextmanager
def stamped(name: str, digest: str):
    """Takes a stamp away while its step works and sets it when the step is through."""
    stamp = VENV / f'.mspn-{name}'
    with contextlib.suppress(FileNotFoundError):
        stamp.unlink()
    yield
    stamp.write_text(digest)


def python_works() -> bool:
    """Whether `.venv` has a Python that runs and is of a supported version."""
    test = f'import sys; sys.exit(sys.version_info[:2] not in {PYTHONS})'
    return succeeds([VENV / 'bin' / 'python', '-I', '-S', '-c', test], dict(os.environ))


def is_foreign() -> bool:
    """Whether `.venv` is somebody's own environment, which must be left alone."""
    config = VENV / 'pyvenv.cfg'
    ours = not config.exists() or 'prompt = mspn_plugin' in config.read_text()
    return VENV.is_symlink() or (VENV / 'conda-meta').exists() or not ours


# --- the steps


def tool_environment() -> dict:
    """The user's variables, completed so that uv uses the index, proxy and certificates of pip."""
    env = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    env.update(PIP_USER='0', PIP_REQUIRE_VIRTUALENV='0', PIP_DISABLE_PIP_VERSION_CHECK='1')
    env.setdefault('UV_HTTP_TIMEOUT', '180')
    listed = ''
    with contextlib.suppress(Failure):
        listed = run([sys.executable, '-m', 'pip', 'config', 'list'], env)
    for key, uv_name in PIP_TO_UV.items():
        value = env.get('PIP_' + key.upper().replace('-', '_'), '')
        configured = re.search(rf"^(?:global|install)\.{key}=(['\"].*)$", listed, re.MULTILINE)
        if not value and configured:
            value = ast.literal_eval(configured.group(1))
        if value and not (uv_name == 'UV_DEFAULT_INDEX' and 'UV_INDEX_URL' in env):
            env.setdefault(uv_name, ' '.join(value.split()))
    return env


def usable_uv(uv: Path | str, env: dict) -> bool:
    """Whether this uv runs and is recent enough."""
    said = ''
    with contextlib.suppress(Failure):
        said = run([uv, '--version'], env)
    version = re.match(r'uv (\d+)\.(\d+)', said)
    return version is not None and tuple(map(int, version.groups())) >= OLDEST_UV


def find_uv(env: dict) -> Path | str:
    """Returns the uv on PATH or the one in `.cache`, which is fetched if need be."""
    ours = CACHE / 'uv' / 'bin' / 'uv'
    for uv in (shutil.which('uv'), ours):
        if uv and usable_uv(uv, env):
            return uv
    fetch_uv(env)
    if usable_uv(ours, env):
        return ours
    raise Failure('the uv that was fetched does not run on this machine')


def fetch_uv(env: dict) -> None:
    """Installs the uv that `requirements.txt` pins to `.cache/uv`, with the first pip there is."""
    folder = CACHE / 'uv'
    # The entry reaches from "uv==" to the first line that does not end with a backslash.
    entry = re.findall(r'^uv==(?:.*\\\n)*.*\n', REQUIREMENTS.read_text(), re.MULTILINE)
    pinned = CACHE / 'uv.txt'
    pinned.write_text(''.join(entry))
    install = ['-m', 'pip', 'install', '--no-deps', '--require-hashes', '--only-binary', ':all:']
    install += ['-r', str(pinned)]
    for python in pythons(env):
        shutil.rmtree(str(folder), ignore_errors=True)
        if succeeds([python, '-m', 'pip', '--version'], env):
            say(f'      fetching uv with the pip of {python}')
            run([python, *install, '--target', folder], env)
            return
        if succeeds([python, '-m', 'venv', folder], env):  # Debian's Pythons may be without pip
            say(f'      fetching uv with a virtual environment of {python}')
            run([folder / 'bin' / 'python', *install], env)
            return
    raise Failure('none of these Pythons has pip or can make a virtual environment with pip')


def pythons(env: dict) -> list[str]:
    """This Python and those on PATH, each once."""
    names = ('python3', 'python3.12', 'python3.11', 'python')
    folders = env.get('PATH', '').split(os.pathsep)
    found = [shutil.which(name, path=folder) for folder in folders for name in names]
    return list(dict.fromkeys([sys.executable, *filter(None, found)]))


def make_venv(uv: Path | str, env: dict) -> None:
    """Creates `.venv` with this Python if its version fits, else with the system's or uv's own."""
    if VENV.exists():
        # Renamed first: what an interrupted deletion leaves must not look like a foreign .venv.
        discarded = tempfile.mkdtemp(dir=str(CACHE))
        shutil.move(str(VENV), discarded)
        shutil.rmtree(discarded, ignore_errors=True)
    command = [uv, 'venv', '--no-project', '--prompt', 'mspn_plugin', VENV]
    suitable = sys.version_info[:2] in PYTHONS and sys.implementation.name == 'cpython'
    if not (suitable and succeeds([*command, '--python', sys.executable], env)):
        version = ['--python', 'cpython>=3.11,<3.13', '--python-preference', 'system']
        run([*command, *version], env, live=True)


def install_packages(uv: Path | str, env: dict) -> None:
    """Makes `.venv` hold exactly the list: ready-made files only, each checked by its hash."""
    cache = Path(run([uv, 'cache', 'dir'], env).splitlines()[-1])
    disk = next(path for path in (cache, *cache.parents) if path.exists())
    if disk.stat().st_dev != VENV.stat().st_dev:
        env.setdefault('UV_LINK_MODE', 'copy')
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < DISK_GB:
        say(f'      only {free:.1f} GB are free here; a first installation needs about {DISK_GB}')
    command = [
        uv,
        'pip',
        'sync',
        '--compile-bytecode',
        '--python',
        VENV / 'bin' / 'python',
        '--require-hashes',
    ]
    run([*command, '--only-binary', ':all:', REQUIREMENTS], env, live=True)


def install_plugin(uv: Path | str, env: dict) -> None:
    """Makes a wheel from a copy of the sources, so that the checkout stays clean; installs it."""
    options = ['--python', VENV / 'bin' / 'python', '--offline', '--no-cache']
    with tempfile.TemporaryDirectory(prefix='mspn_plugin-') as folder:
        source, wheels = Path(folder, 'source'), Path(folder, 'wheels')
        for file in source_files():
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(ROOT / file), str(source / file))
        build = ['--wheel', '--no-build-isolation', '--out-dir', wheels]
        run([uv, 'build', *options, *build, source], env)
        only = ['--no-deps', '--no-index', '--compile-bytecode', '--find-links', wheels]
        run([uv, 'pip', 'install', *options, *only, '--reinstall', 'mspn_plugin'], env)


# --- the commands


@contextlib.contextmanager
def alone():
    """Lets two `make` in one checkout work one after the other."""
    CACHE.mkdir(exist_ok=True)
    with open(str(CACHE / 'setup.lock'), 'w') as lock:
        with contextlib.suppress(ImportError):  # no fcntl: not a Unix
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say('Another make is setting up this checkout; waiting for it ...')
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def setup() -> None:
    """Does what is not done yet."""
    start = time.monotonic()
    if is_foreign():
        sys.exit(
            'Setup failed: here is a .venv that it did not make, and it leaves that alone.\n'
            'To mend it, move .venv away or delete it.'
        )
    env, digest = tool_environment(), digests()
    with step(1, 'uv, the installer', otherwise=NO_PIP):
        uv = find_uv(env)
    with step(2, 'Python 3.11 or 3.12 in .venv', otherwise=NO_PYTHON):
        if not (fits('python', digest['python']) and python_works()):
            make_venv(uv, env)
            with stamped('python', digest['python']):
                pass
    with step(3, 'the packages of install/requirements.txt', otherwise=NETWORK):
        if not fits('packages', digest['packages']):
            with stamped('packages', digest['packages']):
                install_packages(uv, env)
    with step(4, 'mspn_plugin itself', otherwise='read the lines above, and run it again.'):
        with stamped('plugin', digest['plugin']):
            install_plugin(uv, env)
    say(f'.venv is ready ({time.monotonic() - start:.0f} s)')


def lock() -> None:
    """Renews `requirements.txt`; versions that still fit stay (delete the file for the newest)."""
    env = dict(tool_environment(), UV_CUSTOM_COMPILE_COMMAND='make lock')
    command = [find_uv(env), 'pip', 'compile', '--config-file', 'uv.toml', '--universal']
    command += ['--python-version', '3.11', '--generate-hashes', '--no-emit-index-url', '--quiet']
    try:
        run([*command, 'requirements.in', '-o', REQUIREMENTS.name], env, cwd=REQUIREMENTS.parent)
    except Failure as failure:
        sys.exit(f'uv could not make {REQUIREMENTS.name}:\n{failure}')


def main() -> None:
    """Runs the command that is asked for."""

    def done() -> bool:
        return all(fits(*stamp) for stamp in digests().items()) and python_works()

    if sys.argv[1:] == ['lock']:
        with alone():
            lock()
    elif not done():
        with alone():
            if not done():  # another make may have done it meanwhile
                setup()


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\nInterrupted. The next run carries on from here.')
