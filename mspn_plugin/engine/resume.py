"""What a run can go on from: its newest checkpoint that is whole."""

from __future__ import annotations

import contextlib
import logging
import re
import zipfile
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mspn.errors import InputError

from ..checkpoints.files import read_checkpoint
from ..checkpoints.match import check_can_resume


def newest_whole_checkpoint(folder: Path) -> tuple[Path, Any] | None:
    """Finds what a run can go on from.

    That is the file that ``last_checkpoint`` names, or one with a larger number that was written
    after that note. If it is damaged or gone, it is the next earlier one that is not, and a warning
    names both. Files with larger numbers that are older are of another run.

    Args:
        folder: The work folder of a run.

    Returns:
        The file and its content, of which every byte is as it was written; ``None`` if no
        checkpoint was written or there is no such folder.

    Raises:
        InputError: All checkpoints are damaged.
    """
    candidates = _newest_first(folder)
    problems: list[str] = []
    for path in candidates:
        try:
            loaded = _read_whole(path)
        except (InputError, OSError, zipfile.BadZipFile, EOFError) as error:
            problems.append(f'{path.name} is damaged ({error})')
            continue
        if problems:
            text = f'going on from {path} instead of {candidates[0]}: {"; ".join(problems)}'
            print_log(text, logger='current', level=logging.WARNING)
        return path, loaded
    if not candidates:
        return None
    raise InputError(
        f'no checkpoint in {candidates[0].parent} can be resumed: {"; ".join(problems)}; move them '
        'away to begin anew, or name another one with --resume FILE'
    )


def _read_whole(path: Path) -> Any:
    if path.is_file():
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums
            if broken := archive.testzip():
                raise InputError(f'the checksum of its part {broken} is wrong')
    loaded = read_checkpoint(str(path))
    check_can_resume(loaded, str(path))
    return loaded


def _newest_first(folder: Path) -> list[Path]:
    note, text = folder / 'last_checkpoint', ''
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = note.read_text(encoding='utf-8').strip()
    if not text:  # killed between the first checkpoint and the note
        found = [*folder.glob('epoch_*.pth'), *folder.glob('iter_*.pth')]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    # If the folder has moved, the file lies beside the note.
    named = Path(text) if Path(text).is_file() else folder / Path(text).name
    match = re.fullmatch(r'(.*?)(\d+)(\D*)', named.name)
    if not match:
        return [named]
    numbered = {int(match[2]): named}
    pattern = re.compile(re.escape(match[1]) + r'(\d+)' + re.escape(match[3]))
    for path in named.parent.iterdir():
        other = pattern.fullmatch(path.name)
        if other and (
            int(other[1]) < int(match[2]) or path.stat().st_mtime_ns >= note.stat().st_mtime_ns
        ):
            numbered[int(other[1])] = path
    return [path for _, path in sorted(numbered.items(), reverse=True)]
