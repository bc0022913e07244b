"""Fetches files once: what is there stays, what was cut goes on, and only whole files count."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from .errors import InputError

_PIECE = 1 << 18  # bytes
_PATIENCE = 30.0  # seconds for the server to say anything


def home() -> Path:
    """Where files are kept: ``MSPN_HOME``, or ``mspn`` in the user's folder for caches."""
    if own := os.environ.get('MSPN_HOME'):
        return Path(own)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mspn'


def place_of(url: str) -> Path:
    """Where the file of an address is kept once it is fetched."""
    return home() / 'weights' / Path(urlparse(url).path).name


def fetch(url: str, *, sha256: str | None = None) -> Path:
    """Gives the file of an address, from this machine if it was fetched before.

    Args:
        url: An ``http`` or ``https`` address.
        sha256: Of the whole file, or its first characters, if known.

    Raises:
        InputError: The file cannot be fetched, is cut, or is another one. What came is kept, and
            the next call goes on from there, unless it was another file.
    """
    target = place_of(url)
    if target.is_file():
        return target
    partial = target.with_name(f'{target.name}.partial')
    by_hand = f'try again, or fetch it by another way and save it as {target}'
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (home() / '.lock').open('w') as lock:
            _wait_for(lock)
            if target.is_file():  # by another process, meanwhile
                return target
            length = _receive(url, partial)
            return _whole(url, target, partial, length, sha256, by_hand)
    except (OSError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            reason: Any = f'the server answers {error.code} {error.reason}'
        else:
            words = getattr(error, 'reason', None) or getattr(error, 'strerror', None)
            reason = words or str(error) or type(error).__name__
        raise InputError(f'{url} cannot be fetched: {reason}; {by_hand}') from error


def _wait_for(lock: Any) -> None:
    """Lets one process at a time fetch a file, where the system can."""
    with contextlib.suppress(ImportError):
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)


def _whole(
    url: str, target: Path, partial: Path, length: int | None, sha256: str | None, by_hand: str
) -> Path:
    """Moves a file to its place if it is all there and the right one."""
    size = partial.stat().st_size
    if length is not None and size != length:
        raise InputError(f'{url} was cut after {size} of {length} bytes; {by_hand}')
    if sha256 and not _digest(partial).startswith(sha256):
        partial.unlink()
        raise InputError(
            f'{url} holds another file than it should: its SHA-256 does not begin with '
            f'{sha256[:12]}; it may have been changed on the way, so take it from elsewhere'
        )
    os.replace(partial, target)
    return target


def _receive(url: str, partial: Path) -> int | None:
    """Adds what is missing to a file; gives the size that the server announces for all of it."""
    have = partial.stat().st_size if partial.is_file() else 0
    headers = {'Range': f'bytes={have}-'} if have else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # there is nothing after what is here
            raise
        size = error.headers.get('Content-Range', '').rpartition('/')[2]
        if size == str(have):
            return have
        partial.unlink()  # of another file
        return _receive(url, partial)
    with answer, partial.open('ab' if answer.status == 206 else 'wb') as file:
        start = file.tell()
        announced = answer.headers.get('Content-Length')
        total = start + int(announced) if announced else None
        name, shown = Path(urlparse(url).path).name, 0.0
        while piece := answer.read(_PIECE):
            file.write(piece)
            if sys.stderr.isatty() and time.monotonic() - shown > 0.2:
                shown = time.monotonic()
                part = f' of {total / 1e6:.1f}' if total else ''
                print(f'\r{name}: {file.tell() / 1e6:.1f}{part} MB', end='', file=sys.stderr)
    if shown:
        print(file=sys.stderr)
    return total


def _digest(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
