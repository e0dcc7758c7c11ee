# SPDX-License-Identifier: Apache-2.0
"""Localization by the reference method: networks that answer with the correction of the pose, one after the other.

After LHMap-loc (arXiv 2403.05002): up to three networks, each trained on smaller start errors. There is no
covariance, so the tracker cannot use it; it is here to be compared with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field

from ..configuration import Config
from ..errors import ModelError
from ..geometry import NO_POINT, Camera, from_quaternion
from ..inference import Backend, find_model, load_model
from ..lhmap import MapPoints
from .features import MapView, View, render_map

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MULTIPLE = 64
"""Heights and widths of the networks' inputs are multiples of this."""
STAGES = 3


class RegressorConfig(Config):
    """Settings of the `Regressor`."""

    model: str = Field("regress", description="name or path prefix of the networks: MODEL_1.onnx to MODEL_3.onnx")
    threads: int = Field(0, ge=0, le=64, description="CPU threads of the networks; 0: one a core, at most 4")
    splat_m: float = Field(0.2, ge=0.0, le=2.0, description="width of a map point when drawn [m]")
    max_depth_m: float = Field(80.0, gt=1.0, description="map points further away are not drawn [m]")


def padded(channels: np.ndarray) -> np.ndarray:
    """Channels (C, H, W), zeros added on the right and below up to multiples of `MULTIPLE`."""
    _, h, w = channels.shape
    return np.pad(channels, ((0, 0), (0, -h % MULTIPLE), (0, -w % MULTIPLE)))


def image_input(image: np.ndarray) -> np.ndarray:
    """The network's image of RGB values (3, H, W) float32 in [0, 1]: ImageNet-normalised and padded."""
    mean, deviation = (np.array(x, np.float32).reshape(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return padded((image - mean) / deviation)


def depth_input(view: MapView) -> np.ndarray:
    """The network's depth (1, H, W) [100 m] of a map view, zero where no point is drawn, padded."""
    depth = np.zeros((1, *view.index.shape), np.float32)
    there = view.index != NO_POINT
    depth[0, there] = view.depth[view.index[there]] / 100
    return padded(depth)


class Correction(Protocol):
    """One network: image (3, H, W) and depth (1, H, W) in, T_start_true out."""

    width: int
    height: int
    """Of the grid before padding [pixels]."""

    def __call__(self, image: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Translation (3) [m] and quaternion (4), x, y, z, w, of the true camera in the start camera's frame."""


class NetworkCorrection:
    """An exported network, in ONNX Runtime: what is here to be compared with must not depend on the machine."""

    def __init__(self, name: str, threads: int):
        self._model = load_model(name, Backend.ONNXRUNTIME, threads=threads)
        try:
            self.width, self.height = (int(self._model.metadata[key]) for key in ("width", "height"))
        except (KeyError, TypeError, ValueError):
            found = self._model.metadata
            raise ModelError(f"{self._model.path}: metadata {found}, expected width and height of the grid") from None

    def __call__(self, image: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = self._model.run({"image": image[None], "depth": depth[None]})
        return out["translation"][0], out["quaternion"][0]


class Regressor:
    """Localizes an image in a piece of map, starting from a rough pose."""

    def __init__(self, config: RegressorConfig, stages: list[Correction] | None = None):
        """`stages` instead of the networks of the configuration, of which as many are used as there are."""
        self.config = config
        self.stages = _load_stages(config) if stages is None else stages

    def localize(
        self, image: np.ndarray, camera: Camera, submap: MapPoints, T_map_camera: np.ndarray
    ) -> list[np.ndarray]:
        """The pose (4, 4) after each network; `image` (H, W, 3) uint8 RGB, undistorted.

        Raises InputError for an image of the wrong size, ModelError for values that are not finite.
        """
        camera.check_image(image)
        pose = np.array(T_map_camera, dtype=np.float64)
        pose[:3, 3] -= submap.origin
        views = {size: View.of(camera, *size) for size in {(stage.width, stage.height) for stage in self.stages}}
        images = {size: image_input(view.sample(image)) for size, view in views.items()}
        poses = []
        for stage in self.stages:
            size = stage.width, stage.height
            drawn = render_map(
                submap.points, submap.intensity, pose, views[size].camera, self.config.splat_m, self.config.max_depth_m
            )
            translation, quaternion = stage(images[size], depth_input(drawn))
            if not (np.isfinite(translation).all() and np.isfinite(quaternion).all()):
                raise ModelError("the regress network returned values that are not finite")
            pose = pose @ from_quaternion(translation, quaternion)
            poses.append(pose.copy())
            poses[-1][:3, 3] += submap.origin
        return poses


def _load_stages(config: RegressorConfig) -> list[Correction]:
    stages: list[Correction] = []
    for number in range(1, STAGES + 1):
        name = f"{config.model}_{number}"
        if stages and not _exists(name):
            break
        stages.append(NetworkCorrection(name, config.threads))
    return stages


def _exists(name: str) -> bool:
    try:
        return Path(find_model(name)).is_file()
    except ModelError:
        return False
