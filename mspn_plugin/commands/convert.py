"""Converts foreign MSPN weights to a file of this package, and says which settings they need."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from mspn.atomic_io import check_new, whole_file
from mspn.errors import InputError
from mspn.version import __version__

from ..checkpoints import Source, convert_state_dict
from ..checkpoints.architecture import sizes_of
from ..checkpoints.files import read_state_dict, save_weights


def report(source: Source, weights: dict[str, Tensor]) -> str:
    """What a user must know about the weights."""
    trained = [value for name, value in weights.items() if name.endswith(('.weight', '.bias'))]
    sizes = ', '.join(f'{size}={value}' for size, value in (sizes_of(weights) or {}).items())
    sizes = sizes or 'one with another downsample path than a ResNet'
    lines = [
        f'source       {source.description}',
        f'network      {sizes}',
        f'parameters   {sum(value.numel() for value in trained):,} in {len(trained)} tensors',
    ]
    for part, settings in source.settings.items():
        text = ', '.join(f'{name}={value!r}' for name, value in settings.items())
        lines.append(f'settings     {"" if part == "codec" else "model."}{part}: {text}')
    if not source.settings:
        lines.append('settings     those of the config that they were trained with')
    return '\n'.join(lines)


def run(args: argparse.Namespace) -> None:
    """Reads, converts, writes."""
    target: Path = args.target
    if target.suffix not in ('.pth', '.safetensors'):
        raise InputError(f'DST is {target}; expected a name that ends in .pth or .safetensors')
    check_new(target, overwrite=args.overwrite)
    weights = read_state_dict(args.source)
    try:
        converted, source = convert_state_dict(weights)
    except InputError as error:
        raise InputError(f'{args.source}: {error}') from error
    if source is Source.TORCHVISION:
        raise InputError(
            f'{args.source} is a ResNet, which needs no conversion; name it in a config: '
            f"model.backbone.init_cfg=dict(type='Pretrained', checkpoint='{args.source}')"
        )
    settings = json.dumps(source.settings)
    record = dict(source=str(source), settings=settings, mspn_plugin=__version__)
    if target.suffix == '.safetensors':
        save_weights(converted, target, metadata=record)
    else:
        with whole_file(target) as partial:
            torch.save({'state_dict': converted, 'meta': record}, partial)
    print(report(source, converted))
    with target.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    print(f'written      {target}\nsha256       {digest}')
