"""What lies beside the weights of a checkpoint, checked before anything is built on it.

MMEngine and MMPose take it as it is, so a damaged or forged value fails somewhere deep inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mspn.errors import InputError

_REMEDY = 'keep only its weights with tools/convert_checkpoint.py, or take another file'


def check_beside_weights(loaded: object, checkpoint: str) -> None:
    """Checks a checkpoint's description of its data set and the versions of its modules.

    Args:
        loaded: All that the checkpoint holds.
        checkpoint: Its address, for the message.

    Raises:
        InputError: A value there is not what its readers take for granted.
    """
    if not isinstance(loaded, Mapping):
        return
    meta = loaded.get('meta', {})
    if not isinstance(meta, Mapping):
        raise _damaged(checkpoint, 'meta', 'is no table')
    data = meta.get('dataset_meta', {})
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise _damaged(checkpoint, 'meta.dataset_meta', 'is no table')
    if problem := _skeleton_problem(data):
        raise _damaged(checkpoint, f'meta.dataset_meta.{problem[0]}', problem[1])
    for holder in (loaded.get('state_dict'), loaded.get('model'), loaded):
        versions = getattr(holder, '_metadata', None)
        if versions is not None and not _are_versions(versions):
            raise _damaged(checkpoint, 'state_dict._metadata', 'is no table of versions')


def _damaged(checkpoint: str, what: str, problem: str) -> InputError:
    return InputError(f'{checkpoint} cannot be used: its {what} {problem}; {_REMEDY}')


def _are_versions(versions: object) -> bool:
    return isinstance(versions, Mapping) and all(
        isinstance(name, str)
        and isinstance(entry, Mapping)
        and isinstance(entry.get('version', 1), int | None)
        for name, entry in versions.items()
    )


def _skeleton_problem(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first value about keypoints that cannot be used, and why."""
    count = data.get('num_keypoints')
    if count is None:
        return None
    if not isinstance(count, int | np.integer) or not 0 < count < 10_000:
        return 'num_keypoints', 'is no number of keypoints'
    for key, columns in (('flip_indices', 0), ('flip_pairs', 2), ('skeleton_links', 2)):
        numbers = _array(data.get(key, []), columns)
        if numbers is None or numbers.dtype.kind not in 'iu':
            return key, 'holds something else than numbers of keypoints'
        if ((numbers < 0) | (numbers >= count)).any():
            return key, f'holds numbers other than 0 to {count - 1}'
    links = len(data.get('skeleton_links', []))
    for key, columns, length in (
        ('flip_indices', 0, count),
        ('keypoint_colors', 3, count),
        ('skeleton_link_colors', 3, links),
        ('sigmas', 0, count),
        ('dataset_keypoint_weights', 0, count),
    ):
        if data.get(key) is None:
            continue
        numbers = _array(data[key], columns)
        if numbers is None or len(numbers) != length or not np.isfinite(numbers).all():
            return key, f'is no table of {length} rows of numbers'
    return None


def _array(values: Any, columns: int) -> np.ndarray | None:
    """Numbers as an array of shape ``(N,)``, or ``(N, columns)``; ``None`` if they are not."""
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
        return None
    if len(values) == 0:
        return np.zeros((0, columns) if columns else 0, np.int64)
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):  # rows of several lengths
        return None
    expected = (len(values), columns) if columns else (len(values),)
    return array if array.dtype.kind in 'biuf' and array.shape == expected else None


def check_training_state(loaded: object, checkpoint: str) -> None:
    """Checks the kinds of what a training goes on from.

    Args:
        loaded: All that the checkpoint holds; it has ``meta`` and ``optimizer``.
        checkpoint: Its address, for the message.

    Raises:
        InputError: A part is of another kind than MMEngine writes.
    """
    if not isinstance(loaded, Mapping):
        raise _damaged(checkpoint, 'content', 'is no table')
    meta = loaded.get('meta')
    for key in ('epoch', 'iter'):
        value = meta.get(key) if isinstance(meta, Mapping) else None
        if type(value) is not int or value < 0:
            raise _damaged(checkpoint, f'meta.{key}', 'is no number of steps')
    for key in ('optimizer', 'message_hub'):
        if not isinstance(loaded.get(key, {}), Mapping):
            raise _damaged(checkpoint, key, 'is no table')
