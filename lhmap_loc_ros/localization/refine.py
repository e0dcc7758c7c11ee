# SPDX-License-Identifier: Apache-2.0
"""One image, or those of one moment, and a rough pose in; a better pose with its covariance out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import ModelError
from ..geometry import Camera, Images, PosedImage, Rig, inverse, may_be_seen, posed_images
from ..inference import WITH_TENSORS, Model, State
from ..lhmap import MapPoints
from . import multi_start
from .features import View, grid_for, quarter_turn, quarters_to_upright
from .iterations import PRIOR_SIGMA, Clock, Fit, GridView, HostIterations, Iterations
from .manifold import transport_covariance
from .network_set import ModelSet, NetworkSet
from .refine_plan import FINE_CELL, Geometry, RefineMode, RefinePlan, Schedule
from .refiner_config import RefinerConfig

__all__ = ["RefineMode", "RefinePlan", "Refinement", "Refiner", "RefinerConfig"]


@dataclass(frozen=True)
class Refinement:
    """The result of `Refiner.refine`."""

    T_map_camera: np.ndarray
    """(4, 4) float64, pose of the camera optical frame in the map; of a rig that of its frame."""
    covariance: np.ndarray
    """(6, 6) of the tangent vector (metres, radians) in the camera's frame: T = T_hat exp(xi)."""
    inlier_ratio: float
    """Share of the matches that are sure and that the pose explains, in [0, 1]."""
    matches: int
    """Map points matched in the last iteration."""
    last_step: tuple[float, float]
    """Size of the last iteration's correction: metres, degrees."""
    spread: np.ndarray = field(default_factory=lambda: np.zeros((6, 6)))
    """The part of the covariance that other starts account for, which led to other poses (`multi_start.spread`)."""
    trace: tuple[np.ndarray, ...] = ()
    """The pose after each iteration, where asked for."""
    timings_ms: dict[str, float] = field(default_factory=dict)
    """Time spent per step: encode (the image; what is left of it once the map is drawn and encoded), project, network,
    solve [ms]. On a device all of an iteration is network."""
    iterations: int = 0
    """How often the map was drawn and matched."""

    @property
    def succeeded(self) -> bool:
        """False where too few map points were in view to say anything."""
        return self.matches > 0


class Refiner:
    """Localizes an image in a piece of map, starting from a rough pose."""

    def __init__(self, config: RefinerConfig, models: ModelSet | None = None, plan: RefinePlan | None = None):
        """`plan`: other iterations than those that measurement decided, for experiments.

        Raises ModelError for networks that cannot be used, or that run where no geometry goes that was asked for.
        """
        self.config, self.plan = config, plan or RefinePlan()
        self.schedules = {m: schedule.within(config.max_iterations) for m, schedule in self.plan.schedules.items()}
        """The iterations of each mode."""
        device = self.plan.geometry is Geometry.DEVICE
        if device and config.backend not in WITH_TENSORS:
            expected = ", ".join(backend.value for backend in WITH_TENSORS)
            raise ModelError(f"geometry device does not go with backend {config.backend.value}, expected {expected}")
        self.models = models if models is not None else NetworkSet(config)
        if device and self.models.tensor_device is None:
            # while engines are built, or where that failed, the CPU serves
            if all(network.state is State.READY for network in self.networks):
                backends = ", ".join(sorted({network.backend for network in self.networks}))
                raise ModelError(f"geometry device: networks by {backends} found, expected torch or tensorrt")

    @property
    def networks(self) -> tuple[Model, ...]:
        """What computes, and how it goes."""
        return self.models.networks

    def refine(
        self,
        image: Images,
        camera: Camera | Rig,
        submap: MapPoints,
        T_map_camera: np.ndarray,
        mode: RefineMode = RefineMode.WIDE,
        keep_trace: bool = False,
    ) -> Refinement:
        """The pose of the camera (4x4, map frame) that saw `image` (H, W, 3) uint8 RGB, undistorted.

        Of a `Rig` the image is one of each of its cameras, and the pose that of the rig: all their matches go into one
        solve. `mode` says how far the start may be off. Images of cameras mounted on their side or head are turned
        upright first. Raises InputError for an image of the wrong size.
        """
        camera.check_image(image)
        quarters = quarters_to_upright(T_map_camera)
        T_body_rig = quarter_turn(quarters)
        views = [self._upright(view, T_map_camera, T_body_rig) for view in posed_images(image, camera)]
        if not quarters:
            return self._refine(views, submap, T_map_camera, mode, keep_trace)
        found = self._refine(views, submap, T_map_camera @ inverse(T_body_rig), mode, keep_trace)
        return replace(
            found,
            T_map_camera=found.T_map_camera @ T_body_rig,
            covariance=transport_covariance(found.covariance, T_body_rig),
            spread=transport_covariance(found.spread, T_body_rig),
            trace=tuple(pose @ T_body_rig for pose in found.trace),
        )

    def _upright(self, view: PosedImage, T_map_rig: np.ndarray, T_body_rig: np.ndarray) -> GridView:
        """A view turned upright, on the grid that fits it; the body is the rig turned upright."""
        image, camera, T_rig_camera = view
        quarters = quarters_to_upright(T_map_rig @ T_rig_camera)
        if quarters:
            image, camera = np.ascontiguousarray(np.rot90(image, quarters)), camera.turned(quarters)
        grid = grid_for(camera, self.models.grids)
        T_body_view = T_body_rig @ T_rig_camera @ inverse(quarter_turn(quarters))
        return GridView(self.models.for_grid(grid), View.of(camera, *grid), T_body_view, image)

    def _refine(
        self, views: Sequence[GridView], submap: MapPoints, T_map_body: np.ndarray, mode: RefineMode, keep_trace: bool
    ) -> Refinement:  # fmt: skip
        """`refine` of views that are upright, of a body that is."""
        # 1. the images, once
        clock = Clock()
        iterations = self._iterations(views, clock)
        clock.lap("encode")
        # 2. the points that any pose within reach may see, which is a third of them
        local = np.array(T_map_body, dtype=np.float64)
        local[:3, 3] -= submap.origin
        schedule = self.schedules[mode]
        reach = schedule.reach_m, schedule.reach_deg
        iterations.set_submap([
            submap.select(may_be_seen(submap.points, inverse(view.pose(local)), view.camera, *reach)) for view in views
        ])  # fmt: skip
        clock.lap("project")
        # 3. iterate from the start pose; where that did not lead to a match, from hypotheses around it
        fit = self._iterate(schedule.cells, iterations, local, schedule.convergence)
        trace, spread = list(fit.trace), np.zeros((6, 6))
        if schedule.multi_start and fit.solution is not None:
            best, others = self._multi_start(fit, iterations, local, schedule)
            trace += [best.pose] * (best is not fit)
            fit, spread = best, multi_start.spread(best, others, local)
        poses = tuple(_shifted(pose, submap.origin) for pose in trace) if keep_trace else ()
        # 4. pose and covariance back in the map frame
        if fit.solution is None:
            return Refinement(
                np.array(T_map_body), self._ignorance(), 0.0, 0, (0.0, 0.0), trace=poses, timings_ms=clock.spent_ms
            )
        scale = getattr(self.models.covariance, schedule.covariance).factors(fit.agreement, fit.last_step[0])
        return Refinement(
            T_map_camera=_shifted(fit.pose, submap.origin),
            covariance=np.linalg.inv(fit.solution.information) * np.outer(scale, scale) + spread,
            inlier_ratio=fit.agreement,
            matches=fit.matches,
            last_step=fit.last_step,
            spread=spread,
            trace=poses,
            timings_ms=clock.spent_ms,
            iterations=len(trace),
        )

    def _iterate(
        self, cells: Sequence[int], iterations: Iterations, pose: np.ndarray, convergence: tuple[float, float]
    ) -> Fit:
        """Iterations one after the other, each from the pose of the one before.

        Corrections below `convergence` [m, deg] end those of a cell size.
        """
        fit, trace, done = Fit(pose), [], None
        for cell in cells:
            if cell == done:
                continue
            fit = iterations.step(cell, fit.pose)
            if fit.solution is None:
                break
            trace.append(fit.pose)
            if _has_converged(fit, convergence):
                done = cell
        return replace(fit, trace=tuple(trace))

    def _multi_start(
        self, fit: Fit, iterations: Iterations, start: np.ndarray, schedule: Schedule
    ) -> tuple[Fit, list[Fit]]:
        """The best of `fit` and of what the hypotheses lead to, and the others that went on to the end.

        Those that are best after a few iterations go on to the end.
        """

        def merit(other: Fit) -> float:
            return multi_start.merit(other, start)

        if merit(fit) >= multi_start.AGREEMENT:
            return fit, []
        convergence, rest = schedule.convergence, [FINE_CELL] * max((schedule.fine or 1) - 1, 1)
        begun = [
            self._iterate(multi_start.FIRST_CELLS, iterations, pose, convergence)
            for pose in multi_start.hypotheses(fit.pose, start)
        ]
        begun.sort(key=merit, reverse=True)

        def to_the_end(other: Fit) -> Fit:
            if _has_converged(other, convergence):
                return other
            return self._iterate(rest, iterations, other.pose, convergence)

        ends = [to_the_end(other) for other in begun[: multi_start.KEPT]]
        best = max(ends, key=merit)
        # where the image shows nothing, the pose stays
        if merit(best) < merit(fit) or best.agreement < multi_start.MIN_INLIER_RATIO:
            return fit, ends
        return best, [fit, *(end for end in ends if end is not best)]

    def _ignorance(self) -> np.ndarray:
        """The covariance of the prior alone."""
        return np.diag(np.repeat(np.square(PRIOR_SIGMA), 3))

    def _iterations(self, views: Sequence[GridView], clock: Clock) -> Iterations:
        """Where `RefinePlan.geometry` says; on the CPU as long as another backend answers for the networks."""
        geometry, devices = self.plan.geometry, {view.models.tensor_device for view in views}
        device = devices.pop() if len(devices) == 1 else None
        if geometry is Geometry.CPU or device is None or (geometry is Geometry.AUTO and device == "cpu"):
            return HostIterations(views, self.plan, clock)
        try:
            from .device_iterations import DeviceIterations

            return DeviceIterations(views, self.plan, clock)
        except (ImportError, ModelError) as error:
            if geometry is Geometry.DEVICE:
                raise ModelError(f"geometry device needs PyTorch with {device}: {error}") from None
            return HostIterations(views, self.plan, clock)


def _has_converged(fit: Fit, convergence: tuple[float, float]) -> bool:
    """The last correction was below `convergence` [m, deg], or there was none to be had."""
    return fit.last_step[0] < convergence[0] and fit.last_step[1] < convergence[1]


def _shifted(pose: np.ndarray, origin: np.ndarray) -> np.ndarray:
    out = pose.copy()
    out[:3, 3] += origin
    return out
