"""Weights from every kind of file that we know, without running what a file holds.

MMEngine reads a checkpoint by the start of its address. Importing this module adds two kinds of
address to it, ``*.ckpt`` (MindSpore) and ``*.safetensors``, so that ``load_from``, ``mim test`` and
``init_model`` take such files as they take a ``.pth``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner.checkpoint import CheckpointLoader, _load_checkpoint
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mspn.atomic_io import whole_file
from mspn.errors import InputError

from .mindspore import looks_like_mindspore, read_mindspore
from .names import unwrapped

_MANY = 2000  # numbers in a weight that is worth storing with 16 bits


def read_state_dict(checkpoint: str) -> Mapping[str, Tensor]:
    """Reads the weights of a checkpoint, and no code.

    Args:
        checkpoint: A local file, a URL, or another address that MMEngine knows.

    Raises:
        InputError: The file is absent, broken, or holds something else.
    """
    return weights_in(read_checkpoint(checkpoint), checkpoint)


def weights_in(loaded: object, checkpoint: str) -> Mapping[str, Tensor]:
    """Finds the weights in the content of a checkpoint; an `InputError` names it if it has none."""
    holders = ('state_dict', 'model', 'net')  # MMEngine, the original code, others
    tables = [loaded.get(holder) for holder in holders] if isinstance(loaded, Mapping) else []
    weights = next((table for table in tables if isinstance(table, Mapping)), loaded)
    items = list(weights.items()) if isinstance(weights, Mapping) else []
    if not items or not all(isinstance(n, str) and isinstance(v, Tensor) for n, v in items):
        raise InputError(f'{checkpoint} holds no weights; expected tensors by name')
    for name, value in items:
        if value.layout != torch.strided or value.is_quantized or value.is_nested or value.is_meta:
            kind = 'sparse, quantized or empty'
            raise InputError(f'{checkpoint} holds {name} as a {kind} tensor; expected plain ones')
    return unwrapped(dict(items))


def read_checkpoint(checkpoint: str) -> Any:
    """Reads all that a checkpoint holds; arguments and errors as in `read_state_dict`."""
    try:
        if '://' in checkpoint:
            return _load_checkpoint(checkpoint, map_location='cpu')
        path = Path(checkpoint)
        if not path.is_file():
            found = 'is a folder' if path.is_dir() else 'does not exist'
            raise InputError(f'the checkpoint {path} {found}; give the path of a file or a URL')
        with path.open('rb') as file:  # a safetensors file: the length of its header, the header
            length, brace = int.from_bytes(file.read(8), 'little'), file.read(1)
        if brace == b'{' and length < path.stat().st_size:
            return {'state_dict': _load_safetensors(path)}
        if looks_like_mindspore(path):
            return {'state_dict': read_mindspore(path)}
        return torch.load(path, map_location='cpu', weights_only=True)
    except InputError:
        raise
    except Exception as error:  # a broken file can fail in any way
        raise _unreadable(checkpoint, error) from error


def save_weights(
    state: Mapping[str, Tensor],
    path: Path,
    *,
    half: bool = False,
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes weights as a ``.safetensors`` file; those of many numbers with 16 bits if wanted."""
    kept: dict[str, Tensor] = {}
    places: dict[Any, str] = {}
    notes = dict(metadata or {})
    for name, value in state.items():
        place = (value.data_ptr(), value.shape, value.stride())
        if value.numel() and (first := places.setdefault(place, name)) != name:
            notes[name] = first  # as safetensors' own `save_model` notes weights that are shared
            continue
        value = value.detach().cpu()
        # The format wants memory of its own for each, in the usual order.
        kept[name] = (narrowed(value) if half else value).contiguous().clone()
    with whole_file(path) as partial:
        save_file(kept, partial, metadata=notes)
        partial.chmod(0o644)  # as other files are; safetensors lets nobody else read


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    """The weights of a file, the shared ones under all of their names."""
    with safe_open(path, 'pt') as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        notes = file.metadata() or {}
    shared = {name: weights[first] for name, first in notes.items() if first in weights}
    return shared | weights


def narrowed(value: Tensor) -> Tensor:
    """With 16 bits instead of 32, if that is worth it and all of it stays finite."""
    if value.dtype != torch.float32 or value.numel() < _MANY:
        return value
    narrow = value.half()
    return narrow if narrow.isfinite().all() else value


def hand_over(checkpoint: str, loaded: Any) -> None:
    """Lets MMEngine take a checkpoint's content from memory when it loads that address next.

    So a runner does not read again what was read to check it. It happens once, and not at all if
    the file was written meanwhile. For the sake of memory the caller should not keep the content.
    """
    address, path, held = re.escape(checkpoint) + '$', Path(checkpoint), [loaded]

    def written() -> int | None:
        return path.stat().st_mtime_ns if path.is_file() else None

    def load_from_memory(filename: str, map_location: Any = None) -> Any:
        del CheckpointLoader._schemes[address]
        content = held.pop()
        return content if written() == before else _load_checkpoint(filename, map_location)

    before = written()
    CheckpointLoader._schemes[address] = load_from_memory
    CheckpointLoader._schemes.move_to_end(address, last=False)


def _unreadable(checkpoint: str, error: Exception) -> InputError:
    """Says why a file cannot be read, as torch says it; names the code in it if that is why."""
    # Torch begins with the advice to load without the restriction, which is not ours.
    text = str(error).rpartition('WeightsUnpickler error:')[2] or type(error).__name__
    if refused := re.search(r'GLOBAL ([\w.]+)', text):
        return InputError(
            f'{checkpoint} refers to the Python object {refused[1]}, which is no part of weights; '
            'nothing in the file was run; ask its author for the plain state_dict'
        )
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
    return read_checkpoint(filename)


@CheckpointLoader.register_scheme(prefixes=r'https?://[^?#]*\.(ckpt|safetensors)([?#].*)?$')
def _load_url(filename: str, map_location: Any = None) -> Any:
    """Downloads once, to where torch keeps downloaded weights, then reads the file."""
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(filename).path).name
    if is_main_process() and not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(filename, str(path))
    barrier()
    return read_checkpoint(str(path))
