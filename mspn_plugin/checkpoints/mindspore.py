"""A MindSpore checkpoint (``.ckpt``) -> tensors, without MindSpore.

Such a file is one protobuf message, in which every parameter is an entry::

    Checkpoint  { repeated Value value = 1; }
    Value       { required string tag = 1; TensorProto tensor = 2; }
    TensorProto { repeated int64 dims = 1; required string tensor_type = 2;
                  required bytes tensor_content = 3; }

``mindspore.save_checkpoint(..., crc_check=True)`` adds 17 bytes that are no protobuf: ``crc_num``
and the CRC-32 of all bytes before, in 10 bytes, the most significant first (MindSpore 2.10,
``train/serialization.py:432``).
"""

from __future__ import annotations

import math
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mspn.errors import InputError

_COUNTERS = re.compile(r'U?Int\d+|Bool|str')


def looks_like_mindspore(path: str | os.PathLike[str]) -> bool:
    """Whether a file of any name begins as a MindSpore checkpoint: an entry with a name."""
    try:
        with open(path, 'rb') as file:
            head = file.read(4096)
        _, place = _number(head, 1)
        length, start = _number(head, place + 1)
        name = head[start : start + length].decode()
    except (OSError, ValueError):
        return False
    # Both are field 1 of wire type 2.
    is_named = head[:1] == head[place : place + 1] == b'\n' and 0 < length <= len(head) - start
    return is_named and name.isprintable()


def read_mindspore(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Reads the float32 weights of a MindSpore checkpoint by name, those of the optimizer too.

    Single values that are integers, booleans or texts count steps and are left out.

    Raises:
        InputError: The file cannot be opened, is broken, or holds weights of another type.
    """
    weights: dict[str, Tensor | None] = {}
    try:
        data = memoryview(Path(path).read_bytes())
        if bytes(data[-17:-10]) == b'crc_num':
            if zlib.crc32(data[:-17]) != int.from_bytes(data[-10:], 'big'):
                raise ValueError('the checksum at its end is not the CRC-32 of all before it')
            data = data[:-17]
        for number, entry in _fields(data):
            if number != 1:
                raise ValueError(f'expected an entry in field 1, found field {number}')
            name, value = _parameter(entry)
            if name in weights:
                raise ValueError(f'{name!r} comes a second time')
            weights[name] = value
        found = {name: value for name, value in weights.items() if value is not None}
        if not found:
            raise ValueError('expected tensors of type Float32, found none')
    except (OSError, ValueError) as error:
        raise InputError(
            f'{path} cannot be read as a MindSpore checkpoint: after {len(weights)} entries, '
            f'{error}; copy the file again, or save the network again with '
            'mindspore.save_checkpoint, in float32 and without encryption'
        ) from error
    return found


def _parameter(entry: Any) -> tuple[str, Tensor | None]:
    """A parameter's name and value; ``None`` for a step counter and the like."""
    try:
        value = _message(entry)
        (tag,), (tensor,) = value[1], value[2]
        parts = _message(tensor)
        (kind,), (content,) = parts[2], parts[3]
        name, kind = str(tag, 'utf-8'), str(kind, 'utf-8')
        sizes = tuple(size - (size >> 63 << 64) for size in parts[1])  # they have a sign
    except (TypeError, ValueError) as error:
        raise ValueError(f'expected a name and a tensor, found something else ({error})') from error
    shape = () if sizes == (0,) else sizes  # MindSpore's way to say scalar
    length = 4 * math.prod(shape)
    if length == 4 and _COUNTERS.fullmatch(kind):
        return name, None
    if kind != 'Float32':
        raise ValueError(f'expected Float32 for {name!r}, found {kind}')
    if min(shape, default=1) < 1 or len(content) != length:
        raise ValueError(f'expected {length} bytes for {name!r} of {shape}, found {len(content)}')
    # A copy, so that the file does not stay in memory; '<f4' is little-endian everywhere.
    return name, torch.from_numpy(np.frombuffer(content, '<f4').astype(np.float32).reshape(shape))


def _message(data: memoryview) -> dict[int, list[Any]]:
    """All that a message holds, by the number of the field."""
    found: dict[int, list[Any]] = defaultdict(list)
    for number, value in _fields(data):
        found[number].append(value)
    return found


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Yields number and content, a number or bytes, of the fields of a message."""
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        value, place = _number(data, place)
        number, wire = divmod(key, 8)
        if wire not in (0, 2):
            raise ValueError(f'found field {number} of wire type {wire}')
        if wire == 0:
            yield number, value
            continue
        if value > len(data) - place:
            raise ValueError(f'expected {value} bytes, found {len(data) - place}')
        yield number, data[place : place + value]
        place += value


def _number(data: bytes | memoryview, place: int) -> tuple[int, int]:
    """A protobuf number, seven bits a byte and the lowest first, and where it ends."""
    value = 0
    for index, byte in enumerate(data[place : place + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value % 2**64, place + index + 1
    raise ValueError('found no end of a number')
