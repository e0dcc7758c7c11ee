# SPDX-License-Identifier: Apache-2.0
"""A stand-in of the parts of Open3D that the package uses, for machines without its 1.7 GB; it keeps what it is shown.

`open3d_or_standin` prefers the real one.
"""

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np


class Tensor:
    def __init__(self, array):
        self._array = np.array(array)

    def numpy(self):
        return self._array


class TensorCloud:
    def __init__(self, positions):
        self.point = {"positions": positions}


class Geometry:
    def __init__(self, points, lines=()):
        self.points, self.lines, self.colors = points, lines, None

    def paint_uniform_color(self, colour):
        self.colors = [colour] * len(self.lines)


class Visualizer:
    """A window that its user closes at once."""

    opens = True
    shown: list = []

    def create_window(self, title, width, height):
        self.title, Visualizer.shown = title, []
        return self.opens

    def add_geometry(self, geometry):
        self.shown.append(geometry)

    def get_render_option(self):
        return SimpleNamespace()

    def run(self):
        pass

    def destroy_window(self):
        pass


def standin():
    """The module."""
    return SimpleNamespace(
        core=SimpleNamespace(Tensor=Tensor),
        t=SimpleNamespace(geometry=SimpleNamespace(PointCloud=TensorCloud)),
        geometry=SimpleNamespace(PointCloud=Geometry, LineSet=Geometry),
        utility=SimpleNamespace(Vector3dVector=np.array, Vector2iVector=np.array),
        visualization=SimpleNamespace(Visualizer=Visualizer),
    )


def open3d_or_standin():
    """The real Open3D where it is installed."""
    if find_spec("open3d") is None:
        return standin()
    import open3d

    return open3d
