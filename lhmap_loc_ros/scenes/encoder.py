# SPDX-License-Identifier: Apache-2.0
"""What relocalizers learned from images see of an image: features of cells, by the frozen image encoder.

Images of any camera are brought to the mapping robot's, at the size that the encoder takes.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..errors import InputError, ModelError
from ..geometry import Camera
from ..inference import Backend, Precision, load_model
from ..localization.features import View, grid_for

CELL = 8
"""Edge of a cell [pixels of the view]."""
COARSE = 96
"""Channels of the features at 1/8."""
MIN_SEEN = 0.25
"""Cameras that see less of the view than this share are of no use."""


def view_camera(camera: Camera) -> Camera:
    """The camera as the encoder takes its images: on the grid onto which they fit best."""
    return View.of(camera, *grid_for(camera)).camera


def cell_centres(view: Camera) -> np.ndarray:
    """Pixels (h * w, 2) float64 of the centres of the cells of a view, row by row."""
    columns = np.arange(view.width // CELL) * CELL + (CELL - 1) / 2
    rows = np.arange(view.height // CELL) * CELL + (CELL - 1) / 2
    u, v = np.meshgrid(columns, rows)
    return np.column_stack([u.ravel(), v.ravel()])


def cell_rays(view: Camera) -> np.ndarray:
    """Directions (h * w, 3) of the cells' centres in the optical frame, of depth 1."""
    u, v = cell_centres(view).T
    return np.column_stack([(u - view.cx) / view.fx, (v - view.cy) / view.fy, np.ones_like(u)])


def brought_to(image: np.ndarray, camera: Camera, view: Camera) -> tuple[np.ndarray, np.ndarray]:
    """An undistorted image (H, W, 3) uint8 RGB as the view's camera sees it, and which cells it covers.

    Returns the network's input (3, height, width) float32 in [0, 1] and (h * w,) bool. Raises InputError for an image
    of another size than the camera's, and for a camera that sees little of the view.
    """
    camera.check_image(image)
    small = camera.resized(view.width, view.height)
    apart = np.abs(np.subtract([small.fx, small.fy, small.cx, small.cy], [view.fx, view.fy, view.cx, view.cy]))
    if apart.max() < 0.5:
        return View(view).sample(image), np.ones(view.width // CELL * (view.height // CELL), bool)
    # pixels about as large as the view's, so that nothing is left out between two
    factor = max(min(camera.fx / view.fx, camera.fy / view.fy), 1.0)
    size = max(1, round(camera.width / factor)), max(1, round(camera.height / factor))
    image, camera = cv2.resize(image, size, interpolation=cv2.INTER_AREA), camera.resized(*size)
    u, v = _pixels_of(np.arange(view.width), np.arange(view.height), view, camera)
    # beyond the border the image goes on as it ends: an edge there would be taken for one of the scene
    sampled = cv2.remap(
        image, np.clip(u, 0, camera.width - 1).astype(np.float32), np.clip(v, 0, camera.height - 1).astype(np.float32),
        cv2.INTER_LINEAR,
    )  # fmt: skip
    inside = (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
    seen = inside[CELL // 2 :: CELL, CELL // 2 :: CELL].ravel()
    if seen.mean() < MIN_SEEN:
        raise InputError(
            f"the camera sees {100 * seen.mean():.0f} % of what the mapping robot's did, expected at least "
            f"{100 * MIN_SEEN:.0f} %: learn with a camera of a similar field of view"
        )
    return sampled.transpose(2, 0, 1).astype(np.float32) * np.float32(1 / 255), seen


def _pixels_of(columns: np.ndarray, rows: np.ndarray, view: Camera, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Where in `camera` the pixels of `view` lie, both looking the same way: u and v (rows, columns)."""
    u = (columns - view.cx) / view.fx * camera.fx + camera.cx
    v = (rows - view.cy) / view.fy * camera.fy + camera.cy
    return np.meshgrid(u, v)


class SceneEncoder:
    """Features of cells of 8 pixels: those at 1/8 of the frozen image encoder, and the mean of those at 1/4."""

    def __init__(
        self, view: Camera, backend: Backend | str = Backend.AUTO, precision: Precision | str = Precision.FP32,
        device: str = "auto", threads: int = 0, network: str = "encoder_image",
    ):  # fmt: skip
        """`view`: the camera of its images, see `view_camera`; the rest as in `load_model`. Raises ModelError."""
        self.view = view
        self._model = load_model(network, backend, precision, device, threads, grid=(view.width, view.height))
        expected = (1, 3, view.height, view.width)
        if self._model.inputs.get("image") != expected or set(self._model.outputs) < {"features8", "features4"}:
            raise ModelError(
                f"{self._model.path} has inputs {self._model.inputs} and outputs {list(self._model.outputs)}, expected "
                f"'image' of shape {expected}, 'features8' and 'features4'"
            )
        self.coarse = COARSE
        self.sha256: str = self._model.sha256
        """Of the network; what was learned on features of another is of no use."""

    def features(self, channels: np.ndarray) -> np.ndarray:
        """Features (h * w, F) float32 of an image (3, height, width) float32 in [0, 1]."""
        out = self._model.run({"image": channels[None]})
        coarse, fine = out["features8"][0], out["features4"][0]
        pooled = fine.reshape(len(fine), fine.shape[1] // 2, 2, fine.shape[2] // 2, 2).mean((2, 4))
        return np.concatenate([coarse, pooled]).reshape(len(coarse) + len(pooled), -1).T.astype(np.float32)
