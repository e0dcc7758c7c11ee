# SPDX-License-Identifier: Apache-2.0
"""Compares an image with the map at places where it may have been taken; looks alone are not believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ModelError
from ..geometry import inverse, perturb, pose_error
from ..localization.manifold import max_std, transport_covariance
from ..localization.refine import Refinement, RefineMode, Refiner
from ..localization.relocalize import SAME_POSE, PoseHypothesis
from .encoded_once import EncodedOnce

if TYPE_CHECKING:
    from ..lhmap import LHMap, MapPoints
    from ..localization.estimate import PosedCamera

ROUNDS = (
    ({"coarse": 1, "fine": 0}, 8),
    ({"coarse": 1, "fine": 0}, 5),
    ({"coarse": 0, "fine": 1}, 5),
)
"""Iterations of a look at a candidate, and how many of the best go on after them: most are told from the right one long
before they have come to rest."""
FULL = {"coarse": 3, "fine": 4}
"""Iterations of those that are left."""
AHEAD_M, RADIUS_M = 18.0, 26.0
"""The piece of map for a look: what the camera has before it. Tiles of a place where nobody was before must be decoded,
which takes longer than the look."""
CLEAR_RATIO, CLEAR_MARGIN = 0.15, 2.0
"""One that fits this well, and so many times as well as any elsewhere, goes on with the next best alone."""
FINISHED, HOPELESS = 3, 0.4
"""So many of the best places are refined to the end, but none that fits only this share as well as the best."""
WEAK, BESIDE, ASIDE_M = 0.2, 2, 3.0
"""Where nothing fits better than this, so many of the best begin again from so far to the left and right: there are
other lanes."""
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


@dataclass(frozen=True)
class _Look:
    """How far the comparison of an image with the map has come from one start."""

    start: np.ndarray
    """(4, 4) T_map_camera."""
    crop: MapPoints
    T_map_camera: np.ndarray
    inlier_ratio: float = 0.0


class Verifier:
    """Refines poses in a map against one image at a time."""

    def __init__(self, lhmap: LHMap, refiner: Refiner, crop_radius_m: float):
        self._map, self._radius = lhmap, crop_radius_m
        self._full, self._rounds = refiner, [(refiner, kept) for _, kept in ROUNDS]
        if isinstance(refiner, Refiner):
            models = EncodedOnce(refiner.models)

            def with_iterations(iterations: dict[str, int]) -> Refiner:
                plan = refiner.plan.adapted([RefineMode.WIDE], **iterations)
                return Refiner(refiner.config, models, plan)

            self._full = with_iterations(FULL)
            self._rounds = [(with_iterations(iterations), kept) for iterations, kept in ROUNDS]

    def best(
        self, image: np.ndarray, camera: PosedCamera, candidates: Sequence[np.ndarray],
        should_continue: Callable[[], bool] = lambda: True,
    ) -> Verdict | None:  # fmt: skip
        """The verdict on poses (4, 4) T_map_base; None if the image fits at none, or once `should_continue` says no."""
        # 1. a look at each; where that shows nothing, at what is beside the best
        looks = self._looks(image, camera, [pose @ camera.T_base_camera for pose in candidates], should_continue)
        if looks and looks[0].inlier_ratio < WEAK:
            beside = [start for look in looks[:BESIDE] for start in _moved_aside(look.start)]
            looks += self._looks(image, camera, beside, should_continue)
            looks.sort(key=lambda look: -look.inlier_ratio)
        # 2. the best places to the end
        found = self._finished(image, camera, looks, should_continue)
        if not found or not should_continue():
            return None
        best, T_map_camera = found[0]
        elsewhere = [(placed.T_map_base, placed.inlier_ratio) for placed, _ in found[1:]]
        elsewhere += [(look.T_map_camera @ inverse(camera.T_base_camera), look.inlier_ratio) for look in looks]
        rival = max((ratio for pose, ratio in elsewhere if _metres(pose, best.T_map_base) > APART_M), default=0.0)
        # 3. wrong places fit by chance, each from one start
        again = self._finish(image, camera, perturb(T_map_camera, *SECOND_START))
        agrees = False
        if again is not None:
            metres, degrees = pose_error(self._placed(again, camera).T_map_base, best.T_map_base)
            agrees = metres < SAME_POSE[0] and degrees < SAME_POSE[1]
        return Verdict(best, rival, agrees)

    def _looks(self, image, camera: PosedCamera, starts: Sequence[np.ndarray], should_continue) -> list[_Look]:
        """Looks from camera poses, those that were among the best in each round, the best first."""
        going = [self._begun(start) for start in starts]
        for refiner, kept in self._rounds:
            looks = []
            for look in going:
                if not should_continue():
                    return []
                refined = self._refined(refiner, image, camera, look.crop, look.T_map_camera)
                if refined is not None:
                    looks.append(replace(look, T_map_camera=refined.T_map_camera, inlier_ratio=refined.inlier_ratio))
            looks.sort(key=lambda look: -look.inlier_ratio)
            going = _apart(looks)
            going = going[: 2 if _is_clear(going) else kept]
        return going

    def _begun(self, start: np.ndarray) -> _Look:
        center = start[:3, 3] + AHEAD_M * start[:3, 2]
        return _Look(start, self._map.crop(center, RADIUS_M, damaged=[]), start)

    def _finished(
        self, image, camera: PosedCamera, looks: Sequence[_Look], should_continue
    ) -> list[tuple[PoseHypothesis, np.ndarray]]:  # fmt: skip
        """The best places refined to the end, the best first, each with T_map_camera."""
        found: list[tuple[PoseHypothesis, np.ndarray]] = []
        for look in looks:
            if len(found) == FINISHED or look.inlier_ratio < HOPELESS * looks[0].inlier_ratio or not should_continue():
                break
            pose = look.T_map_camera @ inverse(camera.T_base_camera)
            if all(_metres(pose, other.T_map_base) > APART_M for other, _ in found):
                full = self._finish(image, camera, look.T_map_camera)
                if full is not None:
                    found.append((self._placed(full, camera), full.T_map_camera))
        return sorted(found, key=lambda item: -item[0].inlier_ratio)

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


def _metres(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3]))


def _apart(looks: Sequence[_Look]) -> list[_Look]:
    """Those that did not come to where a better one is."""
    out: list[_Look] = []
    for look in looks:
        errors = (pose_error(look.T_map_camera, other.T_map_camera) for other in out)
        if all(metres > SAME_POSE[0] or degrees > SAME_POSE[1] for metres, degrees in errors):
            out.append(look)
    return out


def _is_clear(looks: Sequence[_Look]) -> bool:
    """Whether the first of some looks, the best first, fits far better than any at another place."""
    if not looks or looks[0].inlier_ratio < CLEAR_RATIO:
        return False
    elsewhere = (look for look in looks if _metres(look.T_map_camera, looks[0].T_map_camera) > APART_M)
    return looks[0].inlier_ratio >= CLEAR_MARGIN * max((look.inlier_ratio for look in elsewhere), default=0.0)


def _moved_aside(T_map_camera: np.ndarray) -> list[np.ndarray]:
    """The pose moved to the left and to the right, over the ground."""
    right = np.array([*T_map_camera[:2, 0], 0.0])
    out = [T_map_camera.copy(), T_map_camera.copy()]
    for pose, metres in zip(out, (-ASIDE_M, ASIDE_M), strict=True):
        pose[:3, 3] += metres * right / max(float(np.linalg.norm(right)), 1e-9)
    return out
