"""Weights from every kind of file that we know, without running what a file holds.

MMEngine reads a checkpoint by the start of its address. Importing this module adds two kinds of
address to it, ``*.ckpt`` (MindSpore) and ``*.safetensors``, so that ``load_from``, ``mim test`` and
``init_model`` take such files as they take a ``.pth``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner.checkpoint import CheckpointLoader, _load_checkpoint
from safetensors.torch import load_file
from torch import Tensor

from mspn.errors import InputError, listed

from .foreign_objects import first_foreign_object
from .mindspore import looks_like_mindspore, read_mindspore

_HOLDERS = ('state_dict', 'model')  # where MMEngine and the original code keep the weights


def read_state_dict(checkpoint: str) -> Mapping[str, Tensor]:
    """Reads the weights of a checkpoint, and no code.

    Args:
        checkpoint: A local file, a URL, or another address that MMEngine knows.

    Returns:
        The weights by name, as the file names them.

    Raises:
        InputError: The file is absent, broken, or holds something else.
    """
    return weights_in(read_checkpoint(checkpoint), checkpoint)


def weights_in(loaded: object, checkpoint: str) -> Mapping[str, Tensor]:
    """Finds the weights among what a checkpoint holds.

    Args:
        loaded: The content of a checkpoint.
        checkpoint: Its address, for the message.

    Returns:
        The weights by name, without the prefix that a wrapped model's names carry.

    Raises:
        InputError: There are none.
    """
    weights = loaded
    for holder in _HOLDERS:
        if isinstance(weights, Mapping) and isinstance(weights.get(holder), Mapping):
            weights = weights[holder]
            break
    if (
        not isinstance(weights, Mapping)
        or not weights
        or not all(isinstance(name, str) for name in weights)
        or not all(isinstance(value, Tensor) for value in weights.values())
    ):
        raise InputError(f'{checkpoint} holds no weights; expected tensors by name')
    odd = [name for name, value in weights.items() if not _is_plain(value)]
    if odd:
        raise InputError(
            f'{checkpoint} holds {listed(odd, 3)} as sparse, quantized or empty tensors; expected '
            'plain ones'
        )
    return {key.removeprefix('module.'): value for key, value in weights.items()}


def _is_plain(value: Tensor) -> bool:
    return (
        value.layout == torch.strided
        and not value.is_quantized
        and not value.is_nested
        and value.device.type != 'meta'
    )


def read_checkpoint(checkpoint: str) -> Any:
    """Reads all that a checkpoint holds; arguments and errors as in `read_state_dict`."""
    if '://' not in checkpoint:
        return _read_file(Path(checkpoint))
    try:
        return _load_checkpoint(checkpoint, map_location='cpu')
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(checkpoint, error) from error


def _read_file(path: Path) -> Any:
    if path.is_dir():
        raise InputError(f'{path} is a folder; give the file of a checkpoint')
    if not path.is_file():
        raise InputError(f'the checkpoint {path} does not exist; give the path of a file or a URL')
    try:
        if _looks_like_safetensors(path):
            return {'state_dict': load_file(path)}
        if looks_like_mindspore(path):
            return {'state_dict': read_mindspore(path)}
        return torch.load(path, map_location='cpu', weights_only=True)
    except InputError:
        raise
    except Exception as error:  # a broken file can fail in any way
        raise _unreadable(str(path), error) from error


def _looks_like_safetensors(path: Path) -> bool:
    """A safetensors file begins with the length of its JSON header, then the header."""
    with path.open('rb') as file:
        start = file.read(9)
    if len(start) < 9 or start[8:] != b'{':
        return False
    return struct.unpack('<Q', start[:8])[0] < path.stat().st_size


def _unreadable(checkpoint: str, error: Exception) -> InputError:
    """Says why a file cannot be read; names the code in it if that is the reason."""
    text = str(error) or type(error).__name__
    refused = re.search(r'GLOBAL ([\w.]+)', text)
    name = refused[1] if refused else first_foreign_object(checkpoint)
    if name:
        return InputError(
            f'{checkpoint} refers to the Python object {name}, which is no part of weights; '
            'nothing in the file was run; expected a file of tensors only, so ask its author for '
            'the plain state_dict'
        )
    # Torch begins with the advice to load without the restriction, which is not ours.
    text = text.rpartition('WeightsUnpickler error:')[2] or text
    reason = next(filter(None, map(str.strip, text.splitlines())), 'nothing is known').rstrip('.')
    if 'weights_only' in reason:
        reason = 'it is of a format that cannot be read without running what it holds'
    return InputError(
        f'{checkpoint} cannot be read as a checkpoint ({reason[:200]}); expected a .pth, '
        '.safetensors or MindSpore .ckpt file; if it was copied or downloaded, fetch it again'
    )


@CheckpointLoader.register_scheme(prefixes=r'.*\.(ckpt|safetensors)$')
def _load_local(filename: str, map_location: Any = None) -> Any:
    """What MMEngine calls for a local file of these kinds; it moves the weights itself."""
    return _read_file(Path(filename))


@CheckpointLoader.register_scheme(prefixes=r'https?://[^?#]*\.(ckpt|safetensors)([?#].*)?$')
def _load_url(filename: str, map_location: Any = None) -> Any:
    """Downloads once, to where torch keeps downloaded weights, then reads the file."""
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    path = folder / Path(urlparse(filename).path).name
    if is_main_process() and not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        print(f'downloading {filename} to {path}')
        torch.hub.download_url_to_file(filename, str(path))
    barrier()
    return _read_file(path)
