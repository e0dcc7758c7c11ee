# SPDX-License-Identifier: Apache-2.0
"""One image, or those of one moment, and a rough pose in; a better pose with its covariance out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import ModelError
from ..geometry import Camera, Images, PosedImage, Rig, inverse, make_pose, may_be_seen, perturb, posed_images
from ..inference import Model, State
from ..lhmap import MapPoints
from .features import View, grid_for, quarter_turn, quarters_to_upright
from .manifold import transport_covariance
from .network_set import ModelSet, NetworkSet
from .passes import COARSE_CELL, FINE_CELL, Clock, Fit, GridView, HostPasses, Passes
from .refiner_config import Geometry, RefineMode, RefinerConfig

__all__ = ["Refinement", "Refiner", "RefinerConfig", "RefineMode"]
ROUGH_REACH, NEAR_REACH = (12.0, 25.0), (4.0, 12.0)
"""How far refinements may lead from a rough and from a near start [m, deg]: beyond it map points are missing."""


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
    """Map points matched in the last pass."""
    last_step: tuple[float, float]
    """Size of the last pass's correction: metres, degrees."""
    trace: tuple[np.ndarray, ...] = ()
    """The pose after each pass, where asked for."""
    timings_ms: dict[str, float] = field(default_factory=dict)
    """Time spent per step: encode (the image; what is left of it once the map is drawn and encoded), project, network,
    solve [ms]. On a device all of a pass is network."""
    passes: int = 0
    """How often the map was drawn and matched."""

    @property
    def succeeded(self) -> bool:
        """False where too few map points were in view to say anything."""
        return self.matches > 0


class Refiner:
    """Localizes an image in a piece of map, starting from a rough pose."""

    def __init__(self, config: RefinerConfig, models: ModelSet | None = None):
        """Raises ModelError for networks that cannot be used, or that run where no geometry goes that was asked for."""
        self.config = config
        self.models = models if models is not None else NetworkSet(config)
        if config.geometry is Geometry.DEVICE and self.models.tensor_device is None:
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
        crop: MapPoints,
        T_map_camera: np.ndarray,
        start: RefineMode = RefineMode.WIDE,
        keep_trace: bool = False,
    ) -> Refinement:
        """The pose of the camera (4x4, map frame) that saw `image` (H, W, 3) uint8 RGB, undistorted.

        Of a `Rig` the image is one of each of its cameras, and the pose that of the rig: all their matches go into one
        solve. A near start must be within some 16 pixels of the network's grid; the others begin with passes that match
        over the whole image, see `RefineMode`. Images of cameras mounted on their side or head are turned upright first.
        Raises InputError for an image of the wrong size.
        """
        camera.check_image(image)
        quarters = quarters_to_upright(T_map_camera)
        T_body_rig = quarter_turn(quarters)
        views = [self._upright(view, T_map_camera, T_body_rig) for view in posed_images(image, camera)]
        if not quarters:
            return self._refine(views, crop, T_map_camera, start, keep_trace)
        found = self._refine(views, crop, T_map_camera @ inverse(T_body_rig), start, keep_trace)
        return replace(
            found,
            T_map_camera=found.T_map_camera @ T_body_rig,
            covariance=transport_covariance(found.covariance, T_body_rig),
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

    def _refine(self, views: Sequence[GridView], crop: MapPoints, T_map_body, start, keep_trace: bool) -> Refinement:
        """`refine` of views that are upright, of a body that is."""
        # 1. the images, once
        clock = Clock()
        passes = self._passes(views, clock)
        clock.lap("encode")
        # 2. the points that any pose within reach may see, which is a third of them
        local = np.array(T_map_body, dtype=np.float64)
        local[:3, 3] -= crop.origin
        reach = NEAR_REACH if start.near else ROUGH_REACH
        passes.take_map([
            crop.select(may_be_seen(crop.points, inverse(view.pose(local)), view.camera, *reach)) for view in views
        ])  # fmt: skip
        clock.lap("project")
        # 3. refine the start pose; where that did not lead to a match, start again from nearer and from further
        fit = self._descend(self._cells(start), passes, local, self._settled(start))
        trace = list(fit.trace)
        if start is RefineMode.MULTI_START and fit.solution is not None:
            fit, moved = self._search(fit, passes, local)
            trace += [fit.pose] * moved
        poses = tuple(_shifted(pose, crop.origin) for pose in trace) if keep_trace else ()
        # 4. pose and covariance back in the map frame
        if fit.solution is None:
            return Refinement(np.array(T_map_body), self._ignorance(), 0.0, 0, (0.0, 0.0), poses, clock.spent_ms)
        calibrated = self.models.covariance.near if start.near else self.models.covariance.rough
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

    def _descend(self, cells: list[int], passes: Passes, pose: np.ndarray, settled: tuple[float, float]) -> Fit:
        """Passes one after the other, each from the pose of the one before.

        Corrections below `settled` [m, deg] end those of a cell size.
        """
        fit, trace, done = Fit(pose), [], None
        for cell in cells:
            if cell == done:
                continue
            fit = passes.run(cell, fit.pose)
            if fit.solution is None:
                break
            trace.append(fit.pose)
            if _is_settled(fit, settled):
                done = cell
        return replace(fit, trace=tuple(trace))

    def _search(self, fit: Fit, passes: Passes, start: np.ndarray) -> tuple[Fit, bool]:
        """The best of `fit` and of what new starts lead to, and whether that is one of them.

        Those that are best after a few passes go on to the end.
        """
        c = self.config

        def merit(other: Fit) -> float:
            # where streets repeat themselves, a far place may agree a little better than the one where the robot is
            metres = np.linalg.norm(other.pose[:3, 3] - start[:3, 3])
            return other.agreement * np.exp(-0.5 * (metres / c.restart_reach_m) ** 2)

        if merit(fit) >= c.agreement or not c.restarts_m:
            return fit, False
        first, rest = [COARSE_CELL] * c.restart_coarse_passes + [FINE_CELL], [FINE_CELL] * max(c.fine_passes - 1, 1)
        settled = c.settled_m, c.settled_deg
        begun = [self._descend(first, passes, pose, settled) for pose in self._new_starts(fit.pose, start)]
        begun.sort(key=merit, reverse=True)

        def to_the_end(other: Fit) -> Fit:
            return other if _is_settled(other, settled) else self._descend(rest, passes, other.pose, settled)

        best = max(map(to_the_end, begun[: c.restarts_kept]), key=merit)
        # two wrong places agree by chance: where the image shows nothing, the pose stays
        better = merit(best) >= c.restart_gain * merit(fit) and best.agreement >= c.restart_least
        return (best, True) if better else (fit, False)

    def _new_starts(self, found: np.ndarray, start: np.ndarray) -> list[np.ndarray]:
        """Poses to begin anew from, where refinements of `start` ended at `found` and little agrees there.

        Many go astray along the viewing direction, which an image tells least about: they end with the right
        orientation some metres ahead or behind, where each pass corrects but a fraction of it. Others take one side of
        the street for another, and turn to make it fit: those begin beside the start, turned.
        """
        c = self.config
        ahead = [perturb(found, (0.0, 0.0, z), (0.0, 0.0, 0.0)) for step in c.restarts_m for z in (step, -step)]
        side, turn = c.restart_side_m, c.restart_turn_deg
        beside = [perturb(start, (x, 0.0, 0.0), (0.0, yaw, 0.0)) for x in (side, -side) for yaw in (turn, -turn)]
        return [make_pose(found[:3, :3], start[:3, 3]), *ahead, *beside]

    def _cells(self, start: RefineMode) -> list[int]:
        """Cell size of each pass."""
        c = self.config
        coarse, fine = {
            RefineMode.TRACK: (0, c.near_passes),
            RefineMode.TRACK_ODOMETRY: (0, c.near_passes),
            RefineMode.RECOVER: (c.doubtful_coarse_passes, c.doubtful_fine_passes),
        }.get(start, (c.coarse_passes, c.fine_passes))
        return [COARSE_CELL] * coarse + [FINE_CELL] * fine

    def _settled(self, start: RefineMode) -> tuple[float, float]:
        """Corrections below this [m, deg] end a stage."""
        c = self.config
        return {
            RefineMode.MULTI_START: (c.settled_m, c.settled_deg),
            RefineMode.TRACK_ODOMETRY: (c.predicted_settled_m, c.predicted_settled_deg),
        }.get(start, (c.near_settled_m, c.near_settled_deg))

    def _ignorance(self) -> np.ndarray:
        """The covariance of the prior alone."""
        return np.diag(np.repeat(np.square(self.config.prior), 3))

    def _passes(self, views: Sequence[GridView], clock: Clock) -> Passes:
        """Where `RefinerConfig.geometry` says; on the CPU as long as another backend answers for the networks."""
        geometry, devices = self.config.geometry, {view.models.tensor_device for view in views}
        device = devices.pop() if len(devices) == 1 else None
        if geometry is Geometry.CPU or device is None or (geometry is Geometry.AUTO and device == "cpu"):
            return HostPasses(views, self.config, clock)
        try:
            from .device_passes import DevicePasses

            return DevicePasses(views, self.config, clock)
        except (ImportError, ModelError) as error:
            if geometry is Geometry.DEVICE:
                raise ModelError(f"geometry device needs PyTorch with {device}: {error}") from None
            return HostPasses(views, self.config, clock)


def _is_settled(fit: Fit, settled: tuple[float, float]) -> bool:
    """The last correction was below `settled` [m, deg], or there was none to be had."""
    return fit.last_step[0] < settled[0] and fit.last_step[1] < settled[1]


def _shifted(pose: np.ndarray, origin: np.ndarray) -> np.ndarray:
    out = pose.copy()
    out[:3, 3] += origin
    return out
