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

import functools
import math
import mmap
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
"""Names under which MindSpore's optimizers and loss scaling keep what is no weight."""

_ENTRY = 1 << 3 | 2  # the key of field 1 with a length and that many bytes
_VARINT = 10  # bytes of the longest number
_TRAILER = b'crc_num'
_TRAILER_SIZE = len(_TRAILER) + 10
_COUNTERS = re.compile(r'U?Int\d+|Bool|str')
_COPY = 'copy or download the file again'
_SAVE = 'save the network again with mindspore.save_checkpoint, in float32'
_GIVE = 'give a .ckpt file that mindspore.save_checkpoint wrote without encryption'


def is_optimizer_state(name: str) -> bool:
    """Whether a parameter of a checkpoint belongs to the training and not to the network."""
    return OPTIMIZER_STATE.fullmatch(name) is not None


def looks_like_mindspore(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a MindSpore checkpoint: an entry, and in it a printable name.

    Args:
        path: A local file of any kind and name.

    Returns:
        The answer, from the first bytes alone; ``False`` for a file that cannot be opened.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(4096)
    except OSError:
        return False
    position = length = 0
    for _ in ('the entry', 'its name'):  # both are field 1 of their message
        number = _varint(head, position + 1, len(head))
        if head[position : position + 1] != bytes([_ENTRY]) or number is None:
            return False
        length, position = number
    try:
        name = head[position : position + length].decode()
    except UnicodeDecodeError:
        return False
    return name.isprintable() and 0 < length <= len(head) - position


def read_mindspore(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Reads the weights of a MindSpore checkpoint.

    The memory in use stays near the size of the weights and a few times the largest of them.

    Args:
        path: A local file, not encrypted.

    Returns:
        A float32 tensor on the CPU, with memory of its own, for every name in the file, such as
        ``conv.weight`` or ``bn.gamma``, ``bn.beta``, ``bn.moving_mean`` and ``bn.moving_variance``;
        the optimizer's are among them (`is_optimizer_state`). Single values that are integers,
        booleans or texts are left out: they count steps (``global_step``, ``epoch_num``) and are
        never weights.

    Raises:
        InputError: The file cannot be opened, is broken, or holds weights of another type. The
            message names the byte where the broken entry begins.
    """
    place = _Place(os.fspath(path))
    weights: dict[str, Tensor] = {}
    seen = set()
    try:
        with open(path, 'rb') as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise InputError(f'{path} is empty, expected a MindSpore checkpoint; {_COPY}')
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for entry in _entries(content, place):
                    name, value = _parameter(entry, place)
                    if name in seen:
                        raise place.error('every name once', f'{name!r} a second time', _SAVE)
                    seen.add(name)
                    if value is not None:
                        weights[name] = value
                    place.last = name
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f'{path} cannot be opened ({reason}); {_GIVE}') from error
    if not weights:
        raise InputError(f'{path} holds no weights, expected tensors of type Float32; {_GIVE}')
    return weights


@dataclass
class _Place:
    """Where the reader stands, for messages.

    Attributes:
        path: The file.
        offset: First byte of the current entry.
        number: Which entry that is, from 1.
        last: Name of the entry before; empty for the first.
    """

    path: str
    offset: int = 0
    number: int = 1
    last: str = ''

    def error(self, expected: str, found: str, remedy: str = '') -> InputError:
        """The error for what is wrong with the current entry."""
        if not remedy:
            remedy = _COPY if self.number > 1 else _GIVE
        after = f'after {self.last!r}' if self.last else 'the first one'
        return InputError(
            f'{self.path} cannot be read as a MindSpore checkpoint: at byte {self.offset}, in '
            f'entry {self.number} ({after}), expected {expected}, found {found}; {remedy}'
        )


def _varint(content: bytes | mmap.mmap, start: int, stop: int) -> tuple[int, int] | None:
    """Returns a protobuf number and the position behind it; ``None`` if it does not end."""
    value = 0
    for index in range(start, min(start + _VARINT, stop)):
        value |= (content[index] & 0x7F) << 7 * (index - start)
        if content[index] < 0x80:
            return value, index + 1
    return None


def _entries(content: mmap.mmap, place: _Place) -> Iterator[bytes]:
    """Yields the entries of a file, without their keys and lengths, and moves `place` along."""
    stop = len(content)
    has_checksum = content[-_TRAILER_SIZE:].startswith(_TRAILER)
    if has_checksum:
        stop -= _TRAILER_SIZE
    checksum = 0
    while place.offset < stop:
        key = _varint(content, place.offset, stop)
        if key is None or key[0] != _ENTRY:
            found = f'field {key[0] >> 3} of wire type {key[0] & 7}' if key else 'no key'
            raise place.error('the key of an entry (field 1 of wire type 2)', found)
        size = _varint(content, key[1], stop)
        if size is None:
            cut = stop - key[1] < _VARINT
            found = 'the end of the file' if cut else 'a number of more than 10 bytes'
            raise place.error('the length of the entry', found, _COPY)
        length, start = size
        if length > stop - start:
            found = f'{stop - start} before the end of the file'
            raise place.error(f'{length} bytes from byte {start} on', found, _COPY)
        entry = content[start : start + length]
        if has_checksum:
            checksum = zlib.crc32(entry, zlib.crc32(content[place.offset : start], checksum))
        yield entry
        if hasattr(mmap, 'MADV_DONTNEED'):  # else the file stays in memory beside the tensors
            page = place.offset // mmap.PAGESIZE * mmap.PAGESIZE
            content.madvise(mmap.MADV_DONTNEED, page, start + length - page)
        place.offset = start + length
        place.number += 1
    if has_checksum and checksum != int.from_bytes(content[-10:], 'big'):
        raise InputError(
            f'{place.path} is damaged: the {_TRAILER.decode()} at byte {stop} is not the CRC-32 of '
            f'the {stop} bytes before it; {_COPY}'
        )


def _parameter(entry: bytes, place: _Place) -> tuple[str, Tensor | None]:
    """Returns a parameter's name and value; ``None`` for a step counter and the like."""
    value_class, decode_error = _protobuf()
    value = value_class()
    try:
        value.ParseFromString(entry)
    except decode_error as error:
        raise place.error('a name and a tensor', 'bytes that are no such message') from error
    if not value.tag:
        raise place.error('an entry with a name (tag)', 'one without')
    try:
        name = value.tag.decode()
    except UnicodeDecodeError as error:
        raise place.error('a name in UTF-8', f'the bytes {value.tag!r}') from error
    tensor = value.tensor
    for field in ('tensor_type', 'tensor_content'):
        if not tensor.HasField(field):
            raise place.error(f'a tensor for {name!r}', f'an entry without {field}')

    kind = tensor.tensor_type.decode(errors='replace')
    shape = () if tensor.dims == [0] else tuple(tensor.dims)  # MindSpore's way to say scalar
    if kind != 'Float32':
        if math.prod(shape) == 1 and _COUNTERS.fullmatch(kind):
            return name, None
        raise place.error(f'Float32 for {name!r}', kind, _SAVE)
    if min(shape, default=1) < 1:
        raise place.error(f'sizes of 1 or more for {name!r}', f'{shape}', _COPY)
    content = tensor.tensor_content
    if len(content) != 4 * math.prod(shape):
        expected = f'{4 * math.prod(shape)} bytes for {name!r} of shape {shape}'
        raise place.error(expected, f'{len(content)}', _COPY)
    # A copy, because the bytes of a message are read-only; '<f4' is little-endian everywhere.
    return name, torch.from_numpy(np.frombuffer(content, '<f4').astype(np.float32).reshape(shape))


@functools.cache
def _protobuf() -> tuple[Any, type[Exception]]:
    """Returns the message class `Value`, and the error that its parsing raises."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool
        from google.protobuf.message import DecodeError
        from google.protobuf.message_factory import GetMessageClass
    except ImportError as error:
        raise InputError(
            'reading a MindSpore checkpoint needs the Python package protobuf, 4.22 or newer; '
            'install it with: pip install "protobuf>=4.22"'
        ) from error
    # Nothing is `required` and texts are bytes, so that a message with a fault still parses and
    # the fault gets its own sentence.
    kinds = descriptor_pb2.FieldDescriptorProto
    optional, repeated = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    file = descriptor_pb2.FileDescriptorProto(
        name='mspn_plugin/mindspore.proto', package='mspn_plugin', syntax='proto2'
    )
    tensor = file.message_type.add(name='TensorProto').field
    tensor.add(name='dims', number=1, type=kinds.TYPE_INT64, label=repeated)
    tensor.add(name='tensor_type', number=2, type=kinds.TYPE_BYTES, label=optional)
    tensor.add(name='tensor_content', number=3, type=kinds.TYPE_BYTES, label=optional)
    value = file.message_type.add(name='Value').field
    value.add(name='tag', number=1, type=kinds.TYPE_BYTES, label=optional)
    value.add(
        name='tensor',
        number=2,
        type=kinds.TYPE_MESSAGE,
        type_name='.mspn_plugin.TensorProto',
        label=optional,
    )
    pool = descriptor_pool.DescriptorPool()  # of our own: MindSpore has these names in the other
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName('mspn_plugin.Value')), DecodeError
