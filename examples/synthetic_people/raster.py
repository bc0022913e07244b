"""Ray casting of solids into a depth buffer: which part each pixel shows, and how it lies.

Every body part is a round cone (two spheres and the skin stretched around them) under a scaling of
its bone's frame, which makes limbs, ellipsoids and flat feet alike. Its intersection with a ray is
closed-form, so depth order, self-occlusion and surface normals are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .anatomy import FloatArray, Frame

Float32Array = NDArray[np.float32]

_MISS = np.float32(np.nan)


@dataclass(frozen=True)
class Solid:
    """A round cone in a bone's frame. Lengths in body heights.

    Attributes:
        frame: The bone.
        start: (3,) centre of the first sphere, in the scaled frame.
        end: (3,) centre of the second sphere, in the scaled frame.
        radii: Radii of the two spheres, in the scaled frame.
        part: Label that its pixels get (see `body.PARTS`).
        material: Name of what it is made of (see `materials`).
        scale: (3,) stretch of the scaled frame against the bone's.
        cut: (nx, ny, nz, d): only the surface with n . p > d, p in the bone's frame, exists.
    """

    frame: Frame
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radii: tuple[float, float]
    part: int
    material: str
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    cut: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Surface:
    """What the rays hit, on a grid of h x w pixels of which N show a solid.

    The N pixels are sorted by solid: those of solid i are `starts[i]` to `starts[i + 1]`.

    Attributes:
        origin: (x, y) of the top left pixel in whole pixels, relative to the origin of space; y
            grows upwards.
        depth: (h, w) z of the surface in body heights, -inf where there is none.
        pixels: (N,) flat indices into the grid.
        starts: (number of solids + 1,) first pixel of each solid.
        normals: (N, 3) unit normals in camera space.
        points: (N, 3) positions in the frame of the solid's bone, in body heights.
    """

    origin: tuple[int, int]
    depth: Float32Array
    pixels: NDArray[np.intp]
    starts: NDArray[np.intp]
    normals: Float32Array
    points: Float32Array


def extents(solids: list[Solid]) -> FloatArray:
    """Bounds (n, 4), left, bottom, right, top, of the projections of n solids, in body heights."""
    scales = np.array([s.scale for s in solids])
    rotations = np.stack([s.frame.rotation[:2] for s in solids]) * scales[:, None]
    origins = np.stack([s.frame.origin[:2] for s in solids])
    ends = np.array([(s.start, s.end) for s in solids])
    centres = origins[:, None] + np.einsum('nij,nkj->nki', rotations, ends)
    # Half width of a scaled sphere along an image axis: the length of that axis in the scaled
    # frame.
    reach = (
        np.linalg.norm(rotations, axis=2)[:, None] * np.array([s.radii for s in solids])[:, :, None]
    )
    return np.concatenate([(centres - reach).min(1), (centres + reach).max(1)], axis=1)


def cast(solids: list[Solid], pixels_per_height: float) -> Surface:
    """Cast one ray per pixel at a list of solids.

    Args:
        solids: The solids; nearer surfaces win, wherever they stand in the list.
        pixels_per_height: Pixels per body height.

    Returns:
        The visible surface on a grid that just holds all solids, with a margin of two pixels. The
        origin of space is the centre of a pixel (perhaps outside the grid), so that grids can be
        pasted at whole pixels.
    """
    bounds = extents(solids) * pixels_per_height
    left, bottom = np.floor(bounds[:, :2].min(0)).astype(int) - 2
    right, top = np.ceil(bounds[:, 2:].max(0)).astype(int) + 2
    shape = (int(top - bottom + 1), int(right - left + 1))
    depth = np.full(shape, -np.inf, np.float32)
    nearest = np.full(shape, -1, np.int16)
    xs = (left + np.arange(shape[1])) / pixels_per_height
    ys = (top - np.arange(shape[0])) / pixels_per_height
    rays = [_Rays(solid, xs, ys) for solid in solids]
    for index, solid_rays in enumerate(rays):
        x0, y1, x1, y0 = bounds[index]
        cols = slice(int(x0 - left), int(x1 - left) + 2)
        rows = slice(int(top - y0), int(top - y1) + 2)
        z = solid_rays.depth(rows, cols)
        nearer = z > depth[rows, cols]  # False for a miss, which is NaN.
        np.copyto(depth[rows, cols], z, where=nearer)
        np.copyto(nearest[rows, cols], np.int16(index), where=nearer)

    flat = nearest.ravel()
    covered = np.flatnonzero(flat >= 0)
    pixels = covered[np.argsort(flat[covered], kind='stable')]
    starts = np.searchsorted(flat[pixels], np.arange(len(solids) + 1))
    row, col = np.divmod(pixels.astype(np.int32), np.int32(shape[1]))
    z_hit = depth.ravel()[pixels]
    normals = np.empty((len(pixels), 3), np.float32)
    points = np.empty((len(pixels), 3), np.float32)
    for index, solid_rays in enumerate(rays):
        at = slice(starts[index], starts[index + 1])
        if at.start < at.stop:
            points[at], normals[at] = solid_rays.surface(row[at], col[at], z_hit[at])
    return Surface((int(left), int(top)), depth, pixels, starts, normals, points)


class _Rays:
    """The rays of a pixel grid in the scaled frame of a solid, a plain round cone that starts at 0.

    A ray starts at z = 0 of camera space: at `cols[:, x] + rows[:, y]`, and runs along `ray`,
    towards the viewer.
    """

    def __init__(self, solid: Solid, xs: FloatArray, ys: FloatArray) -> None:
        scale, start = np.array(solid.scale), np.array(solid.start)
        self.solid = solid
        self.axis = np.array(solid.end) - start
        self.to_scaled = solid.frame.rotation.T / scale[:, None]
        # Distance in the scaled frame per unit of z.
        self.stretch = float(np.linalg.norm(self.to_scaled[:, 2]))
        self.ray = self.to_scaled[:, 2] / self.stretch
        base = -self.to_scaled @ solid.frame.origin - start
        self.cols = (self.to_scaled[:, :1] * xs + base[:, None]).astype(np.float32)
        self.rows = (self.to_scaled[:, 1:2] * ys).astype(np.float32)

    def depth(self, rows: slice, cols: slice) -> Float32Array:
        """Depth (h, w) of the nearest hit on a part of the grid, NaN for a miss."""
        row, col = self.rows[:, rows], self.cols[:, cols]
        distance = _nearest_hit(col, row, self.axis, self.ray, self.solid.radii)
        cut = self.solid.cut
        if cut is not None:
            scale = np.array(self.solid.scale)
            across = np.array(cut[:3]) * scale
            limit = cut[3] - float(across @ np.array(self.solid.start))
            height = _project(across, col, row) + distance * np.float32(across @ self.ray)
            # A miss has an infinite distance and an undefined height.
            distance = np.where(
                np.nan_to_num(height, nan=-np.inf) > limit, distance, np.float32(-np.inf)
            )
        return distance / np.float32(self.stretch)

    def surface(
        self, row: NDArray[np.int32], col: NDArray[np.int32], z: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """What N pixels with depth z hit.

        Args:
            row: (N,) rows of the pixels.
            col: (N,) columns of the pixels.
            z: (N,) depths of the hits.

        Returns:
            (N, 3) points in the bone's frame and (N, 3) unit normals in camera space.
        """
        ray, axis = self.ray.astype(np.float32), self.axis.astype(np.float32)
        hit = (
            np.take(self.cols.T, col, 0)
            + np.take(self.rows.T, row, 0)
            + z[:, None] * (ray * np.float32(self.stretch))
        )
        points = (hit + np.array(self.solid.start, np.float32)) * np.array(
            self.solid.scale, np.float32
        )
        slope = self.solid.radii[0] - self.solid.radii[1]
        length = max(float(self.axis @ self.axis) - slope**2, 1e-9)
        along = (hit @ axis - np.float32(self.solid.radii[0] * slope)) / np.float32(length)
        outward = (hit - np.clip(along, 0, 1)[:, None] * axis) @ self.to_scaled.astype(np.float32)
        outward /= np.sqrt(np.einsum('ij,ij->i', outward, outward))[:, None] + np.float32(1e-9)
        return points, outward


def _project(direction: FloatArray, cols: Float32Array, rows: Float32Array) -> Float32Array:
    """Dot product (h, w) of a direction (3,) with the starts `cols` (3, w) + `rows` (3, h)."""
    single = direction.astype(np.float32)
    product = (single @ cols)[None, :] + (single @ rows)[:, None]
    return product.astype(np.float32, copy=False)


def _nearest_hit(
    cols: Float32Array,
    rows: Float32Array,
    axis: FloatArray,
    ray: FloatArray,
    radii: tuple[float, float],
) -> Float32Array:
    """Largest distance (h, w) at which rays meet a round cone from 0 to `axis`, NaN for a miss.

    The three surfaces (sphere, cone, sphere) are solved separately; their maximum is the surface of
    the union. A miss is the square root of a negative number, which `fmax` passes over.
    """
    ra, rb = radii
    slope = ra - rb
    on_ray = _project(ray, cols, rows)
    square = (cols**2).sum(0)[None, :] + (rows**2).sum(0)[:, None] + 2 * (rows.T @ cols)
    m0, m2 = float(axis @ axis), float(axis @ ray)
    with np.errstate(invalid='ignore'):
        best: Float32Array = np.sqrt(on_ray * on_ray - square + np.float32(ra * ra)) - on_ray
        if m0 < 1e-12:
            return best
        on_axis = _project(axis, cols, rows)
        on_ray_b = on_ray - np.float32(m2)
        disc = on_ray_b * on_ray_b - square + 2 * on_axis + np.float32(rb * rb - m0)
        best = np.fmax(best, np.sqrt(disc) - on_ray_b)
        d2 = m0 - slope * slope
        k2 = d2 - m2 * m2
        # Seen along its axis, a cone hides behind its spheres.
        if k2 > 1e-4 * m0:
            k1 = np.float32(d2) * on_ray - np.float32(m2) * on_axis + np.float32(m2 * slope * ra)
            k0 = np.float32(d2) * square + (np.float32(2 * slope * ra) - on_axis) * on_axis
            disc = k1 * k1 - (k0 - np.float32(m0 * ra * ra)) * np.float32(k2)
            t = (np.sqrt(disc) - k1) / np.float32(k2)
            y = on_axis + np.float32(m2) * t - np.float32(ra * slope)
            best = np.fmax(best, np.where((y > 0) & (y < np.float32(d2)), t, _MISS))
    return best
