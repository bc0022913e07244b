"""Solids as meshes of small quadrangles, which OpenCV draws from far to near.

Every solid is a tube: ellipses around the y axis of a bone's frame, from top to bottom. That makes
limbs, heads, boxes and posts alike. Letters: R rings, n quadrangles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .pose import FloatArray, Frame


def tube(rows: list[tuple[float, float, float]], step: float = 0.014) -> FloatArray:
    """Rings (R, 5) for `Mesh.add` from heights, widths and depths, interpolated every `step`."""
    y, width, depth = np.array(rows).T
    heights = np.concatenate([[y[0]], np.arange(y[0] - step / 2, y[-1], -step), [y[-1]]])
    radii = [np.interp(-heights, -y, radius) for radius in (width, depth)]
    return np.stack([0 * heights, heights, 0 * heights, *radii], axis=1)


def blob(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> FloatArray:
    """Rings (7, 5) of an ellipsoid."""
    angles = np.linspace(0, np.pi, 7)
    round_, up = np.sin(angles), np.cos(angles)
    (x, y, z), (rx, ry, rz) = centre, radii
    return np.stack([0 * up + x, y + ry * up, 0 * up + z, rx * round_, rz * round_], axis=1)


class Mesh:
    """What stands at one place: quadrangles with colours and labels, once it is finished."""

    corners: FloatArray  # (n, 4, 2) x and y in body heights, relative to the ground point
    colors: NDArray[np.uint8]  # (n, 3) RGB
    parts: NDArray[np.uint8]  # (n,) labels

    def __init__(self) -> None:
        self._tubes: list[tuple[NDArray[Any], ...]] = []

    def add(
        self,
        frame: Frame,
        rings: FloatArray,
        paint: Callable[[FloatArray], FloatArray] | FloatArray,
        part: Callable[[FloatArray], NDArray[Any]] | int,
        *,
        sides: int = 10,
        lift: float = 0.0,
    ) -> None:
        """Add a tube.

        Args:
            frame: The bone.
            rings: (R, 5) centre x, y, z and radii along x and z of its ellipses, from the top.
            paint: A colour (3,), RGB in 0..1, or a function that gives the colours (n, 3) of
                points (n, 3) in the frame of the bone.
            part: A label, or a function that gives those (n,) of points.
            sides: Corners of each ring.
            lift: How much nearer to the viewer it counts, for details on a surface.
        """
        angles = (np.arange(sides) + 0.5) * 2 * np.pi / sides
        x = rings[:, :1] + rings[:, 3:4] * np.cos(angles)
        z = rings[:, 2:3] + rings[:, 4:] * np.sin(angles)
        left = np.stack([x, np.broadcast_to(rings[:, 1:2], x.shape), z], axis=-1)
        right = np.roll(left, -1, axis=1)
        quads = np.stack([left[:-1], right[:-1], right[1:], left[1:]], axis=2).reshape(-1, 4, 3)
        world = quads @ frame.rotation.T + frame.origin
        first, second = (world[:, i + 2] - world[:, i] for i in (0, 1))
        front = first[:, 0] * second[:, 1] > first[:, 1] * second[:, 0]
        world, centres = world[front], quads[front].mean(axis=1)
        normals = np.cross(first[front], second[front])
        colors = np.broadcast_to(paint(centres) if callable(paint) else paint, centres.shape)
        parts = np.broadcast_to(part(centres) if callable(part) else part, len(centres))
        self._tubes.append((world, normals, colors, parts, world[..., 2].mean(axis=1) + lift))

    def finish(self, light: FloatArray, strength: float) -> Mesh:
        """Sort the quadrangles from far to near and shade them; returns the mesh itself.

        `strength` is the share of the light that comes along the unit vector `light` (3,).
        """
        world, normals, colors, parts, depth = map(np.concatenate, zip(*self._tubes, strict=True))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        glow = (1.12 - strength) * (0.78 + 0.22 * normals[:, 1])
        glow += strength * np.maximum(normals @ light, 0)
        # Surfaces that turn away darken, which rounds limbs off and sets them apart.
        glow *= 0.66 + 0.34 * np.sqrt(normals[:, 2])
        order = np.argsort(depth)
        self.corners, self.parts = world[order, :, :2], parts[order].astype(np.uint8)
        self.colors = np.clip(255 * glow[:, None] * colors, 0, 255)[order].astype(np.uint8)
        return self

    def draw(self, ids: NDArray[np.int32], first: int, place: tuple[int, int], size: float) -> None:
        """Draw the quadrangles' numbers into a map (h, w); a body height has `size` pixels."""
        polygons = np.rint(self.corners * (size, -size) + place).astype(np.int32)
        for number, polygon in enumerate(polygons, start=first):
            cv2.fillConvexPoly(ids, polygon, number)
