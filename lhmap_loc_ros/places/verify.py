# SPDX-License-Identifier: Apache-2.0
"""Compares an image with the map at places where it may have been taken; looks alone are not believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ModelError
from ..geometry import inverse, perturb, pose_error
from ..localization.manifold import max_std, transport_covariance
from ..localization.refine import Refinement, RefineMode, Refiner
from ..localization.relocalize import SAME_POSE, PoseHypothesis

if TYPE_CHECKING:
    from ..lhmap import LHMap, MapPoints
    from ..localization.estimate import PosedCamera

QUICK = {"coarse": 2, "fine": 1}
"""Iterations of the first look at a candidate: enough to tell it from wrong ones, not yet its pose."""
FULL = {"coarse": 3, "fine": 4}
"""Of the best ones after it."""
QUICK_AHEAD_M, QUICK_RADIUS_M = 18.0, 26.0
"""And the piece of map for it: what the camera has before it. Tiles of a place where nobody was before must be decoded,
which takes longer than the look."""
CLEAR_AFTER, CLEAR_RATIO, CLEAR_MARGIN = 4, 0.18, 2.0
"""After so many looks, one that fits this well, and so many times as well as any elsewhere, ends the looking."""
FINISHED = 3
"""So many of the best places are refined to the end."""
APART_M = 2.0
"""Poses further apart are different places."""
SECOND_START = (0.4, 0.0, 1.5), (0.0, 5.0, 0.0)
"""Moved [m] and turned [deg] like this along the camera's axes, another start must lead to the same pose."""


@dataclass(frozen=True)
class Verdict:
    """The best fitting of some candidates, and how far it may be believed."""

    place: PoseHypothesis
    rival: float
    """Inlier ratio of the best fitting pose elsewhere; 0 where nothing else fits at all."""
    agrees: bool
    """Another start nearby led to the same pose."""

    @property
    def score(self) -> float:
        """Inlier ratio over the standard deviation of the position [1/m]; it tells right from wrong places
        better than either alone."""
        return self.place.inlier_ratio / max(max_std(self.place.covariance)[0], 1e-3)

    @property
    def margin(self) -> float:
        """How many times better it fits than anything elsewhere."""
        return self.place.inlier_ratio / max(self.rival, 1e-3)


class Verifier:
    """Refines poses in a map against one image at a time."""

    def __init__(self, lhmap: LHMap, refiner: Refiner, crop_radius_m: float):
        self._map, self._radius = lhmap, crop_radius_m
        self._full = self._quick = refiner
        if isinstance(refiner, Refiner):
            models = _EncodedOnce(refiner.models)
            self._quick, self._full = (
                Refiner(refiner.config, models, refiner.plan.adapted([RefineMode.WIDE], **iterations))
                for iterations in (QUICK, FULL)
            )

    def best(
        self, image: np.ndarray, camera: PosedCamera, candidates: Sequence[np.ndarray],
        should_continue: Callable[[], bool] = lambda: True,
    ) -> Verdict | None:  # fmt: skip
        """The verdict on poses (4, 4) T_map_base; None if the image fits at none, or once `should_continue` says no."""
        # 1. a short look at each
        looks = self._looks(image, camera, candidates, should_continue)
        # 2. the best places to the end
        found: list[tuple[PoseHypothesis, np.ndarray]] = []
        for look in sorted(looks, key=lambda look: -look.inlier_ratio):
            if len(found) == FINISHED or not should_continue():
                break
            placed = self._placed(look, camera)
            if all(_metres(placed, other) > APART_M for other, _ in found):
                full = self._finish(image, camera, look.T_map_camera)
                if full is not None:
                    found.append((self._placed(full, camera), full.T_map_camera))
        if not found or not should_continue():
            return None
        found.sort(key=lambda item: -item[0].inlier_ratio)
        best, T_map_camera = found[0]
        elsewhere = [placed for placed, _ in found[1:]]
        elsewhere += [self._placed(look, camera) for look in looks]
        rival = max((other.inlier_ratio for other in elsewhere if _metres(other, best) > APART_M), default=0.0)
        # 3. wrong places fit by chance, each from one start
        again = self._finish(image, camera, perturb(T_map_camera, *SECOND_START))
        agrees = False
        if again is not None:
            metres, degrees = pose_error(self._placed(again, camera).T_map_base, best.T_map_base)
            agrees = metres < SAME_POSE[0] and degrees < SAME_POSE[1]
        return Verdict(best, rival, agrees)

    def _looks(self, image, camera: PosedCamera, candidates, should_continue) -> list[Refinement]:
        """What looks at the candidates found, until it is clear."""
        looks: list[Refinement] = []
        for number, pose in enumerate(candidates):
            if not should_continue():
                break
            look = self._look(image, camera, pose @ camera.T_base_camera)
            if look is not None:
                looks.append(look)
            if number + 1 >= CLEAR_AFTER and looks:
                best = max(looks, key=lambda look: look.inlier_ratio)
                others = (
                    look.inlier_ratio
                    for look in looks
                    if np.linalg.norm(look.T_map_camera[:3, 3] - best.T_map_camera[:3, 3]) > APART_M
                )
                if best.inlier_ratio >= max(CLEAR_RATIO, CLEAR_MARGIN * max(others, default=0.0)):
                    break
        return looks

    def _look(self, image, camera: PosedCamera, start: np.ndarray) -> Refinement | None:
        """A short refinement from a camera pose."""
        center = start[:3, 3] + QUICK_AHEAD_M * start[:3, 2]
        crop = self._map.crop(center, QUICK_RADIUS_M, damaged=[])
        return self._refined(self._quick, image, camera, crop, start)

    def _finish(self, image, camera: PosedCamera, start: np.ndarray) -> Refinement | None:
        """A refinement from a camera pose to the end."""
        crop = self._map.crop(start[:3, 3], self._radius, damaged=[])
        return self._refined(self._full, image, camera, crop, start)

    @staticmethod
    def _refined(refiner: Refiner, image, camera: PosedCamera, crop: MapPoints, start) -> Refinement | None:
        """None where there is no map, or nothing comes of it."""
        if not len(crop.points):
            return None
        try:
            refined = refiner.refine(image, camera.camera, crop, start)
        except (ModelError, np.linalg.LinAlgError):
            return None
        return refined if refined.matches and np.isfinite(refined.T_map_camera).all() else None

    @staticmethod
    def _placed(refined: Refinement, camera: PosedCamera) -> PoseHypothesis:
        T_camera_base = inverse(camera.T_base_camera)
        covariance = transport_covariance(refined.covariance, T_camera_base)
        return PoseHypothesis(refined.T_map_camera @ T_camera_base, covariance, refined.inlier_ratio)


@dataclass(frozen=True)
class Demands:
    """What a verdict must show to be believed."""

    score: float
    inlier_ratio: float
    margin: float

    def met_by(self, verdict: Verdict) -> bool:
        """Whether the verdict shows all of it."""
        fits = verdict.score >= self.score and verdict.place.inlier_ratio >= self.inlier_ratio
        return fits and verdict.margin >= self.margin and verdict.agrees


def _metres(a: PoseHypothesis, b: PoseHypothesis) -> float:
    return float(np.linalg.norm(a.T_map_base[:3, 3] - b.T_map_base[:3, 3]))


class _EncodedOnce:
    """The networks of a refiner; the same image is encoded once, however many poses it is compared at."""

    def __init__(self, models):
        self._models, self._grids = models, {}

    def __getattr__(self, name: str):
        return getattr(self._models, name)

    def for_grid(self, grid):
        """As `ModelSet.for_grid`."""
        models = self._models.for_grid(grid)
        if grid not in self._grids or self._grids[grid].models is not models:
            self._grids[grid] = _GridEncodedOnce(models)
        return self._grids[grid]


class _GridEncodedOnce:
    def __init__(self, models):
        self.models, self._image, self._features = models, None, None

    def __getattr__(self, name: str):
        return getattr(self.models, name)

    def image(self, image):
        """As `GridModels.image`."""
        if not isinstance(image, np.ndarray):
            return self.models.image(image)
        # what fills the image may change, so it is not enough that it is the same array
        if self._image is None or not np.array_equal(self._image, image):
            self._image, self._features = image.copy(), self.models.image(image)
        return self._features
