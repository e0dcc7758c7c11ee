# SPDX-License-Identifier: Apache-2.0
"""A map to turn and look at in a window of Open3D: for maps of more points than a browser can turn."""

from __future__ import annotations

import os
import sys

import numpy as np

from ..errors import InputError
from ..lhmap import LHMap
from ..lhmap.open3d_cloud import load_open3d
from .map_view import BACKGROUND, thinned
from .overlay import heat_colors

_PATH_COLOUR, _PATH_ABOVE_M = (0.0, 0.75, 1.0), 0.3


def show_window(lhmap: LHMap, points: int) -> int:
    """Shows points coloured by heat, and the mapping path, until the window is closed. Returns how many points.

    Of a map with more than `points` every so manieth is shown. Raises InputError where no window can be opened, and as
    `load_open3d`.
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # Open3D would wait for a window that is not shown, without end
        raise InputError("no display found (DISPLAY is not set), expected one for a window: without --window a page is "
                         "written")  # fmt: skip
    open3d = load_open3d()
    shown = thinned(lhmap, points)
    # around the map's origin: the graphics card has float32
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(shown.points.astype(float)))
    cloud.colors = open3d.utility.Vector3dVector(heat_colors(shown.heat) / 255)
    window = open3d.visualization.Visualizer()
    if not window.create_window(f"{lhmap.path.name}: {len(shown)} of {lhmap.metadata.points} points", 1280, 800):
        raise InputError("Open3D opens no window on this display: without --window a page is written")
    try:
        window.add_geometry(cloud)
        if len(lhmap.metadata.path) > 1:
            # above the ground's points
            path = lhmap.metadata.path[:, :3] - lhmap.metadata.origin + [0, 0, _PATH_ABOVE_M]
            window.add_geometry(_line(open3d, path))
        options = window.get_render_option()
        options.point_size, options.background_color = 2.0, _rgb(BACKGROUND)
        window.run()
    finally:
        window.destroy_window()
    return len(shown)


def _line(open3d, path: np.ndarray):
    """A line through the points (N, 3) [m]."""
    ends = np.column_stack([np.arange(len(path) - 1), np.arange(1, len(path))]).astype(np.int32)
    vectors = open3d.utility.Vector3dVector(path.astype(float)), open3d.utility.Vector2iVector(ends)
    line = open3d.geometry.LineSet(*vectors)
    line.paint_uniform_color(_PATH_COLOUR)
    return line


def _rgb(colour: str) -> np.ndarray:
    """The three parts, from 0 to 1, of a colour #rrggbb."""
    return np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
