# SPDX-License-Identifier: Apache-2.0
"""Descriptors of places: an image and a view of the map of the same place get similar ones."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from ..geometry import Camera
from ..inference import Backend, Model, Precision, load_model
from ..lhmap import MapPoints
from ..localization.features import MAP_CHANNELS, point_widths
from .views import CELL, HEIGHT, WIDTH, map_view, view_of

COLUMNS = 4
"""Parts of the width that are pooled."""


class PlaceDescriber:
    """Describes images and map views by the networks that match them, each cell's feature pooled over columns.

    A baseline without learning: means of the features of `COLUMNS` parts of the width, one behind the other.
    """

    def __init__(
        self,
        backend: Backend | str = Backend.AUTO,
        precision: Precision | str = Precision.AUTO,
        device: str = "auto",
        threads: int = 0,
        encoders: str = "flow",
    ):
        """`encoders`: name or path prefix of the flow network's files; the rest as in `load_model`.

        Raises ModelError.
        """

        def load(name: str) -> Model:
            return load_model(name, backend, precision, device, threads, grid=(WIDTH, HEIGHT))

        self._image, self._map = load(f"{encoders}_image"), load(f"{encoders}_map")
        _expect(self._image, "image", 3, "features8")
        _expect(self._map, "map", MAP_CHANNELS, "map8")

    def image(self, image: np.ndarray, camera: Camera, T_base_camera: np.ndarray | None = None) -> np.ndarray:
        """Descriptor (D,) float32 of unit length of an image (H, W, 3) uint8 RGB, undistorted, of `camera`.

        `T_base_camera`: see `view_of`. Raises InputError for an image that does not fit the camera.
        """
        view = view_of(image, camera, T_base_camera)
        return _pooled(self._image.run({"image": view.channels[None]})["features8"][0], view.seen)

    def views(self, points: MapPoints, poses: np.ndarray) -> np.ndarray:
        """Descriptors (N, D) float32 of unit length of the map as seen from poses (N, 4, 4) T_map_view.

        A pose is that of an optical frame in the map: x right, y down, z ahead; level, and as high as robots' cameras
        are. `points`: the map around all of them.
        """
        widths = point_widths(points.points)
        out = []
        for pose in np.asarray(poses, dtype=np.float64):
            local = pose.copy()
            local[:3, 3] -= points.origin
            view = map_view(points.points, points.intensity, local, widths)
            out.append(_pooled(self._map.run({"map": view.channels[None]})["map8"][0], view.seen))
        return np.stack(out) if out else np.zeros((0, self.dimension), np.float32)

    @property
    def dimension(self) -> int:
        """D, the length of a descriptor."""
        return 96 * COLUMNS


def _expect(model: Model, name: str, channels: int, output: str) -> None:
    """Raises ModelError unless the network takes an input of the place camera and has an output."""
    shape = (1, channels, HEIGHT, WIDTH)
    if model.inputs.get(name) != shape or output not in model.outputs:
        raise ModelError(
            f"{model.path} has inputs {model.inputs} and outputs {list(model.outputs)}, expected {name!r} of shape "
            f"{shape} and {output!r}"
        )


def _pooled(features: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Features (C, h, w) pooled where there is something (1, h, w) to (C * COLUMNS) of unit length."""
    parts = (features * seen).reshape(len(features), HEIGHT // CELL, COLUMNS, -1).sum((1, 3)).ravel()
    return (parts / max(float(np.linalg.norm(parts)), 1e-9)).astype(np.float32)
