# SPDX-License-Identifier: Apache-2.0
"""What turns images and views of the map into descriptors that can be compared."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..geometry import Camera
from ..lhmap import MapPoints


class Describer(Protocol):
    """Descriptors of images and of map views: the same place has a large dot product, whichever of the two it is."""

    sha256: str
    """Of the networks; descriptors of other networks cannot be compared with these."""

    def image(self, image: np.ndarray, camera: Camera, T_base_camera: np.ndarray | None = None) -> np.ndarray:
        """Unit vector (D,) float32 of an undistorted image (H, W, 3) uint8 RGB of `camera`."""

    def views(self, points: MapPoints, poses: np.ndarray) -> np.ndarray:
        """Unit vectors (N, D) float32 of the map `points` as seen from `poses` (N, 4, 4) T_map_camera."""
