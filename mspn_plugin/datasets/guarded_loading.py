"""A loading step that deals with missing, truncated and unreadable images as it was told to."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
from typing import Any, NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS

from mspn.errors import InputError, listed


def truncation(path: str) -> str | None:
    """Says if a JPEG or PNG file ends too early (OpenCV fills in grey); not of other damage."""
    if not os.path.isfile(path):
        return None
    with open(path, 'rb') as file:
        start = file.read(8)
        file.seek(max(0, os.path.getsize(path) - 8))
        end = file.read()
        if end.endswith(b'\xff\xd9' if start.startswith(b'\xff\xd8') else b'IEND\xaeB`\x82'):
            return None  # as nearly every file: the rest need not be read once more
        file.seek(0)
        content = file.read()
    # In both formats something may follow the end.
    cut = content.startswith(b'\x89PNG') and content.rfind(b'IEND\xaeB`\x82') < 0
    if content.startswith(b'\xff\xd8'):
        # The end of a thumbnail in the header is not that end: its segments tell their lengths.
        place = 2
        while content[place : place + 1] == b'\xff' and content[place + 1 : place + 2] != b'\xda':
            place += 2 + int.from_bytes(content[place + 2 : place + 4], 'big')
        cut = content.find(b'\xff\xd9', place) < 0
    return 'the file is truncated' if cut else None


class BadSample(NamedTuple):
    """A sample of a data set whose image cannot be read."""

    number: int
    path: str
    reason: str


class BadImages:
    """What loading steps in several processes could not read, in memory that they share."""

    size = property(lambda self: len(self._lines.value))  # grows with every new sample
    meetings = property(lambda self: self._meetings.value)  # counts them in every epoch again

    def __init__(self) -> None:
        self._lines: Any = multiprocessing.Array('c', 1 << 18)  # JSON, a sample on each
        self._meetings = multiprocessing.Value('L')

    def __deepcopy__(self, memo: Any) -> BadImages:
        return self  # still the memory that is shared

    def samples(self) -> list[BadSample]:
        """Every bad sample, once."""
        return [BadSample(*json.loads(line)) for line in self._lines.value.splitlines()]

    def add(self, sample: BadSample) -> list[BadSample]:
        """Notes a bad sample and gives all."""
        with self._lines.get_lock():
            self._meetings.value += 1
            if all(known.number != sample.number for known in self.samples()):
                with contextlib.suppress(ValueError):  # there is no more room
                    self._lines.value += json.dumps(sample).encode() + b'\n'
            return self.samples()


def over_budget(bad: list[BadSample], num_samples: int, budget: float) -> InputError | None:
    """What to raise if more than a fraction of the samples, and more than one image, is bad."""
    images = {sample.path: sample.reason for sample in bad}
    if len(images) <= 1 or len(bad) <= budget * num_samples:
        return None
    named = listed([f'{path} ({reason})' for path, reason in images.items()], 5)
    found = f'{len(bad)} of {num_samples} training samples have an image that cannot be read'
    mend = 'mend the data (tools/check_dataset.py finds all such images), or allow more with'
    more = f'more than the {budget:.3%} that may: {named}; {mend} --bad-images FRACTION'
    return InputError(f'{found}, {more}')


@TRANSFORMS.register_module()
class GuardedLoading(BaseTransform):
    """Runs a step that loads an image, and decides what happens if that fails.

    A file that is missing, that its decoder refuses, or that ends too early counts as bad.

    Args:
        step: Config of the step, such as ``dict(type='LoadPersonImage', keep=True)``.
        on_bad_image: ``'replace'``: the data set takes another person at random. ``'blank'``: the
            image is black, so an evaluation misses its people. ``'fail'``: an `InputError`.
        budget: For ``'replace'``, the fraction of samples above which an `InputError` ends it.
    """

    def __init__(self, step: Any, on_bad_image: str = 'fail', *, budget: float = 0.001) -> None:
        if on_bad_image not in ('replace', 'blank', 'fail'):
            text = 'expected one of replace, blank, fail'
            raise ValueError(f'on_bad_image is {on_bad_image!r}, {text}')
        if not 0 <= budget <= 1:
            raise ValueError(f'budget is {budget}, expected a number from 0 to 1')
        self.step = TRANSFORMS.build(step)
        self.on_bad_image, self.budget, self.bad = on_bad_image, budget, BadImages()

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Loads the image at ``img_path``; ``None`` asks the data set for another sample."""
        if 'img' in results:  # the caller has decoded it
            return self.step(results)
        sample, path = dict(results), str(results.get('img_path'))  # the step may change results
        try:
            loaded = self.step(results)
            reason = 'it cannot be loaded' if loaded is None else truncation(path)
        except Exception as error:  # decoders and file systems fail in many ways
            reason = _reason(path, error)
        if reason is None:
            return loaded
        if self.on_bad_image == 'fail':
            why = f'({reason}), and numbers without it would not be comparable; mend the data'
            mend = 'or use --blank-bad-images to count its people as missed'
            raise InputError(f'the image {path} cannot be read {why}, {mend}')
        bad = self.bad.add(BadSample(int(sample.get('sample_idx', -1)), path, reason[:200]))
        if self.on_bad_image == 'replace':
            data = sample.get('dataset')
            if data is not None and (stop := over_budget(bad, len(data), self.budget)):
                raise stop
            return None
        # As large as the box of the person needs.
        ends = np.asarray(sample['bbox'], np.float64).reshape(-1, 4)[:, :1:-1].max(axis=0)
        size = tuple(int(end) for end in np.ceil(ends).clip(1))
        results.update(img=np.zeros((*size, 3), np.uint8), img_shape=size, ori_shape=size)
        return results


def _reason(path: str, error: Exception) -> str:
    if not os.path.exists(path):
        return 'no such file'
    if os.path.isfile(path) and not os.path.getsize(path):
        return 'the file is empty'
    if os.access(path, os.R_OK) and (cut := truncation(path)):
        return cut
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text.partition('` occurs when loading')[0].removeprefix('`')  # MMPose's addition
