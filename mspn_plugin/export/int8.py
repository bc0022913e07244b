"""A pose model that computes with 8 bits, by ONNX Runtime's quantizer."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mspn.atomic_io import whole_file
from mspn.batches import WHOLE_IMAGE, Item
from mspn.errors import InputError, MissingPackage
from mspn.media import Image
from mspn.runtime import PoseModel

from .files import to_onnx

_MOST = 256  # pictures; more do not change the ranges
_BATCH = 8
_FAR = 0.05  # of the crop's height: a keypoint further from fp32 than this counts as lost
_LOST = 0.25  # of the keypoints may be


def to_int8(
    model: nn.Module,
    path: str | Path,
    pictures: Iterable[Image],
    *,
    boxes: Iterable[Any] | None = None,
    **options: Any,
) -> dict[str, float]:
    """Writes a pose model whose convolutions compute with 8 bits.

    Weights have a range for every channel; the ranges of the features are those that occur in some
    pictures, which should be like those that will come. The decoding stays in fp32.

    Args:
        model: As for `to_onnx`.
        path: The file, ``.onnx``.
        pictures: Paths or pixels; the first 256 count.
        boxes: The boxes of each picture's people, as in an `Item`; absent, a person fills it.
        **options: Those of `to_onnx`, but ``input`` and ``half``.

    Returns:
        How far the file is from the one in fp32 on those people: ``keypoints``, the median distance
        in pixels of the crop, ``scores``, the median difference, and ``near``, the share of
        keypoints within a twentieth of the crop's height.

    Raises:
        InputError: As from `to_onnx`, or more than a quarter of the keypoints is elsewhere.
        MissingPackage: The quantizer is not installed.
    """
    try:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingPackage(
            f'the quantizer needs {error.name}; install it with `pip install "mspn_plugin[export]"`'
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        exact, ready = Path(folder) / 'fp32.onnx', Path(folder) / 'ready.onnx'
        to_onnx(model, exact, **options)
        poses = PoseModel(exact)
        everybody = itertools.repeat(WHOLE_IMAGE) if boxes is None else boxes
        items = (Item(picture, own) for picture, own in zip(pictures, everybody, strict=False))
        crops = [
            crop.pixels
            for index, item in enumerate(itertools.islice(items, _MOST))
            for crop in poses.crop(index, item)
        ]
        if not crops:
            raise InputError('there is nobody in the pictures; --int8 needs some people')
        batches = [np.stack(crops[i : i + _BATCH]) for i in range(0, len(crops), _BATCH)]
        quant_pre_process(str(exact), str(ready), skip_symbolic_shape=True)
        with whole_file(Path(path)) as partial:
            quantize_static(
                str(ready),
                str(partial),
                _Reader(batches),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=['Conv'],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_delicate(ready),
            )
            return _compare(poses, PoseModel(partial), batches, path)


def _delicate(path: Path) -> list[str]:
    """The convolutions that stay in fp32: the one that sees the picture, and depthwise ones.

    They are a few per cent of the work. With them in 8 bits mspn-small loses 0.06 AP, not 0.002.
    """
    import onnx

    first, *others = [node for node in onnx.load(path).graph.node if node.op_type == 'Conv']
    grouped = [n for n in others if any(a.name == 'group' and a.i > 1 for a in n.attribute)]
    return [node.name for node in (first, *grouped)]


class _Reader:
    """Batches as the quantizer asks for them."""

    def __init__(self, batches: Sequence[np.ndarray]) -> None:
        self._batches: Iterator[np.ndarray] = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(crops=batch)


def _compare(
    exact: PoseModel, found: PoseModel, batches: Sequence[np.ndarray], path: Any
) -> dict[str, float]:
    runs = [[model.run_crops(batch) for batch in batches] for model in (exact, found)]
    (points, marks), (other_points, other_marks) = (
        [np.concatenate(parts) for parts in zip(*run, strict=True)] for run in runs
    )
    apart = np.hypot(*np.moveaxis(points - other_points, -1, 0))
    difference = dict(
        keypoints=float(np.median(apart)),
        scores=float(np.median(np.abs(marks - other_marks))),
        near=float((apart <= _FAR * batches[0].shape[1]).mean()),
    )
    if difference['near'] < 1 - _LOST:
        raise InputError(
            f'{path} was not written: with 8 bits only {difference["near"]:.0%} of the keypoints '
            'are where they are in fp32; give pictures that are like those to come, or use --half'
        )
    return difference
