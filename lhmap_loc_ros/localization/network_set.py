# SPDX-License-Identifier: Apache-2.0
"""The networks of the refiner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import ModelError
from ..inference import Model, load_model
from .covariance import StartCovariances

if TYPE_CHECKING:
    from .refine import RefinerConfig


class ModelSet(Protocol):
    """The networks of the refiner."""

    width: int
    height: int
    covariance: StartCovariances
    """What the solver's covariance is calibrated by."""
    networks: tuple[Model, ...]
    """As loaded; empty if they do not come from `inference`."""
    tensor_device: str | None
    """The device whose PyTorch tensors may take the place of all arrays below; None: arrays alone."""
    at_once: bool
    """`image` and `map` gain from running at the same time, in two threads."""

    def image(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features at 1/8 and 1/4 of an image (3, H, W) float32 in [0, 1]."""

    def map(self, view: np.ndarray) -> Any:
        """A map view (C, H, W) encoded."""

    def coarse(self, encoded: Any, image8: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Displacement and log Laplace scale (2, H/8, W/8) [pixels] of an encoded map view."""

    def fine(self, encoded: Any, image4: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Displacement and log Laplace scale (2, H/4, W/4) [pixels] of an encoded map view."""


class NetworkSet:
    """The shipped networks, through `inference`."""

    def __init__(self, config: RefinerConfig, wait: bool = True):
        """Without `wait` TensorRT engines are built in the background, see `load_model`; raises ModelError."""

        def load(part: str, threads: int = config.threads) -> Model:
            name = f"{config.model}_{part}"
            return load_model(name, config.backend, config.precision, config.device, threads, wait)

        self._map, self._coarse, self._fine = map(load, ("map", "coarse", "fine"))
        # networks this small gain far less from a second thread than from a second core of their own
        threads = self._map.cpu_threads
        self.at_once = threads > 1
        self._image = load("image", threads - threads // 2) if self.at_once else load("image")
        # its matrix of all cells against all is by far the largest thing there is, and rough starts are rare
        self._coarse.keeps_memory = False
        try:
            _, _, self.height, self.width = self._image.inputs["image"]
        except KeyError:
            raise ModelError(f"{self._image.path} has inputs {list(self._image.inputs)}, expected 'image'") from None
        self.covariance = StartCovariances.of(self._fine.metadata)
        self.sha256 = self._fine.sha256
        self.networks: tuple[Model, ...] = (self._image, self._map, self._coarse, self._fine)

    @property
    def tensor_device(self):
        devices = {model.tensor_device for model in self.networks}
        return devices.pop() if len(devices) == 1 else None

    def image(self, image):
        out = _run(self._image, {"image": image[None]})
        return out["features8"], out["features4"]

    def map(self, view):
        return _run(self._map, {"map": view[None]})

    def coarse(self, encoded, image8):
        out = _run(self._coarse, self.coarse_inputs(encoded, image8))
        return out["flow"][0], out["log_scale"][0]

    def fine(self, encoded, image4):
        out = _run(self._fine, self.fine_inputs(encoded, image4))
        return out["flow"][0], out["log_scale"][0]

    @staticmethod
    def coarse_inputs(encoded, image8) -> dict[str, Any]:
        """What the coarse network is given."""
        return {"map8": encoded["map8"], "context8": encoded["context8"], "features8": image8}

    @staticmethod
    def fine_inputs(encoded, image4) -> dict[str, Any]:
        """What the fine network is given."""
        return {"map4": encoded["map4"], "context4": encoded["context4"], "features4": image4}


def _run(model: Model, inputs: dict[str, Any]) -> dict[str, Any]:
    """Arrays from arrays, tensors on the model's device from such."""
    if all(isinstance(value, np.ndarray) for value in inputs.values()):
        return model.run(inputs)
    return model.run_on_device(inputs)
