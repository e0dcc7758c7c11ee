# SPDX-License-Identifier: Apache-2.0
"""What the networks see: the camera image and the projected map, on one small pixel grid.

Training, map building and localization all build their inputs here, so that they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np

from ..geometry import NO_POINT, Camera, project, z_buffer

MAP_CHANNELS = 4
"""Channels of the map input: inverse depth, validity, intensity, height relative to the camera."""
HORIZON = 0.46
"""Where the principal point lies in the network's view, as a share of its height."""


LEAST_WIDTH_M, MOST_WIDTH_M = 0.2, 0.8
"""Between these lies the width at which a map point is drawn."""
_BLOCK_M = 0.5
_SLOTS = 1 << 18


@dataclass(frozen=True)
class View:
    """The network's pixel grid and how camera images get onto it."""

    camera: Camera
    """The camera of the network's grid."""
    scale: float
    """Size of the re-sampled image over size of the camera image."""
    top: int
    """First row of the re-sampled image that is used; negative where rows are padded with zeros."""

    @classmethod
    def of(cls, camera: Camera, width: int, height: int) -> View:
        """The view of `width` x `height` pixels that spans the camera's whole width."""
        resized = camera.resized(width, max(1, round(camera.height * width / camera.width)))
        top = 0
        if resized.height != height:
            top = round(resized.cy - HORIZON * height)
            # never cut more than needed: stay inside the image while it is taller than the grid
            top = int(np.clip(top, min(0, resized.height - height), max(0, resized.height - height)))
        return cls(resized.cropped(0, top, width, height), width / camera.width, top)

    def sample(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, 3) uint8 RGB as network input (3, height, width) float32 in [0, 1]."""
        height = max(1, round(image.shape[0] * self.camera.width / image.shape[1]))
        if (image.shape[1], image.shape[0]) != (self.camera.width, height):
            image = cv2.resize(image, (self.camera.width, height), interpolation=cv2.INTER_AREA)
        out = np.zeros((3, self.camera.height, self.camera.width), dtype=np.float32)
        first, last = max(self.top, 0), min(self.top + self.camera.height, height)
        out[:, first - self.top : last - self.top] = image[first:last].transpose(2, 0, 1)
        out *= 1 / 255.0
        return out


@dataclass(frozen=True)
class MapView:
    """The map as seen from one pose."""

    channels: np.ndarray
    """Network input (MAP_CHANNELS, H, W) float32, zero where no point projects."""
    uv: np.ndarray
    """Pixel position of every point of the crop (N, 2) float32."""
    depth: np.ndarray
    """Depth of every point of the crop (N) float32 [m]."""
    index: np.ndarray
    """Point that owns each pixel (H, W) int32, NO_POINT where empty."""


@numba.njit(cache=True, nogil=True)
def _block_counts(points, block, slots, counts):
    """How many points share each point's block of space; blocks of the same hash count as one, which is rare."""
    for i in range(points.shape[0]):
        h = np.int64(np.floor(points[i, 0] / block)) * 73856093
        h ^= np.int64(np.floor(points[i, 1] / block)) * 19349663
        h ^= np.int64(np.floor(points[i, 2] / block)) * 83492791
        slots[i] = (h ^ (h >> 21)) & (counts.shape[0] - 1)
        counts[slots[i]] += 1


def point_widths(points: np.ndarray) -> np.ndarray:
    """Widths (N,) float32 [m] at which points (N, 3) are drawn so that surfaces close.

    Twice the distance between neighbours on a surface, from how many points there are around, and so larger in a map of
    few points: the networks see surfaces at any budget. Between `LEAST_WIDTH_M` and `MOST_WIDTH_M`.
    """
    slots, counts = np.empty(len(points), np.int64), np.zeros(_SLOTS, np.int32)
    _block_counts(points, _BLOCK_M, slots, counts)
    spacing = _BLOCK_M / np.sqrt(counts[slots].astype(np.float32))
    return np.clip(2 * spacing, LEAST_WIDTH_M, MOST_WIDTH_M)


@numba.njit(cache=True, nogil=True)
def _fill_channels(index, nearest, points, intensity, height, channels):
    for row in range(index.shape[0]):
        for column in range(index.shape[1]):
            i = index[row, column]
            if i >= 0:
                channels[0, row, column] = 4.0 / (nearest[row, column] + 3.0)
                channels[1, row, column] = 1.0
                channels[2, row, column] = intensity[i]
                channels[3, row, column] = min(max((points[i, 2] - height) * 0.2, -1.0), 2.0)


def render_map(
    points: np.ndarray,
    intensity: np.ndarray,
    T_map_camera: np.ndarray,
    camera: Camera,
    splat_m: float | np.ndarray = LEAST_WIDTH_M,
    max_depth: float = 80.0,
) -> MapView:
    """Project map points (N, 3) float32 with intensities (N) float32 in [0, 1] into the camera.

    The height channel is along the map's z axis, relative to the camera: (z_point - z_camera) / 5 m. Points are drawn
    `splat_m` wide, all alike or each as wide as (N,) says.
    """
    T_map_camera = np.asarray(T_map_camera, dtype=np.float64)
    rotation, position = T_map_camera[:3, :3], T_map_camera[:3, 3]
    T_camera_map = np.eye(4)
    T_camera_map[:3, :3] = rotation.T
    T_camera_map[:3, 3] = -rotation.T @ position
    uv, depth = project(points, T_camera_map, camera)
    nearest, index = z_buffer(uv, depth, camera, splat_m, max_depth)
    channels = np.zeros((MAP_CHANNELS, camera.height, camera.width), dtype=np.float32)
    _fill_channels(index, nearest, points, intensity, np.float32(position[2]), channels)
    return MapView(channels, uv, depth, index)


@numba.njit(cache=True, nogil=True)
def _cell_points(uv, depth, index, cell, owner):
    rows, columns = owner.shape
    for row in range(rows * cell):
        for column in range(columns * cell):
            i = index[row, column]
            if i < 0:
                continue
            # a splat may own pixels of a neighbouring cell; a point stands only for the cell it lies in
            right, down = uv[i, 0] + 0.5 - column // cell * cell, uv[i, 1] + 0.5 - row // cell * cell
            if not (0 <= right < cell and 0 <= down < cell):
                continue
            best = owner[row // cell, column // cell]
            if best < 0 or depth[i] < depth[best]:
                owner[row // cell, column // cell] = i


def cell_points(view: MapView, cell: int) -> np.ndarray:
    """The nearest visible point of each cell of `cell` x `cell` pixels: (H/cell, W/cell) int32 or NO_POINT."""
    height, width = view.index.shape
    owner = np.full((height // cell, width // cell), NO_POINT, dtype=np.int32)
    _cell_points(view.uv, view.depth, view.index, cell, owner)
    return owner
