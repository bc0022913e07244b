"""Converts foreign MSPN weights to a file of this package, and says which settings they need."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mspn.atomic_io import whole_file
from mspn_plugin import InputError, __version__
from mspn_plugin.checkpoints import Source, convert_state_dict
from mspn_plugin.checkpoints.architecture import Architecture, architecture_of
from mspn_plugin.checkpoints.files import read_state_dict

SUFFIXES = ('.pth', '.safetensors')


def check_target(target: Path, *, overwrite: bool) -> None:
    """Checks that the result can be written before any work is done for it."""
    if target.suffix not in SUFFIXES:
        raise InputError(f'DST is {target}; expected a name that ends in {" or ".join(SUFFIXES)}')
    if not target.parent.is_dir():
        raise InputError(f'the folder {target.parent} does not exist; create it first')
    if target.exists() and not overwrite:
        raise InputError(f'{target} exists; give another name, or --overwrite to replace it')


def write(target: Path, weights: dict[str, Tensor], record: dict[str, str]) -> None:
    """Writes the weights and what is known about them."""
    with whole_file(target) as partial:
        if target.suffix == '.safetensors':  # whose tensors have memory of their own
            apart = {name: value.contiguous().clone() for name, value in weights.items()}
            save_file(apart, partial, metadata=record)
        else:
            torch.save({'state_dict': weights, 'meta': record}, partial)


def report(source: Source, weights: dict[str, Tensor], architecture: Architecture | None) -> str:
    """What a user must know about the weights."""
    trained = [value for name, value in weights.items() if name.endswith(('.weight', '.bias'))]
    lines = [
        f'source       {source.description}',
        f'network      {architecture}',
        f'parameters   {sum(value.numel() for value in trained):,} in {len(trained)} tensors',
    ]
    head = 'settings    '
    for part, settings in source.settings.items():
        text = ', '.join(f'{name}={value!r}' for name, value in settings.items())
        lines.append(f'{head} {"" if part == "codec" else "model."}{part}: {text}')
        head = ' ' * len(head)
    if not source.settings:
        lines.append(f'{head} those of the config that they were trained with')
    return '\n'.join(lines)


def run(args: argparse.Namespace) -> None:
    """Reads, converts, writes."""
    check_target(args.target, overwrite=args.overwrite)
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
    write(args.target, converted, record)
    print(report(source, converted, architecture_of(converted)))
    with args.target.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    print(f'written      {args.target}\nsha256       {digest}')
