"""Layers of a scene on its canvas: figures put in place, their shadows, and the final photo.

A canvas is a picture of `SUPERSAMPLING` times the size of the image; its pixels are called
subpixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import FloatArray
from .painting import Picture
from .render import Figure, Light

#: Subpixels per pixel, along each axis.
SUPERSAMPLING = 2

#: (rows, columns) of a part of a picture.
Window = tuple[slice, slice]


@dataclass(frozen=True)
class Layer:
    """A person or an object, placed at the subpixel (x, y) of its ground point."""

    figure: Figure
    x: int
    y: int
    is_person: bool

    @property
    def corner(self) -> tuple[int, int]:
        """Canvas subpixel (x, y) of the figure's top left pixel, perhaps outside of the canvas."""
        return self.x - self.figure.ground[0], self.y - self.figure.ground[1]

    def windows(self, shape: tuple[int, int]) -> tuple[Window, Window] | None:
        """The overlap with a canvas of that shape: on the canvas and on the figure, or None."""
        height, width = self.figure.parts.shape
        left, top = self.corner
        y0, y1 = max(top, 0), min(top + height, shape[0])
        x0, x1 = max(left, 0), min(left + width, shape[1])
        if y0 >= y1 or x0 >= x1:
            return None
        figure = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        return (slice(y0, y1), slice(x0, x1)), figure

    def joints(self) -> FloatArray:
        """(17, 2) joints in canvas subpixels."""
        return self.figure.keypoints + np.array(self.corner)


def cast_shadow(canvas: Picture, layer: Layer, light: Light) -> None:
    """Darken the ground: the figure's outline, laid down, and a spot under the feet."""
    parts, (gx, gy) = layer.figure.parts, layer.figure.ground
    height, width = parts.shape
    sun = np.array(light.direction)
    lean, flat = -0.55 * sun[0] / sun[1], 0.22 * sun[2] / sun[1]
    reach_x, reach_y = int(width / 2 + abs(lean) * height) + 24, int(flat * height) + 40
    # Relative to the ground point, a shadow's pixel (u, v) comes from the figure's pixel
    # (u - lean * h, -h) with h = -v / flat.
    affine = np.array([[1, lean / flat, 0], [0, 1 / flat, 0]])
    affine[:, 2] = np.array([gx, gy]) - affine[:, :2] @ np.array([reach_x, reach_y])
    size = (2 * reach_x, reach_y + 40)
    outline = (parts > 0).astype(np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shade = cv2.warpAffine(outline, affine, size, flags=flags) * np.float32(0.34)
    spot = (int(0.16 * height * 0.9), max(int(0.03 * height), 2))
    cv2.ellipse(shade, (reach_x, reach_y), spot, 0, 0, 360, 0.42, -1)
    soft = cv2.blur(cv2.blur(shade, (13, 7)), (13, 7))
    left, top = layer.x - reach_x, layer.y - reach_y
    x0, x1 = max(left, 0), min(left + size[0], canvas.shape[1])
    y0, y1 = max(top, 0), min(top + size[1], canvas.shape[0])
    if x0 < x1 and y0 < y1:
        keep = 1 - soft[y0 - top : y1 - top, x0 - left : x1 - left, None]
        canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * keep


def paste(canvas: Picture, layer: Layer) -> None:
    """Draw a layer onto the canvas."""
    windows = layer.windows(canvas.shape[:2])
    if windows is not None:
        there, here = windows
        opaque = layer.figure.parts[here][..., None] > 0
        np.copyto(canvas[there], layer.figure.colors[here], where=opaque)


def photograph(rng: np.random.Generator, canvas: Picture) -> Picture:
    """Turn the canvas into a photo: average subpixels, uneven light, a little blur and noise."""
    height, width = (n // SUPERSAMPLING for n in canvas.shape[:2])
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    sigma = float(rng.uniform(0, 0.85))
    if sigma > 0.3:
        small = cv2.GaussianBlur(small, (0, 0), sigma)
    image = np.asarray(small, np.float32)
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(rng.normal(0, 0.07))
    down = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(rng.normal(0, 0.06))
    image *= (np.float32(rng.uniform(0.82, 1.12)) + across[None] + down[:, None])[..., None]
    image = 128 + (image - 128) * np.float32(rng.uniform(0.85, 1.1))
    image *= np.array(1 + rng.normal(0, 0.025, 3), np.float32)
    grain = rng.standard_normal((height, width, 1), np.float32)
    image += grain * np.float32(rng.uniform(0.5, 5))
    return np.clip(image, 0, 255).astype(np.uint8)
