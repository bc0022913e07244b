"""JSON that somebody else wrote: read with limits, and refused in a sentence where it is not sane.

Python's parser takes any size and depth, keeps the last of two equal keys, and fails in five ways.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import InputError

MAX_BYTES = 2 * 2**30  # COCO's largest annotation file has 0.5 GB, in memory 10 times that
MAX_DEPTH = 32  # the formats read here need 6 levels


def read_json(path: Path, what: str, *, expected: str, remedy: str = '', mark: bool = False) -> Any:
    """Reads a JSON file in UTF-8; ``NaN`` and infinite numbers pass, for the caller to name.

    Args:
        path: The file.
        what: What the file is for, such as ``'the detection file'``.
        expected: What it should hold, for the `InputError` if it cannot be read as JSON.
        remedy: What to do where there is no such file; ``expected`` if empty.
        mark: Whether it may begin with a byte order mark, which COCO's API does not read.
    """
    name, expected = f'{what} {path}', f'expected {expected}'
    try:
        if not path.is_file():  # nor a device or a pipe, which may have no end
            found = 'is a folder' if path.is_dir() else 'does not exist'
            raise InputError(f'{name} {found}; {remedy or expected}')
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f'{name} has {size:,} bytes; expected at most {MAX_BYTES:,}; split it')
        return parse_json(path.read_bytes(), name, expected=expected, mark=mark)
    except (OSError, MemoryError) as error:
        raise InputError(f'{name} cannot be read ({error}); {expected}') from error


def parse_json(content: bytes, name: str, *, expected: str, mark: bool = False) -> Any:
    """What JSON in UTF-8 holds; ``name`` and ``expected`` are parts of an `InputError`."""
    try:
        text = content.decode('utf-8-sig' if mark else 'utf-8')
        del content  # COCO's largest file has 0.5 GB
        with no_garbage_collection():
            parsed = json.loads(text, object_pairs_hook=_object)
            _check_depth(parsed)
    except UnicodeDecodeError as error:
        raise InputError(f'{name} is not UTF-8 text ({error}); {expected}') from error
    except (ValueError, MemoryError, RecursionError) as error:
        deep = f'it is nested more than {MAX_DEPTH} levels deep'
        reason = deep if isinstance(error, RecursionError) else str(error) or type(error).__name__
        raise InputError(f'{name} cannot be read as JSON ({reason}); {expected}') from error
    return parsed


def shown(value: Any, length: int = 60) -> str:
    """A value as JSON, cut to some length, for a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= length else text[: length - 3] + '...'


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; in JSON a bool is none."""
    # One comparison refuses NaN, the infinities and integers that no float holds.
    return type(value) in (int, float) and -1e300 < value < 1e300


class _Parsing:
    """How many threads parse now, and whether garbage was collected before the first did."""

    lock, threads, collected = threading.Lock(), 0, True


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Parsing makes no garbage, but so many objects that looking for it takes half of the time."""
    with _Parsing.lock:
        if not _Parsing.threads:
            _Parsing.collected = gc.isenabled()
            gc.disable()
        _Parsing.threads += 1
    try:
        yield
    finally:
        with _Parsing.lock:
            _Parsing.threads -= 1
            if not _Parsing.threads and _Parsing.collected:
                gc.enable()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(record := dict(pairs)) != len(pairs):
        ((twice, _),) = collections.Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f'the key {shown(twice)} stands twice in one object')
    return record


def _check_depth(content: Any) -> None:
    level: list[Any] = [[content]]
    for _ in range(MAX_DEPTH + 1):
        nodes = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for node in nodes for child in node if isinstance(child, (dict, list))]
    if level:
        raise RecursionError
