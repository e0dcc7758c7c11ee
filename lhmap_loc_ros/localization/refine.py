# SPDX-License-Identifier: Apache-2.0
"""One image and a rough pose in, a better pose with its covariance out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..errors import ModelError
from ..geometry import NO_POINT, Camera, inverse, make_pose, may_be_seen, perturb, pose_error
from ..inference import Backend, Model, Precision, check_choice
from ..lhmap import MapPoints
from .features import View, cell_points, point_widths, render_map
from .network_set import ModelSet, NetworkSet
from .solver import Solution, solve_pose

COARSE_CELL, FINE_CELL = 8, 4
ROUGH_REACH, NEAR_REACH = (12.0, 25.0), (4.0, 12.0)
"""How far refinements may lead from a rough and from a near start [m, deg]: beyond it map points are missing."""


class Weighting(str, Enum):
    """What the weight of a match comes from."""

    UNIFORM = "uniform"
    """All matches count the same."""
    UNCERTAINTY = "uncertainty"
    """The scale that the network predicts for each match."""
    HEAT = "heat"
    """The heat of the map point."""
    BOTH = "both"
    """The scale, smaller where the point is hot."""


class RefinerConfig(BaseModel):
    """Settings of the `Refiner`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("flow", description="name or path prefix of the networks: MODEL_image/_coarse/_fine.onnx")
    threads: int = Field(0, ge=0, le=64, description="CPU threads of the networks; 0: one a core, at most 4")
    backend: Backend = Field(
        Backend.AUTO,
        description="onnxruntime, tensorrt, openvino, torch; auto: TensorRT where a GPU is, else ONNX Runtime",
    )
    precision: Precision = Field(
        Precision.FP32, description="of convolutions: fp32; fp16 (tensorrt, onnxruntime); bf16 (openvino)"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:NUMBER")
    coarse_passes: int = Field(5, ge=1, le=8, description="at most so many refinements at 1/8 where the start is rough")
    fine_passes: int = Field(6, ge=1, le=8, description="at most so many refinements at 1/4 after them")
    near_passes: int = Field(3, ge=1, le=8, description="at most so many refinements at 1/4 where the start is near")
    restarts_m: tuple[float, ...] = Field(
        (1.5, 3.0), description="search: how much nearer and further to begin anew, in turn, without agreement [m]"
    )
    restart_coarse_passes: int = Field(2, ge=0, le=8, description="at most so many refinements at 1/8 of a new start")
    restart_gain: float = Field(1.1, ge=1.0, description="factor on the inlier ratio that makes a new start the better")
    restart_least: float = Field(0.2, ge=0.0, le=1.0, description="inlier ratio that a new start must lead to")
    agreement: float = Field(0.45, ge=0.0, le=1.0, description="inlier ratio above which no search goes on")
    settled_m: float = Field(0.03, ge=0.0, description="a correction below this and settled_deg ends a stage [m]")
    settled_deg: float = Field(0.05, ge=0.0, description="a correction below this and settled_m ends a stage [deg]")
    near_settled_m: float = Field(0.05, ge=0.0, description="as settled_m for images after the first [m]")
    near_settled_deg: float = Field(0.2, ge=0.0, description="as settled_deg for images after the first [deg]")
    splat_m: float | None = Field(
        None, ge=0.0, le=2.0, description="width of a map point when drawn [m]; null: by the density around it"
    )
    max_depth_m: float = Field(80.0, gt=1.0, description="map points further away are not drawn [m]")
    weighting: Weighting = Field(Weighting.BOTH, description="what the weight of a match comes from")
    border_cells: int = Field(1, ge=0, le=8, description="cells along the image's border that are not matched")
    min_matches: int = Field(30, ge=6, description="fewer matched map points than this give no pose")
    prior_sigma_m: float = Field(2.0, gt=0.0, description="weak prior around the start position [m]")
    prior_sigma_deg: float = Field(10.0, gt=0.0, description="weak prior around the start orientation [deg]")

    @model_validator(mode="after")
    def _backend_precision_and_device_go_together(self):
        try:
            check_choice(self.backend, self.precision, self.device)
        except ModelError as error:
            raise ValueError(str(error)) from None
        return self


@dataclass(frozen=True)
class Refinement:
    """The result of `Refiner.refine`."""

    T_map_camera: np.ndarray
    """(4, 4) float64, pose of the camera optical frame in the map."""
    covariance: np.ndarray
    """(6, 6) of the tangent vector (metres, radians) in the camera's frame: T = T_hat exp(xi)."""
    inlier_ratio: float
    """Share of the matches that are sure and that the pose explains, in [0, 1]."""
    matches: int
    """Map points matched in the last pass."""
    last_step: tuple[float, float]
    """Size of the last pass's correction: metres, degrees."""
    trace: tuple[np.ndarray, ...] = ()
    """The pose after each pass, where asked for."""
    timings_ms: dict[str, float] = field(default_factory=dict)
    """Time spent per step: encode, project, network, solve [ms]."""
    passes: int = 0
    """How often the map was drawn and matched."""

    @property
    def succeeded(self) -> bool:
        """False where too few map points were in view to say anything."""
        return self.matches > 0


class Refiner:
    """Localizes an image in a piece of map, starting from a rough pose."""

    def __init__(self, config: RefinerConfig, models: ModelSet | None = None):
        self.config = config
        self.models = models if models is not None else NetworkSet(config)

    @property
    def networks(self) -> tuple[Model, ...]:
        """What computes, and how it goes."""
        return self.models.networks

    def refine(
        self,
        image: np.ndarray,
        camera: Camera,
        crop: MapPoints,
        T_map_camera: np.ndarray,
        coarse: bool = True,
        search: bool = False,
        keep_trace: bool = False,
    ) -> Refinement:
        """The pose of the camera (4x4, map frame) that saw `image` (H, W, 3) uint8 RGB, undistorted.

        `coarse` starts with passes that match over the whole image; without them the start must be within
        some 16 pixels of the network's grid. `search` begins anew from other distances where image and map do not
        agree after them, which takes several times as long. Raises InputError for an image of the wrong size.
        """
        # 1. the image, once
        clock = _Clock()
        camera.check_image(image)
        view = View.of(camera, self.models.width, self.models.height)
        features = dict(zip((COARSE_CELL, FINE_CELL), self.models.image(view.sample(image)), strict=True))
        clock.lap("encode")
        # 2. the points that any pose within reach may see, which is a third of them
        local = np.array(T_map_camera, dtype=np.float64)
        local[:3, 3] -= crop.origin
        reach = ROUGH_REACH if coarse else NEAR_REACH
        crop = crop.select(may_be_seen(crop.points, inverse(local), view.camera, *reach))
        widths = point_widths(crop.points) if self.config.splat_m is None else self.config.splat_m
        clock.lap("project")
        seen = _Seen(features, view.camera, crop, widths, clock)
        # 3. refine the start pose; where that did not lead to a match, start again from nearer and from further
        c = self.config
        settled = (c.settled_m, c.settled_deg) if search else (c.near_settled_m, c.near_settled_deg)
        fit = self._descend(self._cells(coarse), seen, local, settled)
        trace = list(fit.trace)
        if search and fit.solution is not None:
            fit, moved = self._search(fit, seen, local)
            trace += [fit.pose] * moved
        poses = tuple(_shifted(pose, crop.origin) for pose in trace) if keep_trace else ()
        # 4. pose and covariance back in the map frame
        if fit.solution is None:
            return Refinement(np.array(T_map_camera), self._ignorance(), 0.0, 0, (0.0, 0.0), poses, clock.spent_ms)
        calibrated = self.models.covariance.rough if coarse else self.models.covariance.near
        scale = calibrated.factors(fit.agreement, fit.last_step[0])
        return Refinement(
            T_map_camera=_shifted(fit.pose, crop.origin),
            covariance=np.linalg.inv(fit.solution.information) * np.outer(scale, scale),
            inlier_ratio=fit.agreement,
            matches=fit.matches,
            last_step=fit.last_step,
            trace=poses,
            timings_ms=clock.spent_ms,
            passes=len(trace),
        )

    def _descend(self, cells: list[int], seen: _Seen, pose: np.ndarray, settled: tuple[float, float]) -> _Fit:
        """Passes one after the other: draw the map at the present pose, match, solve.

        Corrections below `settled` [m, deg] end those of a cell size.
        """
        fit, trace, done = _Fit(pose), [], None
        for cell in cells:
            if cell == done:
                continue
            before = fit.pose
            fit = self._pass(cell, seen, before)
            if fit.solution is None:
                break
            trace.append(fit.pose)
            if fit.last_step[0] < settled[0] and fit.last_step[1] < settled[1]:
                done = cell
        return replace(fit, trace=tuple(trace))

    def _search(self, fit: _Fit, seen: _Seen, start: np.ndarray) -> tuple[_Fit, bool]:
        """The best of `fit` and of what new starts lead to, and whether that is one of them.

        The distance along the viewing direction is what an image tells least about: refinements that go astray end
        with the right orientation some metres ahead or behind, where each pass corrects but a fraction of it.
        """
        c, moved = self.config, False
        cells = [COARSE_CELL] * c.restart_coarse_passes + [FINE_CELL] * c.fine_passes
        settled = c.settled_m, c.settled_deg
        back = make_pose(fit.pose[:3, :3], start[:3, 3])
        for distance in c.restarts_m:
            if fit.agreement >= c.agreement:
                break
            starts = [perturb(fit.pose, (0.0, 0.0, z), (0.0, 0.0, 0.0)) for z in (distance, -distance)]
            if not moved:
                starts.append(back)
            others = [self._descend(cells, seen, pose, settled) for pose in starts]
            best = max(others, key=lambda other: other.agreement)
            # two wrong places agree by chance: where the image shows nothing, the pose stays
            if best.agreement >= max(c.restart_gain * fit.agreement, c.restart_least):
                fit, moved = best, True
        return fit, moved

    def _cells(self, coarse: bool) -> list[int]:
        """Cell size of each pass."""
        c = self.config
        if not coarse:
            return [FINE_CELL] * c.near_passes
        return [COARSE_CELL] * c.coarse_passes + [FINE_CELL] * c.fine_passes

    def _pass(self, cell: int, seen: _Seen, pose: np.ndarray) -> _Fit:
        """One refinement; without a solution where too few map points are in view."""
        crop, clock = seen.crop, seen.clock
        view = render_map(crop.points, crop.intensity, pose, seen.camera, seen.widths, self.config.max_depth_m)
        owner = cell_points(view, cell)
        # at the border a cell sees only part of its surroundings, and errs more
        b = self.config.border_cells
        inner = owner[b : owner.shape[0] - b, b : owner.shape[1] - b]
        rows, columns = (x + b for x in np.nonzero(inner != NO_POINT))
        clock.lap("project")
        if len(rows) < self.config.min_matches:
            return _Fit(pose)
        network = self.models.coarse if cell == COARSE_CELL else self.models.fine
        flow, log_scale = network(view.channels, seen.features[cell])
        clock.lap("network")
        point = owner[rows, columns]
        target = view.uv[point] + flow[:, rows, columns].T
        scale = self._scale(log_scale[:, rows, columns].T, crop.heat[point])
        if not (np.isfinite(target).all() and np.isfinite(scale).all()):
            raise ModelError("the flow network returned values that are not finite")
        solution = solve_pose(crop.points[point], target, scale, pose, seen.camera, self._prior)
        clock.lap("solve")
        return _Fit(solution.T_map_camera, solution, len(rows), pose_error(solution.T_map_camera, pose))

    def _scale(self, log_scale: np.ndarray, heat: np.ndarray) -> np.ndarray:
        """Expected error (N, 2) [pixels] of each match."""
        weighting = self.config.weighting
        if weighting is Weighting.UNCERTAINTY:
            return np.exp(log_scale)
        relative = np.ones_like(heat)
        if weighting in (Weighting.HEAT, Weighting.BOTH):
            # heat is information, one over a squared scale
            relative = np.sqrt(heat.mean() / np.maximum(heat, 1e-3))
        known = np.exp(log_scale) if weighting is Weighting.BOTH else np.exp(np.median(log_scale))
        return known * relative[:, None] * np.ones(2)

    @property
    def _prior(self) -> tuple[float, float]:
        return self.config.prior_sigma_m, np.radians(self.config.prior_sigma_deg)

    def _ignorance(self) -> np.ndarray:
        """The covariance of the prior alone."""
        return np.diag(np.repeat(np.square(self._prior), 3))


@dataclass(frozen=True)
class _Seen:
    """What stays the same over all passes of one image."""

    features: dict[int, np.ndarray]
    """Of the image, by cell size."""
    camera: Camera
    """Of the network's grid."""
    crop: MapPoints
    widths: np.ndarray | float
    """Of the map points when drawn [m]."""
    clock: _Clock


@dataclass(frozen=True)
class _Fit:
    """Where some passes led."""

    pose: np.ndarray
    """(4, 4), T_map_camera less the crop's origin."""
    solution: Solution | None = None
    """Of the last pass; None where too few map points were in view."""
    matches: int = 0
    last_step: tuple[float, float] = (0.0, 0.0)
    trace: tuple[np.ndarray, ...] = ()

    @property
    def agreement(self) -> float:
        """The inlier ratio."""
        return 0.0 if self.solution is None else self.solution.inlier_ratio


class _Clock:
    """Adds up the time spent per step."""

    def __init__(self):
        self.spent_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.spent_ms[step] = self.spent_ms.get(step, 0.0) + 1e3 * (now - self._last)
        self._last = now


def _shifted(pose: np.ndarray, origin: np.ndarray) -> np.ndarray:
    out = pose.copy()
    out[:3, 3] += origin
    return out
