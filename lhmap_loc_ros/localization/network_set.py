# SPDX-License-Identifier: Apache-2.0
"""The three networks of the refiner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import ModelError
from ..inference import Model, load_model
from .covariance import StartCovariances

if TYPE_CHECKING:
    from .refine import RefinerConfig


class ModelSet(Protocol):
    """The three networks of the refiner."""

    width: int
    height: int
    covariance: StartCovariances
    """What the solver's covariance is calibrated by."""
    networks: tuple[Model, ...]
    """As loaded; empty if they do not come from `inference`."""
    tensor_device: str | None
    """The device whose PyTorch tensors may take the place of all arrays below; None: arrays alone."""

    def image(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features at 1/8 and 1/4 of an image (3, H, W) float32 in [0, 1]."""

    def coarse(self, view: np.ndarray, image8: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Displacement and log Laplace scale (2, H/8, W/8) [pixels] of a map view (C, H, W)."""

    def fine(self, view: np.ndarray, image4: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Displacement and log Laplace scale (2, H/4, W/4) [pixels] of a map view (C, H, W)."""


class NetworkSet:
    """The shipped networks, through `inference`."""

    def __init__(self, config: RefinerConfig, wait: bool = True):
        """Without `wait` TensorRT engines are built in the background, see `load_model`; raises ModelError."""
        self._image, self._coarse, self._fine = (
            load_model(
                f"{config.model}_{part}", config.backend, config.precision, config.device, config.threads, wait
            )
            for part in ("image", "coarse", "fine")
        )
        # its matrix of all cells against all is by far the largest thing there is, and rough starts are rare
        self._coarse.keeps_memory = False
        try:
            _, _, self.height, self.width = self._image.inputs["image"]
        except KeyError:
            raise ModelError(f"{self._image.path} has inputs {list(self._image.inputs)}, expected 'image'") from None
        self.covariance = StartCovariances.of(self._fine.metadata)
        self.sha256 = self._fine.sha256
        self.networks: tuple[Model, ...] = (self._image, self._coarse, self._fine)

    @property
    def tensor_device(self):
        devices = {model.tensor_device for model in self.networks}
        return devices.pop() if len(devices) == 1 else None

    def image(self, image):
        out = _run(self._image, {"image": image[None]})
        return out["features8"], out["features4"]

    def coarse(self, view, image8):
        out = _run(self._coarse, {"map": view[None], "features8": image8})
        return out["flow"][0], out["log_scale"][0]

    def fine(self, view, image4):
        out = _run(self._fine, {"map": view[None], "features4": image4})
        return out["flow"][0], out["log_scale"][0]


def _run(model: Model, inputs: dict[str, Any]) -> dict[str, Any]:
    """Arrays from arrays, tensors on the model's device from such."""
    if all(isinstance(value, np.ndarray) for value in inputs.values()):
        return model.run(inputs)
    return model.run_on_device(inputs)
