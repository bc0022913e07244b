"""A MindSpore checkpoint (``.ckpt``) -> tensors, without MindSpore.

Such a file is one protobuf message, in which every parameter is an entry::

    Checkpoint  { repeated Value value = 1; }
    Value       { required string tag = 1; TensorProto tensor = 2; }
    TensorProto { repeated int64 dims = 1; required string tensor_type = 2;
                  required bytes tensor_content = 3; }

``mindspore.save_checkpoint(..., crc_check=True)`` adds 17 bytes that are no protobuf: ``crc_num``
and the CRC-32 of all bytes before, in 10 bytes, the most significant first (MindSpore 2.10,
``train/serialization.py:432``). It also cuts a tensor of more than 512 MiB into several entries of
one name, which are refused here: no layer of a pose network is that large.
"""

from __future__ import annotations

import io
import math
import os
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from mspn.errors import InputError

OPTIMIZER_STATE = re.compile(
    # one tensor for each parameter, under the parameter's name
    r'(moment|moment1|moment2|moments|accum|stat|vhat|adam_m|adam_v|exp_avg|exp_avg_sq'
    r'|max_exp_avg_sq|mean_grad|mean_square)\..+'
    # one number for all
    r'|(learning_rate|weight_decay)(_group_\d+)?|momentum|beta[12]_power|global_step'
    r'|epoch_num|step_num|loss_scale|scale_sense|scale_value|current_iterator_step'
    r'|last_overflow_iterator_step'
)
"""Full names under which MindSpore's optimizers and loss scaling keep what is no weight."""

_COUNTERS = re.compile(r'U?Int\d+|Bool|str')
_REMEDY = (
    'copy or download the file again, or save the network again with mindspore.save_checkpoint, in '
    'float32 and without encryption'
)


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
    """Reads the weights of a MindSpore checkpoint.

    The memory in use stays near the size of the weights and a few times the largest of them.

    Returns:
        A float32 tensor on the CPU for every name in the file, such as ``conv.weight``,
        ``bn.gamma`` or ``bn.moving_mean``, those of the optimizer too. Single values that are
        integers, booleans or texts count steps (``global_step``, ...) and are left out.

    Raises:
        InputError: The file cannot be opened, is broken (the message names the byte where the
            broken entry begins), or holds weights of another type.
    """
    weights: dict[str, Tensor | None] = {}
    offset = 0
    try:
        with open(path, 'rb') as file:
            for number, entry in _fields(file, _end_of_entries(file)):
                if number != 1 or isinstance(entry, int):
                    raise ValueError(f'expected bytes in field 1, found field {number}')
                name, value = _parameter(entry)
                if name in weights:
                    raise ValueError(f'the name {name!r} comes a second time')
                weights[name] = value
                offset = file.tell()
    except OSError as error:
        raise InputError(f'{path} cannot be opened ({error}); give a .ckpt file') from error
    except ValueError as error:
        last = f'after {list(weights)[-1]!r}' if weights else 'the first one'
        raise InputError(
            f'{path} cannot be read as a MindSpore checkpoint: at byte {offset}, in entry '
            f'{len(weights) + 1} ({last}), {error}; {_REMEDY}'
        ) from error
    found = {name: value for name, value in weights.items() if value is not None}
    if not found:
        raise InputError(f'{path} holds no weights, expected tensors of type Float32; {_REMEDY}')
    return found


def _end_of_entries(file: BinaryIO) -> int:
    """Where the entries of a file end; compares the checksum behind them if there is one."""
    stop = file.seek(0, os.SEEK_END)
    file.seek(max(0, stop - 17))
    trailer = file.read()
    file.seek(0)
    if trailer.startswith(b'crc_num') and len(trailer) == 17:
        stop, checksum = stop - 17, 0
        while file.tell() < stop:
            checksum = zlib.crc32(file.read(min(1 << 20, stop - file.tell())), checksum)
        if checksum != int.from_bytes(trailer[7:], 'big'):
            raise ValueError(f'the checksum at byte {stop} is not the CRC-32 of all before it')
        file.seek(0)
    return stop


def _parameter(entry: bytes) -> tuple[str, Tensor | None]:
    """A parameter's name and value; ``None`` for a step counter and the like."""
    value = dict(_fields(io.BytesIO(entry), len(entry)))
    tag, message = value.get(1), value.get(2, b'')
    if not tag or not isinstance(tag, bytes) or not isinstance(message, bytes):
        raise ValueError('expected an entry with a name (tag), found none')
    name = tag.decode()
    tensor: dict[int, bytes] = {}
    sizes = []
    for number, part in _fields(io.BytesIO(message), len(message)):
        if isinstance(part, bytes):
            tensor[number] = part
        else:  # a negative number has 64 bits
            sizes.append(part - (part >> 63 << 64))
    for number, what in ((2, 'tensor_type'), (3, 'tensor_content')):
        if number not in tensor:
            raise ValueError(f'expected a tensor for {name!r}, found none with a {what}')
    kind, content = tensor[2].decode(errors='replace'), tensor[3]
    shape = () if sizes == [0] else tuple(sizes)  # MindSpore's way to say scalar
    length = 4 * math.prod(shape)
    if length == 4 and _COUNTERS.fullmatch(kind):
        return name, None
    if kind != 'Float32':
        raise ValueError(f'expected Float32 for {name!r}, found {kind}')
    if min(shape, default=1) < 1 or len(content) != length:
        raise ValueError(f'expected {length} bytes for {name!r} of {shape}, found {len(content)}')
    # A copy, because bytes are read-only; '<f4' is little-endian everywhere.
    return name, torch.from_numpy(np.frombuffer(content, '<f4').astype(np.float32).reshape(shape))


def _fields(stream: BinaryIO, stop: int) -> Iterator[tuple[int, int | bytes]]:
    """Yields number and content of the fields of a message."""
    while stream.tell() < stop:
        number, wire = divmod(_number(stream), 8)
        if wire == 0:
            yield number, _number(stream)
            continue
        length = _number(stream) if wire == 2 else {1: 8, 5: 4}.get(wire, stop)
        left = stop - stream.tell()
        if length > left:
            raise ValueError(f'expected {length} bytes for field {number}, found {left}')
        yield number, stream.read(length)


def _number(stream: BinaryIO) -> int:
    """Reads a protobuf number: seven bits a byte, the lowest first."""
    value = 0
    for index in range(10):
        byte = stream.read(1)
        if not byte:
            raise ValueError('found the end of the file or message within a number')
        value |= (byte[0] & 0x7F) << 7 * index
        if byte[0] < 0x80:
            return value % 2**64
    raise ValueError('found a number of more than 10 bytes')
