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

import io
import math
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from mspn.errors import InputError

_COUNTERS = re.compile(r'U?Int\d+|Bool|str')


def looks_like_mindspore(path: str | os.PathLike[str]) -> bool:
    """Whether a file of any name begins as a MindSpore checkpoint: an entry with a name."""
    try:
        with open(path, 'rb') as file:
            for _ in ('the entry', 'its name'):
                if file.read(1) != b'\n':  # field 1 of wire type 2
                    return False
                length = _number(file)
            name = file.read(min(length, 4096))
            return 0 < len(name) == length and name.decode().isprintable()
    except (OSError, ValueError):
        return False


def read_mindspore(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Reads the float32 weights of a MindSpore checkpoint by name, those of the optimizer too.

    Single values that are integers, booleans or texts count steps and are left out. The memory in
    use stays near the size of the weights and a few times the largest of them.

    Raises:
        InputError: The file cannot be opened, is broken, or holds weights of another type.
    """
    weights: dict[str, Tensor | None] = {}
    try:
        with open(path, 'rb') as file:
            for number, entry in _fields(file, _end_of_entries(file)):
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


def _end_of_entries(file: BinaryIO) -> int:
    """Where the entries of a file end; compares the checksum behind them if there is one."""
    stop = file.seek(0, os.SEEK_END)
    file.seek(max(0, stop - 17))
    trailer = file.read()
    file.seek(0)
    if trailer.startswith(b'crc_num') and len(trailer) == 17:
        stop, checksum = stop - 17, 0
        while part := file.read(min(1 << 20, stop - file.tell())):
            checksum = zlib.crc32(part, checksum)
        if checksum != int.from_bytes(trailer[7:], 'big'):
            raise ValueError('the checksum at its end is not the CRC-32 of all before it')
        file.seek(0)
    return stop


def _parameter(entry: Any) -> tuple[str, Tensor | None]:
    """A parameter's name and value; ``None`` for a step counter and the like."""
    try:
        value = _message(entry)
        (tag,), (tensor,) = value[1], value[2]
        parts = _message(tensor)
        (kind,), (content,) = parts[2], parts[3]
        name, kind = tag.decode(), kind.decode()
        sizes = tuple(size - (size >> 63 << 64) for size in parts[1])  # they have a sign
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f'expected a name and a tensor, found something else ({error})') from error
    shape = () if sizes == (0,) else sizes  # MindSpore's way to say scalar
    length = 4 * math.prod(shape)
    if length == 4 and _COUNTERS.fullmatch(kind):
        return name, None
    if kind != 'Float32':
        raise ValueError(f'expected Float32 for {name!r}, found {kind}')
    if min(shape, default=1) < 1 or len(content) != length:
        raise ValueError(f'expected {length} bytes for {name!r} of {shape}, found {len(content)}')
    # A copy, because bytes are read-only; '<f4' is little-endian everywhere.
    return name, torch.from_numpy(np.frombuffer(content, '<f4').astype(np.float32).reshape(shape))


def _message(content: bytes) -> dict[int, list[Any]]:
    """All that a message holds, by the number of the field."""
    found: dict[int, list[Any]] = defaultdict(list)
    for number, value in _fields(io.BytesIO(content), len(content)):
        found[number].append(value)
    return found


def _fields(stream: BinaryIO, stop: int) -> Iterator[tuple[int, int | bytes]]:
    """Yields number and content of the fields of a message."""
    while stream.tell() < stop:
        number, wire = divmod(_number(stream), 8)
        if wire == 0:
            yield number, _number(stream)
            continue
        length = _number(stream) if wire == 2 else {1: 8, 5: 4}.get(wire, stop)
        if length > stop - stream.tell():
            raise ValueError(f'expected {length} bytes, found {stop - stream.tell()}')
        yield number, stream.read(length)


def _number(stream: BinaryIO) -> int:
    """Reads a protobuf number: seven bits a byte, the lowest first."""
    value = 0
    for index in range(10):
        (byte,) = stream.read(1) or [-1]
        if byte < 0:
            raise ValueError('found the end of the file or message within a number')
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value % 2**64
    raise ValueError('found a number of more than 10 bytes')
