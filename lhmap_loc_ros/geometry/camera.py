# SPDX-License-Identifier: Apache-2.0
"""Pinhole cameras, and the removal of lens distortion.

Pixel convention: the centre of the first pixel is at (0, 0), as in OpenCV and CameraInfo.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class Camera:
    """An undistorted pinhole camera; focal lengths and principal point in pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self):
        values = np.array([self.fx, self.fy, self.cx, self.cy], dtype=float)
        if not np.isfinite(values).all() or self.fx <= 0 or self.fy <= 0 or self.width < 1 or self.height < 1:
            raise InputError(f"camera is not calibrated: {self.width}x{self.height} pixels, fx {self.fx}, fy {self.fy}")

    @property
    def matrix(self) -> np.ndarray:
        """The intrinsic matrix K (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    def resized(self, width: int, height: int) -> Camera:
        """The camera of the same view, re-sampled to other pixels."""
        sx, sy = width / self.width, height / self.height
        # pixel centres are integers, so the image starts half a pixel before zero
        return Camera(
            width, height, self.fx * sx, self.fy * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5
        )

    def cropped(self, left: int, top: int, width: int, height: int) -> Camera:
        """The camera of a window of the image; the window may reach outside."""
        return Camera(width, height, self.fx, self.fy, self.cx - left, self.cy - top)

    def check_image(self, image: np.ndarray) -> None:
        """Raises InputError unless the image (H, W, 3) uint8 has this camera's size."""
        if image.dtype != np.uint8 or image.shape != (self.height, self.width, 3):
            raise InputError(
                f"image is {image.dtype} of shape {image.shape}, the calibration expects uint8 of "
                f"shape {(self.height, self.width, 3)}"
            )


class Rectifier:
    """Turns raw images of a distorted camera into images of a `Camera`; the maps are computed once."""

    COEFFICIENTS = 4, 5, 8, 12, 14
    """So many OpenCV takes, but for the equidistant model."""
    MODELS = ("", "none", "plumb_bob", "rational_polynomial", "equidistant", "fisheye")

    def __init__(self, width: int, height: int, matrix: np.ndarray, distortion, model: str = "plumb_bob"):
        """`matrix` is K (3, 3), `distortion` the coefficients of CameraInfo.d, `model` its distortion_model."""
        if model not in self.MODELS:
            raise InputError(f"distortion model {model!r} is unknown, expected one of {self.MODELS[1:]}")
        matrix = np.asarray(matrix, dtype=float).reshape(3, 3)
        distortion = np.asarray(distortion, dtype=float).ravel()
        self.camera = Camera(width, height, matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
        self._maps = None
        if distortion.size == 0 or not distortion.any() or model in ("", "none"):
            return
        size = (width, height)
        if model in ("equidistant", "fisheye"):
            if distortion.size != 4:
                raise InputError(f"equidistant distortion has {distortion.size} coefficients, expected 4")
            self._maps = cv2.fisheye.initUndistortRectifyMap(
                matrix, distortion, np.eye(3), matrix, size, cv2.CV_16SC2
            )
        else:
            if distortion.size not in self.COEFFICIENTS:
                expected = f"expected {', '.join(map(str, self.COEFFICIENTS))}"
                raise InputError(f"{model} distortion has {distortion.size} coefficients, {expected}")
            self._maps = cv2.initUndistortRectifyMap(matrix, distortion, None, matrix, size, cv2.CV_16SC2)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The undistorted image, same shape; raises InputError for an image of another size."""
        self.camera.check_image(image)
        return image if self._maps is None else cv2.remap(image, *self._maps, cv2.INTER_LINEAR)
