# SPDX-License-Identifier: Apache-2.0
"""Samples and loss of the reference method's online network."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial.transform import Rotation

from ..geometry import inverse, to_quaternion
from ..localization.features import MIN_WIDTH_M, render_map
from ..localization.regressor import depth_input, image_input
from .samples import start_pose
from .shards import Frame
from .variation import mirrored, reframed, varied


class RegressSampleConfig(BaseModel):
    """What `regress_sample` reads of a training's settings."""

    model_config = ConfigDict(frozen=True)

    width: int = Field(320, ge=16, description="network input width before padding [pixels]")
    height: int = Field(96, ge=16, description="network input height before padding [pixels]")
    stage: int = Field(1, ge=1, le=3, description="start errors: 2 m and 10 deg, 1 m and 2 deg, 0.6 m and 2 deg")
    published: bool = Field(
        False, description="the published augmentation and points of one pixel, instead of those of the flow network"
    )


class RegressSample(NamedTuple):
    """What one training step sees of one frame; float32, H and W padded to multiples of 64."""

    image: np.ndarray
    """(3, H, W) RGB, ImageNet-normalised, zero where padded."""
    depth: np.ndarray
    """(1, H, W) [100 m] of the map from the start pose, zero where no point projects."""
    translation: np.ndarray
    """(3) [m] of T_start_true."""
    quaternion: np.ndarray
    """(4) of T_start_true, x, y, z, w."""


def regress_sample(frame: Frame, config: RegressSampleConfig, rng) -> RegressSample:
    """One varied sample of a frame, its start pose drawn from the stage's errors."""
    frame, image, wider = varied_by(frame, config, rng)
    start = start_pose(frame.T_map_camera, config.stage, rng)
    view = render_map(frame.points, frame.intensity, start, frame.camera, wider * MIN_WIDTH_M)
    return RegressSample(image_input(image), depth_input(view), *target(start, frame.T_map_camera))


def target(start: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Translation (3) [m] and quaternion (4) of T_start_true, from both cameras' poses in the map."""
    translation, quaternion = to_quaternion(inverse(start) @ truth)
    return translation.astype(np.float32), quaternion.astype(np.float32)


def varied_by(frame: Frame, config: RegressSampleConfig, rng) -> tuple[Frame, np.ndarray, float]:
    """What `varied` gives, or the published augmentation of it with points of one pixel."""
    if not config.published:
        return varied(frame, config.width, config.height, rng)
    if rng.random() < 0.5:
        frame = mirrored(frame)
    frame = rolled(reframed(frame, config.width, config.height, rng, vary=False), np.radians(rng.uniform(-5, 5)))
    return frame, colour_jitter(frame.image, rng).transpose(2, 0, 1), 0.0


def rolled(frame: Frame, angle: float) -> Frame:
    """The frame as a camera would see it that is turned about its viewing direction by an angle [rad]."""
    turn, K, camera = Rotation.from_euler("z", angle).as_matrix(), frame.camera.matrix, frame.camera
    warp = K @ turn.T @ np.linalg.inv(K)
    image = cv2.warpAffine(np.ascontiguousarray(frame.image), warp[:2], (camera.width, camera.height))
    pose = frame.T_map_camera.copy()
    pose[:3, :3] = pose[:3, :3] @ turn
    return replace(frame, image=image, T_map_camera=pose, depth=None)


def colour_jitter(image: np.ndarray, rng, size: float = 0.1) -> np.ndarray:
    """Brightness, contrast and saturation times 1 +- `size`; (H, W, 3) uint8 to float32 in [0, 1]."""
    brightness, contrast, saturation = rng.uniform(1 - size, 1 + size, 3).astype(np.float32)
    out = image.astype(np.float32) / 255 * brightness
    middle = out.mean()
    out = middle + (out - middle) * contrast
    grey = out.mean(2, keepdims=True)
    return np.clip(grey + (out - grey) * saturation, 0, 1)


def pose_loss(translation, quaternion, true_translation, true_quaternion, rotation_weight: float):
    """Smooth L1 of the translation [m], summed over the axes, plus the weighted angle [rad]; means over the batch.

    Returns the loss, and the errors of each sample: metres (B) and radians (B).
    """
    angle = quaternion_angle(quaternion.float(), true_quaternion)
    error = translation.float() - true_translation
    loss = F.smooth_l1_loss(translation.float(), true_translation, reduction="none").sum(1) + rotation_weight * angle
    return loss.mean(), error.detach().norm(dim=1), angle.detach()


def quaternion_angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Angle (B) [rad] between rotations given as unit quaternions (B, 4), x, y, z, w.

    By the arc tangent, whose slope stays finite where the arc cosine's does not: at zero.
    """
    (va, wa), (vb, wb) = ((q[:, :3], q[:, 3:]) for q in (a, b))
    vector = wa * vb - wb * va - torch.linalg.cross(va, vb, dim=1)
    return 2 * torch.atan2((vector.square().sum(1) + 1e-12).sqrt(), (a * b).sum(1).abs())


def regress_loss(net, image, depth, translation, quaternion, rotation_weight: float = 1.0):
    """The loss of one batch of `RegressSample`, and figures to watch."""
    loss, metres, angle = pose_loss(*net(image, depth), translation, quaternion, rotation_weight)
    return loss, {"error_m": float(metres.median()), "error_deg": float(torch.rad2deg(angle).median())}
