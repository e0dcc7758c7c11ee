# SPDX-License-Identifier: Apache-2.0
"""Where an image was taken, without a start pose: the place is recognised, and believed once image and map agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..geometry import Images, front_view
from ..localization.relocalize import PoseHypothesis
from ..localization.search_area import Region
from ..localization.visual_odometry import MotionFrom
from .database import SECTION, Heading, Peak, PlaceDatabase, between_headings
from .describer import Describer
from .hypotheses import Hypotheses
from .verdict import ALONE, TOGETHER, Verdict
from .verify import Verifier
from .votes import PlaceVotes

if TYPE_CHECKING:
    from ..lhmap import LHMap
    from ..localization.estimate import PosedCamera
    from ..localization.refine import Refiner

CANDIDATES = 24
"""At most so many places are looked at, each with one heading."""
FEW = 4
"""So many, where a pose is to be confirmed rather than found."""
CROP_RADIUS_M = 60.0


def check_places(lhmap: LHMap) -> None:
    """Raises InputError for a map without places, before any network is loaded for them."""
    if not lhmap.has_section(SECTION):
        raise InputError(
            f"{lhmap.path}: has no places to be found by, expected a start pose (lhmap localize --init X Y Z YAW, the "
            "node's initialpose), or a map to which `lhmap places` has added them"
        )


class PlaceFinder:
    """Localizes single images in a whole map."""

    def __init__(self, lhmap: LHMap, refiner: Refiner, describer: Describer, crop_radius_m: float = CROP_RADIUS_M):
        """Raises InputError for a map without places, and MapFormatError for places that cannot be used."""
        check_places(lhmap)
        database = PlaceDatabase.of(lhmap, describer.sha256)
        assert database is not None  # places were found above
        self.database, self._describer = database, describer
        self.verifier = Verifier(lhmap, refiner, crop_radius_m)

    def search(self) -> SequencePlaceFinder:
        """One that hears of image after image."""
        return SequencePlaceFinder(self)

    def descriptor(self, image: Images, camera: PosedCamera) -> np.ndarray:
        """That of an undistorted image (H, W, 3) uint8 RGB."""
        view = front_view(image, camera.camera)
        return self._describer.image(view.image, view.camera, camera.front.T_base_camera)

    def candidates(
        self, image: Images, camera: PosedCamera, count: int = CANDIDATES,
        region: Region | None = None, heading: Heading | None = None,
    ) -> list[np.ndarray]:  # fmt: skip
        """Poses (4, 4) T_map_base from which the map looks like the image, the best first, at different places."""
        scores = self.database.scores(self.descriptor(image, camera), region, heading)
        return [start_pose(self.database, scores, peak, camera) for peak in self.database.peaks(scores, count)]

    def locate(
        self, image: Images, camera: PosedCamera,
        region: Region | None = None, heading: Heading | None = None,
        should_continue: Callable[[], bool] = lambda: True,
    ) -> PoseHypothesis | None:  # fmt: skip
        """The pose of the robot; None if the image does not say it, which is an ordinary answer.

        `image` (H, W, 3) uint8 RGB is undistorted. With a `region` or a `heading` [of the camera] only places there
        are tried. The work is bounded; nothing is found once `should_continue` says no.
        """
        verdict = self.verifier.best(
            image, camera, self.candidates(image, camera, CANDIDATES, region, heading), should_continue
        )
        return verdict.place if verdict is not None and ALONE.met_by(verdict) else None


class VerifiedSearch:
    """Localizes a robot that does not know where it is, image by image, with how it moved between them.

    Subclasses propose where an image may have been taken. What one image does not say, several may: the poses that fit
    best are carried on as the robot moves, and every image tells for or against each.
    """

    def __init__(self, verifier: Verifier):
        self._verifier, self._hypotheses = verifier, Hypotheses()
        self.images = 0
        """How many were looked at since the search began."""

    def restart(self) -> None:
        """Forgets all images, as after a jump of the odometry."""
        self._forget()
        self.images = 0

    def _forget(self) -> None:
        self._hypotheses.clear()

    def propose(
        self, image: Images, camera: PosedCamera, way: np.ndarray | None, region: Region | None
    ) -> list[np.ndarray]:  # fmt: skip
        """Poses (4, 4) T_map_base at this image, the best first; `way` (4, 4) is T_before_now of base since the image
        before, None: not known."""
        raise NotImplementedError

    def process_image(
        self, image: Images, camera: PosedCamera, motion: MotionFrom | None = None,
        region: Region | None = None, should_continue: Callable[[], bool] = lambda: True,
    ) -> PoseHypothesis | None:  # fmt: skip
        """The pose of the robot at this image; None as long as it is not known.

        `motion` tells how base moved since the image before; None: images before tell nothing about this one. The work
        is bounded, as that of `PlaceFinder.locate`.
        """
        way = None if motion is None else self._hypotheses.carry(motion)
        if way is None:
            self._forget()
        self.images += 1
        candidates = self.propose(image, camera, way, region)
        if self._hypotheses.leading:
            candidates = candidates[:FEW]
        verdicts = self._verifier.compare(image, camera, candidates, self._hypotheses.poses, should_continue)
        if not verdicts:
            return None
        self._hypotheses.add(verdicts)
        best = self._verifier.from_two_starts(image, camera, verdicts[0], ALONE)
        if self._alone(best):
            return best.place
        confirmed = self._hypotheses.confirmed()
        if confirmed is None:
            return None
        if confirmed is verdicts[0] and ALONE.met_from_one_start(confirmed):
            confirmed = best  # whose other start was tried above
        else:
            confirmed = self._verifier.from_two_starts(image, camera, confirmed, TOGETHER)
        return confirmed.place if TOGETHER.met_by(confirmed) else None

    def _alone(self, verdict: Verdict) -> bool:
        """Whether this image says enough by itself."""
        return ALONE.met_by(verdict)


class SequencePlaceFinder(VerifiedSearch):
    """A search by descriptors of places: images vote over the same hypotheses, carried on as the robot moves."""

    def __init__(self, finder: PlaceFinder):
        super().__init__(finder.verifier)
        self._finder, self._votes = finder, PlaceVotes(finder.database)

    def _forget(self) -> None:
        super()._forget()
        self._votes.clear()

    def propose(
        self, image: Images, camera: PosedCamera, way: np.ndarray | None, region: Region | None
    ) -> list[np.ndarray]:  # fmt: skip
        scores = self._finder.database.scores(self._finder.descriptor(image, camera), region)
        self._votes.add(scores, way, camera.front.T_base_camera)
        return self._votes.candidates(CANDIDATES)


def start_pose(database: PlaceDatabase, scores: np.ndarray, peak: Peak, camera: PosedCamera) -> np.ndarray:
    """Pose (4, 4) T_map_base to refine from at a peak of scores (P, H): between headings where the scores say so."""
    return database.base_pose(peak, camera.front.T_base_camera, between_headings(scores[peak.place], peak.heading))
