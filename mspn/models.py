"""The names of models: published weights, with the configs that they fit, and where they come from.

`mspn predict --model NAME` and ``--detector NAME`` take these names, and `mspn models` lists them.
Pose models are those of the package's model index; the detectors are MMPose's own choice of person
detectors for its top-down models.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .download import fetch, place_of
from .errors import InputError, MissingPackage, listed

_DETECTORS = 'https://download.openmmlab.com/mmpose/v1/projects/rtmpose/'
_OF_OPENMMLAB = 'OpenMMLab, Apache-2.0'


class Model(NamedTuple):
    """A model that can be called by its name."""

    name: str
    kind: str  # 'pose' or 'detector'
    config: str
    url: str
    result: str  # what its authors have published
    source: str  # who has trained it, and its licence


DETECTORS = (
    Model(
        'rtmdet-nano-person',
        'detector',
        'rtmdet_nano_320-8xb32_coco-person',
        _DETECTORS + 'rtmdet_nano_8xb32-100e_coco-obj365-person-05d8511e.pth',
        'box AP 40.3 on COCO val2017 (people)',
        _OF_OPENMMLAB,
    ),
    Model(
        'rtmdet-m-person',
        'detector',
        'rtmdet_m_640-8xb32_coco-person',
        _DETECTORS + 'rtmdet_m_8xb32-100e_coco-obj365-person-235e8209.pth',
        'box AP 62.5 on COCO val2017 (people)',
        _OF_OPENMMLAB,
    ),
)


def models() -> Iterator[Model]:
    """All models that have a name, pose models first."""
    for entry in _index():
        if url := entry.get('Weights'):
            result = entry['Results'][0]
            ap, data = result['Metrics']['AP'], result['Dataset']
            source = _OF_OPENMMLAB if 'openmmlab' in url else 'MindSpore'
            name = entry.get('Alias', entry['Name'])
            yield Model(name, 'pose', entry['Name'], url, f'AP {100 * ap:.1f} on {data}', source)
    yield from DETECTORS


def find_model(name: str, kind: str) -> tuple[str, str]:
    """The config and the weights of a model, which are fetched if they are not here.

    Raises:
        InputError: There is no such model, or it cannot be fetched.
    """
    known = [model for model in models() if model.kind == kind]
    for model in known:
        if name in (model.name, model.config):
            return model.config, str(fetch(model.url))
    names = listed([model.name for model in known])
    raise InputError(
        f'there is no {kind} model {name!r}; give an ONNX file, a config and its weights, or one '
        f'of these names: {names}'
    )


def _index() -> list[dict[str, Any]]:
    """The pose models of the model index, which is part of the training half."""
    try:
        import yaml
    except ImportError as error:
        raise MissingPackage(
            'models of these names need torch and OpenMMLab; `mspn doctor` says how to install '
            'them, and an ONNX file of `mspn export` runs without'
        ) from error
    found = importlib.util.find_spec('mspn_plugin')
    folder = Path((found and found.submodule_search_locations or ['.'])[0])
    for place in (folder / '.mim', folder.parent):
        if (index := place / 'configs' / 'metafile.yml').is_file():
            entries: list[dict[str, Any]] = yaml.safe_load(index.read_text())['Models']
            return entries
    raise MissingPackage(f'the model index is missing from {folder}; install the package again')


def run(args: argparse.Namespace) -> None:
    """Prints a table: `mspn models`."""
    head = ('name', 'kind', 'published result', 'from', 'here')
    rows = [
        (m.name, m.kind, m.result, m.source, 'yes' if place_of(m.url).is_file() else 'no')
        for m in models()
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        print('  '.join(cells).rstrip())
