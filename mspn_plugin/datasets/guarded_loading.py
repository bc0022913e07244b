"""A loading step that meets missing, truncated and unreadable images as it was told to."""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
from typing import Any, NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS

from mspn.errors import InputError, listed

ON_BAD_IMAGE = ('replace', 'blank', 'fail')
"""Another person in its place, a black image in its place, or an `InputError`."""

_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_PNG, _PNG_END = b'\x89PNG', b'IEND\xaeB`\x82'
_CAPACITY = 1 << 18  # bytes for the names of bad images


def truncation(path: str) -> str | None:
    """Looks whether a JPEG or PNG file ends too early; OpenCV fills the rest with grey and is glad.

    Only the file's ends are read, unless something is odd. Damage in the middle goes unnoticed.

    Args:
        path: A file.

    Returns:
        What is wrong, or ``None``.
    """
    with open(path, 'rb') as file:
        start = file.read(8)
        file.seek(max(0, os.fstat(file.fileno()).st_size - 8))
        end = file.read(8)
        if start[:2] == _JPEG and end[-2:] != _JPEG_END:
            file.seek(0)
            # Something may follow the end; the end of a thumbnail in the header is not that end.
            content = file.read()
            if content.rfind(_JPEG_END) <= _start_of_scan(content):
                return 'the file is truncated'
        if start[:4] == _PNG and end != _PNG_END:
            file.seek(0)
            if _PNG_END not in file.read():
                return 'the file is truncated'
    return None


def _start_of_scan(content: bytes) -> int:
    """Where the pixels of a JPEG begin: the header's segments tell their lengths."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        if content[place + 1] == 0xDA:
            return place
        place += 2 + int.from_bytes(content[place + 2 : place + 4], 'big')
    return len(content)


class BadSample(NamedTuple):
    """A sample of a data set whose image cannot be read."""

    number: int
    path: str
    reason: str


class BadImages:
    """What loading steps in several processes could not read, in memory that they share."""

    def __init__(self) -> None:
        self._lock = multiprocessing.Lock()
        self._text: Any = multiprocessing.RawArray(ctypes.c_char, _CAPACITY)
        self._numbers = multiprocessing.RawArray(ctypes.c_long, 2)

    def __deepcopy__(self, memo: Any) -> BadImages:
        return self  # still the memory that is shared

    @property
    def size(self) -> int:
        """Grows with every new sample; cheap to ask."""
        return self._numbers[0]

    @property
    def meetings(self) -> int:
        """How often a bad image was met; in every epoch again."""
        return self._numbers[1]

    def samples(self) -> list[BadSample]:
        """Every bad sample, once."""
        lines = self._text[: self.size].splitlines()
        return [BadSample(*json.loads(line)) for line in lines]

    def add(self, sample: BadSample) -> list[BadSample]:
        """Notes a bad sample and gives all."""
        with self._lock:
            self._numbers[1] += 1
            found = self.samples()
            if all(known.number != sample.number for known in found):
                line = json.dumps(sample).encode() + b'\n'
                if self.size + len(line) <= _CAPACITY:
                    self._text[self.size : self.size + len(line)] = line
                    self._numbers[0] += len(line)
                    found.append(sample)
            return found


def over_budget(bad: list[BadSample], num_samples: int, budget: float) -> InputError | None:
    """Compares what could not be read with what may be unreadable.

    Args:
        bad: All bad samples.
        num_samples: Size of the data set.
        budget: Fraction of the samples that may be bad. One image may be bad in any case.

    Returns:
        What to raise, or ``None``.
    """
    images = {sample.path: sample.reason for sample in bad}
    if len(images) <= 1 or len(bad) <= budget * num_samples:
        return None
    named = listed([f'{path} ({reason})' for path, reason in images.items()], 5)
    return InputError(
        f'{len(bad)} of {num_samples} training samples have an image that cannot be read, more '
        f'than the {budget:.3%} that may: {named}; mend the data (tools/check_dataset.py finds all '
        'such images), or allow more with --bad-images FRACTION'
    )


@TRANSFORMS.register_module()
class GuardedLoading(BaseTransform):
    """Runs a step that loads an image, and decides what happens if that fails.

    A file that is missing, that its decoder refuses, or that ends too early counts as bad.

    Args:
        step: Config of the step, such as ``dict(type='LoadImage')``.
        on_bad_image: ``'replace'``: the data set takes another person at random, as long as no more
            than ``budget`` of its samples are bad. ``'blank'``: the image is black, so that in an
            evaluation its people are missed. ``'fail'``: an `InputError` names it.
        budget: For ``'replace'``, a fraction of the data set's samples.
    """

    def __init__(
        self, step: dict[str, Any], on_bad_image: str = 'fail', *, budget: float = 0.001
    ) -> None:
        super().__init__()
        if on_bad_image not in ON_BAD_IMAGE:
            raise ValueError(
                f'on_bad_image is {on_bad_image!r}, expected one of {", ".join(ON_BAD_IMAGE)}'
            )
        if not 0 <= budget <= 1:
            raise ValueError(f'budget is {budget}, expected a number from 0 to 1')
        self.step = TRANSFORMS.build(step)
        self.on_bad_image = on_bad_image
        self.budget = budget
        self.bad = BadImages()

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Loads the image.

        Args:
            results: A sample; ``img_path`` names the image.

        Returns:
            What the step gives; ``None`` for another sample, please.

        Raises:
            InputError: The image is bad, and that is not, or no longer, allowed.
        """
        if 'img' in results:  # the caller has decoded it
            return self.step(results)
        path = str(results.get('img_path'))
        # The step may change them before it fails.
        sample = {key: results.get(key) for key in ('sample_idx', 'bbox', 'dataset')}
        try:
            loaded = self.step(results)
            reason = None if loaded is not None else 'it cannot be loaded'
            if reason is None and 'img_path' in results and os.path.isfile(path):
                reason = truncation(path)
        except Exception as error:  # decoders and file systems fail in many ways
            reason = _reason(path, error)
        if reason is None:
            return loaded
        return self._without(results, path, reason, sample)

    def _without(
        self, results: dict[str, Any], path: str, reason: str, sample: dict[str, Any]
    ) -> dict[str, Any] | None:
        if self.on_bad_image == 'fail':
            raise InputError(
                f'the image {path} cannot be read ({reason}), and numbers without it would not be '
                'comparable; mend the data, or use --blank-bad-images to count its people as missed'
            )
        index = sample['sample_idx']
        bad = self.bad.add(BadSample(-1 if index is None else int(index), path, reason[:200]))
        if self.on_bad_image == 'replace':
            stop = sample['dataset'] is not None and over_budget(
                bad, len(sample['dataset']), self.budget
            )
            if stop:
                raise stop
            return None
        right, bottom = np.asarray(sample['bbox'], np.float64).reshape(-1, 4)[:, 2:].max(axis=0)
        size = (max(1, int(np.ceil(bottom))), max(1, int(np.ceil(right))))
        results['img'] = np.zeros((*size, 3), np.uint8)
        results['img_shape'] = results['ori_shape'] = size
        return results


def _reason(path: str, error: Exception) -> str:
    if not os.path.exists(path):
        return 'no such file'
    if os.path.isfile(path):
        if not os.path.getsize(path):
            return 'the file is empty'
        with contextlib.suppress(OSError):
            cut = truncation(path)
            if cut:
                return cut
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text.partition('` occurs when loading')[0].removeprefix('`')  # MMPose's addition
