# SPDX-License-Identifier: Apache-2.0
"""What a bag must hold to be localized: images, their calibration, the place of the camera, odometry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from ..configuration import Config
from ..datasets.bag import BagReader
from ..datasets.messages import Image
from ..datasets.moving_frames import trajectory_from_odometry
from ..datasets.trajectory import Trajectory
from ..errors import BagError, InputError
from ..geometry import Camera, Rectifier

DEFAULT_ODOMETRY = "/odom"


class BagInputs(Config):
    """Names in the bag."""

    image: str = Field("/camera/image_raw", description="topic of the images, raw or compressed")
    camera_info: str = Field("/camera/camera_info", description="topic of the calibration")
    odometry: str | None = Field(
        None, description="topic of the odometry; null: /odom if the bag has it; empty: constant velocity predicts"
    )
    tf_static: str = Field("/tf_static", description="topic of the fixed transforms")
    base_frame: str = Field("base_link", min_length=1, description="frame whose pose is wanted")
    camera_frame: str = Field("", description="optical frame of the camera; empty: that of the calibration")


@dataclass(frozen=True)
class CameraSetup:
    """A camera on a robot."""

    rectifier: Rectifier
    """Turns raw images into those of `camera`."""
    T_base_camera: np.ndarray
    """(4, 4), camera optical frame in base_link."""

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the undistorted images."""
        return self.rectifier.camera


def read_setup(reader: BagReader, inputs: BagInputs) -> CameraSetup:
    """The camera of a bag; raises BagError for a missing topic, calibration or transform."""
    reader.require(inputs.image, inputs.camera_info, inputs.tf_static)
    info = reader.camera_info(inputs.camera_info)
    frame = inputs.camera_frame or info.frame
    if not frame:
        raise BagError(f"{reader.path}: {inputs.camera_info} names no frame, expected that of the camera")
    pose = reader.static_transforms(inputs.tf_static).lookup(inputs.base_frame, frame)
    try:
        return CameraSetup(info.rectifier(), pose)
    except InputError as error:
        raise BagError(f"{reader.path}: {inputs.camera_info}: {error}") from None


def read_odometry(reader: BagReader, inputs: BagInputs) -> Trajectory | None:
    """The odometry of a bag, None where there is none.

    Raises BagError if it was named and is missing, or if it is of a frame whose place on the robot is not known.
    """
    topic = inputs.odometry
    if topic is None:
        topic = DEFAULT_ODOMETRY if DEFAULT_ODOMETRY in reader.topics else ""
    return trajectory_from_odometry(reader, topic, inputs.base_frame, inputs.tf_static) if topic else None


def images(reader: BagReader, inputs: BagInputs, setup: CameraSetup) -> Iterator[tuple[int, np.ndarray]]:
    """Stamps [ns] and undistorted images (H, W, 3) of a bag, in order; raises BagError for a wrong size or none."""
    empty = True
    for message in reader.messages([inputs.image]):
        if not isinstance(message, Image):
            raise BagError(f"{reader.path}: {inputs.image} is of type {reader.topics[inputs.image]}, expected an image")
        try:
            yield message.stamp_ns, setup.rectifier(message.image)
        except InputError as error:
            raise BagError(f"{reader.path}: {inputs.image} at {message.stamp_ns} ns: {error}") from None
        empty = False
    if empty:
        raise BagError(f"{reader.path}: {inputs.image} holds no message, expected images")
