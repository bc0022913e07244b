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

from ..checkpoints.files import read_checkpoint
from ..checkpoints.fit import check_can_resume
from ..errors import InputError

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

    That is the file that ``last_checkpoint`` names. If it is damaged or gone, it is the one before,
    by the number in its name, that is not; a warning names both.

    Args:
        folder: The work folder of a run.

    Returns:
        The file; ``None`` if no checkpoint was written or there is no such folder.

    Raises:
        InputError: All checkpoints are damaged.
    """
    newest = _last_written(folder)
    if newest is None:
        return None
    problems: list[str] = []
    for path in [newest, *_before(newest)]:
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


def _last_written(folder: Path) -> Path | None:
    note = folder / 'last_checkpoint'
    with contextlib.suppress(OSError, UnicodeDecodeError):
        named = note.read_text(encoding='utf-8').strip()
        if named:
            path = Path(named)
            return path if path.is_file() else folder / path.name  # the folder may have moved
    # Killed between the first checkpoint and the note.
    found = [*folder.glob('epoch_*.pth'), *folder.glob('iter_*.pth')]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _before(newest: Path) -> list[Path]:
    """Checkpoints of the same kind with smaller numbers, the largest first."""
    match = re.fullmatch(r'(.*?)(\d+)(\D*)', newest.name)
    if not match:
        return []
    pattern = re.compile(re.escape(match[1]) + r'(\d+)' + re.escape(match[3]))
    numbered = [(pattern.fullmatch(path.name), path) for path in newest.parent.iterdir()]
    earlier = [
        (int(found[1]), path) for found, path in numbered if found and int(found[1]) < int(match[2])
    ]
    return [path for _, path in sorted(earlier, reverse=True)]
