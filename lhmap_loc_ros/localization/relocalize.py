# SPDX-License-Identifier: Apache-2.0
"""Finding the place again: candidates in, a verified pose out.

A method of recognising places implements `Relocalizer`; what it proposes is believed only after the refiner has
compared the image with the map there, and found it to fit there and nowhere else. Wrong places fit by chance, each from
one start: a right one is where several starts lead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import Field
from scipy.spatial.transform import Rotation

from ..configuration import Config
from ..errors import ModelError
from ..geometry import Camera, Images, every_so_far, front_view, inverse, make_pose, pose_error
from .manifold import transport_covariance
from .states import Search, TrackState

if TYPE_CHECKING:
    from ..lhmap import LHMap
    from .estimate import PosedCamera, PoseEstimate
    from .refine import Refiner
    from .search_area import Region


SAME_POSE = 0.5, 2.0
"""Refinements that end closer together than this have found the same pose [m, deg]."""
SUPPORT = 0.7
"""And none of them fits less well than this share of the best."""
RADIUS_M = 30.0
"""A lost track is looked for this far around the last good pose, which odometry carries on."""
MIN_INLIER_RATIO = 0.28
"""Share of matches that must fit at a place for it to count as found (docs/interface.md, "States")."""
SPACING_M = 3.0
"""Distance between the places tried along the path: refinements converge from 2 m away."""
MAX_CANDIDATES = 24
"""So many poses are tried with one image, half of them the nearest ones: a second or two on a CPU."""
MARGIN = 1.15
"""A place found fits so many times better than the best other place."""
SUPPORTERS = 2
"""So many of the places tried must lead to the same pose: wrong ones fit by chance, each from one start."""
APART_M = 2.0
"""Poses further apart are different places."""
UNSURE = np.diag([0.5**2] * 3 + [np.radians(2.0) ** 2] * 3)
"""What is added to the covariance of a place found: the images to come shall confirm it."""


RelocalizerName = Literal["auto", "places", "coordinates", "constraints", "codes", "regression"]
RELOCALIZER: Any = Field(
    "auto", description="method that searches the whole map: places, which need the map alone, or coordinates, "
    "constraints, codes or regression, as `lhmap learn` stored them; auto: coordinates and places, as the map has them",
)  # fmt: skip


@dataclass(frozen=True)
class PoseHypothesis:
    """A pose that the robot may have."""

    T_map_base: np.ndarray
    """(4, 4)."""
    covariance: np.ndarray
    """(6, 6), body frame of base_link, translation first [m, rad]."""
    inlier_ratio: float = 0.0
    """How well the image fits the map there; 0 where that was not tried."""


class PlaceSearch(Protocol):
    """Finds the robot in the whole map from the images that it is told of: `places.start_search.StartSearch`."""

    def find(
        self, stamp_ns: int, image: Images, camera: PosedCamera, T_odom_base: np.ndarray | None,
        should_continue: Callable[[], bool], region: Region | None = None,
    ) -> PoseHypothesis | None:  # fmt: skip
        """The pose at this image; None as long as it is not known."""

    def restart(self) -> None:
        """Forgets all images: the robot is known to be somewhere."""

    def forget_odometry(self) -> None:
        """The odometry began anew: its poses tell nothing of how the robot moved since an image before."""

    @property
    def follows(self) -> bool:
        """Whether it wants images to `follow`, for want of odometry; by default it does not."""
        return False

    def follow(self, stamp_ns: int, image: Images, camera: PosedCamera) -> None:
        """An image that came while `find` looked at another."""

    def moved_on(self, T_map_base: np.ndarray) -> tuple[int, np.ndarray] | None:
        """How the robot that `find` found at a pose (4, 4) moved on, by the images that were followed since.

        The stamp [ns] of the last of them, and T_before_now (4, 4) until then; None: not known.
        """
        return None


class Relocalizer(Protocol):
    """Knows where an image may have been taken."""

    def candidates(self, image: np.ndarray, camera: Camera) -> Sequence[PoseHypothesis]:
        """The best first; `image` (H, W, 3) uint8 RGB, undistorted, of `camera`.

        Several within some metres of each place: one alone is not believed (`SUPPORTERS`).
        """


class RelocalizeConfig(Config):
    """Whether a lost track is looked for nearby."""

    enabled: bool = Field(
        True, description="search for a lost track around its last good pose, along the path of the mapping drive; "
        "false: only global_localization searches",
    )  # fmt: skip


class AlongPath:
    """Proposes the poses of the mapping drive around a known place, in both directions.

    The nearest first, and of the others those first that have not had their turn.
    """

    def __init__(self, lhmap: LHMap):
        self._map = lhmap
        self.around: np.ndarray | None = None
        """(3,) the last believed position, map frame [m]; None: the whole path."""
        self.passed = 0
        """How many of those beyond the nearest had their turn."""

    def candidates(self, image: np.ndarray, camera: Camera) -> list[PoseHypothesis]:
        """See `Relocalizer`; the image is not looked at."""
        path = self._path
        if self.around is not None:
            distance = np.linalg.norm(path[:, :2] - self.around[:2], axis=1)
            order = np.argsort(distance, kind="stable")
            path = path[order[distance[order] <= RADIUS_M]]
        # the refiner starts from up to 2 m and 10 degrees away
        covariance = np.diag([1.0] * 3 + [np.radians(5.0) ** 2] * 3)
        out = []
        for x, y, z, yaw in path:
            for heading in (yaw, yaw + np.pi):
                out.append(PoseHypothesis(make_pose(Rotation.from_euler("z", heading), (x, y, z)), covariance))
        nearest, others = out[: self._nearest], out[self._nearest :]
        turn = self.passed % max(len(others), 1)
        return nearest + others[turn:] + others[:turn]

    def go_on(self) -> None:
        """The next image tries other places, besides the nearest."""
        self.passed += MAX_CANDIDATES - self._nearest

    @cached_property
    def _path(self) -> np.ndarray:
        """(N, 4) x, y, z, yaw: that of a long map takes a while."""
        return every_so_far(self._map.metadata.path, SPACING_M)

    @property
    def _nearest(self) -> int:
        return MAX_CANDIDATES // 2


def find_place(
    candidates: Sequence[PoseHypothesis],
    refiner: Refiner,
    lhmap: LHMap,
    image: Images,
    camera: PosedCamera,
    crop_radius_m: float,
    should_continue: Callable[[], bool] = lambda: True,
) -> PoseHypothesis | None:
    """The pose at which the image fits the map, refined; None where it fits nowhere, or at several places alike.

    `image` (H, W, 3) uint8 RGB is undistorted, of a rig one of each camera. Nothing is found once
    `should_continue` says no: a search takes seconds.
    """
    T_camera_base, found = inverse(camera.T_base_camera), []
    for candidate in islice(candidates, MAX_CANDIDATES):
        if not should_continue():
            return None
        T_map_camera = candidate.T_map_base @ camera.T_base_camera
        submap = lhmap.crop(T_map_camera[:3, 3], crop_radius_m, damaged=[])
        if not len(submap.points):
            continue
        try:
            refined = refiner.refine(image, camera.camera, submap, T_map_camera)
        except (ModelError, np.linalg.LinAlgError):
            continue
        if refined.matches and np.isfinite(refined.T_map_camera).all():
            covariance = transport_covariance(refined.covariance, T_camera_base)
            found.append(PoseHypothesis(refined.T_map_camera @ T_camera_base, covariance, refined.inlier_ratio))
    if not found:
        return None
    best = max(found, key=lambda place: place.inlier_ratio)
    apart = [(place, *pose_error(place.T_map_base, best.T_map_base)) for place in found]
    rival = max((place.inlier_ratio for place, metres, _ in apart if metres > APART_M), default=0.0)
    if best.inlier_ratio < max(MIN_INLIER_RATIO, MARGIN * rival):
        return None
    support = sum(
        place.inlier_ratio >= SUPPORT * best.inlier_ratio and metres < SAME_POSE[0] and degrees < SAME_POSE[1]
        for place, metres, degrees in apart
    )
    return best if support >= SUPPORTERS else None


class Recovery:
    """Hears of every image, and looks for the place nearby where `HealthMonitor` says that it is time."""

    def __init__(self, lhmap: LHMap, refiner: Refiner, relocalizer: Relocalizer | None = None):
        """Without a `relocalizer` the mapping drive's poses are tried."""
        self._map, self._refiner = lhmap, refiner
        self._along = AlongPath(lhmap)
        self._relocalizer = relocalizer or self._along
        self._around: np.ndarray | None = None

    def reset(self, T_map_base: np.ndarray) -> None:
        """A start pose (4, 4) for the next image."""
        self._around, self._along.passed = T_map_base, 0

    def update(
        self, result: PoseEstimate, image: Images, camera: PosedCamera, crop_radius_m: float,
        should_continue: Callable[[], bool] = lambda: True,
    ) -> PoseHypothesis | None:  # fmt: skip
        """What to start from at this image, see `find_place`; None if nothing, or if it is not time to look."""
        self._follow(result)
        if Search.NEARBY not in result.search:
            return None
        ahead = front_view(image, camera.camera)
        places = self._relocalizer.candidates(ahead.image, ahead.camera)
        found = find_place(places, self._refiner, self._map, image, camera, crop_radius_m, should_continue)
        self._along.go_on()
        return None if found is None else replace(found, covariance=found.covariance + UNSURE)

    def _follow(self, result: PoseEstimate) -> None:
        """The last believed pose, moved on by odometry or what images show: a lost robot drives on."""
        if result.state is TrackState.TRACKING:
            self._around, self._along.passed = result.T_map_base, 0
        elif self._around is not None and result.motion in ("odometry", "images"):
            # image by image: between two of them odometry may have jumped, or begun anew
            self._around = self._around @ result.delta
        if self._around is not None:
            self._along.around = self._around[:3, 3]
