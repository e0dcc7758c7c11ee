# SPDX-License-Identifier: Apache-2.0
"""Finding the place again: candidates in, a verified pose out.

Whoever knows places by their looks implements `Relocalizer`; what it proposes is believed only after the refiner has
compared the image with the map there, and found it to fit there and nowhere else. Wrong places fit by chance, each from
one start: a right one is where several starts lead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from pydantic import Field
from scipy.spatial.transform import Rotation

from ..configuration import Config
from ..errors import ModelError
from ..geometry import Camera, Images, distance_along, front_view, inverse, make_pose, pose_error
from .manifold import carry
from .states import TrackState

if TYPE_CHECKING:
    from ..lhmap import LHMap
    from .estimate import PosedCamera, PoseEstimate
    from .refine import Refiner


SAME_POSE = 0.5, 2.0
"""Refinements that end closer together than this have found the same pose [m, deg]."""
SUPPORT = 0.7
"""And none of them fits less well than this share of the best."""
UNSURE = np.diag([0.5**2] * 3 + [np.radians(2.0) ** 2] * 3)
"""What is added to the covariance of a place found: the images to come shall confirm it."""


RelocalizerName = Literal["auto", "places", "coordinates", "constraints", "regression"]
RELOCALIZER = Field(
    "auto", description="finds the place in the whole map; auto: by coordinates and places, as the map has them"
)


@dataclass(frozen=True)
class PlacedPose:
    """A pose that the robot may have."""

    T_map_base: np.ndarray
    """(4, 4)."""
    covariance: np.ndarray
    """(6, 6), body frame of base_link, translation first [m, rad]."""
    inlier_ratio: float = 0.0
    """How well the image fits the map there; 0 where nobody has looked."""


class Relocalizer(Protocol):
    """Knows where an image may have been taken."""

    def candidates(self, image: np.ndarray, camera: Camera) -> Sequence[PlacedPose]:
        """The best first; `image` (H, W, 3) uint8 RGB, undistorted, of `camera`.

        Several within some metres of each place: one alone is not believed (`RelocalizeConfig.supporters`).
        """


class RelocalizeConfig(Config):
    """When a place counts as found."""

    enabled: bool = Field(True, description="a lost track looks for its place along the mapped path")
    radius_m: float = Field(30.0, gt=0, le=1000, description="how far from the last believed pose [m]")
    spacing_m: float = Field(3.0, gt=0, le=100, description="distance between the places that are tried [m]")
    period_s: float = Field(5.0, gt=0, description="least time between two attempts [s]")
    doubt_s: float = Field(
        30.0, gt=0, description="a track that no image has confirmed for so long looks, too, and so often [s]"
    )
    max_candidates: int = Field(
        24, ge=1, le=1000, description="so many poses are tried with one image, half of them the nearest ones"
    )
    min_inlier_ratio: float = Field(0.28, ge=0, le=1, description="a place needs this share of explained matches")
    margin: float = Field(1.15, ge=1, description="and so many times the share of the best other place")
    supporters: int = Field(2, ge=1, le=100, description="so many of the places tried must lead to the same pose")
    apart_m: float = Field(2.0, gt=0, description="poses further apart are different places [m]")


class AlongPath:
    """Proposes the poses of the mapping drive around a known place, in both directions.

    The nearest first, and of the others those first that have not had their turn.
    """

    def __init__(self, lhmap: LHMap, config: RelocalizeConfig):
        self.config = config
        self._path = lhmap.metadata.path
        self.around: np.ndarray | None = None
        """(3,) the last believed position, map frame [m]; None: the whole path."""
        self.passed = 0
        """How many of those beyond the nearest had their turn."""

    def candidates(self, image: np.ndarray, camera: Camera) -> list[PlacedPose]:
        """See `Relocalizer`; the image is not looked at."""
        path = _every(self._path, self.config.spacing_m)
        if self.around is not None:
            distance = np.linalg.norm(path[:, :2] - self.around[:2], axis=1)
            order = np.argsort(distance, kind="stable")
            path = path[order[distance[order] <= self.config.radius_m]]
        # the refiner starts from up to 2 m and 10 degrees away
        covariance = np.diag([1.0] * 3 + [np.radians(5.0) ** 2] * 3)
        out = []
        for x, y, z, yaw in path:
            for heading in (yaw, yaw + np.pi):
                out.append(PlacedPose(make_pose(Rotation.from_euler("z", heading), (x, y, z)), covariance))
        nearest, others = out[: self._nearest], out[self._nearest :]
        turn = self.passed % max(len(others), 1)
        return nearest + others[turn:] + others[:turn]

    def go_on(self) -> None:
        """The next image tries other places, besides the nearest."""
        self.passed += self.config.max_candidates - self._nearest

    @property
    def _nearest(self) -> int:
        return self.config.max_candidates // 2


def find_place(
    candidates: Sequence[PlacedPose],
    refiner: Refiner,
    lhmap: LHMap,
    image: Images,
    seen_by: PosedCamera,
    crop_radius_m: float,
    config: RelocalizeConfig,
    going: Callable[[], bool] = lambda: True,
) -> PlacedPose | None:
    """The pose at which the image fits the map, refined; None where it fits nowhere, or at several places alike.

    `image` (H, W, 3) uint8 RGB is undistorted, of a rig one of each camera. Nothing is found once `going` says no: a
    search takes seconds.
    """
    T_camera_base, found = inverse(seen_by.T_base_camera), []
    for candidate in islice(candidates, config.max_candidates):
        if not going():
            return None
        T_map_camera = candidate.T_map_base @ seen_by.T_base_camera
        crop = lhmap.crop(T_map_camera[:3, 3], crop_radius_m, damaged=[])
        if not len(crop.points):
            continue
        try:
            refined = refiner.refine(image, seen_by.camera, crop, T_map_camera)
        except (ModelError, np.linalg.LinAlgError):
            continue
        if refined.matches and np.isfinite(refined.T_map_camera).all():
            covariance = carry(refined.covariance, T_camera_base)
            found.append(PlacedPose(refined.T_map_camera @ T_camera_base, covariance, refined.inlier_ratio))
    if not found:
        return None
    best = max(found, key=lambda place: place.inlier_ratio)
    apart = [(place, *pose_error(place.T_map_base, best.T_map_base)) for place in found]
    rival = max((place.inlier_ratio for place, metres, _ in apart if metres > config.apart_m), default=0.0)
    if best.inlier_ratio < max(config.min_inlier_ratio, config.margin * rival):
        return None
    support = sum(
        place.inlier_ratio >= SUPPORT * best.inlier_ratio and metres < SAME_POSE[0] and degrees < SAME_POSE[1]
        for place, metres, degrees in apart
    )
    return best if support >= config.supporters else None


class Recovery:
    """Hears of every image, and looks for the place once the robot is lost, now and then: in node and offline run."""

    def __init__(
        self, lhmap: LHMap, refiner: Refiner, config: RelocalizeConfig, clock: Callable[[], float],
        relocalizer: Relocalizer | None = None,
    ):  # fmt: skip
        """`clock` tells the time between attempts [s]. Without a `relocalizer` the mapping drive's poses are tried."""
        self._map, self._refiner, self._clock = lhmap, refiner, clock
        self._along = AlongPath(lhmap, config)
        self._relocalizer = relocalizer or self._along
        self._looked_at = -math.inf
        self._confirmed_at: float | None = None
        self._around: np.ndarray | None = None

    def reconfigure(self, config: RelocalizeConfig) -> None:
        """Takes other settings from the next attempt on."""
        self._along.config = config

    def was_at(self, T_map_base: np.ndarray) -> None:
        """A start pose (4, 4) for the next image."""
        self._around, self._confirmed_at, self._along.passed = T_map_base, None, 0

    def after(
        self, result: PoseEstimate, image: Images, seen_by: PosedCamera, crop_radius_m: float,
        going: Callable[[], bool] = lambda: True,
    ) -> PlacedPose | None:  # fmt: skip
        """What to start from at this image once the track is lost, or has been in doubt for long, see `find_place`.

        None if nothing, or not yet.
        """
        config, now = self._along.config, self._clock()
        if result.state is TrackState.TRACKING or self._confirmed_at is None:
            self._confirmed_at = now
        self._follow(result)
        since = self._looked_at + config.period_s
        if result.state is not TrackState.LOST:
            # images that pass, and yet never confirm the pose, may be those of another place
            since = max(since, self._confirmed_at + config.doubt_s, self._looked_at + config.doubt_s)
        if not config.enabled or now < since:
            return None
        ahead = front_view(image, seen_by.camera)
        places = self._relocalizer.candidates(ahead.image, ahead.camera)
        try:
            found = find_place(places, self._refiner, self._map, image, seen_by, crop_radius_m, config, going)
        finally:
            # the time between two: an attempt itself may take longer
            self._looked_at = self._clock()
        self._along.go_on()
        return None if found is None else replace(found, covariance=found.covariance + UNSURE)

    def _follow(self, result: PoseEstimate) -> None:
        """The last believed pose, moved on by odometry: a lost robot drives on."""
        if result.state is TrackState.TRACKING:
            self._around, self._along.passed = result.T_map_base, 0
        elif self._around is not None and result.motion == "odometry":
            # image by image: between two of them odometry may have jumped, or begun anew
            self._around = self._around @ result.delta
        if self._around is not None:
            self._along.around = self._around[:3, 3]


def _every(path: np.ndarray, spacing_m: float) -> np.ndarray:
    """A path of x, y, z, yaw (P, 4) with a pose about every `spacing_m`."""
    if len(path) < 2:
        return path
    along = distance_along(path[:, :3])
    where = np.linspace(0, along[-1], max(2, round(along[-1] / spacing_m) + 1))
    # a full turn between two poses must not be walked back
    columns = [*path[:, :3].T, np.unwrap(path[:, 3])]
    return np.column_stack([np.interp(where, along, column) for column in columns])
