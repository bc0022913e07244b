"""How the set-up runs its tools, and what its user sees: progress, and what mends a failure."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DISK_GB = 8

NETWORK = (
    'check the connection; behind a proxy set HTTPS_PROXY; with a package mirror set '
    'UV_DEFAULT_INDEX and PIP_INDEX_URL to its address. What was downloaded is kept.'
)
DISK = (
    f'free some space: about {DISK_GB} GB are needed. `uv cache clean` empties the cache of uv, '
    'UV_CACHE_DIR puts it on another disk.'
)
NO_PIP = (
    'install uv by the way your system offers (`brew install uv`, `pipx install uv`), or give this '
    'Python a pip (Debian and Ubuntu: `apt install python3-venv`).'
)
NO_PYTHON = (
    'install Python 3.11 or 3.12 (Debian and Ubuntu: `apt install python3`; macOS: '
    '`brew install python@3.12`), or check the connection, so that uv can download one.'
)
# What a tool says when it fails, and what mends it. The first that fits counts.
MENDS = {
    r'no space left|os error 28|disk quota': DISK,
    r'certificate|unknownissuer': 'set SSL_CERT_FILE to the certificates that your network uses.',
    r'hash mismatch|do not match the hashes': 'the package index serves other files than the '
    "pinned ones: unset UV_DEFAULT_INDEX, PIP_INDEX_URL and pip's index-url, or name another one.",
    r'no wheels? with a matching|no usable wheels|platform tag|is not a supported wheel': 'a '
    'package has no ready-made file for this machine. There are some for Linux with glibc 2.28 or '
    'later (x86-64, arm64) and for macOS 14 or later (arm64).',
    r'permission denied|os error 13|read-only file': 'make the folder named above writable.',
    r'ensurepip|no module named .?(pip|venv)': NO_PIP,
    r'no interpreter found|python-build-standalone|no download found': NO_PYTHON,
    r'resolv|connect|timed? ?out|fetch|sending request|unreachable|versions: none': NETWORK,
}


class Failure(Exception):
    """A tool did not do its work; the text is what it said last.

    Attributes:
        shown: Whether the user has seen the text already.
    """

    def __init__(self, text: str, *, shown: bool = False) -> None:
        super().__init__(text)
        self.shown = shown


def say(text: str) -> None:
    """Prints one line at once, also into a pipe."""
    print(text, flush=True)


def run(command: list, env: dict, *, live: bool = False, cwd: Path = ROOT) -> str:
    """Runs a tool and returns what it printed; raises `Failure` if that cannot be done.

    With `live` the output is shown as it comes. On a terminal the tool then draws its own progress
    bars, and nothing is returned.
    """
    bars = live and sys.stderr.isatty()
    try:
        process = subprocess.Popen(
            [str(part) for part in command],
            env=env,
            cwd=str(cwd),
            stdin=subprocess.DEVNULL,
            stdout=None if bars else subprocess.PIPE,
            stderr=None if bars else subprocess.STDOUT,
            universal_newlines=True,
            errors='replace',
        )
    except OSError as error:
        raise Failure(f'{command[0]}: {error.strerror}') from error
    lines = []
    for line in process.stdout or ():
        lines.append(line.rstrip())
        if live:
            say(f'      {lines[-1]}')
    if process.wait() != 0:
        raise Failure('\n'.join(lines[-12:]), shown=live)
    return '\n'.join(lines)


def succeeds(command: list, env: dict) -> bool:
    """Whether a tool runs and finds everything in order."""
    with contextlib.suppress(Failure):
        run(command, env)
        return True
    return False


@contextlib.contextmanager
def step(number: int, title: str, *, otherwise: str):
    """Announces and times a step; if it fails, says so, and what mends it."""
    say(f'[{number}/4] {title}')
    start = time.monotonic()
    try:
        yield
    except (Failure, OSError) as failure:
        said = str(failure)
        mends = [mend for sign, mend in MENDS.items() if re.search(sign, said, re.IGNORECASE)]
        if shutil.disk_usage(str(ROOT)).free < 0.5e9:
            mends.insert(0, DISK)
        if getattr(failure, 'shown', False):
            said = 'see the lines above.'
        said = said.replace('\n', '\n    ')
        sys.exit(
            f'\nSetup failed in step {number} of 4, {title}:\n    {said}\n'
            f'To mend it, {[*mends, otherwise][0]}'
        )
    say(f'      {time.monotonic() - start:.1f} s')
