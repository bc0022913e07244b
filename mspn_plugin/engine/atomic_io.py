"""Files that are whole or not there, and the newest whole checkpoint of a run."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log

from mspn.errors import InputError

from ..checkpoints.files import read_checkpoint
from ..checkpoints.match import check_can_resume

WHOLE_FILES = 'whole_files'
"""Name of `WholeFileBackend` for ``backend_args``."""

_PARTIAL = '.partial'


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that at any moment either the old or the new content is there, whole.

    Args:
        path: Its place.
        content: What it shall hold.

    Raises:
        InputError: It cannot be written, as on a full disk; what was there before is untouched.
    """
    partial = path.with_name(f'.{path.name}{_PARTIAL}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open('wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InputError(
            f'{path} cannot be written ({error.strerror}); the checkpoints that were there are '
            'untouched; make room or mend the disk, then go on with --resume'
        ) from error
    _sync_folder(path.parent)


@contextlib.contextmanager
def disk_errors_end_the_run(folder: str) -> Iterator[None]:
    """Turns what a full or broken disk does to logs and other files of a run into an `InputError`.

    Args:
        folder: The work folder of the run.
    """
    noisy, logging.raiseExceptions = logging.raiseExceptions, False  # a traceback for each line
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise
        raise InputError(
            f'{error.filename or folder} cannot be written ({error.strerror}); the checkpoints in '
            f'{folder} are untouched; make room or mend the disk, then go on with --resume'
        ) from error
    finally:
        logging.raiseExceptions = noisy


def _sync_folder(folder: Path) -> None:
    """Makes a new name in a folder outlive a loss of power."""
    with contextlib.suppress(OSError):  # some network file systems refuse, and do it by themselves
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_partial_files(folder: Path) -> list[Path]:
    """Removes what a killed process had begun to write.

    Args:
        folder: Where `write_whole` wrote.

    Returns:
        What was removed.
    """
    found = sorted(folder.glob(f'.*{_PARTIAL}'))
    for path in found:
        path.unlink(missing_ok=True)
    return found


class WholeFileBackend(LocalBackend):
    """MMEngine's backend for local files, with a ``put`` that cannot leave half a file."""

    def put(self, obj: Any, filepath: Any) -> None:
        """Writes bytes; arguments and errors as in `write_whole`."""
        write_whole(Path(filepath), bytes(obj))


register_backend(WHOLE_FILES, WholeFileBackend, force=True)


def damage(path: Path) -> str | None:
    """Looks for damage in a checkpoint of a training run.

    Args:
        path: A file that MMEngine's runner wrote.

    Returns:
        What is wrong with it; ``None`` if every byte is as it was written and it can be resumed.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums
            broken = archive.testzip()
        if broken:
            return f'the checksum of its part {broken} is wrong'
        check_can_resume(read_checkpoint(str(path)), str(path))
    except (InputError, OSError, zipfile.BadZipFile, EOFError) as error:
        return str(error)
    return None


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """Finds what a run can go on from.

    That is the file that ``last_checkpoint`` names, or one with a larger number that was written
    after that note. If it is damaged or gone, it is the next earlier one that is not, and a warning
    names both. Files with larger numbers that are older are of another run.

    Args:
        folder: The work folder of a run.

    Returns:
        The file; ``None`` if no checkpoint was written or there is no such folder.

    Raises:
        InputError: All checkpoints are damaged.
    """
    candidates = _newest_first(folder)
    if not candidates:
        return None
    newest = candidates[0]
    problems: list[str] = []
    for path in candidates:
        problem = damage(path) if path.is_file() else 'it does not exist'
        if problem is None:
            if problems:
                print_log(
                    f'going on from {path} instead of {newest}: {"; ".join(problems)}',
                    logger='current',
                    level=logging.WARNING,
                )
            return path
        problems.append(f'{path.name} is damaged ({problem})')
    raise InputError(
        f'no checkpoint in {newest.parent} can be resumed: {"; ".join(problems)}; move them '
        'away to begin anew, or name another one with --resume FILE'
    )


def _newest_first(folder: Path) -> list[Path]:
    note = folder / 'last_checkpoint'
    named = None
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = note.read_text(encoding='utf-8').strip()
        # If the folder has moved, the file lies beside the note.
        named = next((p for p in (Path(text), folder / Path(text).name) if p.is_file()), None)
        if named is None and text:
            named = folder / Path(text).name  # gone
    if named is None:  # killed between the first checkpoint and the note
        found = [*folder.glob('epoch_*.pth'), *folder.glob('iter_*.pth')]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    match = re.fullmatch(r'(.*?)(\d+)(\D*)', named.name)
    if not match:
        return [named]
    pattern = re.compile(re.escape(match[1]) + r'(\d+)' + re.escape(match[3]))
    numbered = {int(match[2]): named}
    for path in named.parent.iterdir():
        other = pattern.fullmatch(path.name)
        if other and (
            int(other[1]) < int(match[2]) or path.stat().st_mtime_ns >= note.stat().st_mtime_ns
        ):
            numbered[int(other[1])] = path
    return [path for _, path in sorted(numbered.items(), reverse=True)]
