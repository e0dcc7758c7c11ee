# SPDX-License-Identifier: Apache-2.0
"""The networks of the refiner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from ..errors import ModelError
from ..inference import Model, load_model
from ..inference.model import Grid
from .covariance import StartCovariances
from .features import GRIDS, grid_for

GRIDS_KEY = "grids"
"""Metadata of files for any grid: width and height of those they were trained for."""

if TYPE_CHECKING:
    import torch

    from ..geometry import Camera
    from .refine import RefinerConfig


Array = TypeVar("Array", np.ndarray, "torch.Tensor")
"""Arrays, or PyTorch's tensors on `tensor_device`, from such."""


class GridModels(Protocol):
    """The networks of the refiner on one pixel grid."""

    @property
    def tensor_device(self) -> str | None:
        """The device whose PyTorch tensors may take the place of all arrays below; None: arrays alone."""

    at_once: bool
    """`image` and `map` gain from running at the same time, in two threads."""

    def image(self, image: Array) -> tuple[Array, Array]:
        """Features at 1/8 and 1/4 of an image (3, H, W) float32 in [0, 1]."""

    def map(self, view: Array) -> dict[str, Array]:
        """A map view (C, H, W) encoded."""

    def coarse(self, encoded: dict[str, Array], image8: Array) -> tuple[Array, Array]:
        """Displacement and log Laplace scale (2, H/8, W/8) [pixels] of an encoded map view."""

    def fine(self, encoded: dict[str, Array], image4: Array) -> tuple[Array, Array]:
        """Displacement and log Laplace scale (2, H/4, W/4) [pixels] of an encoded map view."""


class ModelSet(Protocol):
    """The networks of the refiner on all pixel grids."""

    grids: tuple[Grid, ...]
    """Width and height of each."""
    covariance: StartCovariances
    """What the solver's covariance is calibrated by."""

    @property
    def networks(self) -> tuple[Model, ...]:
        """As loaded; empty if they do not come from `inference`."""

    @property
    def tensor_device(self) -> str | None:
        """As that of `for_grid`."""

    def for_grid(self, grid: Grid) -> GridModels:
        """Those for one of the grids; may raise ModelError where they are loaded at their first use."""


class NetworkSet:
    """The shipped networks, through `inference`: one set of files for all grids, loaded for each at its first use."""

    def __init__(self, config: RefinerConfig, wait: bool = True, camera: Camera | None = None):
        """`camera`: the one that images will come from, if it is known, so that only its grid is loaded.

        Without `wait` TensorRT engines are built in the background, see `load_model`. Raises ModelError.
        """
        self._config, self._wait = config, wait
        first = self._load(GRIDS[0] if camera is None else grid_for(camera))
        self._loaded, self._in_use = {first.grid: first}, False
        self.grids, self.covariance, self.sha256 = first.grids, first.covariance, first.sha256

    @property
    def networks(self) -> tuple[Model, ...]:
        """Of all grids that are loaded."""
        return tuple(model for part in self._loaded.values() for model in part.networks)

    @property
    def tensor_device(self) -> str | None:
        """Where tensors may lie; None unless all networks take them there."""
        return _common_device(self.networks)

    def for_grid(self, grid: Grid) -> GridNetworks:
        """Those for a grid; loading them takes half a second, engines longer. Raises ModelError."""
        if grid not in self._loaded:
            added = self._load(grid)
            # what was loaded before the camera was known, and not used, goes
            self._loaded = {**(self._loaded if self._in_use else {}), grid: added}
        self._in_use = True
        return self._loaded[grid]

    def _load(self, grid: Grid) -> GridNetworks:
        return GridNetworks(self._config, grid, self._wait)


class GridNetworks:
    """The networks for one grid."""

    def __init__(self, config: RefinerConfig, grid: Grid, wait: bool):
        """`grid`: for networks that take any; others have their own."""

        def load(part: str, threads: int = config.threads) -> Model:
            name = f"{config.model}_{part}"
            return load_model(name, config.backend, config.precision, config.device, threads, wait, grid)

        self._map, self._coarse, self._fine = map(load, ("map", "coarse", "fine"))
        # networks this small gain far less from a second thread than from a second core of their own
        threads = self._map.cpu_threads
        self.at_once = threads > 1
        self._image = load("image", threads - threads // 2) if self.at_once else load("image")
        # its matrix of all cells against all is by far the largest thing there is, and rough starts are rare
        self._coarse.keeps_memory = False
        try:
            _, _, height, width = self._image.inputs["image"]
        except KeyError:
            raise ModelError(f"{self._image.path} has inputs {list(self._image.inputs)}, expected 'image'") from None
        self.grid: Grid = (width, height)
        self.grids = tuple(tuple(grid) for grid in self._image.metadata.get(GRIDS_KEY, [self.grid]))
        """Width and height of those that the files were trained for."""
        self.covariance = StartCovariances.of(self._fine.metadata)
        self.sha256 = self._fine.sha256
        self.networks: tuple[Model, ...] = (self._image, self._map, self._coarse, self._fine)

    @property
    def tensor_device(self) -> str | None:
        return _common_device(self.networks)

    def image(self, image: Array) -> tuple[Array, Array]:
        out = _run(self._image, {"image": image[None]})
        return out["features8"], out["features4"]

    def map(self, view: Array) -> dict[str, Array]:
        return _run(self._map, {"map": view[None]})

    def coarse(self, encoded: dict[str, Array], image8: Array) -> tuple[Array, Array]:
        out = _run(self._coarse, self.coarse_inputs(encoded, image8))
        return out["flow"][0], out["log_scale"][0]

    def fine(self, encoded: dict[str, Array], image4: Array) -> tuple[Array, Array]:
        out = _run(self._fine, self.fine_inputs(encoded, image4))
        return out["flow"][0], out["log_scale"][0]

    @staticmethod
    def coarse_inputs(encoded: dict[str, Array], image8: Array) -> dict[str, Array]:
        """What the coarse network is given."""
        return {"map8": encoded["map8"], "context8": encoded["context8"], "features8": image8}

    @staticmethod
    def fine_inputs(encoded: dict[str, Array], image4: Array) -> dict[str, Array]:
        """What the fine network is given."""
        return {"map4": encoded["map4"], "context4": encoded["context4"], "features4": image4}


def _common_device(networks: tuple[Model, ...]) -> str | None:
    devices = {model.tensor_device for model in networks}
    return devices.pop() if len(devices) == 1 else None


def _run(model: Model, inputs: dict[str, Any]) -> dict[str, Any]:
    """Arrays from arrays, tensors on the model's device from such."""
    if all(isinstance(value, np.ndarray) for value in inputs.values()):
        return model.run(inputs)
    return model.run_on_device(inputs)
