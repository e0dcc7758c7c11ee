# SPDX-License-Identifier: Apache-2.0
"""The ray behind every pixel: of a pinhole camera, and of one with distortion or of a fisheye."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from ...errors import InputError
from . import shading
from .noise import JIT
from .sensors import CameraSpec

_TOLERANCE_PX = 0.02


@dataclass(frozen=True)
class Pinhole:
    """An undistorted camera: fx, fy, cx, cy in pixels, integer coordinates at pixel centres."""

    K: tuple[float, float, float, float]
    width: int
    height: int
    dark = None

    @property
    def pixel_angle(self) -> float:
        """What a pixel in the middle of the image covers [rad]."""
        return 1.0 / self.K[0]

    def rays(self, T_map_camera: np.ndarray, shift=(0.0, 0.0), index: np.ndarray | None = None):
        """Origins and unit directions (n, 3) float32, map frame, through pixels ``shift`` beside their centres.

        All pixels row by row, or those at ``index``.
        """
        pixels = pixel_centres(self.width, self.height)
        pixels = pixels if index is None else pixels[index] + np.asarray(shift, np.float32)
        return shading.camera_rays(T_map_camera, *map(float, self.K), pixels)


@dataclass(frozen=True)
class DistortedLens:
    """A camera whose rays are looked up: computed once for each pixel by the model of CameraInfo."""

    spec: CameraSpec

    @property
    def width(self) -> int:
        """Pixels."""
        return self.spec.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.spec.height

    @property
    def pixel_angle(self) -> float:
        """What a pixel in the middle of the image covers [rad]."""
        return 1.0 / self.spec.k[0]

    @property
    def dark(self) -> np.ndarray | None:
        """Which pixels (height * width,) lie outside the image circle; None if none do."""
        outside = _table(self.spec, (0.0, 0.0))[:, 2] < np.cos(np.radians(self.spec.fov_deg / 2))
        return outside if outside.any() else None

    def rays(self, T_map_camera: np.ndarray, shift=(0.0, 0.0), index: np.ndarray | None = None):
        """See :meth:`Pinhole.rays`."""
        local = _table(self.spec, tuple(float(x) for x in shift))
        local = local if index is None else local[index]
        directions = local @ np.asarray(T_map_camera[:3, :3].T, np.float32)
        origins = np.empty_like(directions)
        origins[:] = T_map_camera[:3, 3]
        return origins, directions


Lens = Pinhole | DistortedLens


def lens_of(spec: CameraSpec) -> Lens:
    """The rays of a camera."""
    return Pinhole(spec.intrinsics, spec.width, spec.height) if spec.is_pinhole else DistortedLens(spec)


def unproject(spec: CameraSpec, pixels: np.ndarray) -> np.ndarray:
    """Unit directions (n, 3), optical frame (x right, y down, z forward), of pixels (n, 2).

    Raises InputError where the distortion folds the image over itself before the pixel is reached.
    """
    pixels = np.asarray(pixels, float)
    if spec.distortion_model == "equidistant":
        return _unproject_equidistant(spec, pixels)
    d = np.zeros(8)
    d[: len(spec.d)] = spec.d
    fx, fy, cx, cy = spec.intrinsics
    flat, error = _undistort((pixels - (cx, cy)) / (fx, fy), d)
    _check(fx * error, spec, pixels)
    rays = np.column_stack([flat, np.ones(len(flat))])
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


@njit(**JIT)
def _distort(x, y, d):
    """The plumb_bob and rational_polynomial model of CameraInfo at z = 1."""
    r = x * x + y * y
    radial = (1.0 + r * (d[0] + r * (d[1] + r * d[4]))) / (1.0 + r * (d[5] + r * (d[6] + r * d[7])))
    return (
        x * radial + 2.0 * d[2] * x * y + d[3] * (r + 2.0 * x * x),
        y * radial + d[2] * (r + 2.0 * y * y) + 2.0 * d[3] * x * y,
    )


@njit(**JIT)
def _undistort(wanted, d):
    """Points at z = 1 (n, 2) that are seen at ``wanted`` (n, 2), by Newton's method, and how far off each is."""
    out = np.empty_like(wanted)
    error = np.empty(len(wanted))
    step = 1e-6
    for i in range(len(wanted)):
        x, y = wanted[i]
        for _ in range(30):
            u, v = _distort(x, y, d)
            a, c = _distort(x + step, y, d)
            b, e = _distort(x, y + step, d)
            a, b, c, e = (a - u) / step, (b - u) / step, (c - v) / step, (e - v) / step
            du, dv = wanted[i, 0] - u, wanted[i, 1] - v
            det = a * e - b * c
            # past the fold of the polynomial there is no way back
            if a + e < 0.05 or abs(det) < 1e-3:
                break
            x += (e * du - b * dv) / det
            y += (a * dv - c * du) / det
            if du * du + dv * dv < 1e-22:
                break
        u, v = _distort(x, y, d)
        out[i, 0], out[i, 1] = x, y
        error[i] = np.sqrt((u - wanted[i, 0]) ** 2 + (v - wanted[i, 1]) ** 2)
    return out, error


def _unproject_equidistant(spec: CameraSpec, pixels: np.ndarray) -> np.ndarray:
    """The angle from the axis is the root of a polynomial of the distance from the centre: Newton's method."""
    fx, fy, cx, cy = spec.intrinsics
    offset = (pixels - (cx, cy)) / (fx, fy)
    wanted = np.linalg.norm(offset, axis=1)
    coefficients = np.array([1.0, *spec.d])
    powers = 2 * np.arange(5) + 1
    most = np.radians(min(spec.fov_deg / 2 + 2.0, 180.0))
    theta = np.minimum(wanted, most)
    for _ in range(20):
        value = (coefficients * theta[:, None] ** powers).sum(1)
        slope = (coefficients * powers * theta[:, None] ** (powers - 1)).sum(1)
        theta = np.clip(theta - (value - wanted) / np.maximum(slope, 0.1), 0.0, most)
    inside = theta < most  # beyond the image circle the lens shows nothing
    error = fx * np.abs((coefficients * theta[:, None] ** powers).sum(1) - wanted)
    _check(np.where(inside, error, 0.0), spec, pixels)
    aside = offset / np.maximum(wanted, 1e-12)[:, None] * np.sin(theta)[:, None]
    return np.column_stack([aside, np.cos(theta)])


def _check(error_px: np.ndarray, spec: CameraSpec, pixels: np.ndarray) -> None:
    worst = int(np.argmax(error_px))
    if not error_px[worst] <= _TOLERANCE_PX:
        x, y = np.round(pixels[worst]).astype(int)
        raise InputError(f"camera: the distortion d {list(spec.d)} has no ray for pixel {x}, {y}; "
                         "give coefficients that hold to the corners of the image")  # fmt: skip


def pixel_centres(width: int, height: int) -> np.ndarray:
    """Positions (height * width, 2) float32 of all pixels, row by row."""
    cols, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([cols.ravel(), rows.ravel()], 1)


@lru_cache(maxsize=8)
def _table(spec: CameraSpec, shift: tuple[float, float]) -> np.ndarray:
    """Unit directions (height * width, 3) float32, optical frame, ``shift`` pixels beside the pixel centres."""
    return unproject(spec, pixel_centres(spec.width, spec.height).astype(float) + shift).astype(np.float32)
