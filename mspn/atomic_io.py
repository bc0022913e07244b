"""Files that are whole or not there: the one way in which this project writes what must survive."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

_REMEDY = 'make room, or write elsewhere'
_LONGEST_NAME = 255  # bytes
PARTIAL = '.partial'  # what the name of a file that is being written ends in, after a dot


def check_new(path: Path, *, overwrite: bool) -> None:
    """Raises an `InputError` if a file cannot be made there, or would replace another unasked."""
    if not path.parent.is_dir():
        raise InputError(f'the folder {path.parent} does not exist; create it first')
    if path.exists() and not overwrite:
        raise InputError(f'{path} exists; give another name, or --overwrite to replace it')


@contextlib.contextmanager
def whole_file(path: str | Path, *, remedy: str = _REMEDY, sync: bool = True) -> Iterator[Path]:
    """Lets the caller write a file that appears under its name only when it is complete.

    Args:
        path: Its place; its folder is made if need be.
        remedy: What the user can do if it cannot be written.
        sync: Whether it must outlive a loss of power; waiting for the disk takes milliseconds.

    Yields:
        Where to write. If the block fails, what stood at `path` before is untouched.

    Raises:
        InputError: The file cannot be written, as on a full disk.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}{PARTIAL}')
    if len(os.fsencode(partial.name)) > _LONGEST_NAME:
        partial = path.with_name(f'.{hashlib.sha256(os.fsencode(path.name)).hexdigest()}{PARTIAL}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if sync:
            _sync(partial)
        partial.replace(path)
        with contextlib.suppress(OSError):  # some network file systems refuse
            if sync:
                _sync(path.parent)
    except OSError as error:
        raise InputError(
            f'{path} cannot be written ({error.strerror or error}); what was there before is '
            f'untouched; {remedy}'
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(
    path: str | Path, content: bytes, *, remedy: str = _REMEDY, sync: bool = True
) -> None:
    """Writes a file's whole content; arguments and errors as for `whole_file`."""
    with whole_file(path, remedy=remedy, sync=sync) as partial:
        partial.write_bytes(content)


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
