"""What a run can begin from: weights that fit, or its newest checkpoint that is whole."""

from __future__ import annotations

import logging
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmpose.registry import MODELS

from mspn.errors import InputError

from ..checkpoints.files import hand_over, read_checkpoint, weights_in
from ..checkpoints.match import check_beside_weights, check_can_resume, fit_weights
from ..checkpoints.sources import Source


def check_weights_fit(
    checkpoint: str, model: dict[str, Any], *, loaded: Any = None, resume: bool = False
) -> None:
    """Checks a checkpoint against the config of a model; who loads it next gets what was read here.

    Args:
        checkpoint: What ``load_from`` or ``init_model`` is to name.
        model: Config of the model; only its shapes are built.
        loaded: What the checkpoint holds, if it was read already.
        resume: Whether a training is to go on from it.

    Raises:
        InputError: The checkpoint cannot be read or does not fit.
    """
    loaded = read_checkpoint(checkpoint) if loaded is None else loaded
    weights = weights_in(loaded, checkpoint)
    check_beside_weights(loaded, checkpoint)
    with torch.device('meta'):
        built = MODELS.build(model)
    try:
        _, source = fit_weights(weights, built, strict=model.get('strict', True))
    except InputError as error:
        raise InputError(
            f'the checkpoint {checkpoint} does not fit the config: {error}; give the config that '
            'belongs to it, or another checkpoint'
        ) from error
    if source is not Source.MSPN_PLUGIN and model['type'] != 'MSPNPoseEstimator':
        raise InputError(
            f'the checkpoint {checkpoint} is of {source.description}, whose names only an '
            "MSPNPoseEstimator translates; set model.type='MSPNPoseEstimator', or convert the file "
            'with tools/convert_checkpoint.py'
        )
    if resume:
        check_can_resume(loaded, checkpoint)
    hand_over(checkpoint, dict(loaded, state_dict=weights))


def newest_whole_checkpoint(folder: Path) -> tuple[Path, Any] | None:
    """Finds what a run can go on from: a file and its content, every byte of it as it was written.

    That is the file that ``last_checkpoint`` names, or one with a larger number that was written
    after that note. If it is damaged or gone, it is the next earlier one that is not, and a warning
    names both. Files with larger numbers that are older are of another run.

    Raises:
        InputError: All checkpoints are damaged.
    """
    candidates = _newest_first(folder)
    problems: list[str] = []
    for path in candidates:
        try:
            if path.is_file():
                with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums
                    if broken := archive.testzip():
                        raise InputError(f'the checksum of its part {broken} is wrong')
            loaded = read_checkpoint(str(path))
            check_can_resume(loaded, str(path))
        except (InputError, OSError, zipfile.BadZipFile, EOFError) as error:
            problems.append(f'{path.name} is damaged ({error})')
            continue
        if problems:
            text = f'going on from {path} instead of {candidates[0]}: {"; ".join(problems)}'
            print_log(text, logger='current', level=logging.WARNING)
        return path, loaded
    if not candidates:
        return None
    raise InputError(
        f'no checkpoint in {candidates[0].parent} can be resumed: {"; ".join(problems)}; move them '
        'away to begin anew, or name another one with --resume FILE'
    )


def _newest_first(folder: Path) -> list[Path]:
    note = folder / 'last_checkpoint'
    text = note.read_text(encoding='utf-8', errors='replace').strip() if note.is_file() else ''
    if not text:  # killed between the first checkpoint and the note
        found = [*folder.glob('epoch_*.pth'), *folder.glob('iter_*.pth')]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    # If the folder has moved, the file lies beside the note.
    named = Path(text) if Path(text).is_file() else folder / Path(text).name
    match = re.fullmatch(r'(.*?)(\d+)(\D*)', named.name)
    numbered = {int(match[2]) if match else 0: named}
    for path in named.parent.iterdir() if match else ():
        other = re.fullmatch(r'(.*?)(\d+)(\D*)', path.name)
        if match and other and (match[1], match[3]) == (other[1], other[3]):
            is_later = path.stat().st_mtime_ns >= note.stat().st_mtime_ns
            if is_later or int(other[2]) < int(match[2]):
                numbered[int(other[2])] = path
    return [path for _, path in sorted(numbered.items(), reverse=True)]
