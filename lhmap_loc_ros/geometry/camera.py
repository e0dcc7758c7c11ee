# SPDX-License-Identifier: Apache-2.0
"""Pinhole cameras, and the removal of lens distortion.

Pixel convention: the centre of the first pixel is at (0, 0), as in OpenCV and CameraInfo.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError

if TYPE_CHECKING:
    from .rig import Images, Rig


@dataclass(frozen=True)
class Camera:
    """An undistorted pinhole camera; focal lengths and principal point in pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
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
        return Camera(width, height, self.fx * sx, self.fy * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5)

    def cropped(self, left: int, top: int, width: int, height: int) -> Camera:
        """The camera of a window of the image; the window may reach outside."""
        return Camera(width, height, self.fx, self.fy, self.cx - left, self.cy - top)

    def turned(self, quarters: int) -> Camera:
        """The camera of the image that `np.rot90(image, quarters)` gives: turned counter-clockwise by right angles."""
        camera = self
        for _ in range(quarters % 4):
            across = camera.width - 1 - camera.cx
            camera = Camera(camera.height, camera.width, camera.fy, camera.fx, camera.cy, across)
        return camera

    def check_image(self, image: np.ndarray | Sequence[np.ndarray]) -> None:
        """Raises InputError unless the image (H, W, 3) uint8 has this camera's size."""
        if not isinstance(image, np.ndarray):
            raise InputError(f"{len(image)} images found, expected that of one camera")
        if image.dtype != np.uint8 or image.shape != (self.height, self.width, 3):
            raise InputError(
                f"image is {image.dtype} of shape {image.shape}, the calibration expects uint8 of "
                f"shape {(self.height, self.width, 3)}"
            )


class Rectifier:
    """Turns raw images of a distorted camera into images of a `Camera`; the maps are computed once.

    A lens that sees more than 110 degrees across gives several pinhole views, too: `rig` and `views`.
    """

    COEFFICIENTS = 4, 5, 8, 12, 14
    """So many OpenCV takes, but for the equidistant model."""
    MODELS = ("none", "plumb_bob", "rational_polynomial", "equidistant")
    ALIASES = {
        "plumb_bob": "plumbbob radtan radtan4 radtan5 radialtangential pinhole pinholeradtan brown brownconrady opencv",
        "rational_polynomial": "rationalpolynomial rational radtan8 pinholeradtan8 fullopencv",
        "equidistant": "equidistant equi pinholeequi fisheye opencvfisheye kannalabrandt kannalabrandt4 kannalabrandt8 "
        "kb kb4 kb8",
    }
    """Names of these, in small letters without what is between words."""
    MAX_PIXELS, LONGEST_SIDE = 150_000_000, 32_766
    """OpenCV turns no larger images, and its maps take six bytes a pixel."""

    def __init__(self, width: int, height: int, matrix: np.ndarray, distortion: ArrayLike, model: str = "plumb_bob"):
        """`matrix` is K (3, 3), `distortion` the coefficients of CameraInfo.d, `model` its distortion_model.

        Raises InputError for an unknown model, for coefficients that are not finite or not as many as it has, and for
        an image larger than any camera's.
        """
        matrix = np.asarray(matrix, dtype=float).reshape(3, 3)
        model, distortion = self._model(model, np.asarray(distortion, dtype=float).ravel())
        self.camera = Camera(width, height, matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
        matrix = self.camera.matrix  # whatever stands in its other places
        pinhole = model == "none" or (model != "equidistant" and not distortion.any())
        self._lens = None if pinhole else (matrix, distortion, model == "equidistant")
        size = (width, height)
        if max(size) > self.LONGEST_SIDE or width * height > self.MAX_PIXELS:
            raise InputError(
                f"camera is of {width}x{height} pixels, expected sides of at most {self.LONGEST_SIDE} and "
                f"{self.MAX_PIXELS // 10**6} million pixels"
            )

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Where the pixels of the undistorted image are; None of a pinhole camera. Of the first image that fits."""
        if self._lens is None:
            return None
        matrix, distortion, equidistant = self._lens
        size = self.camera.width, self.camera.height
        if equidistant:
            # even without coefficients r = f * theta, which is no pinhole
            return cv2.fisheye.initUndistortRectifyMap(matrix, distortion, np.eye(3), matrix, size, cv2.CV_16SC2)
        return cv2.initUndistortRectifyMap(matrix, distortion, None, matrix, size, cv2.CV_16SC2)

    @classmethod
    def _model(cls, name: str, distortion: np.ndarray) -> tuple[str, np.ndarray]:
        """One of MODELS, and as many coefficients as OpenCV takes for it."""
        found = re.sub(r"[\s_\-]+", "", name.lower())
        model = next((model for model, names in cls.ALIASES.items() if found in names.split()), found)
        if not np.isfinite(distortion).all():
            raise InputError(f"camera is not calibrated: {name} distortion {distortion.tolist()} is not finite")
        if model == "":
            # four coefficients do not tell which of two models they are of
            model = "none" if not distortion.any() else "plumb_bob" if len(distortion) > 4 else "unnamed"
        if model not in cls.MODELS:
            raise InputError(f"distortion model {name!r} is unknown, expected one of {cls.MODELS}")
        if model == "none" and distortion.any():
            raise InputError(f"distortion model {name!r} has coefficients {distortion.tolist()}, expected none")
        if not distortion.size:
            return model, np.zeros(4)
        lengths = (4,) if model == "equidistant" else cls.COEFFICIENTS
        fitting = [n for n in lengths if n <= distortion.size and not distortion[n:].any()]
        if not fitting and distortion.any():
            raise InputError(
                f"camera is not calibrated: {name} distortion has {distortion.size} coefficients, "
                f"expected {', '.join(map(str, lengths))}"
            )
        length = distortion.size if distortion.size in fitting else fitting[0] if fitting else 4
        return model, np.zeros(4) if not distortion.any() else distortion[:length]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The undistorted image, same shape; raises InputError for an image of another size."""
        self.camera.check_image(image)
        return image if self._maps is None else cv2.remap(image, *self._maps, cv2.INTER_LINEAR)

    @property
    def rig(self) -> Camera | Rig:
        """The camera of the images that `views` gives: `camera`, or virtual views of a wide lens, in its frame."""
        return self.camera if self._wide is None else self._wide[0]

    def views(self, image: np.ndarray) -> Images:
        """The undistorted image, or those of the virtual views of a wide lens; raises InputError as calling it does."""
        if self._wide is None:
            return self(image)
        self.camera.check_image(image)
        return tuple(cv2.remap(image, *maps, cv2.INTER_LINEAR) for maps in self._wide[1])

    @cached_property
    def _wide(self) -> tuple[Rig, list[tuple[np.ndarray, np.ndarray]]] | None:
        """The virtual views and their maps; None where one pinhole image is enough."""
        from .virtual_views import Lens, view_maps, virtual_rig

        if self._lens is None:
            return None
        lens = Lens(*self._lens)
        rig = virtual_rig(lens, self.camera.width, self.camera.height)
        if rig is None:
            return None
        return rig, [view_maps(lens, *view) for view in zip(rig.cameras, rig.T_rig_camera, strict=True)]


@dataclass(frozen=True)
class Calibration:
    """A camera calibration as sensor_msgs/CameraInfo has it: of all pixels of the sensor, before binning and ROI."""

    width: int
    height: int
    """Of the calibrated image; 0 where the driver does not tell: as large as the images then."""
    matrix: np.ndarray
    """K (3, 3), pixels, of the raw image."""
    distortion: np.ndarray
    distortion_model: str
    projection: np.ndarray = field(default_factory=lambda: np.zeros((3, 4)))
    """P (3, 4), pixels, of the rectified image; zero where not told."""
    binning: tuple[int, int] = (1, 1)
    """Pixels of the sensor that make one of the image, x and y."""
    roi: tuple[int, int, int, int] = (0, 0, 0, 0)
    """The part of the sensor that is sent, before binning: x, y, width, height; width 0: all."""

    @property
    def needs_image_size(self) -> bool:
        """Whether only the images tell how large they are, or whether K is of binned pixels already."""
        return not (self.width and self.height) or self.binning != (1, 1) or bool(self.roi[2])

    def rectifier(self, image_size: tuple[int, int] | None = None, rectified: bool = False) -> Rectifier:
        """What turns the images of this camera into those of a pinhole camera.

        `image_size` (width, height) is that of the images, where known. `rectified` images (image_rect) are free of
        distortion already, and are those of P. Raises InputError if the camera is not calibrated.
        """
        matrix, distortion, model = self.matrix, self.distortion, self.distortion_model
        if rectified:
            # many a driver of a camera without distortion fills in K alone
            alone = not self.projection.any() and not self.distortion.any()
            matrix = self.matrix if alone else self.projection[:, :3]
            distortion, model = np.zeros(0), "none"
            if not matrix[0, 0] > 0:
                raise InputError(f"camera is not calibrated: P of rectified images has fx {matrix[0, 0]:g}")
        elif not matrix.any() and self.projection[0, 0] > 0:
            raise InputError("camera is not calibrated: K is zero, but P is not (rectified: true takes P)")
        _check_pixels(matrix, self.width or (image_size or (0, 0))[0])
        full = Camera(
            self.width or (image_size or (0, 0))[0], self.height or (image_size or (0, 0))[1],
            matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2],
        )  # fmt: skip
        camera = self._sent(full)
        if image_size == (full.width, full.height):
            camera = full  # some drivers tell of binning, and calibrate the binned image
        return Rectifier(camera.width, camera.height, camera.matrix, distortion, model)

    def _sent(self, full: Camera) -> Camera:
        """The camera of the window and of the binned pixels that are sent."""
        x, y, width, height = self.roi
        if width and height:
            full = full.cropped(x, y, width, height)
        across, down = self.binning
        return full.resized(full.width // across, full.height // down) if self.binning != (1, 1) else full


_MIN_FOCAL = 0.02
"""Of the width: a lens of r = f theta that sees half a turn has 0.3 of it, a pinhole of 175 degrees 0.02."""


def _check_pixels(matrix: np.ndarray, width: int) -> None:
    """Raises InputError for numbers at the places of K (3, 3) that are no pixels of an image of that width."""
    if matrix[2, :2].any():
        raise InputError(
            f"camera is not calibrated: the last row of K is {matrix[2].tolist()}, expected 0 0 1 (row by row)"
        )
    if 0 < matrix[0, 0] < _MIN_FOCAL * width:
        raise InputError(f"camera is not calibrated: fx is {matrix[0, 0]:g} of {width} pixels, expected pixels")
    if matrix[0, 0] > 0 and not matrix[:2, 2].any():
        raise InputError("camera is not calibrated: its principal point is at 0, 0, expected pixels near the middle")


def is_rectified(topic: str) -> bool:
    """Whether the name of a topic says that its images are rectified: image_rect, image_rect_color/compressed."""
    return any(part.startswith("image_rect") for part in topic.split("/"))
