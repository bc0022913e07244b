"""Which Python object a refused checkpoint names, read off its opcodes; nothing is loaded.

Torch names it only where its weights-only reader understands every opcode before, which it does
not in the oldest and newest pickle formats.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator

import torch

_LARGEST = 64 * 2**20  # bytes of a pickle that are looked at; tensors lie outside of it
_WEIGHTS = re.compile(
    r'collections\.\w+|_codecs\.encode|torch\.(_utils\._rebuild\w+|\w+Storage|Size|device|dtype'
    r'|\w*(float|int|bool|complex)\w*|_tensor\._rebuild\w+|nn\.parameter\.Parameter'
    r'|serialization\._get_layout)'
)
"""Names that torch's own reader takes."""


def first_foreign_object(checkpoint: str) -> str | None:
    """The first Python object that a checkpoint names and that is no part of weights.

    Args:
        checkpoint: A local file.

    Returns:
        Its name with its module, or ``None`` if there is none or no pickle.
    """
    known = {
        entry[1] if isinstance(entry, tuple) else f'{entry.__module__}.{entry.__qualname__}'
        for entry in torch.serialization.get_safe_globals()
    }
    for content in _pickles(checkpoint):
        for name in _names(content):
            if not _WEIGHTS.fullmatch(name) and name not in known:
                return name
    return None


def _pickles(checkpoint: str) -> Iterator[bytes]:
    """The pickle inside a zip archive, or the start of any other file."""
    try:
        if zipfile.is_zipfile(checkpoint):
            with zipfile.ZipFile(checkpoint) as archive:
                for entry in archive.infolist():
                    if entry.filename.endswith('.pkl'):
                        with archive.open(entry) as file:
                            yield file.read(_LARGEST)
        else:
            with open(checkpoint, 'rb') as plain:
                yield plain.read(_LARGEST)
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return


def _names(content: bytes) -> Iterator[str]:
    """Names of the globals of one pickle after the other, as far as they are well formed."""
    file = io.BytesIO(content)
    try:
        while file.tell() < len(content):
            memo: dict[int, str] = {}
            texts: list[str] = []
            for code, argument, _ in pickletools.genops(file):
                if code.name in ('GLOBAL', 'INST'):
                    yield '.'.join(str(argument).split(' ', 1))
                elif code.name == 'STACK_GLOBAL' and len(texts) > 1:
                    yield '.'.join(texts[-2:])
                elif code.name == 'MEMOIZE':
                    memo[len(memo)] = texts[-1] if texts else ''
                elif code.name.endswith('PUT') and isinstance(argument, int):
                    memo[argument] = texts[-1] if texts else ''
                elif code.name.endswith('GET') and isinstance(argument, int):
                    texts.append(memo.get(argument, ''))
                elif isinstance(argument, str):
                    texts.append(argument)
    except Exception:  # anything may be wrong with it; it was refused already
        return
