# SPDX-License-Identifier: Apache-2.0
"""The images of all cameras of a robot, from messages to undistorted arrays in order of their stamps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..errors import InputError
from ..geometry import Images, joined, joined_images
from ..localization.estimate import PosedCamera
from ..localization.image_order import ImageOrder, Order
from ..localization.inputs import doubt_of_frame
from . import conversions as convert
from .camera_input import CameraInput
from .diagnostics import Health
from .fixed_frames import FixedFrames
from .latest import Frame
from .localizer_config import LocalizerConfig
from .reports import Reports
from .stamps import Stamps


def topic_of(camera: str, name: str) -> str:
    """The topic of a camera; where there is but one, it has no name."""
    return f"{camera}/{name}" if camera else name


def image_topic(config: LocalizerConfig, camera: str) -> str:
    """Where the images of a camera come."""
    return topic_of(camera, "image" if config.image_transport == "raw" else "image/compressed")


class CameraImages:
    """One `CameraInput` for each camera; `on_...` is for the executor's thread, the rest for the worker's."""

    def __init__(
        self, node: Node, config: LocalizerConfig, frames: FixedFrames, health: Health, reports: Reports
    ):  # fmt: skip
        """Raises InputError for a calibration file that is none."""
        self._node, self._health, self._reports = node, health, reports
        self.names = config.cameras or ("",)
        """Of all cameras; one alone has none."""
        self._kind = Image if config.image_transport == "raw" else CompressedImage
        self._delay_ns = round(config.image_delay_s * convert.SECOND_NS)
        self._topics = [node.resolve_topic_name(image_topic(config, name)) for name in self.names]
        self._stamps = {name: Stamps(node, "an image") for name in self.names}
        self._cameras = {
            name: CameraInput(config, frames, topic, topic_of(name, "camera_info"), name)
            for name, topic in zip(self.names, self._topics, strict=True)
        }
        self._order = ImageOrder(self.names)
        self._asked_about: set[str] = set()

    def none_has_come(self) -> str:
        """What to say where no image has come."""
        topics = ", ".join(self._topics)
        if any(map(self._node.count_publishers, self._topics)):
            hint = "published, but not received: `ros2 topic info --verbose` shows type and QoS of both sides"
        else:
            hint = "it has no publisher: `ros2 topic list` shows what there is"
        return f"no image has come on {topics} ({hint})"

    def on_image(self, camera: str, data: bytes) -> Frame | None:
        """An image as it was sent, with the time it was taken; None for one without a stamp, which is told."""
        try:
            stamp_ns, frame_id = convert.serialized_header(data)
            taken_ns = self._stamps[camera].of(stamp_ns) - self._delay_ns
        except InputError as error:
            self._reports.leave_out("image", str(error))
            return None
        self._cameras[camera].on_image_frame(frame_id)
        return Frame(taken_ns, data, camera, frame_id)

    def on_camera_info(self, camera: str, message: CameraInfo) -> None:
        """A calibration; one that is none is told, and the one before stays."""
        try:
            self._cameras[camera].on_camera_info(message)
        except InputError as error:
            self._reports.leave_out("camera_info", f"camera_info: {error}")

    def usable(self, frames: Sequence[Frame], clock_went_back: Callable[[float], None]) -> list[Frame]:
        """Those of cameras of which all is known, whose stamps are in order; the others are told.

        `clock_went_back` is called with the seconds that the clock went back by, before what comes after it is used.
        """
        known = [frame for frame in frames if self._is_known(frame)]
        return known if known and self._are_in_order(known, clock_went_back) else []

    def of_known_cameras(self, frames: Sequence[Frame]) -> list[Frame]:
        """Those of cameras of which all is known."""
        return [frame for frame in frames if not self._cameras[frame.camera].missing]

    def _is_known(self, frame: Frame) -> bool:
        missing = self._cameras[frame.camera].missing
        if missing:
            self._health.refuse(missing)
        return not missing

    def _are_in_order(self, frames: Sequence[Frame], clock_went_back: Callable[[float], None]) -> bool:
        order = self._order.of_set({frame.camera: frame.stamp_ns for frame in frames})
        if order is Order.LATE:
            self._health.late += len(frames)
        elif order is Order.FAR_AHEAD:
            self._reports.refuse(f"an image is stamped {self._order.jump_s:.0f} s after the last one")
        elif order is Order.ANEW:
            clock_went_back(self._order.jump_s)
        return order in (Order.NEXT, Order.ANEW)

    def undistorted(self, frames: Sequence[Frame]) -> tuple[Images, PosedCamera]:
        """The images of one moment, and the cameras as one; raises InputError if none can be read."""
        parts, problem = [], None
        for frame in frames:
            try:
                parts.append(self._cameras[frame.camera].undistort(convert.read_image(frame.data, self._kind)))
            except InputError as error:
                problem = error
        if problem is not None:
            if not parts:
                raise problem
            self._reports.leave_out("image", str(problem))
        posed = PosedCamera(*joined([(camera.camera, camera.T_base_camera) for _, camera in parts]))
        return joined_images([image for image, _ in parts]), posed

    def tell_doubt(self, frames: Sequence[Frame], T_map_base: np.ndarray) -> None:
        """Tells, once a camera, that it seems to look up or down, by where the robot was (4, 4) at its first image."""
        for name in [frame.camera for frame in frames if frame.camera not in self._asked_about]:
            self._asked_about.add(name)
            camera = self._cameras[name]
            doubt = doubt_of_frame(T_map_base @ camera.T_base_camera, camera.frame or "camera_in_base")
            if doubt:
                self._health.doubt = doubt
                self._node.get_logger().warning(doubt)
