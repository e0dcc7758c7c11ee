# SPDX-License-Identifier: Apache-2.0
"""How far away what an image shows is, by the LiDAR map drawn at the image's true pose: hidden points are left out."""

from __future__ import annotations

import numpy as np

from ..geometry import Camera
from ..lhmap import LHMap
from ..localization.features import point_widths, render_map
from .encoder import CELL

AROUND_M, MIN_POINTS = 80.0, 200
"""The map is drawn so far around an image; with fewer points it is of no use."""
EDGE = 0.05
"""A cell whose four middle pixels differ in depth by more than this share lies on an edge: it has no depth."""


def map_depth(lhmap: LHMap, T_map_camera: np.ndarray, view: Camera) -> np.ndarray | None:
    """Depth (height, width) float32 [m] of the map in a view, NaN where unknown; None where it has next to nothing."""
    crop = lhmap.crop(T_map_camera[:3, 3], AROUND_M)
    if len(crop) < MIN_POINTS:
        return None
    local = T_map_camera.copy()
    local[:3, 3] -= crop.origin
    drawn = render_map(crop.points, crop.intensity, local, view, point_widths(crop.points))
    return np.where(drawn.index >= 0, drawn.depth[drawn.index], np.nan).astype(np.float32)


def of_cells(depth: np.ndarray) -> np.ndarray:
    """Depth (h * w,) at the cells' centres of a depth image (height, width); NaN where unknown or on an edge."""
    half = CELL // 2
    four = np.stack([depth[r::CELL, c::CELL] for r in (half - 1, half) for c in (half - 1, half)])
    middle, spread = four.mean(0), np.ptp(four, axis=0)
    return np.where(spread < EDGE * middle, middle, np.nan).ravel()
