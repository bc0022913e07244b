"""What lies beside the weights of a checkpoint, where a wrong value fails deep inside of MMPose."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index

import numpy as np

from mspn.errors import InputError

_COLUMNS = dict(flip_indices=1, sigmas=1, dataset_keypoint_weights=1, keypoint_colors=3)
"""How many numbers each keypoint has in a description of a data set."""


def check_beside_weights(loaded: object, checkpoint: str) -> None:
    """Checks the description of the data set and the versions of modules that a checkpoint holds.

    Raises:
        InputError: A value there is not what its readers take for granted.
    """
    content = loaded if isinstance(loaded, Mapping) else {}
    part = 'meta'
    try:
        data = dict(dict(content.get('meta', {})).get('dataset_meta', {}))
        count = index(data.get('num_keypoints') or 0)
        for part, columns in _COLUMNS.items():
            if count and data.get(part) is not None:
                values = np.array(data[part], float).reshape(count, columns)
                if not np.isfinite(values).all():
                    raise ValueError
        for part in ('flip_indices', 'flip_pairs', 'skeleton_links') if count else ():
            if not set(np.ravel(data.get(part, []))) <= set(range(min(count, 10_000))):
                raise ValueError
        part = 'state_dict._metadata'
        versions = getattr(content.get('state_dict', loaded), '_metadata', None) or {}
        for name, entry in versions.items():
            if not isinstance(name, str) or index(entry.get('version') or 1) < 0:
                raise ValueError
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f'{checkpoint} cannot be used: its {part} is not what MMEngine writes; keep only its '
            'weights with tools/convert_checkpoint.py, or take another file'
        ) from error
