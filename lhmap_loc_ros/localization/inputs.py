# SPDX-License-Identifier: Apache-2.0
"""What a bag must hold to be localized: images, their calibration, the place of the camera, odometry."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from pydantic import Field, field_validator

from ..configuration import Config, Pose, check_pose
from ..datasets.bag import BagReader
from ..datasets.calibration_files import SUFFIXES, read_calibration
from ..datasets.messages import Image
from ..datasets.moving_frames import trajectory_from_odometry
from ..datasets.trajectory import Trajectory
from ..errors import BagError, InputError
from ..geometry import Calibration, Camera, Rectifier, Rig, from_quaternion, is_rectified
from .image_order import FAR_S, ImageOrder, Order

DEFAULT_ODOMETRY = "/odom"
_STEEP = math.sin(math.radians(65))
"""Cameras are mounted with an inclination of up to 60 degrees."""
_log = logging.getLogger(__name__)
Seen = TypeVar("Seen")
"""What is made of an image: itself undistorted, or the views of a wide lens."""


class CameraInputs(Config):
    """Names of a camera in the bag."""

    image: str = Field("/camera/image_raw", description="topic of the images, raw or compressed")
    camera_info: str = Field(
        "/camera/camera_info", description="topic of the calibration, or a file .yaml of ROS camera_calibration or of "
        "Kalibr",
    )  # fmt: skip
    rectified: bool | None = Field(
        None, description="true: images are rectified, their camera matrix is P; false: they are distorted, as K and D "
        "say; null: true where the name of the topic has image_rect in it",
    )  # fmt: skip
    image_delay_s: float = Field(
        0.0, ge=-10, le=10, description="time by which the stamps of images are later than the exposure, by the clock "
        "of the poses; subtracted from the stamps [s]",
    )  # fmt: skip
    camera_frame: str = Field(
        "", description="optical frame of the camera (x right, y down, z forward); empty: that of the calibration"
    )
    camera_in_base: Pose | None = Field(
        None, description="extrinsic calibration: pose of the camera's optical frame in base_frame, x y z qx qy qz qw; "
        "null: from tf_static [m, quaternion]",
    )  # fmt: skip

    _camera_in_base_is_a_pose = field_validator("camera_in_base")(check_pose)

    @property
    def delay_ns(self) -> int:
        """`image_delay_s` in nanoseconds."""
        return round(self.image_delay_s * 1e9)

    def stamp_ns(self, message: Image) -> int:
        """When an image was taken, by the clock of the poses, nanoseconds."""
        return message.stamp_ns - self.delay_ns


class BagInputs(CameraInputs):
    """Names in the bag."""

    odometry: str | None = Field(
        None, description="topic of the odometry; null: /odom if the bag has it; empty: constant velocity predicts"
    )
    tf_static: str = Field("/tf_static", description="topic of the static transforms")
    base_frame: str = Field("base_link", min_length=1, description="frame of the robot, whose pose is estimated")
    more_cameras: tuple[CameraInputs, ...] = Field(
        (), description="further cameras, each with image, camera_info and so on; images of one stamp are localized "
        "together",
    )  # fmt: skip

    @property
    def cameras(self) -> tuple[BagInputs, ...]:
        """The same for each camera alone."""
        alone = {"more_cameras": ()}
        return tuple(
            self.model_copy(update={name: getattr(camera, name) for name in CameraInputs.model_fields} | alone)
            for camera in (self, *self.more_cameras)
        )


@dataclass(frozen=True)
class CameraSetup:
    """A camera on a robot."""

    rectifier: Rectifier
    """Turns raw images into those of `camera`."""
    T_base_camera: np.ndarray
    """(4, 4), camera optical frame in base_link."""
    frame: str
    """Name of the optical frame, "" where nothing tells."""

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the undistorted images."""
        return self.rectifier.camera

    @property
    def rig(self) -> Camera | Rig:
        """What the tracker sees by: the same, or the virtual views of a wide lens."""
        return self.rectifier.rig


def read_setup(reader: BagReader, inputs: BagInputs, further: bool = False) -> CameraSetup:
    """The camera of a bag; raises BagError for a missing topic, calibration or transform.

    `further` tells that it is one of `more_cameras`.
    """
    in_file = inputs.camera_info.endswith(SUFFIXES)
    reader.require(inputs.image, *([] if in_file else [inputs.camera_info]), otherwise=_other_inputs(reader, further))
    rectified = is_rectified(inputs.image) if inputs.rectified is None else inputs.rectified

    @cache
    def first_image() -> Image | None:
        return next((found for found in reader.messages([inputs.image]) if isinstance(found, Image)), None)

    def rectifier_of(calibration: Calibration) -> Rectifier:
        first = first_image() if calibration.needs_image_size else None
        return calibration.rectifier(None if first is None else first.image.shape[1::-1], rectified)

    if in_file:
        frame = inputs.camera_frame or getattr(first_image(), "frame", "")
        try:
            rectifier = rectifier_of(read_calibration(inputs.camera_info, inputs.image))
        except InputError as error:
            raise BagError(f"{reader.path}: {inputs.camera_info}: {error}") from None
    else:
        info, rectifier = reader.first_calibration(inputs.camera_info, lambda info: rectifier_of(info.calibration))
        frame = inputs.camera_frame or info.frame or getattr(first_image(), "frame", "")
    setup = CameraSetup(rectifier, _camera_in_base(reader, inputs, frame), frame)
    if frame != inputs.base_frame and (doubt := doubt_of_frame(setup.T_base_camera, frame)):
        _log.warning("%s: %s", reader.path, doubt)
    return setup


def _other_inputs(reader: BagReader, further: bool) -> str:
    """What to do where the topics of the camera are not in the bag: name those that are, or take another bag.

    `further`: it is not the first camera of the robot.
    """
    images = reader.of_type("sensor_msgs/Image", "sensor_msgs/CompressedImage")
    if not images:
        return "none has images: is it the bag of a run with a camera?"
    infos = reader.of_type("sensor_msgs/CameraInfo")
    camera_info = infos[0] if infos else "CALIBRATION.yaml"
    if further:
        return f"in --config FILE, inputs.more_cameras, name others; images are on {', '.join(images)}"
    return f"in --config FILE set inputs: {{image: {images[0]}, camera_info: {camera_info}}}"


def one_camera(inputs: BagInputs, who: str) -> BagInputs:
    """The same; raises InputError for several cameras, where `who` looks at one."""
    if inputs.more_cameras:
        raise InputError(f"more_cameras found, but {who} looks at one camera: give each a file of its own, in its turn")
    return inputs


def doubt_of_frame(T_level_camera: np.ndarray, frame: str) -> str:
    """What is to be asked of a camera that looks up or down, "" of others: its frame may be one with x ahead.

    `T_level_camera` (4, 4) is the pose of `frame` in any frame whose z axis points up.
    """
    up = T_level_camera[2, 2]
    if abs(up) < _STEEP:
        return ""
    return (
        f"the camera looks at the {'sky' if up > 0 else 'ground'}: is {frame!r} its optical frame (z ahead, x right, "
        "y down), and its place on the robot right?"
    )


def _camera_in_base(reader: BagReader, inputs: BagInputs, frame: str) -> np.ndarray:
    """T_base_camera (4, 4) from the settings, else from the fixed transforms."""
    if inputs.camera_in_base is not None:
        return from_quaternion(inputs.camera_in_base[:3], inputs.camera_in_base[3:])
    if frame == inputs.base_frame:
        return np.eye(4)
    if inputs.tf_static not in reader.topics:
        reader.require(inputs.tf_static)
    if not frame:
        raise BagError(f"{reader.path}: {inputs.camera_info} names no frame, expected that of the camera")
    return reader.static_transforms(inputs.tf_static).lookup(inputs.base_frame, frame)


def read_odometry(reader: BagReader, inputs: BagInputs) -> Trajectory | None:
    """The odometry of a bag, None where there is none.

    Raises BagError if it was named and is missing, or if it is of a frame whose place on the robot is not known.
    """
    topic = inputs.odometry
    if topic is None:
        topic = DEFAULT_ODOMETRY if DEFAULT_ODOMETRY in reader.topics else ""
    return trajectory_from_odometry(reader, topic, inputs.base_frame, inputs.tf_static) if topic else None


def images(reader: BagReader, inputs: BagInputs, setup: CameraSetup) -> Iterator[tuple[int, np.ndarray]]:
    """Stamps [ns] and undistorted images (H, W, 3) of a bag's first camera, in order; raises BagError if there is none.

    Images that are broken, of another size, or no later than one before are left out and counted, and what comes after
    damage of the file.
    """
    for _, stamp_ns, image in images_of_all(reader, [inputs], [setup.rectifier]):
        yield stamp_ns, image


def images_of_all(
    reader: BagReader, cameras: Sequence[CameraInputs], undistort: Sequence[Callable[[np.ndarray], Seen]]
) -> Iterator[tuple[int, int, Seen]]:
    """Number of the camera, stamp [ns] and what `undistort` makes of each image, in the order of recording.

    Each camera's are in order of their stamps; as in `images`, what is of no use is left out.
    """
    begins, orders = zip(*[_order(reader, camera) for camera in cameras], strict=True)
    used = False
    numbers, error = {camera.image: k for k, camera in enumerate(cameras)}, None
    messages = reader.messages(list(numbers))
    while True:
        try:
            message = next(messages)
        except StopIteration:
            break
        except BagError as damage:
            if not used:
                raise
            reader.left_out.add(cameras[0].image, f"the file ends early: {damage}", None)
            break
        topic, k = message.topic, numbers[message.topic]
        if not isinstance(message, Image):
            raise BagError(f"{reader.path}: {topic} is of type {reader.topics[topic]}, expected an image")
        stamp_ns = cameras[k].stamp_ns(message)
        if message.stamp_ns == begins[k]:
            reader.left_out.add(topic, "stamped far from those after it", stamp_ns)
            continue
        order = orders[k].of(topic, stamp_ns, np.inf)
        if order is not Order.NEXT:
            ahead = "stamped long after the image before, and no other is"
            before = "stamped as the image before" if orders[k].jump_s == 0 else "stamped before the image before"
            why = ahead if order is Order.FAR_AHEAD else before
            reader.left_out.add(topic, why, (stamp_ns, why))
            continue
        try:
            image = undistort[k](message.image)
        except InputError as wrong:
            error = error or f"{topic}: {wrong}"
            reader.left_out.add(topic, str(wrong), stamp_ns)
            continue
        used = True
        yield k, stamp_ns, image
    if not used:
        found = error or f"{', '.join(numbers)} holds no message, expected images"
        raise BagError(f"{reader.path}: {found}")


def _order(reader: BagReader, camera: CameraInputs) -> tuple[int | None, ImageOrder]:
    """The stamp [ns] of the first image if it is false, and what judges the stamps of those after it."""
    stamps = np.array(reader.first_stamps(camera.image), np.int64)
    steps = np.abs(np.diff(stamps)) / 1e9
    # false stamps make two steps long
    far_s = max(FAR_S, 10 * float(np.quantile(steps, 0.25, method="lower"))) if len(steps) > 1 else FAR_S
    false = len(steps) > 1 and steps[0] > far_s >= steps[1]
    return int(stamps[0]) if false else None, ImageOrder([camera.image], far_s)
