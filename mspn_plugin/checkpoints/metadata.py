"""What lies beside the weights of a checkpoint, where a wrong value fails deep inside of MMPose."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mspn.errors import InputError


def check_beside_weights(loaded: object, checkpoint: str) -> None:
    """Checks the description of the data set and the versions of modules that a checkpoint holds.

    Raises:
        InputError: A value there is not what its readers take for granted.
    """
    meta = loaded.get('meta', {}) if isinstance(loaded, Mapping) else {}
    data = meta.get('dataset_meta', {}) if isinstance(meta, Mapping) else meta
    holder = loaded.get('state_dict', loaded) if isinstance(loaded, Mapping) else loaded
    versions = getattr(holder, '_metadata', None) or {}
    tables = [meta, data, versions, *(versions.values() if isinstance(versions, Mapping) else ())]
    if not all(isinstance(t, Mapping) and all(isinstance(k, str) for k in t) for t in tables):
        wrong = 'meta, its dataset_meta or state_dict._metadata is no table'
    elif not all(isinstance(v.get('version', 1), int | None) for v in versions.values()):
        wrong = 'state_dict._metadata holds something else than versions'
    else:
        wrong = _wrong_keypoints(data)
    if wrong:
        raise InputError(
            f'{checkpoint} cannot be used: its {wrong}; keep only its weights with '
            'tools/convert_checkpoint.py, or take another file'
        )


def _wrong_keypoints(data: Mapping[str, object]) -> str:
    count = data.get('num_keypoints', 1)
    if not isinstance(count, int | np.integer) or not 0 < count < 10_000:
        return 'meta.dataset_meta.num_keypoints is no number of keypoints'
    count = int(count) if 'num_keypoints' in data else -1
    shapes = dict(flip_indices=(count,), flip_pairs=(-1, 2), skeleton_links=(-1, 2))
    shapes |= dict(sigmas=(count,), dataset_keypoint_weights=(count,), keypoint_colors=(count, 3))
    for key, shape in shapes.items():
        try:
            values = np.array(data.get(key) if data.get(key) is not None else [], float)
            numbers = values.reshape(shape) if values.size else values
        except (TypeError, ValueError):  # texts, rows of several lengths, too few
            return f'meta.dataset_meta.{key} is no table of {shape}'
        indices = key.startswith(('flip', 'skeleton'))
        if not np.isfinite(numbers).all() or (
            indices and count > 0 and not np.isin(numbers, np.arange(count)).all()
        ):
            return f'meta.dataset_meta.{key} holds an impossible number'
    return ''
