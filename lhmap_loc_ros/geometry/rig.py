# SPDX-License-Identifier: Apache-2.0
"""Several pinhole cameras in fixed places to each other, whose images of one moment belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np

from ..errors import InputError
from .camera import Camera
from .pose import inverse

Images = np.ndarray | Sequence[np.ndarray]
"""What a camera or a rig saw: an image (H, W, 3) uint8 RGB, or one of each camera of the rig."""


class PosedImage(NamedTuple):
    """An undistorted image with its camera, in a rig."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    camera: Camera
    T_rig_camera: np.ndarray
    """(4, 4), the camera's optical frame in the rig's."""


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras of one robot, or virtual views of one lens; it stands where a `Camera` does.

    Its frame is an optical one (x right, y down, z forward), and its image a sequence of images, one of each camera.
    """

    cameras: tuple[Camera, ...]
    T_rig_camera: tuple[np.ndarray, ...]
    """(4, 4) each, the optical frame of each camera in that of the rig."""

    def __post_init__(self) -> None:
        if not self.cameras or len(self.cameras) != len(self.T_rig_camera):
            raise InputError(f"a rig of {len(self.cameras)} cameras has {len(self.T_rig_camera)} poses")

    def check_image(self, images: Images) -> None:
        """Raises InputError unless there is an image of each camera's size."""
        if len(images) != len(self.cameras):
            raise InputError(f"{len(images)} images found, expected one of each of {len(self.cameras)} cameras")
        for image, camera in zip(images, self.cameras, strict=True):
            camera.check_image(image)


def posed_images(image: Images, camera: Camera | Rig) -> tuple[PosedImage, ...]:
    """The images of a rig one by one; of a camera its only one, in its own frame."""
    if isinstance(camera, Camera):
        # of a camera it is one array
        return (PosedImage(cast(np.ndarray, image), camera, np.eye(4)),)
    return tuple(map(PosedImage, image, camera.cameras, camera.T_rig_camera))


def front_index(camera: Camera | Rig) -> int:
    """Which camera of a rig looks along its axis most nearly; 0 of a camera alone."""
    if isinstance(camera, Camera):
        return 0
    return max(range(len(camera.cameras)), key=lambda k: camera.T_rig_camera[k][2, 2])


def front_view(image: Images, camera: Camera | Rig) -> PosedImage:
    """The image that looks along the axis of the rig most nearly, for what takes but one."""
    return posed_images(image, camera)[front_index(camera)]


def joined(parts: Sequence[tuple[Camera | Rig, np.ndarray]]) -> tuple[Camera | Rig, np.ndarray]:
    """One rig of cameras and rigs and their poses (4, 4) on the robot, and its own pose there: that of the first.

    One alone stays what it is.
    """
    first, T_base_rig = parts[0]
    if len(parts) == 1:
        return first, T_base_rig
    cameras: list[Camera] = []
    poses: list[np.ndarray] = []
    for camera, T_base_part in parts:
        T_rig_part = inverse(T_base_rig) @ T_base_part
        cameras += [camera] if isinstance(camera, Camera) else camera.cameras
        poses += [T_rig_part @ T for T in ([np.eye(4)] if isinstance(camera, Camera) else camera.T_rig_camera)]
    return Rig(tuple(cameras), tuple(poses)), T_base_rig


def joined_images(parts: Sequence[Images]) -> Images:
    """The images of the rig that `joined` gives, in its order."""
    if len(parts) == 1:
        return parts[0]
    return tuple(image for part in parts for image in ([part] if isinstance(part, np.ndarray) else part))
