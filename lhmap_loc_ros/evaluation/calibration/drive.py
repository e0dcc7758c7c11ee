# SPDX-License-Identifier: Apache-2.0
"""The images of a drive that a calibration is found from, each with the pose and the velocity of the robot."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...datasets.bag import BagReader
from ...datasets.trajectory import Trajectory
from ...errors import BagError, InputError
from ...geometry import Camera, distance_along, inverse, se3_log
from ...lhmap import LHMap
from ...localization.inputs import BagInputs, CameraSetup, one_camera, read_setup
from ...localization.motion import SECOND_NS
from ...progress import quiet
from ..check import known_poses
from ..metrics import sample
from ..results import find_image

MIN_IMAGES, MAX_IMAGES = 10, 80
MAX_GAP_S = 1.0
"""Poses further apart are not interpolated."""
MAX_WIDTH = 1280
"""Wider images are scaled down: a tenth of a degree is a pixel then, and 80 images fit in memory."""


@dataclass(frozen=True)
class DriveImage:
    """An image and where the poses say the robot was."""

    stamp_ns: int
    """When it was taken, by the clock of the poses."""
    image: np.ndarray
    """(H, W, 3) uint8 RGB, undistorted."""
    T_map_base: np.ndarray
    """(4, 4)."""
    twist: np.ndarray
    """(6,) velocity of base_link along and about its own axes [m/s, rad/s]."""


@dataclass(frozen=True)
class Drive:
    """A camera on a robot, and images spread over a drive."""

    camera: Camera
    T_base_camera: np.ndarray
    """(4, 4), as the bag has it: what is to be corrected."""
    frames: tuple[str, ...]
    """Names of the frames from the base to the camera, both included, as /tf_static joins them."""
    T_base_child: np.ndarray
    """(4, 4), of the second of these frames."""
    images: tuple[DriveImage, ...]

    def T_map_camera(self, image: DriveImage) -> np.ndarray:
        """(4, 4), where the poses and the calibration of the bag say the camera was."""
        return image.T_map_base @ self.T_base_camera


def read_drive(bag, lhmap: LHMap, poses=None, inputs: BagInputs | None = None, report=None) -> Drive:
    """At most `MAX_IMAGES` images of a bag, evenly spread along the way; poses as `lhmap check` takes them.

    Raises BagError or InputError for a bag without what is needed, and where fewer than `MIN_IMAGES` images of a robot
    on the move have a pose.
    """
    inputs, report = inputs or BagInputs(), report or quiet
    with BagReader(bag) as reader:
        setup = read_setup(reader, one_camera(inputs, "lhmap calibrate"))
        trajectory = known_poses(reader, poses, lhmap.metadata.frame, inputs.base_frame, inputs.tf_static)
        frames, T_base_child = _mount(reader, inputs, setup)
        stamps = np.sort(np.array(reader.first_stamps(inputs.image, None), np.int64)) - inputs.delay_ns
        chosen = _spread(reader, stamps, trajectory)
        scale = min(1.0, MAX_WIDTH / setup.camera.width)
        camera = setup.camera.resized(round(setup.camera.width * scale), round(setup.camera.height * scale))
        images = []
        for number, stamp in enumerate(chosen.tolist()):
            image = find_image(reader, inputs, setup, stamp)
            report("images", number + 1, len(chosen))
            if image is None:
                continue
            if scale < 1:
                image = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
            images.append(DriveImage(stamp, image, trajectory.at(stamp), _twist(trajectory, stamp)))
    if len(images) < MIN_IMAGES:
        raise BagError(
            f"{reader.path}: {inputs.image}: {len(images)} of {len(chosen)} images can be used, expected {MIN_IMAGES}"
        )
    return Drive(camera, setup.T_base_camera, frames, T_base_child, tuple(images))


def _mount(reader: BagReader, inputs: BagInputs, setup: CameraSetup) -> tuple[tuple[str, ...], np.ndarray]:
    """The frames from the robot's to the camera's, and where the second of them is in the first (4, 4)."""
    if setup.frame == inputs.base_frame:
        raise InputError(f"{reader.path}: {setup.frame!r} is the camera's frame and base_frame, expected a robot's")
    if inputs.camera_in_base is not None:
        return (inputs.base_frame, setup.frame or "camera"), setup.T_base_camera
    tree = reader.static_transforms(inputs.tf_static)
    frames = tree.chain(inputs.base_frame, setup.frame)
    return frames, tree.lookup(*frames[:2])


def _spread(reader: BagReader, stamps: np.ndarray, trajectory: Trajectory) -> np.ndarray:
    """Stamps, evenly along the way: one of a robot that stands, however many images it took there."""
    poses, covered = sample(trajectory, stamps, MAX_GAP_S)
    if not covered.any():
        first, last = trajectory.stamps_ns[[0, -1]] / 1e9
        raise InputError(
            f"{reader.path}: no pose is known for any of {len(stamps)} images: "
            f"the poses span {first:.3f} to {last:.3f} s"
        )
    stamps, along = stamps[covered], distance_along(poses[covered][:, :3, 3])
    wanted = np.linspace(0, along[-1], min(MAX_IMAGES, len(stamps)))
    chosen = np.unique(np.searchsorted(along, wanted).clip(0, len(along) - 1))
    if len(chosen) < MIN_IMAGES:
        raise InputError(
            f"{reader.path}: {len(chosen)} images with a pose over {along[-1]:.1f} m, expected at least {MIN_IMAGES} "
            "of a robot on the move"
        )
    return stamps[chosen]


def _twist(trajectory: Trajectory, stamp_ns: int) -> np.ndarray:
    """Of the body (6,) [m/s, rad/s], over the quarter of a second around a stamp."""
    first, last = trajectory.at([stamp_ns - SECOND_NS // 8, stamp_ns + SECOND_NS // 8])
    return 4 * se3_log(inverse(first) @ last)
