"""Files that are whole or not there: the one way in which this project writes what must survive."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

_REMEDY = 'make room, or write elsewhere'

PARTIAL = '.partial'
"""What the name of a file that is being written ends in; it begins with a dot."""


@contextlib.contextmanager
def whole_file(path: str | Path, *, remedy: str = _REMEDY) -> Iterator[Path]:
    """Lets the caller write a file that appears under its name only when it is complete.

    Args:
        path: Its place; its folder is made if need be.
        remedy: What the user can do if it cannot be written.

    Yields:
        Where to write. When the block ends well the file is synced to the disk and renamed; when it
        does not, it is removed, and what stood at `path` before is untouched.

    Raises:
        InputError: The file cannot be written, as on a full disk.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}{PARTIAL}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open('r+b') as file:
            os.fsync(file.fileno())
        partial.replace(path)
        # So that the new name outlives a loss of power; some network file systems refuse.
        with contextlib.suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise InputError(
            f'{path} cannot be written ({error.strerror or error}); what was there before is '
            f'untouched; {remedy}'
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes, *, remedy: str = _REMEDY) -> None:
    """Writes a file's whole content; arguments and errors as for `whole_file`."""
    with whole_file(path, remedy=remedy) as partial:
        partial.write_bytes(content)
