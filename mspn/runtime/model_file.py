"""An ONNX file that `mspn export` has written: what it says of itself, and a session to run it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MissingPackage

METADATA = 'mspn'  # the key under which a file's facts stand, as JSON
FORMAT = 1  # of those facts

# What the network of a file of each kind takes.
_INPUTS = dict(pose=['crops'], detector=['images'])

Providers = str | Sequence[Any]


def _providers(device: Providers, available: Sequence[str]) -> list[Any]:
    """ONNX Runtime's providers for ``'cpu'``, ``'cuda'``, ``'cuda:1'``, or a list of its own."""
    if not isinstance(device, str):
        return list(device)
    kind, _, number = device.partition(':')
    if kind == 'cpu' and not number:
        return ['CPUExecutionProvider']
    if kind == 'cuda' and (not number or number.isdecimal()):
        if 'CUDAExecutionProvider' in available:
            return [('CUDAExecutionProvider', dict(device_id=int(number or 0)))]
        raise InputError(
            f'the device {device} cannot be used: this ONNX Runtime has {", ".join(available)}; '
            'install onnxruntime-gpu in place of onnxruntime, or take cpu'
        )
    raise InputError(f'the device {device!r} is unknown; expected cpu, cuda or cuda:N')


def _reason(error: Exception) -> str:
    """The first line of what ONNX Runtime says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _damaged(facts: dict[str, Any], kind: str) -> Iterator[str]:
    """What a file should say of itself, and does not as it can be used."""

    def numbers(value: Any, count: int, kinds: Any = (int, float)) -> bool:
        good = isinstance(value, list) and len(value) == count
        return good and all(type(v) in kinds and 0 < v < 1e6 for v in value)

    if not numbers(facts.get('input_size'), 2, (int,)):
        yield 'input_size'
    if kind != 'pose':
        return
    if not numbers(facts.get('box_padding'), 2):
        yield 'box_padding'
    names, meta = facts.get('keypoints'), facts.get('meta')
    if not isinstance(names, list) or not names or not all(type(name) is str for name in names):
        yield 'keypoints'
    elif not isinstance(meta, dict) or not numbers(meta.get('sigmas'), len(names)):
        yield 'sigmas'
    else:
        links = meta.get('skeleton_links')
        pairs = [link for link in links if isinstance(link, list)] if type(links) is list else [[]]
        ends = [end for pair in pairs for end in pair]
        if len(pairs) != len(links or ()) or {len(pair) for pair in pairs} - {2}:
            yield 'skeleton_links'
        elif any(type(end) is not int or not 0 <= end < len(names) for end in ends):
            yield 'skeleton_links'
        for key, count in (('skeleton_link_colors', len(pairs)), ('keypoint_colors', len(names))):
            if np.size(meta.get(key, [])) not in (0, 3 * count):
                yield key


class ModelFile:
    """An open ONNX file of this package. Many threads may call it at the same time.

    Args:
        path: The file.
        kind: What it has to hold, ``'pose'`` or ``'detector'``.
        device: ``'cpu'``, ``'cuda'``, ``'cuda:N'``, or a list of ONNX Runtime's providers.
        threads: Of the CPU; as many as there are cores if absent.

    Attributes:
        facts: What the file says of itself: names, skeleton, sizes, licence and so on.

    Raises:
        InputError: There is no such file, or it is something else, damaged, or too new.
        MissingPackage: ONNX Runtime is not installed.
    """

    def __init__(
        self, path: str | Path, kind: str, *, device: Providers = 'cpu', threads: int | None = None
    ) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise MissingPackage(
                'ONNX files need ONNX Runtime; install it with `pip install "mspn_plugin[runtime]"`'
            ) from error
        self.path = Path(path)
        if not self.path.is_file():
            problem = 'is a folder' if self.path.is_dir() else 'does not exist'
            raise InputError(f'{path} {problem}; expected an ONNX file that `mspn export` has made')
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what is wrong is said in a sentence
        options.intra_op_num_threads = threads or 0
        # Threads that wait do not keep cores busy, which decode the next pictures meanwhile.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        providers = _providers(device, ort.get_available_providers())
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=providers, enable_fallback=0
            )
        except Exception as error:  # its exceptions have no common base but this
            raise InputError(
                f'{path} cannot be opened as an ONNX model: {_reason(error)}; it is damaged, '
                'something else, or newer than this ONNX Runtime; export it again, or update '
                'onnxruntime'
            ) from error
        if str(device).startswith('cuda') and 'CUDA' not in self._session.get_providers()[0]:
            raise InputError(
                f'the device {device} cannot be used: ONNX Runtime finds no CUDA that it can work '
                'with; install the CUDA and cuDNN that it needs, or take cpu'
            )
        self.facts = self._read_facts(kind)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def _read_facts(self, kind: str) -> dict[str, Any]:
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA)
        if text is None:
            raise InputError(
                f'{self.path} is an ONNX model, but not one of this package: it does not say what '
                'it finds; make one with `mspn export`'
            )
        try:
            facts: dict[str, Any] = json.loads(text)
            version, found = facts['format'], facts['kind']
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f'{self.path} has damaged metadata; export it again') from error
        if version != FORMAT:
            raise InputError(
                f'{self.path} is of format {version}, and this version reads {FORMAT}; export it '
                'again, or install the version of mspn_plugin that wrote it'
            )
        if found != kind:
            raise InputError(f'{self.path} holds a {found} model; expected a {kind} model there')
        if facts.get('input', 'crops') != 'crops':
            raise InputError(
                f'{self.path} takes whole pictures, for programs of other languages; export it '
                'without --input image'
            )
        lacking = list(_damaged(facts, kind))
        inputs = [value.name for value in self._session.get_inputs()]
        if lacking or inputs != _INPUTS[kind]:
            what = ', '.join(lacking) or f'the inputs {inputs}'
            raise InputError(f'{self.path} has damaged metadata ({what}); export it again')
        return facts

    def __call__(self, **inputs: np.ndarray) -> list[np.ndarray]:
        """Runs the network; gives its outputs in their order, or an `InputError`."""
        try:
            outputs: list[np.ndarray] = self._session.run(self._outputs, inputs)
        except Exception as error:  # its exceptions have no common base but this
            raise InputError(
                f'{self.path} cannot be run: {_reason(error)}; if the memory is too small, take a '
                'smaller batch, otherwise export it again'
            ) from error
        return outputs
