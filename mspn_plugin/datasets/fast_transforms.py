"""MMPose's top-down steps with the same results for less time.

Each draws the random numbers that MMPose's step draws, so a seed gives the same sample.

Shapes: N boxes, K keypoints, h and w of an image in pixels.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmpose.datasets.transforms import (
    LoadImage,
    PackPoseInputs,
    RandomBBoxTransform,
    TopdownAffine,
)
from mmpose.registry import TRANSFORMS
from scipy.special import ndtr, ndtri

DECODERS = ('cv2', 'simplejpeg')


def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError as error:
        raise ImportError(
            "decoder='simplejpeg' needs the package simplejpeg, which is not installed; install "
            "it with `pip install simplejpeg`, or take decoder='cv2'"
        ) from error
    return simplejpeg


@TRANSFORMS.register_module()
class LoadPersonImage(LoadImage):
    """Reads an image; the people of one image can share it.

    Args:
        keep: Keeps the last image for the next person of it. Pays where an image's people follow
            one another, as in evaluation; each worker then decodes an image once. A file that was
            written in the meantime is read again. The pixels are read-only, so that a step that
            would change them in place fails instead of changing the next person's image.
        decoder: ``'cv2'``, or ``'simplejpeg'`` for JPEG files if that package is installed. Files
            with an orientation in their Exif data, and everything that simplejpeg does not
            decode, go to OpenCV. Both give the same pixels where both use libjpeg-turbo.
        **settings: Those of MMPose's ``LoadImage``.

    Raises:
        ValueError: The decoder is unknown, or does not fit the other settings.
        ImportError: The decoder's package is not installed.
    """

    def __init__(self, keep: bool = False, *, decoder: str = 'cv2', **settings: Any) -> None:
        super().__init__(**settings)
        if decoder not in DECODERS:
            raise ValueError(f'decoder is {decoder!r}, expected one of {", ".join(DECODERS)}')
        if decoder == 'simplejpeg' and (
            self.color_type != 'color' or self.imdecode_backend != 'cv2'
        ):
            raise ValueError(
                "decoder='simplejpeg' gives colour images only; leave color_type and "
                'imdecode_backend as they are, or take another decoder'
            )
        self.keep = keep
        self.decoder = decoder
        self._jpeg = _simplejpeg() if decoder == 'simplejpeg' else None
        self._last: tuple[Any, np.ndarray] | None = None

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Sets ``img`` ``(h, w, 3)`` BGR, ``img_shape`` and ``ori_shape``.

        Args:
            results: ``img_path``, or ``img`` with the pixels.

        Returns:
            The same dictionary, or ``None`` if ``ignore_empty`` is set and there is no image.
        """
        loaded: dict[str, Any] | None
        if 'img' in results or not self.keep:
            loaded = self._load(results)
            return loaded
        key = _state_of(results['img_path'])
        if key is not None and self._last is not None and self._last[0] == key:
            image = self._last[1]
            results['img'] = image
            results['img_shape'] = results['ori_shape'] = image.shape[:2]
            return results
        loaded = self._load(results)
        if loaded is not None and key is not None:
            loaded['img'].setflags(write=False)
            self._last = key, loaded['img']
        return loaded

    def _load(self, results: dict[str, Any]) -> Any:
        local = 'img' not in results and not self.backend_args and not self.file_client_args
        image = self._decode(_content(results['img_path'])) if local else None
        if image is None:  # MMPose's way, with its errors
            return super().transform(results)
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _decode(self, content: bytes | None) -> np.ndarray | None:
        if not content:
            return None
        # An orientation is rare, and only OpenCV knows what to do with it.
        if self._jpeg is not None and b'Exif\0' not in content[:65536]:
            with contextlib.suppress(ValueError):
                image: np.ndarray = self._jpeg.decode_jpeg(
                    content, 'BGR', fastdct=False, fastupsample=False
                )
                return image
        with contextlib.suppress(cv2.error, ValueError, OSError):
            image = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
            return image
        return None


def _content(path: str) -> bytes | None:
    """The bytes of a local file; ``None`` if it is none, or cannot be read."""
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError:
        return None


def _state_of(path: str) -> tuple[str, int, int] | None:
    """A local file and when it was written; ``None`` for one that lies elsewhere."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return path, status.st_mtime_ns, status.st_size


@TRANSFORMS.register_module()
class FastBBoxTransform(RandomBBoxTransform):
    """MMPose's ``RandomBBoxTransform`` without SciPy's slow way to the truncated normal."""

    @staticmethod
    def _truncnorm(low: float = -1.0, high: float = 1.0, size: tuple[int, ...] = ()) -> Any:
        """Draws from the standard normal distribution between two limits, by its inverse.

        As SciPy's ``truncnorm.rvs``: the same uniform numbers give the same values.
        """
        first, last = ndtr(low), ndtr(high)
        uniform = np.random.uniform(size=size)
        return np.asarray(ndtri(first + uniform * (last - first)), np.float32)


@TRANSFORMS.register_module()
class FastTopdownAffine(TopdownAffine):
    """MMPose's ``TopdownAffine``, for which a flipped image costs no more than another.

    MMPose flips an image by a view that runs backwards. OpenCV cannot read one, and to copy it
    pixel by pixel takes far longer than the crop; to flip the original is a tenth of that.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Cuts the box out of ``img``.

        Args:
            results: As for ``TopdownAffine``.

        Returns:
            The same dictionary.
        """
        image = results['img']
        if isinstance(image, np.ndarray) and image.ndim == 3 and image.strides[1] < 0:
            original = image[:, ::-1]
            if original.flags.c_contiguous:
                results['img'] = cv2.flip(original, 1)
        cropped: dict[str, Any] = super().transform(results)
        return cropped


_NOTHING = np.empty((1, 1, 1), np.uint8)


@TRANSFORMS.register_module()
class FastPackPoseInputs(PackPoseInputs):
    """MMPose's ``PackPoseInputs``, without its copies; OpenCV takes the channels apart.

    Args:
        pack_annotation: Whether samples carry ``raw_ann_info``, which no training needs.
        **settings: Those of MMPose's ``PackPoseInputs``.
    """

    def __init__(self, pack_annotation: bool = True, **settings: Any) -> None:
        super().__init__(**settings)
        self.meta_keys: tuple[str, ...] = tuple(
            key for key in self.meta_keys if pack_annotation or key != 'raw_ann_info'
        )

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Makes ``inputs`` ``(3, h, w)`` and ``data_samples``.

        Args:
            results: What the steps before have left.

        Returns:
            A sample as data loaders and models want it.
        """
        image, packed = results.get('img'), dict[str, Any]()
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] > 4:
            packed = super().transform(results)
            return packed
        rest = {key: results[key] for key in results if key not in self.meta_keys}
        packed = super().transform({**rest, 'img': _NOTHING})
        for key in self.meta_keys:
            if key in results:  # as set_metainfo does, but that copies every list
                packed['data_samples'].set_field(results[key], key, field_type='metainfo')
        planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
        for channel, plane in enumerate(planes):
            cv2.extractChannel(image, channel, plane)
        packed['inputs'] = torch.from_numpy(planes)
        return packed
