# SPDX-License-Identifier: Apache-2.0
"""What localization takes and gives: a camera in its place on the robot, and the pose at one of its images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..geometry import Camera, Rig, front_index
from .states import Search, TrackState

if TYPE_CHECKING:
    from .refine import Refinement


@dataclass(frozen=True)
class PosedCamera:
    """A camera, or a rig of several, in its place on the robot."""

    camera: Camera | Rig
    """That of the undistorted images."""
    T_base_camera: np.ndarray
    """(4, 4), its optical frame in base_link."""

    def __post_init__(self) -> None:
        if np.shape(self.T_base_camera) != (4, 4) or not np.isfinite(self.T_base_camera).all():
            raise InputError("the pose of the camera in base_link is not finite, (4, 4)")

    @property
    def front(self) -> PosedCamera:
        """The camera alone that looks along the axis of a rig most nearly: whose image `front_view` gives."""
        if isinstance(self.camera, Camera):
            return self
        k = front_index(self.camera)
        return PosedCamera(self.camera.cameras[k], self.T_base_camera @ self.camera.T_rig_camera[k])


@dataclass(frozen=True)
class PoseEstimate:
    """The pose at one image."""

    stamp_ns: int
    state: TrackState
    T_map_base: np.ndarray
    """(4, 4), posterior."""
    covariance: np.ndarray
    """(6, 6), body frame of base_link, translation [m] first, rotation [rad]: the posterior, but unless TRACKING no
    less than that of the image before, whatever passes the gate then."""
    T_map_odom: np.ndarray | None
    """(4, 4), or None where odometry does not reach the stamp."""
    accepted: bool
    """The measurement passed the gate."""
    refinement: Refinement | None
    """The refinement of this image; None if the image could not be used."""
    innovation: float
    """Squared Mahalanobis distance of the measurement from the prediction; NaN without a usable measurement."""
    timings_ms: dict[str, float] = field(default_factory=dict)
    """Duration of the stages: crop, refine, total [ms]."""
    motion: str = "none"
    """What predicted: "odometry", "images", "velocity" or "none"."""
    delta: np.ndarray | None = None
    """(4, 4), how it says that base_link moved since the image before, in the frame of base_link then."""
    velocity: np.ndarray | None = None
    """(6,) twist of base_link in its own frame [m/s, rad/s]; None while none is known."""
    problem: str = ""
    """Why the image could not be compared with the map; empty if it could."""
    map_problem: str = ""
    """Which tiles around could not be read; empty if all could."""
    search: Search = Search.NONE
    """Where it is time to look for the place, if anywhere: of a lost track, or one that images never confirm."""
