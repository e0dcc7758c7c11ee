# SPDX-License-Identifier: Apache-2.0
"""What the networks see: the camera image and the projected map, on one small pixel grid.

Training, map building and localization all build their inputs here, so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numba
import numpy as np

from ..geometry import NO_POINT, Camera, project, z_buffer
from ..inference.model import Grid

MAP_CHANNELS = 4
"""Channels of the map input: inverse depth, validity, intensity, height relative to the camera."""
HORIZON = 0.46
"""Where the horizon lies in the image of a usual camera, as a share of its height."""
MIN_WIDTH_M, MAX_WIDTH_M = 0.2, 0.8
"""Between these lies the width at which a map point is drawn."""
_BLOCK_M = 0.5
_SLOTS = 1 << 18


GRIDS: tuple[Grid, ...] = ((608, 176), (512, 208), (432, 240), (368, 288), (320, 336), (272, 384), (240, 432))
"""Width and height of the pixel grids that the networks are trained on: all of about as many pixels, from 3.5 : 1 to
upright. An image is stretched by at most a fifth to fill the nearest."""


def grid_for(camera: Camera, grids: Sequence[Grid] = GRIDS) -> Grid:
    """Of these grids the one onto which the whole image of a camera fits with the least stretching."""
    aspect = camera.width / camera.height
    return min(grids, key=lambda grid: abs(np.log(grid[0] / grid[1] / aspect)))


def quarters_to_upright(T_map_camera: np.ndarray) -> int:
    """By how many right angles, counter-clockwise, an image is turned so that up in the map is up in it: 0 to 3."""
    right, down, ahead = T_map_camera[2, :3]
    # who looks straight up or down has no upright
    return 0 if abs(ahead) > 0.95 else round(np.arctan2(right, -down) / (np.pi / 2)) % 4


def quarter_turn(quarters: int) -> np.ndarray:
    """Rotation (4, 4) T_turned_camera of a camera whose image is turned counter-clockwise by right angles."""
    sine, cosine = (0.0, 1.0, 0.0, -1.0)[quarters % 4], (1.0, 0.0, -1.0, 0.0)[quarters % 4]
    return np.array([[cosine, sine, 0, 0], [-sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class View:
    """How a camera's whole image lies on a pixel grid."""

    camera: Camera
    """The camera of the grid; its pixels may be higher than wide, or wider than high."""

    @classmethod
    def of(cls, camera: Camera, width: int, height: int) -> View:
        """The view of `width` x `height` pixels that shows all that the camera sees."""
        return cls(camera.resized(width, height))

    def sample(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, 3) uint8 RGB as network input (3, height, width) float32 in [0, 1]."""
        size = self.camera.width, self.camera.height
        if (image.shape[1], image.shape[0]) != size:
            smaller = image.shape[1] >= size[0] or image.shape[0] >= size[1]
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        return image.transpose(2, 0, 1).astype(np.float32) * np.float32(1 / 255)


@dataclass(frozen=True)
class MapView:
    """The map as seen from one pose."""

    channels: np.ndarray
    """Network input (MAP_CHANNELS, H, W) float32, zero where no point projects."""
    uv: np.ndarray
    """Pixel position of every point of the submap (N, 2) float32."""
    depth: np.ndarray
    """Depth of every point of the submap (N) float32 [m]."""
    index: np.ndarray
    """Point that owns each pixel (H, W) int32, NO_POINT where empty."""


@numba.njit(cache=True, nogil=True)
def _block_counts(points: np.ndarray, block: float, slots: np.ndarray, counts: np.ndarray) -> None:
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
    few points: the networks see surfaces at any budget. Between `MIN_WIDTH_M` and `MAX_WIDTH_M`.
    """
    slots, counts = np.empty(len(points), np.int64), np.zeros(_SLOTS, np.int32)
    _block_counts(points, _BLOCK_M, slots, counts)
    spacing = _BLOCK_M / np.sqrt(counts[slots].astype(np.float32))
    return np.clip(2 * spacing, MIN_WIDTH_M, MAX_WIDTH_M)


@numba.njit(cache=True, nogil=True)
def _fill_channels(
    index: np.ndarray, nearest: np.ndarray, points: np.ndarray, intensity: np.ndarray, height: np.float32,
    channels: np.ndarray,
) -> None:  # fmt: skip
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
    splat_m: float | np.ndarray = MIN_WIDTH_M,
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
def _cell_points(uv: np.ndarray, depth: np.ndarray, index: np.ndarray, cell: int, owner: np.ndarray) -> None:
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
