"""A person as a picture: ray-cast parts, shaded, with a part label per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import Body, FloatArray
from .body import PARTS, dress
from .materials import MATERIALS, is_eye, wrinkles
from .outfit import Outfit
from .raster import Float32Array, Solid, Surface, cast

_CLOTH = ('top', 'bottom')
_SPLIT = (PARTS['left_torso'], PARTS['left_pelvis'], PARTS['left_face'])


@dataclass(frozen=True)
class Light:
    """Illumination of a scene.

    Attributes:
        direction: (3,) unit vector towards the light, in camera space.
        direct: RGB strength of the light.
        ambient: RGB strength of what comes from everywhere.
    """

    direction: tuple[float, float, float]
    direct: tuple[float, float, float]
    ambient: tuple[float, float, float]


@dataclass(frozen=True)
class Figure:
    """A drawn person on a patch of h x w pixels.

    Attributes:
        colors: (h, w, 3) uint8 RGB.
        parts: (h, w) uint8 labels (`body.PARTS`); 0 is transparent.
        ground: (x, y) patch pixel of the ground point below the pelvis.
        keypoints: (17, 2) joints in patch pixels; pixel centres have whole coordinates.
    """

    colors: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    ground: tuple[int, int]
    keypoints: FloatArray


def render_person(body: Body, outfit: Outfit, pixels_per_height: float, light: Light) -> Figure:
    """Draw a person.

    Args:
        body: The posed body.
        outfit: What it wears.
        pixels_per_height: Pixels per body height.
        light: Where the light comes from.

    Returns:
        The figure, without anti-aliasing: draw it larger than needed.
    """
    solids = dress(body, outfit)
    surface = cast(solids, pixels_per_height)
    left, top = surface.origin
    keypoints = body.keypoints[:, :2] * (pixels_per_height, -pixels_per_height) + (-left, top)
    albedo = np.empty_like(surface.points)
    labels = np.empty(len(albedo), np.uint8)
    for index, solid in enumerate(solids):
        at = slice(surface.starts[index], surface.starts[index + 1])
        if at.start < at.stop:
            albedo[at] = _albedo(solid, surface.points[at], outfit, body)
            labels[at] = _labels(solid, surface.points[at], body.build.head)
    parts = np.zeros(surface.depth.shape, np.uint8)
    parts.reshape(-1)[surface.pixels] = labels
    colors = np.zeros((*parts.shape, 3), np.uint8)
    colors.reshape(-1, 3)[surface.pixels] = _shade(albedo, surface, pixels_per_height, light)
    return Figure(colors, parts, (-left, top), keypoints)


def _albedo(solid: Solid, points: Float32Array, outfit: Outfit, body: Body) -> Float32Array:
    trunk = (
        'trunk'
        if solid.frame is body.frames['chest'] or solid.part == PARTS['left_pelvis']
        else 'limb'
    )
    colors = MATERIALS[solid.material](outfit, points, trunk, body.build.head)
    if solid.material in _CLOTH:
        colors = (
            colors
            * (1 + 0.055 * wrinkles(points, 8, 0.35) + 0.03 * wrinkles(points, 32, 0.35))[:, None]
        )
    return colors


def _labels(solid: Solid, points: Float32Array, head_size: float) -> NDArray[np.uint8]:
    labels = np.full(len(points), solid.part, np.uint8)
    if solid.part not in _SPLIT:
        return labels
    right = (points[:, 0] < 0).astype(np.uint8)
    if solid.part == PARTS['left_face']:
        labels[points[:, 2] < 0] = PARTS['left_skull']
        labels[is_eye(points, head_size)] = PARTS['left_eye']
    return labels + right


def _shade(
    albedo: Float32Array, surface: Surface, pixels_per_height: float, light: Light
) -> NDArray[np.uint8]:
    normals = surface.normals
    facing = np.maximum(normals @ np.array(light.direction, np.float32), 0)
    sky = np.float32(0.78) + np.float32(0.22) * normals[:, 1]
    glow = sky[:, None] * np.array(light.ambient, np.float32)
    glow += facing[:, None] * np.array(light.direct, np.float32)
    # Surfaces that turn away from the viewer darken a little, which rounds the limbs off.
    rim = np.float32(0.8) + np.float32(0.2) * np.sqrt(np.maximum(normals[:, 2], 0))
    glow *= (rim * _crevices(surface, pixels_per_height))[:, None]
    return np.clip(albedo * glow * 255, 0, 255).astype(np.uint8)


def _crevices(surface: Surface, pixels_per_height: float) -> Float32Array:
    """Ambient occlusion (N,) in 0..1: surfaces just behind nearer ones get less light."""
    there = np.isfinite(surface.depth).astype(np.float32)
    depth = np.where(there > 0, surface.depth, np.float32(0))
    size = max(int(0.045 * pixels_per_height) | 1, 3)
    mean = cv2.blur(depth, (size, size)) / np.maximum(cv2.blur(there, (size, size)), 1e-3)
    occluded = np.clip(1 - 9 * np.maximum(mean - depth, 0), 0.55, 1)
    return occluded.reshape(-1)[surface.pixels].astype(np.float32)
