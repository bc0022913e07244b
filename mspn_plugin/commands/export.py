"""Writes a model with all that it needs around it as one file, and proves it against torch."""

from __future__ import annotations

import argparse
from typing import Any

from mspn.atomic_io import check_new
from mspn.errors import InputError
from mspn.media import open_media

from ..apis.detector import PersonDetector
from ..export import detector_to_onnx, to_int8, to_onnx
from .predict import load_model
from .run_config import with_weights


def run(args: argparse.Namespace) -> None:
    """Loads, exports, compares."""
    out = args.out
    if out.suffix not in ('.onnx', '.pt2'):
        raise InputError(f'the file is {out}; expected a name that ends in .onnx or .pt2')
    check_new(out, overwrite=args.overwrite)
    if out.suffix == '.pt2' and (args.detector or args.half or args.int8):
        raise InputError('a .pt2 holds a pose model in fp32; write an .onnx file')
    if args.int8 and (args.half or args.detector or args.input != 'crops'):
        raise InputError('--int8 is for a pose model that takes crops, and not with --half')
    for option, given in (
        ('--input image', args.input != 'crops'),
        ('--flip-test', args.flip_test is not None),
        ('--cfg-options', args.cfg_options),
    ):
        if args.detector and given:
            raise InputError(f'{option} is for a pose model, not for a --detector')
    if args.weights and (out.suffix == '.pt2' or args.int8):
        raise InputError('--weights is for an .onnx file that computes with 32 bits')
    if args.weights and args.weights.suffix != '.safetensors':
        raise InputError(f'the weights, {args.weights}, need a name that ends in .safetensors')
    if args.weights and args.weights.resolve().parent != out.resolve().parent:
        raise InputError(f'the weights, {args.weights}, have to be in the folder of {out}')
    if args.weights:
        check_new(args.weights, overwrite=args.overwrite)
    kind = 'detector' if args.detector else 'pose'
    config, checkpoint = with_weights(args.config, args.checkpoint, kind)
    facts: dict[str, Any] = dict(licence=args.licence, training_data=args.training_data)
    stored: dict[str, Any] = dict(half=args.half, weights=args.weights)
    if args.detector:
        detector = PersonDetector(config, checkpoint, category=args.det_cat_id)
        found = detector_to_onnx(detector.model, out, category=args.det_cat_id, **stored, **facts)
    else:
        model = load_model((config, checkpoint), args.cfg_options, 'cpu')
        if args.int8:
            pictures = open_media(args.int8)
            if pictures.size is not None:
                raise InputError(f'{args.int8} is no folder of pictures, which --int8 needs')
            found = to_int8(model, out, pictures.paths, flip_test=args.flip_test, **facts)
        else:
            options = dict(input=args.input, flip_test=args.flip_test, **stored, **facts)
            found = to_onnx(model, out, **options)
    numbers = ', '.join(f'{what} {value:.3g}' for what, value in found.items())
    print(f'difference   {numbers}')
    print(f'written      {out} ({out.stat().st_size / 1e6:.1f} MB)')
