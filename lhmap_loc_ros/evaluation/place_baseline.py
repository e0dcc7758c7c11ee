# SPDX-License-Identifier: Apache-2.0
"""Places compared without learning: small pictures of image and map, correlated."""

from __future__ import annotations

import cv2
import numpy as np

from ..geometry import Camera
from ..lhmap import MapPoints
from ..localization.features import point_widths
from ..places.views import map_view, view_of

SIZE = 32, 8
"""Width and height of the small pictures: 256 components."""


class PlainDescriber:
    """Brightness of the image against LiDAR intensity of the map view, small and locally normalised.

    Their dot product is the normalised correlation of the two. See `places.describer.Describer`.
    """

    sha256 = "correlation without learning"

    def image(self, image: np.ndarray, camera: Camera, T_base_camera: np.ndarray | None = None) -> np.ndarray:
        """See `Describer`."""
        view = view_of(image, camera, T_base_camera)
        return _small(view.channels.mean(axis=0), np.ones(view.channels.shape[1:], np.float32))

    def views(self, points: MapPoints, poses: np.ndarray) -> np.ndarray:
        """See `Describer`."""
        widths, out = point_widths(points.points), []
        for pose in poses:
            local = pose.copy()
            local[:3, 3] -= points.origin
            channels = map_view(points.points, points.intensity, local, widths).channels
            out.append(_small(channels[2], channels[1]))
        return np.array(out)


def _small(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Unit vector (256,) of a picture (H, W) where it is known, less the mean of what is around."""
    weight = cv2.resize(known, SIZE, interpolation=cv2.INTER_AREA)
    small = cv2.resize(picture * known, SIZE, interpolation=cv2.INTER_AREA) / np.maximum(weight, 0.05)
    around = cv2.blur(small * weight, (9, 5)) / np.maximum(cv2.blur(weight, (9, 5)), 0.05)
    values = ((small - around) * weight).ravel()
    return (values / max(float(np.linalg.norm(values)), 1e-9)).astype(np.float32)
