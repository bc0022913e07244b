"""Images as a caller gives them, decoded as MMPose does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .errors import InputError

Image = str | Path | np.ndarray


def read_image(path: Path) -> np.ndarray | None:
    """Pixels as MMPose's LoadImage decodes them; ``None`` if they cannot be read."""
    try:
        content = np.fromfile(path, np.uint8)
        return cv2.imdecode(content, cv2.IMREAD_COLOR)
    except (OSError, cv2.error, ValueError):
        return None


def decode(image: Any, name: str) -> np.ndarray:
    """Pixels of an image, as MMPose's LoadImage decodes it.

    Args:
        image: A path, or pixels ``(h, w, 3)`` uint8, which come back as they are.
        name: What a message calls it.

    Raises:
        InputError: It cannot be read.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise InputError(
                f'{name} is an array of shape {image.shape} and type {image.dtype}; expected '
                '(h, w, 3) uint8, blue green red'
            )
        return image
    if not isinstance(image, (str, Path)):
        raise InputError(f'{name} is a {type(image).__name__}; expected a path or an array')
    path = Path(image)
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise InputError(f'{name} {what}; expected the file of an image')
    pixels = read_image(path)
    if pixels is None:
        raise InputError(f'{name} cannot be read as an image; it is damaged, or something else')
    return pixels
