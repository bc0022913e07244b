"""The names of models: those that ship with the package, and published ones, fetched once.

`mspn predict --model NAME` and ``--detector NAME`` take these names, and `mspn models` lists them.
The shipped ones are ONNX files, which need no torch, each with the weights that training starts
from. Of the others, pose models are those of the package's model index; the detectors are MMPose's
own choice of person detectors for its top-down models.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .download import fetch, place_of
from .errors import InputError, MissingPackage, listed

POSE = 'mspn-small'
DETECTOR = 'rtmdet-lite0-person'
WEIGHTS = Path(__file__).resolve().parent / 'weights'

# Of a folder of `mspn new`: the config, the work folder, and the option that trains it.
_OWN = dict(pose=('config.py', 'run', ''), detector=('detector.py', 'run-detector', ' --detector'))
_DETECTORS = 'https://download.openmmlab.com/mmpose/v1/projects/rtmpose/'
_OF_OPENMMLAB = 'OpenMMLab, Apache-2.0'
_OURS = 'this package, Apache-2.0'


class Model(NamedTuple):
    """A model that can be called by its name."""

    name: str
    kind: str  # 'pose' or 'detector'
    config: str
    url: str  # nothing if it ships
    result: str  # what its authors have measured
    size: str  # millions of parameters
    speed: str  # people or pictures per second on two cores, docs/models.md says how
    source: str  # who has trained it, and its licence

    @property
    def place(self) -> Path:
        """Where its weights are, or will be once they are fetched."""
        return place_of(self.url) if self.url else WEIGHTS / f'{self.name}.safetensors'


SHIPPED = (
    Model(
        POSE,
        'pose',
        'mspn-small_1xb32-26e_coco-256x192',
        '',
        'AP 45.0 on 135 photographs',
        '2.5',
        '112',
        _OURS,
    ),
    Model(
        DETECTOR,
        'detector',
        'rtmdet-lite0_1xb16-60e_person-416x416',
        '',
        'box AP50 55.6 on 135 photographs',
        '2.8',
        '33',
        _OURS,
    ),
)
DETECTORS = (
    Model(
        'rtmdet-nano-person',
        'detector',
        'rtmdet_nano_320-8xb32_coco-person',
        _DETECTORS + 'rtmdet_nano_8xb32-100e_coco-obj365-person-05d8511e.pth',
        'box AP 40.3 on COCO val2017 (people)',
        '1.0',
        '24',
        _OF_OPENMMLAB,
    ),
    Model(
        'rtmdet-m-person',
        'detector',
        'rtmdet_m_640-8xb32_coco-person',
        _DETECTORS + 'rtmdet_m_8xb32-100e_coco-obj365-person-235e8209.pth',
        'box AP 62.5 on COCO val2017 (people)',
        '24.7',
        '2.4',
        _OF_OPENMMLAB,
    ),
)


def models() -> Iterator[Model]:
    """All models that have a name: the shipped ones, pose models, detectors.

    Raises:
        MissingPackage: After the shipped ones, if the training half is not here.
    """
    yield from SHIPPED
    for entry in _index():
        if url := entry.get('Weights'):
            facts, result = entry['Metadata'], entry['Results'][0]
            ap, data = result['Metrics']['AP'], result['Dataset']
            source = _OF_OPENMMLAB if 'openmmlab' in url else 'MindSpore'
            name = entry.get('Alias', entry['Name'])
            measured = f'{facts["Parameters"] / 1e6:.1f}', str(facts['People per second'])
            result = f'AP {100 * ap:.1f} on {data}'
            yield Model(name, 'pose', entry['Name'], url, result, *measured, source)
    yield from DETECTORS


def own_model(folder: Path, kind: str = 'pose') -> tuple[str, str]:
    """The config and the best weights in a folder of `mspn new` that `mspn train` has worked on.

    Raises:
        InputError: It is no such folder, or there are no weights yet.
    """
    name, run, option = _OWN[kind]
    config, work = folder / name, folder / run
    if not config.is_file():
        raise InputError(f'{folder} holds no {name}; give a folder that `mspn new` has written')
    if (weights := newest_weights(work)) is None:
        raise InputError(f'{work} holds no weights yet; train them: mspn train {folder}{option}')
    return str(config), weights


def newest_weights(folder: Path) -> str | None:
    """The best weights in the work folder of a training, or else the newest."""
    for pattern in ('best_*.pth', 'epoch_*.pth', 'iter_*.pth'):
        if found := sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns):
            return str(found[-1])
    return None


def find_model(name: str, kind: str) -> list[str]:
    """What ``--model`` or ``--detector`` may hold instead of a name: a file, or config and weights.

    A folder of `mspn new` is a name too.

    Raises:
        InputError: There is no such model, or it cannot be fetched.
    """
    if Path(name).is_dir():
        return list(own_model(Path(name), kind))
    model = _named(name, kind)
    return [model.config, str(_fetched(model))] if model.url else [str(onnx_file(model))]


def is_onnx(word: str) -> bool:
    """Whether a word of the command line is an ONNX file, and not a name."""
    return word.lower().endswith('.onnx')


def light_file(words: Sequence[str], kind: str, what: str) -> Path:
    """The ONNX file that is given, or that has the given name, for ``what`` takes nothing else.

    Raises:
        InputError: There is no such model, or it is a config and weights.
    """
    if len(words) == 1 and not is_onnx(words[0]):
        words = find_model(words[0], kind)
    if len(words) > 1:
        raise InputError(
            f'{what} takes ONNX files; write one with `mspn export {" ".join(words)} -o '
            f'{kind}.onnx`'
        )
    return Path(words[0])


def weights_of(name: str, kind: str) -> tuple[str, str]:
    """The config and the weights of a model, as the training half takes them; errors likewise."""
    if Path(name).is_dir():
        return own_model(Path(name), kind)
    model = _named(name, kind)
    return model.config, str(_fetched(model) if model.url else _present(model.place))


def onnx_file(model: Model) -> Path:
    """The ONNX file of a shipped model."""
    return _present(model.place.with_suffix('.onnx'))


def default_detector(keypoints: Sequence[str], data: str = '') -> Path:
    """The shipped detector, for a pose model with these keypoints that has learned from such data.

    Raises:
        InputError: They are not those of people.
    """
    if {'left_wrist', 'right_wrist'} <= set(keypoints) or data.lower() in ('person', 'people'):
        return onnx_file(SHIPPED[1])
    raise InputError(
        f'the keypoints of this model ({listed(keypoints)}) are not those of people, whom the '
        'shipped detector finds; train one (mspn train FOLDER --detector, for a folder of `mspn '
        'new`), give another (--detector), boxes (--boxes), or --whole-image if one fills the '
        'picture'
    )


def known(name: str, kind: str | None = None) -> Model | None:
    """The model of a name, or of a config's name, if there is one."""
    fitting = (model for model in models() if name in (model.name, model.config))
    return next((model for model in fitting if kind in (None, model.kind)), None)


def _named(name: str, kind: str) -> Model:
    if model := known(name, kind):
        return model
    names = listed([model.name for model in models() if model.kind == kind])
    raise InputError(
        f'there is no {kind} model {name!r}; give an ONNX file, a config and its weights, or one '
        f'of these names: {names}'
    )


def _fetched(model: Model) -> Path:
    # OpenMMLab ends the name of a file with the first characters of its SHA-256, and some a date.
    digest = re.search(r'-([0-9a-f]{8})(_\d{8})?\.pth$', model.url)
    return fetch(model.url, sha256=digest[1] if digest else None)


def _present(path: Path) -> Path:
    if not path.is_file():
        raise MissingPackage(
            f'{path.name} is missing from {path.parent}; install mspn_plugin again'
        )
    return path


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
    rows = [('name', 'kind', 'result', 'parameters', 'speed', 'from', 'here')]
    missing = ''
    try:
        for m in models():
            here = 'yes' if m.place.is_file() else 'no'
            rows.append((m.name, m.kind, m.result, f'{m.size} M', m.speed, m.source, here))
    except MissingPackage as error:
        missing = f'\nMore models have names: {error}'
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        print('  '.join(cells).rstrip())
    print(
        'speed: people or pictures per second on two cores, in ONNX Runtime; docs/models.md says '
        f'how, and what the shipped models have learned from{missing}'
    )
