# SPDX-License-Identifier: Apache-2.0
"""A wide lens as two or three pinhole views: one pinhole image would stretch its border and crop what lies beyond."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from .camera import Camera
from .pose import make_pose
from .rig import Rig

WIDE_DEG = 110.0
"""A lens that sees more than this across is seen through several views."""
TWO_VIEWS_DEG, MAX_DEG = 150.0, 200.0
"""Up to this angle across two views show it, else three; beyond the second, lenses show themselves."""
OVERLAP_DEG = 12.0
"""Neighbouring views share so much: what lies on the border of one is seen whole in the other."""
HEIGHT_DEG = 60.0
"""At most so much of the lens from top to bottom: above is sky, below the robot itself."""


@dataclass(frozen=True, eq=False)
class Lens:
    """A lens as CameraInfo describes it."""

    matrix: np.ndarray
    """K (3, 3), pixels."""
    distortion: np.ndarray
    """As many coefficients as OpenCV takes for the model."""
    equidistant: bool
    """OpenCV's fisheye model; else its rational polynomial."""

    def project(self, rays: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of directions (N, 3) in the optical frame; NaN where the model has none."""
        pixels = self._model(rays)
        pixels[_angle(rays) > self._last_angle] = np.nan
        return pixels

    def half_angles(self, width: int, height: int) -> tuple[float, float]:
        """How far from the axis it sees at the nearer side border and at the nearer upper or lower one [rad]."""
        cx, cy = self.matrix[0, 2], self.matrix[1, 2]
        return self._half_angle(0, min(cx, width - 1 - cx)), self._half_angle(1, min(cy, height - 1 - cy))

    def _model(self, rays: np.ndarray) -> np.ndarray:
        if not self.equidistant:
            # nothing behind the lens, where the model repeats what is before it
            seen = np.ascontiguousarray(np.where(rays[:, 2:] > 1e-3, rays, np.nan))
            return cv2.projectPoints(seen, np.zeros(3), np.zeros(3), self.matrix, self.distortion)[0][:, 0]
        # OpenCV's own ends at 90 degrees from the axis
        aside, theta, k = np.hypot(rays[:, 0], rays[:, 1]), _angle(rays), self.distortion
        square = theta * theta
        radius = theta * (1 + square * (k[0] + square * (k[1] + square * (k[2] + square * k[3]))))
        flat = rays[:, :2] * (radius / np.maximum(aside, 1e-12))[:, None]
        return flat * (self.matrix[0, 0], self.matrix[1, 1]) + (self.matrix[0, 2], self.matrix[1, 2])

    @cached_property
    def _last_angle(self) -> float:
        """Beyond this angle from the axis the model turns back, as polynomials do [rad]."""
        return self._half_angle(0, np.inf)

    def _half_angle(self, axis: int, pixels: float) -> float:
        """The largest angle from the axis whose pixel, along x (0) or y (1), lies at most so many from the centre."""
        angles = np.linspace(0, np.pi if self.equidistant else np.radians(89), 1801)
        rays = np.zeros((len(angles), 3))
        rays[:, axis], rays[:, 2] = np.sin(angles), np.cos(angles)
        away = self._model(rays)[:, axis] - self.matrix[axis, 2]
        beyond = ~(away <= pixels) | (np.diff(away, prepend=-np.inf) <= 0)
        return float(angles[max(int(np.argmax(beyond)) - 1, 0)] if beyond.any() else angles[-1])


def _angle(rays: np.ndarray) -> np.ndarray:
    """From the optical axis (N,) [rad]."""
    return np.arctan2(np.hypot(rays[:, 0], rays[:, 1]), rays[:, 2])


def virtual_rig(lens: Lens, width: int, height: int) -> Rig | None:
    """The views of a lens, from left to right, in the frame of its camera; None if one pinhole image shows it all.

    Their pixels are as large as the lens's in the middle of its image.
    """
    across, above = lens.half_angles(width, height)
    across = min(2 * np.degrees(across), MAX_DEG)
    if across <= WIDE_DEG:
        return None
    count = 2 if across <= TWO_VIEWS_DEG else 3
    angle = across / count + OVERLAP_DEG * (count - 1) / count
    fx, fy = lens.matrix[0, 0], lens.matrix[1, 1]
    columns = 2 * round(fx * np.tan(np.radians(angle / 2)))
    rows = 2 * round(fy * np.tan(min(above, np.radians(HEIGHT_DEG / 2))))
    camera = Camera(columns, rows, fx, fy, (columns - 1) / 2, (rows - 1) / 2)
    yaws = np.linspace(-1, 1, count) * (across - angle) / 2
    # about the axis that points down: to the right is positive
    poses = tuple(make_pose(Rotation.from_euler("y", yaw, degrees=True), np.zeros(3)) for yaw in yaws)
    return Rig((camera,) * count, poses)


def view_maps(lens: Lens, camera: Camera, T_lens_view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `cv2.remap` takes to make the image of a view out of that of the lens; black where the lens sees nothing."""
    column, row = np.meshgrid(np.arange(camera.width, dtype=float), np.arange(camera.height, dtype=float))
    flat = np.stack([(column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy, np.ones_like(row)], -1)
    pixels = lens.project(flat.reshape(-1, 3) @ T_lens_view[:3, :3].T)
    pixels = np.nan_to_num(pixels, nan=-1e4).clip(-1e4, 1e5).astype(np.float32).reshape(camera.height, camera.width, 2)
    return cv2.convertMaps(pixels, None, cv2.CV_16SC2)  # type: ignore[call-overload]
