# SPDX-License-Identifier: Apache-2.0
"""Descriptors of places: an image and a view of the map of the same place get similar ones."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..errors import ModelError
from ..geometry import Camera
from ..inference import Backend, Model, Precision, load_model
from ..lhmap import MapPoints
from ..localization.features import MAP_CHANNELS
from .views import CELL, HEIGHT, WIDTH, PlaceView, map_views, view_of

DIMENSION_KEY = "dimension"
"""Metadata of the heads: how many values a descriptor has."""
CELLS = HEIGHT // CELL, WIDTH // CELL
"""Rows and columns of the encoders' features."""


class PlaceEncoder:
    """The frozen encoders on the place camera's grid: features of cells, alike where image and map match."""

    def __init__(
        self,
        backend: Backend | str = Backend.AUTO,
        precision: Precision | str = Precision.AUTO,
        device: str = "auto",
        threads: int = 0,
        encoders: str = "encoder",
    ):
        """`encoders`: name or path prefix of their files; the rest as in `load_model`.

        Raises ModelError.
        """

        def load(name: str) -> Model:
            return load_model(name, backend, precision, device, threads, grid=(WIDTH, HEIGHT))

        self._image, self._map = load(f"{encoders}_image"), load(f"{encoders}_map")
        _expect(self._image, "image", (1, 3, HEIGHT, WIDTH), "features8")
        _expect(self._map, "map", (1, MAP_CHANNELS, HEIGHT, WIDTH), "map8")
        self.networks = self._image, self._map

    def image(self, view: PlaceView) -> np.ndarray:
        """Features (C, *CELLS) float32 of an image, each of unit length."""
        return self._image.run({"image": view.channels[None]})["features8"][0]

    def map(self, view: PlaceView) -> np.ndarray:
        """Features of a map view, likewise."""
        return self._map.run({"map": view.channels[None]})["map8"][0]


class PlaceDescriber:
    """The place network: descriptors of images and of map views, by small heads on the encoders.

    The dot product of two says how alike two places look. Heads fit the encoders that they were trained on.
    """

    def __init__(
        self,
        backend: Backend | str = Backend.AUTO,
        precision: Precision | str = Precision.AUTO,
        device: str = "auto",
        threads: int = 0,
        encoders: str = "encoder",
        heads: str = "place",
    ):
        """`heads`: name or path prefix of the place network's files; the rest as `PlaceEncoder`. Raises ModelError."""
        self.encoder = PlaceEncoder(backend, precision, device, threads, encoders)
        # so small that nothing is gained by 8 bits
        precision = Precision.FP32 if Precision(precision) is Precision.INT8 else precision

        def load(side: str, features: str) -> Model:
            model = load_model(f"{heads}_{side}", backend, precision, device, threads)
            channels = model.inputs.get(features, (1, 0))[1]
            _expect(model, features, (1, channels, *CELLS), "descriptor")
            _expect(model, "seen", (1, 1, *CELLS), "descriptor")
            return model

        self._image, self._map = load("image", "features8"), load("map", "map8")
        dimensions: set[Any] = {model.metadata.get(DIMENSION_KEY) for model in (self._image, self._map)}
        if len(dimensions) > 1 or None in dimensions:
            raise ModelError(
                f"{self._image.path} and {self._map.path} say that descriptors have {sorted(map(str, dimensions))} "
                "values, expected one number: write both by one lhmap train export"
            )
        self.dimension: int = dimensions.pop()
        """D, the length of a descriptor."""
        networks = (*self.encoder.networks, self._image, self._map)
        self.sha256 = hashlib.sha256("".join(model.sha256 for model in networks).encode()).hexdigest()
        """Of all networks; descriptors of others cannot be compared with these."""

    def image(self, image: np.ndarray, camera: Camera, T_base_camera: np.ndarray | None = None) -> np.ndarray:
        """Descriptor (D,) float32 of unit length of an image (H, W, 3) uint8 RGB, undistorted, of `camera`.

        `T_base_camera`: see `view_of`. Raises InputError for an image that does not fit the camera.
        """
        view = view_of(image, camera, T_base_camera)
        return self.of_image(self.encoder.image(view), view.seen)

    def views(self, points: MapPoints, poses: np.ndarray) -> np.ndarray:
        """Descriptors (N, D) float32 of unit length of the map as seen from poses (N, 4, 4) T_map_view.

        A pose is that of an optical frame in the map: x right, y down, z ahead; level, and as high as robots' cameras
        are. `points`: the map around all of them.
        """
        out = [self.of_view(self.encoder.map(view), view.seen) for view in map_views(points, poses)]
        return np.stack(out) if out else np.zeros((0, self.dimension), np.float32)

    def of_image(self, features: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Descriptor (D,) of an image by the encoder's features (C, *CELLS) and what is seen (1, *CELLS)."""
        return self._image.run({"features8": features[None], "seen": seen[None]})["descriptor"][0]

    def of_view(self, features: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Descriptor (D,) of a map view, likewise."""
        return self._map.run({"map8": features[None], "seen": seen[None]})["descriptor"][0]


def _expect(model: Model, name: str, shape: tuple[int, ...], output: str) -> None:
    """Raises ModelError unless the network takes an input of this shape and has an output."""
    if model.inputs.get(name) != shape or output not in model.outputs:
        raise ModelError(
            f"{model.path} has inputs {model.inputs} and outputs {list(model.outputs)}, expected {name!r} of shape "
            f"{shape} and {output!r}"
        )
