# SPDX-License-Identifier: Apache-2.0
"""What must be known of the camera before its images are of use: calibration, and place on the robot."""

from __future__ import annotations

import threading

import numpy as np
from sensor_msgs.msg import CameraInfo

from ..datasets.calibration_files import read_calibration
from ..datasets.decoding import decode_calibration
from ..errors import InputError
from ..geometry import Calibration, Images, Rectifier, from_quaternion, is_rectified
from ..localization.estimate import PosedCamera
from .fixed_frames import FixedFrames
from .localizer_config import LocalizerConfig


class CameraInput:
    """Keeps the calibration, and the pose of the camera from the parameters or from tf_static, read once."""

    def __init__(self, config: LocalizerConfig, frames: FixedFrames, image_topic: str, info_topic: str, name: str = ""):
        """The topics are those of the images and of the calibration; `name` is that of the camera where it has one.

        Raises InputError for a calibration file that is none.
        """
        self._config, self._frames, self._info_topic = config, frames, info_topic
        self._rectified = is_rectified(image_topic) if config.rectified is None else config.rectified
        self._lock = threading.Lock()
        self._contents: tuple | None = None
        self._calibration: Calibration | None = None
        self._rectifier: Rectifier | None = None
        self._size: tuple[int, int] | None = None
        self._T_base_camera: np.ndarray | None = None
        self._info_frame, self.frame = "", config.camera_frame_id
        """The camera's optical frame, as far as it is known."""
        self._from_file = bool(config.camera_info_url)
        if self._from_file:
            self._take(read_calibration(_path(config.camera_info_url.replace("${NAME}", name)), image_topic))
        if config.camera_in_base is not None:
            self._T_base_camera = from_quaternion(config.camera_in_base[:3], config.camera_in_base[3:])
        else:
            frames.listen()

    def on_camera_info(self, message: CameraInfo) -> None:
        """Takes a calibration that is another than before; raises InputError for none, and keeps the one before.

        Where a file was named, that alone counts.
        """
        contents, self._info_frame = _contents(message), message.header.frame_id
        if contents == self._contents or self._from_file:
            return
        self._take(decode_calibration(message))
        self._contents = contents

    def _take(self, calibration: Calibration) -> None:
        rectifier = None
        with self._lock:
            if self._size is not None or not calibration.needs_image_size:  # else the first image tells its size
                rectifier = calibration.rectifier(self._size, self._rectified)
            self._calibration, self._rectifier = calibration, rectifier

    def on_image_frame(self, frame: str) -> None:
        """Asks for the place of the camera until it is known; to be called from the executor's thread."""
        if self._T_base_camera is None:
            self.frame = self._config.camera_frame_id or (frame or self._info_frame).lstrip("/")
            self._T_base_camera = self._frames.place(self.frame) if self.frame else None

    def undistort(self, image: np.ndarray) -> tuple[Images, PosedCamera]:
        """The undistorted image (H, W, 3), or the views of a wide lens, and the camera; where nothing is `missing`.

        Raises InputError for an image of another size than the calibration's, and where the calibration is none.
        """
        size = image.shape[1], image.shape[0]
        with self._lock:
            assert self._calibration is not None and self._T_base_camera is not None  # nothing is missing
            if self._rectifier is None or (size != self._size and self._calibration.needs_image_size):
                self._rectifier = self._calibration.rectifier(size, self._rectified)
            self._size, rectifier = size, self._rectifier
        return rectifier.views(image), PosedCamera(rectifier.rig, self._T_base_camera)

    @property
    def T_base_camera(self) -> np.ndarray | None:
        """(4, 4), the place of the camera on the robot; None while it is not known."""
        return self._T_base_camera

    @property
    def missing(self) -> str:
        """What is not known yet, in words; empty if all is."""
        if self._calibration is None:
            return f"images come, but no {self._info_topic}"
        if self._T_base_camera is None and not self.frame:
            return "neither images nor their calibration name a frame, expected camera_frame_id or camera_in_base"
        if self._T_base_camera is None:
            return f"no transform from {self.frame!r} to {self._config.base_frame_id!r} on tf_static"
        return ""


def _path(url: str) -> str:
    """The file that a URL names; raises InputError for one in a package that is not installed."""
    if not url.startswith("package://"):
        return url
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    package, _, file = url.removeprefix("package://").partition("/")
    try:
        return f"{get_package_share_directory(package)}/{file}"
    except (PackageNotFoundError, ValueError, LookupError, OSError):
        raise InputError(f"camera_info_url: {url}: no package {package!r} is installed") from None


def _contents(m: CameraInfo) -> tuple:
    """All that makes a calibration another one, comparable even where it is not finite."""
    numbers = (np.array(part, float).tobytes() for part in (m.k, m.d, m.p))
    roi = m.roi.x_offset, m.roi.y_offset, m.roi.width, m.roi.height
    return m.width, m.height, m.distortion_model, *numbers, m.binning_x, m.binning_y, roi
