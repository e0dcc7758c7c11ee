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

    x: float = Field(0.0, description="in the map [m]")
    y: float = Field(0.0, description="in the map [m]")
    z: float | None = Field(None, description="in the map [m]; unset: as on the mapping drive near by, else the ground")
    yaw: float = Field(0.0, description="in the map [rad]")


class DiagnosticsConfig(Config):
    """From when /diagnostics warns."""

    min_rate_hz: float = Field(1.0, ge=0, description="fewer localized images a second than this are a warning [1/s]")
    max_latency_s: float = Field(0.5, gt=0, description="images that take longer until the pose are a warning [s]")
    max_age_s: float = Field(2.0, gt=0, description="a last image older than this is an error [s]")
    max_dropped_share: float = Field(0.5, gt=0, le=1, description="a greater share of images not used is a warning")


class LocalizerConfig(Config):
    """All about localizer_node. Topics are renamed by ROS remapping: image, camera_info, odometry, initialpose."""

    autostart: bool = Field(
        True, description="configure and activate at once; false: wait for a lifecycle manager (nav2's, with no bond)"
    )
    map_path: str = Field(min_length=1, description="the LHMap file, from `lhmap build`")
    global_frame_id: str = Field("", description="frame of the published poses; empty: the map's own")
    odom_frame_id: str = Field("odom", min_length=1, description="frame of the odometry; its messages must agree")
    base_frame_id: str = Field(
        "base_link", min_length=1, description="frame of the robot; odometry may be of another that tf_static knows"
    )
    cameras: tuple[str, ...] = Field(
        (), description="names of several cameras: topics NAME/image, NAME/camera_info; those of one stamp count as one"
    )
    camera_frame_id: str = Field("", description="optical frame of the camera; empty: that of the images")
    camera_in_base: tuple[float, float, float, float, float, float, float] | None = Field(
        None, description="pose of the camera's optical frame in the robot's, x y z qx qy qz qw; unset: from tf_static"
    )
    rectified: bool | None = Field(
        None, description="images are free of distortion, those of P; unset: if the topic is called image_rect..."
    )
    image_delay_s: float = Field(
        0.0, ge=-10, le=10, description="images are stamped so much later than taken, by the clock of odometry [s]"
    )

    global_localization: bool = Field(
        True, description="without a start pose, and when lost, look for the place in the whole map by its places"
    )
    relocalizer: RelocalizerName = RELOCALIZER
    set_initial_pose: bool = Field(False, description="start at initial_pose; false: at the saved pose or initialpose")
    initial_pose: InitialPoseConfig = InitialPoseConfig()
    initial_sigma_m: float = Field(1.0, gt=0, description="how sure a start pose is that says nothing of it [m]")
    initial_sigma_deg: float = Field(3.0, gt=0, description="how sure a start pose is that says nothing of it [deg]")
    initial_age_s: float = Field(
        20.0, gt=0, description="an initialpose stamped longer before the image is taken as one of the image [s]"
    )
    always_reset_initial_pose: bool = Field(False, description="never start from the saved pose")
    save_pose_path: str = Field(
        "", description="file that the last good pose is saved in and started from; empty: none"
    )
    save_pose_rate: float = Field(0.5, gt=0, le=100, description="how often the pose is saved [1/s]")

    image_transport: Literal["raw", "compressed"] = Field(
        "raw", description="raw: sensor_msgs/Image on `image`; compressed: CompressedImage on `image/compressed`"
    )
    image_reliability: Literal["auto", "reliable", "best_effort"] = Field(
        "auto", description="of the images: reliable loses none; auto: best_effort where the camera publishes so"
    )
    odometry_wait_s: float = Field(
        0.1, ge=0, le=2, description="an image waits this long for odometry that is not older, if it comes so soon [s]"
    )
    time_jump_s: float = Field(
        1.0, gt=0, description="two images older than the last by more start anew: at initial_pose or the last good [s]"
    )

    tf_broadcast: bool = Field(True, description="broadcast the transform to tf_child")
    tf_child: Literal["odom", "base_link"] = Field(
        "odom", description="odom: global -> odometry frame, as REP-105 has it; base_link: global -> robot's frame; "
        "without odometry only base_link"
    )
    transform_tolerance: float = Field(
        0.1, ge=0, le=5, description="map -> odom is stamped this far ahead of now; base_link at most 0.1 [s]"
    )
    path_step_m: float = Field(0.5, gt=0, description="distance between the poses of `path` [m]")
    path_poses: int = Field(2000, ge=1, description="`path` keeps this many poses")
    overlay_period_s: float = Field(0.5, ge=0, description="least time between two pictures on `overlay` [s]")
    map_cloud_points: int = Field(300_000, ge=0, description="`map_cloud` holds this many points of the greatest heat")

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
    "set_initial_pose", "initial_pose.", "initial_sigma", "initial_age_s", "always_reset_initial_pose",
    "save_pose_rate", "odometry_wait_s", "time_jump_s", "tf_broadcast", "transform_tolerance", "path_step_m",
    "overlay_period_s", "diagnostics.", "tracker.", "relocalize.", *(
        f"refiner.{name}" for name in RefinerConfig.model_fields
        if name not in ("model", "threads", "backend", "precision", "device")
    ),
)  # fmt: skip
"""Beginnings of the names of parameters that may change while the node runs."""
