"""Converts foreign MSPN weights to a file of this package, and says which settings they need."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

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


def _apart(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with memory of their own each, as the format wants them."""
    seen: set[int] = set()
    apart = {}
    for name, value in weights.items():
        value = value.contiguous()
        memory = value.untyped_storage().data_ptr()
        apart[name] = value.clone() if memory in seen else value
        seen.add(memory)
    return apart


def write(target: Path, weights: dict[str, Tensor], record: dict[str, str]) -> None:
    """Writes the weights beside their final place, then moves them there: all or nothing."""
    unfinished = target.with_name(f'.{target.name}.unfinished')
    try:
        if target.suffix == '.safetensors':
            save_file(_apart(weights), unfinished, metadata=record)
        else:
            torch.save({'state_dict': weights, 'meta': record}, unfinished)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def report(source: Source, weights: dict[str, Tensor], architecture: Architecture | None) -> str:
    """What a user must know about the weights."""
    trained = [value for name, value in weights.items() if name.endswith(('.weight', '.bias'))]
    lines = [
        f'source       {source.description}',
        f'network      {architecture}',
        f'parameters   {sum(value.numel() for value in trained):,} in {len(trained)} tensors',
    ]
    if not source.settings:
        lines.append('settings     those of the config that they were trained with')
    for part, settings in source.settings.items():
        place = 'codec' if part == 'codec' else f'model.{part}'
        text = ', '.join(f'{name}={value!r}' for name, value in settings.items())
        lines.append(
            f'{"settings" if place == "model.data_preprocessor" else "":12} {place}: {text}'
        )
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
