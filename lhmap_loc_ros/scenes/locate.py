# SPDX-License-Identifier: Apache-2.0
"""Where an image was taken, by what was learned from the mapping drive's images; believed once image and map agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, MapFormatError
from ..geometry import Images, front_view, inverse, pose_error
from ..localization.manifold import transport_covariance
from ..localization.relocalize import PoseHypothesis
from ..localization.search_area import Region
from ..places.database import APART_M, Heading, wrapped
from ..places.hypotheses import SAME
from ..places.locate import CANDIDATES, CROP_RADIUS_M, VerifiedSearch
from ..places.verdict import ALONE, Demands, Verdict
from ..places.verify import Verifier
from ..places.virtual_poses import base_pose
from .codes import METHOD as CODES
from .codes import CodesDecoder, MapCodes
from .encoder import SceneEncoder, brought_to
from .heads import Heads, Look
from .section import Learned

if TYPE_CHECKING:
    from ..lhmap import LHMap
    from ..localization.estimate import PosedCamera
    from ..localization.refine import Refiner
    from ..places.locate import PlaceFinder

WITNESS = "coordinates"
"""The method whose inliers tell right places from wrong ones: each cell speaks for itself."""
HEADS = 3
"""Heads of so many stretches of the path are asked: those whose images are most like this one."""
IMAGES = 4
"""So many of the most similar images of the mapping drive, at different places, are candidates as well."""
APART = 1.0, np.pi / 6
"""Of two candidates nearer to each other, and turned by less, one is enough [m, rad]."""
START_COVARIANCE = np.diag([1.0] * 3 + [np.radians(5.0) ** 2] * 3)
"""Of a mapping pose whose image is only similar."""
WITNESS_RATIO, WITNESS_INLIERS = 0.2, 60
"""So much must agree on a pose for it to count as independent evidence: where images were of other streets, at most
0.12 of the cells did, between the mapping drive's images at least 0.29 (KITTI)."""

WITNESSED = Demands(score=1.4, inlier_ratio=0.2, margin=1.3)
"""For a pose that such evidence agrees with."""


@dataclass(frozen=True)
class Proposal:
    """A pose that what was learned proposes."""

    place: PoseHypothesis
    inliers: int = 0
    """That the pose was solved from; 0 where it was not."""
    ratio: float = 0.0
    """Of all that might have agreed on the pose."""


def believed(verdict: Verdict | None, proposals: Sequence[Proposal]) -> bool:
    """Whether one image says enough: by the LiDAR map alone, or because the pose that fits it was solved without it.

    Two ways to the same pose, of which one did not look at the map's points, are as good as two images.
    """
    if verdict is None:
        return False
    if ALONE.met_by(verdict):
        return True
    solved = [p for p in proposals if p.ratio >= WITNESS_RATIO and p.inliers >= WITNESS_INLIERS]
    if not solved or not WITNESSED.met_from_one_start(verdict):
        return False
    metres, degrees = pose_error(solved[0].place.T_map_base, verdict.place.T_map_base)
    return metres < SAME[0] and degrees < SAME[1]


def check_learned(lhmap: LHMap, method: str) -> None:
    """Raises InputError for a map without what a method learned, before any network is loaded for it."""
    if not lhmap.has_section(method):
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
        learned = MapCodes.of(lhmap) if method == CODES else Learned.of(lhmap, method)
        assert learned is not None  # the section was found above
        self.learned: MapCodes | Learned = learned
        self._encoder = encoder or SceneEncoder(learned.view)
        if learned.encoder != self._encoder.sha256:
            raise MapFormatError(
                f"{lhmap.path}: {method} learned with the network {learned.encoder[:12]} found, expected "
                f"{self._encoder.sha256[:12]}: lhmap learn learns anew"
            )
        self._heads = CodesDecoder(learned, lhmap.path) if isinstance(learned, MapCodes) else Heads(learned)
        self._origin = np.array(lhmap.metadata.origin)
        self.verifier = Verifier(lhmap, refiner, crop_radius_m)

    def search(self, places: PlaceFinder | None = None) -> SceneSearch:
        """One that hears of image after image; with `places` theirs are half of the candidates."""
        return SceneSearch(self, places)

    def propose(
        self, image: Images, camera: PosedCamera, region: Region | None = None, heading: Heading | None = None
    ) -> list[Proposal]:  # fmt: skip
        """What the heads say, the best first, and then the mapping poses of similar images; poses of the robot.

        Raises InputError for a camera that sees little of what the mapping robot's did.
        """
        ahead, T_base_camera = front_view(image, camera.camera), camera.front.T_base_camera
        channels, seen = brought_to(ahead.image, ahead.camera, self.learned.view)
        look = self._heads.look(self._encoder.features(channels))
        order = self._similar(look.code, region, heading)
        likest: dict[int, int] = {}
        for k in order.tolist():
            likest.setdefault(int(self.learned.images.head[k]), k)
        starts = ((number, self._pose_of(k, T_base_camera)) for number, k in list(likest.items())[:HEADS])
        solved = (self._solved(number, look, seen, start, T_base_camera) for number, start in starts)
        out = [proposal for proposal in solved if proposal is not None]
        if region is not None:
            out = [p for p in out if np.hypot(*(p.place.T_map_base[:2, 3] - region.center)) <= region.radius_m]
        out.sort(key=lambda proposal: -proposal.inliers)
        similar = self._apart(order)
        return out + [Proposal(PoseHypothesis(self._pose_of(k, T_base_camera), START_COVARIANCE)) for k in similar]

    def _solved(
        self, number: int, look: Look, seen: np.ndarray, start: np.ndarray, T_base_camera: np.ndarray
    ) -> Proposal | None:  # fmt: skip
        """What the head of a number says of an image, of whose cells (M,) bool are seen; None where it says nothing.

        `start` (4, 4) is T_map_base of a mapping image that looks alike.
        """
        T_origin_camera = start @ T_base_camera
        T_origin_camera[:3, 3] -= self._origin
        solved = self._heads.pose(number, look, seen, T_origin_camera)
        if solved is None:
            return None
        T_map_camera, T_camera_base = solved.T_map_camera.copy(), inverse(T_base_camera)
        T_map_camera[:3, 3] += self._origin
        covariance = transport_covariance(solved.covariance, T_camera_base)
        ratio = solved.inlier_ratio if self.learned.method == WITNESS else 0.0
        return Proposal(PoseHypothesis(T_map_camera @ T_camera_base, covariance), solved.inliers, ratio)

    def candidates(
        self, image: Images, camera: PosedCamera, count: int = CANDIDATES,
        region: Region | None = None, heading: Heading | None = None,
    ) -> list[np.ndarray]:  # fmt: skip
        """Poses (4, 4) T_map_base at which the image may have been taken, the best first, see `propose`."""
        return different(self.propose(image, camera, region, heading))[:count]

    def locate(
        self, image: Images, camera: PosedCamera,
        region: Region | None = None, heading: Heading | None = None,
        should_continue: Callable[[], bool] = lambda: True,
    ) -> PoseHypothesis | None:  # fmt: skip
        """As `PlaceFinder.locate`."""
        proposals = self.propose(image, camera, region, heading)
        verdict = self.verifier.best(image, camera, different(proposals)[:CANDIDATES], should_continue)
        return verdict.place if verdict is not None and believed(verdict, proposals) else None

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
    """Localizes a robot that does not know where it is, image by image, with how it moved between them."""

    def __init__(self, finder: SceneFinder, places: PlaceFinder | None = None):
        super().__init__(finder.verifier)
        self._finder, self._places = finder, None if places is None else places.search()
        self._proposals: Sequence[Proposal] = ()

    def _forget(self) -> None:
        super()._forget()
        if self._places is not None:
            self._places.restart()

    def propose(
        self, image: Images, camera: PosedCamera, way: np.ndarray | None, region: Region | None
    ) -> list[np.ndarray]:  # fmt: skip
        self._proposals = self._finder.propose(image, camera, region)
        found = different(self._proposals)
        if self._places is None:
            return found[:CANDIDATES]
        # what was learned is of one day: where it says nothing, descriptors of the map may
        others = self._places.propose(image, camera, way, region)
        return [*found[: CANDIDATES // 2], *others[: CANDIDATES // 2]]

    def _alone(self, verdict: Verdict) -> bool:
        return believed(verdict, self._proposals)


def different(proposals: Sequence[Proposal]) -> list[np.ndarray]:
    """Their poses (4, 4) T_map_base, but those that are nearly as one before."""
    out: list[np.ndarray] = []
    for proposal in proposals:
        if all(_differ(proposal.place.T_map_base, other) for other in out):
            out.append(proposal.place.T_map_base)
    return out


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    turned = np.arccos(np.clip((np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2, -1, 1))
    return bool(np.linalg.norm(a[:3, 3] - b[:3, 3]) > APART[0] or turned > APART[1])
