# SPDX-License-Identifier: Apache-2.0
"""One iteration of a refinement: draw the map at a pose, match it with the images, solve for a better pose."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ModelError
from ..geometry import NO_POINT, Camera, pose_error
from ..lhmap import MapPoints
from .features import View, cell_points, point_widths, render_map
from .refine_plan import COARSE_CELL, RefinePlan, Weighting
from .solver import Matches, Solution, solve_body

if TYPE_CHECKING:
    from .network_set import GridModels

MIN_HEAT = 1e-3
"""Colder map points count as this hot."""
MAX_DEPTH_M = 80.0
"""Map points further away are not drawn: so the networks were trained (docs/training.md)."""
BORDER_CELLS = 1
"""Cells along the image's border that are not matched: they err by up to a pixel (docs/training.md)."""
MIN_MATCHES = 30
"""Fewer matched map points give no pose: there are six unknowns, and every other match may be wrong."""
PRIOR_SIGMA = 2.0, math.radians(10.0)
"""Weak prior around the start pose, which decides nothing where matches do [m, rad]; the networks trained with it."""


@dataclass(frozen=True)
class Fit:
    """Where some iterations led."""

    pose: np.ndarray
    """(4, 4), T_map_body less the submap's origin; the body is the camera, or what carries several."""
    solution: Solution | None = None
    """Of the last iteration; None where too few map points were in view."""
    matches: int = 0
    last_step: tuple[float, float] = (0.0, 0.0)
    trace: tuple[np.ndarray, ...] = ()

    @property
    def agreement(self) -> float:
        """The inlier ratio."""
        return 0.0 if self.solution is None else self.solution.inlier_ratio


class Clock:
    """Adds up the time spent per step."""

    def __init__(self) -> None:
        self.spent_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """Counts the time since the last lap as that of a step."""
        now = time.perf_counter()
        self.spent_ms[step] = self.spent_ms.get(step, 0.0) + 1e3 * (now - self._last)
        self._last = now


@dataclass(frozen=True)
class GridView:
    """One view of the body on the pixel grid of its networks."""

    models: GridModels
    view: View
    T_body_view: np.ndarray
    """(4, 4), its optical frame in that of the body."""
    image: np.ndarray
    """(H, W, 3) uint8 RGB, upright, undistorted."""

    @property
    def camera(self) -> Camera:
        """That of the grid."""
        return self.view.camera

    def pose(self, T_map_body: np.ndarray) -> np.ndarray:
        """T_map_view (4, 4)."""
        return T_map_body @ self.T_body_view


class Iterations(ABC):
    """Iterations over the images of one moment in one submap: `set_submap`, then `step` as often as wanted."""

    def __init__(self, views: Sequence[GridView], plan: RefinePlan, clock: Clock):
        """Encodes the images."""
        self.views, self.plan, self.clock = views, plan, clock

    @abstractmethod
    def set_submap(self, submaps: Sequence[MapPoints]) -> None:
        """What is drawn in each view, all with the same origin."""

    @abstractmethod
    def step(self, cell: int, pose: np.ndarray) -> Fit:
        """One iteration at 1/`cell` from a pose (4, 4), T_map_body less the origin of what is drawn.

        Views with too few map points have no part. Without a solution where all have. Raises ModelError where the
        network returns what is not finite.
        """

    def _fit(self, before: np.ndarray, solution: Solution, matches: int) -> Fit:
        return Fit(solution.T_map_camera, solution, matches, pose_error(solution.T_map_camera, before))


@cache
def _encoder() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="encode")


Encoded = Future[tuple[np.ndarray, np.ndarray]]
"""Features of an image at 1/8 and 1/4, as soon as they are computed."""


class HostIterations(Iterations):
    """On the CPU, drawing and solving compiled by numba.

    Where that is quicker, another thread encodes the images while the first iteration draws and encodes the map.
    """

    def __init__(self, views: Sequence[GridView], plan: RefinePlan, clock: Clock):
        super().__init__(views, plan, clock)
        self._features = [self._encode(view) for view in views]

    @staticmethod
    def _encode(view: GridView) -> Encoded:
        def encode() -> tuple[np.ndarray, np.ndarray]:
            return view.models.image(view.view.sample(view.image))

        if view.models.at_once:
            return _encoder().submit(encode)
        future: Encoded = Future()
        future.set_result(encode())
        return future

    def set_submap(self, submaps: Sequence[MapPoints]) -> None:
        self._drawn = [(submap, point_widths(submap.points)) for submap in submaps]

    def step(self, cell: int, pose: np.ndarray) -> Fit:
        found = (
            self._match(cell, pose, view, *drawn, features)
            for view, drawn, features in zip(self.views, self._drawn, self._features, strict=True)
        )
        matches = [part for part in found if part is not None]
        if not matches:
            return Fit(pose)
        solution = solve_body(matches, pose, PRIOR_SIGMA)
        self.clock.lap("solve")
        return self._fit(pose, solution, sum(len(part.points) for part in matches))

    def _match(
        self, cell: int, T_map_body: np.ndarray, seen: GridView, submap: MapPoints, widths: np.ndarray,
        features: Encoded,
    ) -> Matches | None:  # fmt: skip
        """The matches of one view; None where too few map points are in it."""
        pose = seen.pose(T_map_body)
        view = render_map(submap.points, submap.intensity, pose, seen.camera, widths, MAX_DEPTH_M)
        owner = cell_points(view, cell)
        # at the border a cell sees only part of its surroundings, and errs more
        b = BORDER_CELLS
        inner = owner[b : owner.shape[0] - b, b : owner.shape[1] - b]
        rows, columns = (x + b for x in np.nonzero(inner != NO_POINT))
        self.clock.lap("project")
        if len(rows) < MIN_MATCHES:
            return None
        encoded = seen.models.map(view.channels)
        self.clock.lap("network")
        features8, features4 = features.result()
        self.clock.lap("encode")
        coarse = cell == COARSE_CELL
        flow, log_scale = seen.models.coarse(encoded, features8) if coarse else seen.models.fine(encoded, features4)
        self.clock.lap("network")
        point = owner[rows, columns]
        target = view.uv[point] + flow[:, rows, columns].T
        sigma_px = self._sigma(self.plan.weighting(cell), log_scale[:, rows, columns].T, submap.heat[point])
        if not (np.isfinite(target).all() and np.isfinite(sigma_px).all()):
            raise not_finite()
        weight = block_weights(rows, columns, self.plan.block_px // cell)
        return Matches(submap.points[point], target, sigma_px, weight, seen.camera, seen.T_body_view)

    def _sigma(self, weighting: Weighting, log_scale: np.ndarray, heat: np.ndarray) -> np.ndarray:
        """Expected error (N, 2) [pixels] of each match."""
        if weighting is Weighting.UNCERTAINTY:
            return np.exp(log_scale)
        relative = np.ones_like(heat)
        if weighting in (Weighting.HEAT, Weighting.BOTH):
            # heat is information, one over a squared sigma
            relative = np.sqrt(max(heat.mean(), MIN_HEAT) / np.maximum(heat, MIN_HEAT))
        known = np.exp(log_scale) if weighting is Weighting.BOTH else np.exp(np.median(log_scale))
        return known * relative[:, None] * np.ones(2)


def block_weights(rows: np.ndarray, columns: np.ndarray, block: int) -> np.ndarray:
    """Factors (N,) on the weights of matches in these cells, one in the mean; blocks are `block` cells wide and high.

    What is wrong with a match is wrong with those around it, too: many in a block tell little more than one does, and
    all of them together count as much as those of a block that has but a few. With 0 each counts by itself.
    """
    if not block:
        return np.ones(len(rows))
    number = rows // block * (columns.max() // block + 1) + columns // block
    weight = 1.0 / np.bincount(number)[number]
    return weight / weight.mean()


def not_finite() -> ModelError:
    """What a network that returns NaN or infinities gets."""
    return ModelError("the flow network returned values that are not finite")
