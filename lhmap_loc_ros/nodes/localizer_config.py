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

    x: float = Field(0.0, description="x of the robot in the map at the first image, if set_initial_pose is true [m]")
    y: float = Field(0.0, description="y of the robot in the map at the first image, if set_initial_pose is true [m]")
    z: float | None = Field(
        None, description="z of the robot in the map at the first image, if set_initial_pose is true; unset: as high "
        "as the mapping drive near by, else on the ground [m]",
    )  # fmt: skip
    yaw: float = Field(
        0.0, description="heading of the robot at the first image, counter-clockwise from the x axis of the map, if "
        "set_initial_pose is true [rad]",
    )  # fmt: skip


class DiagnosticsConfig(Config):
    """From when /diagnostics warns."""

    max_latency_s: float = Field(
        0.5, gt=0, description="/diagnostics warns where the median time from the arrival of an image to its pose is "
        "longer [s]",
    )  # fmt: skip


class LocalizerConfig(Config):
    """All about localizer_node. Topics are renamed by ROS remapping: image, camera_info, odometry, initialpose."""

    autostart: bool = Field(
        True, description="the node configures and activates itself when it starts; false: a lifecycle manager does "
        "(nav2's, with bond_timeout 0)",
    )  # fmt: skip
    map_path: str = Field(min_length=1, description="path of the map, a file .lhmap that `lhmap build` writes")
    global_frame_id: str = Field(
        "", description="frame in which poses are published; empty: the frame named in the map file"
    )
    odom_frame_id: str = Field(
        "odom", min_length=1, description="parent frame of the odometry; where tf_child is odom, messages on "
        "`odometry` must be in it or name none, and /tf leads to it",
    )  # fmt: skip
    base_frame_id: str = Field(
        "base_link", min_length=1, description="frame of the robot, whose pose is estimated; odometry may be of "
        "another frame if /tf_static connects the two",
    )  # fmt: skip
    cameras: tuple[str, ...] = Field(
        (), description="names of the cameras where there are several, with topics NAME/image and NAME/camera_info; "
        "images of one stamp are localized together; empty: one camera, on image and camera_info",
    )  # fmt: skip
    camera_frame_id: str = Field(
        "", description="optical frame of the camera (x right, y down, z forward); empty: frame_id of the images, or "
        "of camera_info where they name none",
    )  # fmt: skip
    camera_in_base: tuple[float, float, float, float, float, float, float] | None = Field(
        None, description="extrinsic calibration: pose of the camera's optical frame in base_frame_id, x y z qx qy qz "
        "qw; unset: from /tf_static [m, quaternion]",
    )  # fmt: skip
    camera_info_url: str = Field(
        "", description="calibration file (.yaml of ROS camera_calibration or of Kalibr) that is read instead of the "
        "topic camera_info: a path, file:// or package://, with ${NAME} for the name of the camera; empty: the topic",
    )  # fmt: skip
    rectified: bool | None = Field(
        None, description="true: images are rectified, their camera matrix is P of camera_info; false: images are "
        "distorted, as K and D of camera_info say; unset: true where the name of the topic has image_rect in it",
    )  # fmt: skip
    image_delay_s: float = Field(
        0.0, ge=-10, le=10, description="time by which the stamps of images are later than the exposure, by the clock "
        "of the odometry; subtracted from the stamps [s]",
    )  # fmt: skip

    global_localization: bool = Field(
        True, description="search the whole map for the robot where no start pose is known, and where the track is "
        "lost; the map must have places (`lhmap places`) or learned coordinates (`lhmap learn`)",
    )  # fmt: skip
    relocalizer: RelocalizerName = RELOCALIZER
    set_initial_pose: bool = Field(
        False, description="start at the pose of the parameters initial_pose.*; false: at the saved pose, at a pose on "
        "`initialpose`, or where global_localization finds the robot",
    )  # fmt: skip
    initial_pose: InitialPoseConfig = InitialPoseConfig()
    initial_sigma_m: float = Field(
        1.0, gt=0, description="standard deviation of the position, each axis, of start poses without covariance: "
        "initial_pose, and axes of `initialpose` with variance zero [m]",
    )  # fmt: skip
    initial_sigma_deg: float = Field(
        3.0, gt=0, description="standard deviation of the rotation, each axis, of start poses without covariance: "
        "initial_pose, and axes of `initialpose` with variance zero [deg]",
    )  # fmt: skip
    always_reset_initial_pose: bool = Field(
        False, description="never start at the pose saved in save_pose_path: wait for initial_pose.*, `initialpose` or "
        "global_localization",
    )  # fmt: skip
    save_pose_path: str = Field(
        "", description="file in which the last TRACKING pose is saved, to start from the next time; empty: it is not "
        "saved",
    )  # fmt: skip
    save_pose_rate: float = Field(
        0.5, gt=0, le=100, description="how often the pose is saved in save_pose_path, while TRACKING [1/s]"
    )

    image_transport: Literal["raw", "compressed"] = Field(
        "raw", description="raw: images are sensor_msgs/Image on `image`; compressed: sensor_msgs/CompressedImage on "
        "`image/compressed`",
    )  # fmt: skip
    image_reliability: Literal["auto", "reliable", "best_effort"] = Field(
        "auto", description="reliability (QoS) of the subscription of images; reliable: lost ones are sent again; "
        "best_effort: they are not; auto: best_effort where the camera publishes so, else reliable",
    )  # fmt: skip

    tf_broadcast: bool = Field(
        True, description="publish a transform on /tf, from global_frame_id to the frame that tf_child tells"
    )
    tf_child: Literal["odom", "base_link"] = Field(
        "odom", description="child frame of the transform on /tf; odom: odom_frame_id, as REP 105 has it; base_link: "
        "base_frame_id, for robots without odometry",
    )  # fmt: skip
    transform_tolerance: float = Field(
        0.1, ge=0, le=5, description="how far the transform on /tf is dated into the future, so that it holds until "
        "the next one; at most 0.1 where tf_child is base_link [s]",
    )  # fmt: skip

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
    "tf_broadcast", "transform_tolerance", "diagnostics.", "tracker.", "relocalize.",
)  # fmt: skip
"""Beginnings of the names of parameters that may change while the node runs."""
