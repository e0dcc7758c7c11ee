# SPDX-License-Identifier: Apache-2.0
"""Where an image was taken, by what was learned from the mapping drive's images; believed once image and map agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, MapFormatError
from ..geometry import front_view, inverse
from ..localization.manifold import transport_covariance
from ..localization.relocalize import PoseHypothesis
from ..places.database import APART_M, Heading, Region, wrapped
from ..places.locate import ALONE, CANDIDATES, CROP_RADIUS_M, VerifiedSearch
from ..places.verify import Verifier
from ..places.virtual_poses import base_pose
from .encoder import SceneEncoder, brought_to
from .heads import Heads
from .section import Learned, has_learned

if TYPE_CHECKING:
    from ..lhmap import LHMap
    from ..localization.estimate import PosedCamera
    from ..localization.refine import Refiner

HEADS = 3
"""Heads of so many stretches of the path are asked: those whose images are most like this one."""
IMAGES = 4
"""So many of the most similar images of the mapping drive, at different places, are candidates as well."""
APART = 1.0, np.pi / 6
"""Of two candidates nearer to each other, and turned by less, one is enough [m, rad]."""
START_COVARIANCE = np.diag([1.0] * 3 + [np.radians(5.0) ** 2] * 3)
"""Of a mapping pose whose image is only similar."""


@dataclass(frozen=True)
class Proposal:
    """A pose that what was learned proposes."""

    place: PoseHypothesis
    inliers: int
    """That the pose was solved from; 0 where it was not."""


def check_learned(lhmap: LHMap, method: str) -> None:
    """Raises InputError for a map without what a method learned, before any network is loaded for it."""
    if not has_learned(lhmap, method):
        raise InputError(
            f"{lhmap.path}: nothing was learned by the method {method!r}, expected a map to which "
            f"`lhmap learn BAG --map MAP --method {method}` has added it"
        )


class SceneFinder:
    """Localizes single images in a whole map, by a method that learned from the mapping drive's images."""

    def __init__(
        self, lhmap: LHMap, refiner: Refiner, method: str = "coordinates", crop_radius_m: float = CROP_RADIUS_M,
        encoder: SceneEncoder | None = None,
    ):  # fmt: skip
        """By default with the shipped encoder.

        Raises InputError for a map without the method's section, MapFormatError for one of no use, ModelError.
        """
        check_learned(lhmap, method)
        self.learned = Learned.of(lhmap, method)
        self._encoder = encoder or SceneEncoder(self.learned.view)
        if self.learned.encoder != self._encoder.sha256:
            raise MapFormatError(
                f"{lhmap.path}: {method} learned with the network {self.learned.encoder[:12]} found, expected "
                f"{self._encoder.sha256[:12]}: lhmap learn learns anew"
            )
        self._heads, self._origin = Heads(self.learned), np.array(lhmap.metadata.origin)
        self.verifier = Verifier(lhmap, refiner, crop_radius_m)

    def search(self) -> SceneSearch:
        """One that hears of image after image."""
        return SceneSearch(self)

    def propose(
        self, image: np.ndarray, camera: PosedCamera, region: Region | None = None, heading: Heading | None = None
    ) -> list[Proposal]:  # fmt: skip
        """What the heads say, the best first, and then the mapping poses of similar images; a camera's pose each.

        Raises InputError for a camera that sees little of what the mapping robot's did.
        """
        ahead, T_base_camera = front_view(image, camera.camera), camera.front.T_base_camera
        channels, seen = brought_to(ahead.image, ahead.camera, self.learned.view)
        features = self._encoder.features(channels)
        order = self._similar(self.learned.inputs.code(features, self.learned.view), region, heading)
        numbers = list(dict.fromkeys(self.learned.images.head[order].tolist()))[:HEADS]
        out = []
        for number in numbers:
            solved = self._heads.pose(number, features, seen)
            if solved is not None:
                solved.T_map_camera[:3, 3] += self._origin
                pose = solved.T_map_camera @ inverse(T_base_camera)
                covariance = transport_covariance(solved.covariance, inverse(T_base_camera))
                out.append(Proposal(PoseHypothesis(pose, covariance), solved.inliers))
        if region is not None:
            out = [p for p in out if np.hypot(*(p.place.T_map_base[:2, 3] - region.center)) <= region.radius_m]
        out.sort(key=lambda proposal: -proposal.inliers)
        similar = self._apart(order)
        return out + [Proposal(PoseHypothesis(self._pose_of(k, T_base_camera), START_COVARIANCE), 0) for k in similar]

    def candidates(
        self, image: np.ndarray, camera: PosedCamera, count: int = CANDIDATES,
        region: Region | None = None, heading: Heading | None = None,
    ) -> list[np.ndarray]:  # fmt: skip
        """Poses (4, 4) T_map_base at which the image may have been taken, the best first, see `propose`."""
        out: list[np.ndarray] = []
        for proposal in self.propose(image, camera, region, heading):
            pose = proposal.place.T_map_base
            if all(_differ(pose, other) for other in out):
                out.append(pose)
        return out[:count]

    def locate(
        self, image: np.ndarray, camera: PosedCamera,
        region: Region | None = None, heading: Heading | None = None,
        should_continue: Callable[[], bool] = lambda: True,
    ) -> PoseHypothesis | None:  # fmt: skip
        """As `PlaceFinder.locate`."""
        candidates = self.candidates(image, camera, CANDIDATES, region, heading)
        verdict = self.verifier.best(image, camera, candidates, should_continue)
        return verdict.place if verdict is not None and ALONE.met_by(verdict) else None

    def _similar(self, code: np.ndarray, region: Region | None, heading: Heading | None) -> np.ndarray:
        """Numbers of the mapping drive's images, the most similar first, those outside of the region left out."""
        images = self.learned.images
        distance = np.linalg.norm(images.codes.astype(np.float32) - code, axis=1)
        inside = np.ones(len(distance), bool)
        if region is not None:
            where = images.positions[:, :2] + self._origin[:2]
            inside &= np.hypot(*(where - region.center).T) <= region.radius_m
        if heading is not None:
            inside &= np.abs(wrapped(images.yaws - heading.yaw)) <= heading.tolerance
        order = np.argsort(distance, kind="stable")
        return order[inside[order]]

    def _apart(self, order: np.ndarray) -> list[int]:
        """The first few of some images that are of different places."""
        out: list[int] = []
        where, yaws = self.learned.images.positions, self.learned.images.yaws
        for k in order.tolist():
            near = (np.linalg.norm(where[k] - where[other]) < APART_M for other in out)
            same = (abs(wrapped(yaws[k] - yaws[other])) < APART[1] for other in out)
            if not any(a and b for a, b in zip(near, same, strict=True)):
                out.append(k)
            if len(out) == IMAGES:
                break
        return out

    def _pose_of(self, k: int, T_base_camera: np.ndarray) -> np.ndarray:
        images = self.learned.images
        return base_pose(images.positions[k].astype(np.float64) + self._origin, float(images.yaws[k]), T_base_camera)


class SceneSearch(VerifiedSearch):
    """Localizes a robot that does not know where it is, image by image, with what odometry says between them."""

    def _propose(
        self, image: np.ndarray, camera: PosedCamera, odometry: np.ndarray, region: Region | None
    ) -> list[np.ndarray]:  # fmt: skip
        return self._finder.candidates(image, camera, CANDIDATES, region)


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    turned = np.arccos(np.clip((np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2, -1, 1))
    return np.linalg.norm(a[:3, 3] - b[:3, 3]) > APART[0] or turned > APART[1]
