# SPDX-License-Identifier: Apache-2.0
"""The networks of a refiner, for many refinements of one image."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..inference.model import Grid
    from ..localization.network_set import Array, GridModels, ModelSet

KEPT = 8
"""Images whose features are kept for each grid: those of all cameras of a robot."""


class EncodedOnce:
    """The networks of a refiner; the same image is encoded once, however many poses it is compared at."""

    def __init__(self, models: ModelSet) -> None:
        self._models = models
        self._grids: dict[Grid, _GridEncodedOnce] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._models, name)

    def for_grid(self, grid: Grid) -> _GridEncodedOnce:
        """As `ModelSet.for_grid`."""
        models = self._models.for_grid(grid)
        if grid not in self._grids or self._grids[grid].models is not models:
            self._grids[grid] = _GridEncodedOnce(models)
        return self._grids[grid]


class _GridEncodedOnce:
    def __init__(self, models: GridModels) -> None:
        self.models = models
        self._encoded: deque[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]] = deque(maxlen=KEPT)
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.models, name)

    def image(self, image: Array) -> tuple[Array, Array]:
        """As `GridModels.image`."""
        if not isinstance(image, np.ndarray):
            return self.models.image(image)
        # what fills the image may change, so it is not enough that it is the same array
        with self._lock:
            for before, features in self._encoded:
                if np.array_equal(before, image):
                    return features
            features = self.models.image(image)
            self._encoded.append((image.copy(), features))
            return features
