# SPDX-License-Identifier: Apache-2.0
"""Compares an image with the map at places where it may have been taken; appearance alone is not believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..errors import ModelError
from ..geometry import Images, inverse, perturb, pose_error
from ..localization.manifold import transport_covariance
from ..localization.refine import Refinement, RefineMode, Refiner
from ..localization.relocalize import APART_M, SAME_POSE, PoseHypothesis
from .encoded_once import EncodedOnce
from .verdict import ALONE, Demands, Verdict, metres_between

if TYPE_CHECKING:
    from ..lhmap import LHMap, MapPoints
    from ..localization.estimate import PosedCamera

ROUNDS = (
    ({"coarse": 1, "fine": 0}, 8),
    ({"coarse": 1, "fine": 0}, 4),
    ({"coarse": 0, "fine": 1}, 4),
)
"""Iterations of a look at a candidate, and how many of the best go on after them: most are told from the right one long
before they have come to rest."""
FULL = {"coarse": 3, "fine": 4}
"""Most iterations of those that are left."""
AHEAD_M, RADIUS_M = 18.0, 26.0
"""The piece of map for a look: what the camera has before it. Tiles of a place that is visited for
the first time must be decoded, which takes longer than the look."""
CLEAR_RATIO, CLEAR_MARGIN = 0.15, 2.0
"""One that fits this well, and so many times as well as any elsewhere, goes on with the next best alone."""
FINISHED, HOPELESS = 2, 0.5
"""So many of the best places are refined to the end, but none that fits only this share as well as the best."""
ASIDE, ASIDE_FIRST, ASIDE_M = 5, 2, 3.0
"""Where the first round does not tell the place, so many of the best, and of the first candidates, also begin this far
to the left and to the right: robots drive in other lanes than the mapped one."""
SECOND_START = (0.4, 0.0, 1.5), (0.0, 5.0, 0.0)
"""Moved [m] and turned [deg] like this along the camera's axes, another start must lead to the same pose."""


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@cache
def _two_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="verify")


@dataclass(frozen=True)
class _Look:
    """How far the comparison of an image with the map has come from one start."""

    candidate: int
    """Its number among the candidates, the best first."""
    start: np.ndarray
    """(4, 4) T_map_camera."""
    crop: MapPoints
    T_map_camera: np.ndarray
    inlier_ratio: float = 0.0


class Verifier:
    """Refines poses in a map against one image at a time."""

    def __init__(self, lhmap: LHMap, refiner: Refiner, crop_radius_m: float):
        self.map = lhmap
        """The map that images are compared with."""
        self._radius = crop_radius_m
        self._full, self._rounds = refiner, [(refiner, kept) for _, kept in ROUNDS]
        self._in_threads = False
        if isinstance(refiner, Refiner):
            # networks this small gain far less from a second thread than from a second core of their own
            threads = max((network.cpu_threads for network in refiner.models.networks), default=0)
            self._in_threads = threads > 1 and refiner.models.tensor_device is None
            models = EncodedOnce(refiner.models)

            def with_iterations(iterations: dict[str, int]) -> Refiner:
                plan = refiner.plan.adapted([RefineMode.WIDE], **iterations)
                return Refiner(refiner.config, models, plan)

            self._full = with_iterations(FULL)
            self._rounds = [(with_iterations(iterations), kept) for iterations, kept in ROUNDS]

    def compare(
        self, image: Images, camera: PosedCamera, candidates: Sequence[np.ndarray], kept: Sequence[np.ndarray] = (),
        should_continue: Callable[[], bool] = lambda: True,
    ) -> list[Verdict]:  # fmt: skip
        """The best fits among poses (4, 4) T_map_base and the fits of all that are `kept`, the best first.

        Empty where the image fits nowhere, or once `should_continue` says no.
        """
        # 1. a look at each
        looks = self._looks(image, camera, [pose @ camera.T_base_camera for pose in candidates], should_continue)
        # 2. the best places to the end
        fits = self._finished(image, camera, looks, should_continue)
        alone = [pose for pose in kept if all(metres_between(pose, fit.T_map_base) > APART_M for fit in fits)]

        def finish(pose: np.ndarray) -> Refinement | None:
            return self._finish(image, camera, pose @ camera.T_base_camera) if should_continue() else None

        fits += [self._placed(full, camera) for full in self._each(finish, alone) if full is not None]
        if not should_continue():
            return []
        every = [(fit.T_map_base, fit.inlier_ratio) for fit in fits]
        every += [(look.T_map_camera @ inverse(camera.T_base_camera), look.inlier_ratio) for look in looks]

        def rival(fit: PoseHypothesis) -> float:
            elsewhere = (ratio for pose, ratio in every if metres_between(pose, fit.T_map_base) > APART_M)
            return max(elsewhere, default=0.0)

        return [Verdict(fit, rival(fit), False) for fit in sorted(fits, key=lambda fit: -fit.inlier_ratio)]

    def best(
        self, image: Images, camera: PosedCamera, candidates: Sequence[np.ndarray],
        should_continue: Callable[[], bool] = lambda: True,
    ) -> Verdict | None:  # fmt: skip
        """The verdict on poses (4, 4) T_map_base; None if the image fits at none, or once `should_continue` says no."""
        verdicts = self.compare(image, camera, candidates, should_continue=should_continue)
        return self.from_two_starts(image, camera, verdicts[0], ALONE) if verdicts else None

    def from_two_starts(self, image: Images, camera: PosedCamera, verdict: Verdict, demands: Demands) -> Verdict:
        """The same, and whether another start leads to it, if it shows all else that is demanded: wrong places fit by
        chance, each from one start."""
        if not demands.met_from_one_start(verdict):
            return verdict
        T_map_camera = verdict.place.T_map_base @ camera.T_base_camera
        again = self._finish(image, camera, perturb(T_map_camera, *SECOND_START))
        if again is None:
            return verdict
        metres, degrees = pose_error(again.T_map_camera, T_map_camera)
        return replace(verdict, agrees=metres < SAME_POSE[0] and degrees < SAME_POSE[1])

    def _looks(
        self, image: Images, camera: PosedCamera, starts: Sequence[np.ndarray], should_continue: Callable[[], bool]
    ) -> list[_Look]:  # fmt: skip
        """Looks from camera poses, those that were among the best in each round, the best first."""
        looks = self._each(lambda item: self._begun(*item), enumerate(starts))
        for number, (refiner, kept) in enumerate(self._rounds):

            def further(some: Sequence[_Look], refiner: Refiner = refiner) -> list[_Look]:
                return self._further(refiner, image, camera, some, should_continue)

            looks = _best_apart(further(looks))
            if number == 0 and not _if_clear(looks):
                chosen = (look for k, look in enumerate(looks) if k < ASIDE or look.candidate < ASIDE_FIRST)
                aside = [other for look in chosen for other in _moved_aside(look)]
                looks = _best_apart(looks + further(aside))
            looks = _if_clear(looks) or looks[:kept]
        return looks

    def _further(
        self, refiner: Refiner, image: Images, camera: PosedCamera, looks: Sequence[_Look],
        should_continue: Callable[[], bool],
    ) -> list[_Look]:  # fmt: skip
        """The looks after some more iterations, without those that come to nothing."""

        def one(look: _Look) -> _Look | None:
            if not should_continue():
                return None
            refined = self._refined(refiner, image, camera, look.crop, look.T_map_camera)
            if refined is None:
                return None
            return replace(look, T_map_camera=refined.T_map_camera, inlier_ratio=refined.inlier_ratio)

        further = self._each(one, looks)
        return [look for look in further if look is not None] if should_continue() else []

    def _each(self, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """The work on each item, in their order."""
        return list(_two_threads().map(work, items)) if self._in_threads else list(map(work, items))

    def _begun(self, candidate: int, start: np.ndarray) -> _Look:
        center = start[:3, 3] + AHEAD_M * start[:3, 2]
        return _Look(candidate, start, self.map.crop(center, RADIUS_M, damaged=[]), start)

    def _finished(
        self, image: Images, camera: PosedCamera, looks: Sequence[_Look], should_continue: Callable[[], bool]
    ) -> list[PoseHypothesis]:  # fmt: skip
        """The best places refined to the end."""
        found: list[PoseHypothesis] = []
        for look in looks:
            if len(found) == FINISHED or look.inlier_ratio < HOPELESS * looks[0].inlier_ratio or not should_continue():
                break
            pose = look.T_map_camera @ inverse(camera.T_base_camera)
            if all(metres_between(pose, other.T_map_base) > APART_M for other in found):
                full = self._finish(image, camera, look.T_map_camera)
                if full is not None:
                    found.append(self._placed(full, camera))
        return found

    def _finish(self, image: Images, camera: PosedCamera, start: np.ndarray) -> Refinement | None:
        """A refinement from a camera pose to the end."""
        crop = self.map.crop(start[:3, 3], self._radius, damaged=[])
        return self._refined(self._full, image, camera, crop, start)

    @staticmethod
    def _refined(
        refiner: Refiner, image: Images, camera: PosedCamera, crop: MapPoints, start: np.ndarray
    ) -> Refinement | None:  # fmt: skip
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


def _best_apart(looks: Sequence[_Look]) -> list[_Look]:
    """The best first, without those that came to where a better one is."""
    out: list[_Look] = []
    for look in sorted(looks, key=lambda look: -look.inlier_ratio):
        near = (other for other in out if metres_between(look.T_map_camera, other.T_map_camera) <= SAME_POSE[0])
        if all(pose_error(look.T_map_camera, other.T_map_camera)[1] > SAME_POSE[1] for other in near):
            out.append(look)
    return out


def _if_clear(looks: Sequence[_Look]) -> list[_Look]:
    """The first of some looks, the best first, and the next best at another place, if it fits far better; else none."""
    elsewhere = [look for look in looks if metres_between(look.T_map_camera, looks[0].T_map_camera) > APART_M]
    rival = max((look.inlier_ratio for look in elsewhere), default=0.0)
    clear = len(looks) > 0 and looks[0].inlier_ratio >= max(CLEAR_RATIO, CLEAR_MARGIN * rival)
    return [looks[0], *elsewhere[:1]] if clear else []


def _moved_aside(look: _Look) -> list[_Look]:
    """The same from starts to the left and to the right, over the ground."""
    right = np.array([*look.start[:2, 0], 0.0])
    right /= max(float(np.linalg.norm(right)), 1e-9)
    out = []
    for metres in (-ASIDE_M, ASIDE_M):
        start = look.start.copy()
        start[:3, 3] += metres * right
        out.append(_Look(look.candidate, start, look.crop, start))
    return out
