# SPDX-License-Identifier: Apache-2.0
"""The map drawn over a camera image: the quickest check of calibration, map and pose."""

from __future__ import annotations

import cv2
import numpy as np

from ..geometry import Camera, inverse, project, z_buffer
from ..lhmap import MapPoints

NEAR_M, FAR_M = 3.0, 60.0
OCCLUDER_M = 0.5
DOT_PX, CELL_PX = 1.6, 5.0
"""Radius and distance of the dots, for an image 1280 pixels wide."""


def draw_overlay(image: np.ndarray, camera: Camera, crop: MapPoints, T_map_camera: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) uint8 RGB with the points of the map that are in view, coloured by depth.

    Near points are red, points at 60 m blue (colour map turbo, logarithmic). `T_map_camera` (4, 4) is the pose of
    the camera in the map. Points hidden behind nearer ones are left out. Raises InputError for an image of another
    size than the camera's.
    """
    camera.check_image(image)
    local = np.array(T_map_camera, dtype=float)
    local[:3, 3] -= crop.origin
    uv, depth = project(crop.points, inverse(local), camera)
    shown = visible(uv, depth, camera)
    # the picture steps back, so that the dots carry the colour
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    canvas = cv2.addWeighted(image, 0.5, grey, 0.35, 0)
    chosen = _thinned(uv[shown], depth[shown], camera)
    radius = DOT_PX * camera.width / 1280
    at, colors = uv[shown][chosen], depth_colors(depth[shown][chosen]).tolist()
    # whole pixels are too coarse for dots of this size: OpenCV takes sixteenths
    for (u, v), color in zip((at * 16).round().astype(int).tolist(), colors, strict=True):
        cv2.circle(canvas, (u, v), max(round(radius * 16), 12), color, -1, cv2.LINE_AA, 4)
    return canvas


def _thinned(uv: np.ndarray, depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Indices of the nearest point of each small cell of the image, far ones first: the image shows in between."""
    cell = CELL_PX * max(camera.width / 1280, 0.5)
    key = (uv[:, 1] // cell).astype(np.int64) * 100_000 + (uv[:, 0] // cell).astype(np.int64)
    order = np.lexsort((depth, key))
    first = np.r_[True, np.diff(key[order]) != 0] if len(order) else np.zeros(0, bool)
    chosen = order[first]
    return chosen[np.argsort(-depth[chosen])]


def visible(uv: np.ndarray, depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Points (N, bool) that no wall of nearer points hides.

    Points of a map are further apart than pixels: what is behind shines through unless the test for hiding uses
    wider points than the drawing.
    """
    nearest, _ = z_buffer(uv, depth, camera, OCCLUDER_M, FAR_M)
    pixel = np.floor(np.nan_to_num(uv, nan=-1e6).clip(-1e6, 1e6) + 0.5).astype(int)
    inside = (pixel >= 0).all(axis=1) & (pixel[:, 0] < camera.width) & (pixel[:, 1] < camera.height)
    out = np.zeros(len(uv), bool)
    columns, rows = pixel[inside].T
    # a slanted wall hides itself within the width of a point: allow for it
    out[inside] = depth[inside] <= nearest[rows, columns] * 1.05 + OCCLUDER_M
    return out


def depth_colors(depth: np.ndarray) -> np.ndarray:
    """Colours (N, 3) uint8 RGB of depths (N) [m]."""
    ratio = np.log(np.clip(depth, NEAR_M, FAR_M) / NEAR_M) / np.log(FAR_M / NEAR_M)
    # skip the darkest ends of the colour map, which vanish on shadows
    return _colors(cv2.COLORMAP_TURBO)[(235 - 215 * ratio).astype(int)]


def heat_colors(heat: np.ndarray) -> np.ndarray:
    """Colours (N, 3) uint8 RGB of heats (N) in [0, 1]: black where it is least, light yellow where it is greatest."""
    return _colors(cv2.COLORMAP_INFERNO)[(heat * 255).astype(np.uint8)]


def _colors(colormap: int) -> np.ndarray:
    """The colours (256, 3) uint8 RGB of a colour map. OpenCV ends the process where it is to map no values at all."""
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], colormap)[:, 0, ::-1]
