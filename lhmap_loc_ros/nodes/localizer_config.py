# SPDX-License-Identifier: Apache-2.0
"""The parameters of localizer_node. Where nav2_amcl has a parameter for something, it has the same name here."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ..configuration import Config
from ..errors import InputError
from ..geometry import from_quaternion
from ..localization.refine import RefinerConfig
from ..localization.relocalize import RELOCALIZER, RelocalizeConfig, RelocalizerName
from ..localization.tracker import TrackerConfig


class InitialPoseConfig(Config):
    """Where the robot is at the first image, if `set_initial_pose`."""

    x: float = Field(0.0, description="x of the robot at the first image, in the map, with set_initial_pose [m]")
    y: float = Field(0.0, description="y of the robot at the first image, in the map, with set_initial_pose [m]")
    z: float | None = Field(
        None, description="z of the robot at the first image, in the map, with set_initial_pose; unset: as on the "
        "mapping drive near by, else the ground [m]",
    )  # fmt: skip
    yaw: float = Field(
        0.0, description="heading of the robot at the first image, counter-clockwise from the map's x axis, with "
        "set_initial_pose [rad]",
    )  # fmt: skip


class DiagnosticsConfig(Config):
    """From when /diagnostics warns."""

    min_rate_hz: float = Field(1.0, ge=0, description="/diagnostics warns when fewer images are localized [1/s]")
    max_latency_s: float = Field(
        0.5, gt=0, description="/diagnostics warns when images take longer from their arrival to the pose [s]"
    )


class LocalizerConfig(Config):
    """All about localizer_node. Topics are renamed by ROS remapping: image, camera_info, odometry, initialpose."""

    autostart: bool = Field(
        True, description="configure and activate at once; false: wait for a lifecycle manager (nav2's, with no bond)"
    )
    map_path: str = Field(min_length=1, description="path of the LHMap file, which `lhmap build` makes")
    global_frame_id: str = Field("", description="frame of the published poses; empty: the frame in the map file")
    odom_frame_id: str = Field(
        "odom", min_length=1, description="parent frame of the odometry; messages on `odometry` must have it"
    )
    base_frame_id: str = Field(
        "base_link", min_length=1,
        description="frame of the robot whose pose is published; odometry may be of another that tf_static joins to it",
    )  # fmt: skip
    cameras: tuple[str, ...] = Field(
        (), description="names of several cameras, with topics NAME/image and NAME/camera_info; images of one stamp "
        "are localized together; empty: one camera on image and camera_info",
    )  # fmt: skip
    camera_frame_id: str = Field(
        "", description="optical frame of the camera (z ahead, x right, y down); empty: frame_id of the images"
    )
    camera_in_base: tuple[float, float, float, float, float, float, float] | None = Field(
        None, description="pose of the camera's optical frame in base_frame_id, x y z qx qy qz qw; unset: from "
        "tf_static [m, quaternion]",
    )  # fmt: skip
    camera_info_url: str = Field(
        "", description="calibration file of ROS camera_calibration or Kalibr (.yaml), read instead of the topic "
        "camera_info: a path, file:// or package://; ${NAME} is the camera's name; empty: the topic",
    )  # fmt: skip
    rectified: bool | None = Field(
        None, description="true: images are free of distortion, with intrinsics P of camera_info; false: they are as "
        "the lens makes them; unset: true where their topic is called image_rect...",
    )  # fmt: skip
    image_delay_s: float = Field(
        0.0, ge=-10, le=10,
        description="images are stamped so much later than they were taken, by the clock of the odometry [s]",
    )  # fmt: skip

    global_localization: bool = Field(
        True, description="look for the place in the whole map where no start pose is known, and where the track is "
        "lost; needs a map with places",
    )  # fmt: skip
    relocalizer: RelocalizerName = RELOCALIZER
    set_initial_pose: bool = Field(
        False, description="start at the parameters initial_pose.*; false: at the saved pose, `initialpose`, or where "
        "global_localization finds the robot",
    )  # fmt: skip
    initial_pose: InitialPoseConfig = InitialPoseConfig()
    initial_sigma_m: float = Field(
        1.0, gt=0, description="standard deviation of the position of a start pose that comes without a covariance [m]"
    )
    initial_sigma_deg: float = Field(
        3.0, gt=0, description="standard deviation of the heading of a start pose that comes without a covariance [deg]"
    )
    always_reset_initial_pose: bool = Field(False, description="never start from the pose saved in save_pose_path")
    save_pose_path: str = Field(
        "", description="file that the last TRACKING pose is saved in, to start from it the next time; empty: none"
    )
    save_pose_rate: float = Field(0.5, gt=0, le=100, description="how often the pose is saved in save_pose_path [1/s]")

    image_transport: Literal["raw", "compressed"] = Field(
        "raw", description="raw: sensor_msgs/Image on `image`; compressed: CompressedImage on `image/compressed`"
    )
    image_reliability: Literal["auto", "reliable", "best_effort"] = Field(
        "auto", description="quality of service of the image subscription; reliable: lost images are sent again; "
        "best_effort: they are not; auto: best_effort where the camera publishes so, else reliable",
    )  # fmt: skip
    odometry_wait_s: float = Field(
        0.1, ge=0, le=2,
        description="an image waits at most so long for odometry that is not older than it; 0: it does not wait [s]",
    )  # fmt: skip

    tf_broadcast: bool = Field(True, description="publish the transform from global_frame_id to tf_child on /tf")
    tf_child: Literal["odom", "base_link"] = Field(
        "odom", description="child of the transform on /tf; odom: odom_frame_id, as REP-105 has it; "
        "base_link: base_frame_id, the only one without odometry",
    )  # fmt: skip
    transform_tolerance: float = Field(
        0.1, ge=0, le=5,
        description="how far ahead of now the transform on /tf is stamped, at most 0.1 where tf_child is base_link [s]",
    )  # fmt: skip
    map_cloud_points: int = Field(
        300_000, ge=0, description="`map_cloud` has at most so many points, those of most heat; 0: none [points]"
    )

    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    refiner: RefinerConfig = RefinerConfig()
    tracker: TrackerConfig = TrackerConfig()
    relocalize: RelocalizeConfig = RelocalizeConfig()

    @field_validator("global_frame_id", "odom_frame_id", "base_frame_id", "camera_frame_id", mode="before")
    @classmethod
    def _frames_have_no_leading_slash(cls, value):
        return value.lstrip("/") if isinstance(value, str) else value

    @field_validator("map_path", "save_pose_path")
    @classmethod
    def _paths_may_begin_at_home(cls, value):
        return os.path.expanduser(value)

    @field_validator("camera_in_base")
    @classmethod
    def _camera_in_base_is_a_pose(cls, value):
        try:
            if value is not None:
                from_quaternion(value[:3], value[3:])
        except InputError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _cameras_have_their_own_frames(self):
        if self.cameras and (self.camera_frame_id or self.camera_in_base):
            raise ValueError("camera_frame_id and camera_in_base are of one camera, but cameras names several")
        if len(set(self.cameras)) < len(self.cameras) or "" in self.cameras:
            raise ValueError(f"cameras are {self.cameras}, expected different names")
        return self


LIVE = (
    "set_initial_pose", "initial_pose.", "initial_sigma", "always_reset_initial_pose", "save_pose_rate",
    "odometry_wait_s", "tf_broadcast", "transform_tolerance", "diagnostics.", "tracker.", "relocalize.",
)  # fmt: skip
"""Beginnings of the names of parameters that may change while the node runs."""
