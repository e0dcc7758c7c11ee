# SPDX-License-Identifier: Apache-2.0
"""Iterations on the networks' device, by PyTorch: up go the images, the map and a pose, down comes the solved pose.

The same steps as compiled for the CPU (`geometry.projection`, `features`, `solver`), without a wait for the device
between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product
from typing import NamedTuple

import numpy as np
import torch

from ..errors import ModelError
from ..geometry import MAX_REACH, NO_POINT, YIELD_M, YIELD_SHARE, Camera, inverse
from ..lhmap import MapPoints
from .features import point_widths
from .iterations import (
    BORDER_CELLS,
    MAX_DEPTH_M,
    MIN_HEAT,
    MIN_MATCHES,
    PRIOR_SIGMA,
    Clock,
    Fit,
    GridView,
    Iterations,
    not_finite,
)
from .manifold import adjoint
from .refine_plan import COARSE_CELL, FINE_CELL, RefinePlan, Weighting
from .solver import (
    GAUSS_NEWTON_STEPS,
    INLIER_SIGMAS,
    MAX_INLIER_SIGMA_PX,
    MAX_STEP,
    MIN_DEPTH_M,
    Solution,
    kernel_width,
)

_FAR = torch.iinfo(torch.int64).max
_NUMBER_BITS = 32


class Drawable(NamedTuple):
    """A piece of map on the device."""

    points: torch.Tensor
    """(N, 3)."""
    intensity: torch.Tensor
    heat: torch.Tensor
    widths: torch.Tensor
    """(N,) as the two before; at which the points are drawn [m]."""


class TensorMatches(NamedTuple):
    """`solver.Matches` on the device, of every cell of a view, `known` or not."""

    points: torch.Tensor
    target: torch.Tensor
    sigma_px: torch.Tensor
    weight: torch.Tensor
    known: torch.Tensor
    """(N,) bool: whether there is a match."""
    camera: Camera
    T_body_camera: np.ndarray


class DeviceIterations(Iterations):
    """Drawing, matching and solving on the networks' `tensor_device`."""

    def __init__(self, views: Sequence[GridView], plan: RefinePlan, clock: Clock):
        """As of `Iterations`; raises ModelError where PyTorch does not find the device."""
        super().__init__(views, plan, clock)
        device = views[0].models.tensor_device
        if device is None:
            raise ModelError("the networks take no tensors of PyTorch")
        self._device = torch.device(device)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise ModelError(f"PyTorch {torch.__version__} finds no CUDA GPU")
        self._features = [self._encode(view) for view in views]

    @torch.inference_mode()
    def _encode(self, view: GridView) -> dict[int, torch.Tensor]:
        features = view.models.image(self._up(view.view.sample(view.image)))
        return dict(zip((COARSE_CELL, FINE_CELL), features, strict=True))

    def set_submap(self, submaps: Sequence[MapPoints]) -> None:
        self._drawn = [self._drawable(submap) for submap in submaps]

    def _drawable(self, submap: MapPoints) -> Drawable:
        points, intensity, heat = map(self._up, (submap.points, submap.intensity, submap.heat))
        return Drawable(points, intensity, heat, self._up(point_widths(submap.points)).expand(len(submap.points)))

    @torch.inference_mode()
    def step(self, cell: int, pose: np.ndarray) -> Fit:
        matched = [
            self._match(cell, pose, *seen)
            for seen in zip(self.views, self._drawn, self._features, strict=True)
            if len(seen[1].points) >= MIN_MATCHES
        ]
        if not matched:
            return Fit(pose)
        views, finite, counts = zip(*matched, strict=True)
        solved = solve_body(views, torch.from_numpy(np.array(pose)).to(self._device), PRIOR_SIGMA)
        parts = (*solved, torch.stack(counts).sum(), torch.stack(finite).all())
        # one copy, which waits for all of it
        found = torch.cat([part.flatten() for part in parts]).cpu().numpy()
        self.clock.lap("network")
        matches = int(found[-2])
        if not matches:
            return Fit(pose)
        if not found[-1]:
            raise not_finite()
        solution = Solution(found[:16].reshape(4, 4), found[16:52].reshape(6, 6), float(found[52]) / matches)
        return self._fit(pose, solution, matches)

    def _match(
        self, cell: int, T_map_body: np.ndarray, seen: GridView, drawn: Drawable, features: dict[int, torch.Tensor]
    ) -> tuple[TensorMatches, torch.Tensor, torch.Tensor]:  # fmt: skip
        """The matches of one view, whether they are finite, and how many they are: none where they are too few."""
        pose = seen.pose(T_map_body)
        T, T_inverse = torch.from_numpy(np.stack([pose, inverse(pose)])).to(self._device)
        uv, depth = project(drawn.points, T_inverse, seen.camera)
        index = z_buffer(uv, depth, seen.camera, drawn.widths, MAX_DEPTH_M)
        owner = cell_points(uv, depth, index, cell)
        channels = fill_channels(index, depth, drawn.intensity, drawn.points[:, 2] - T[2, 3].float())
        network = seen.models.coarse if cell == COARSE_CELL else seen.models.fine
        flow, log_scale = network(seen.models.map(channels), features[cell])
        # at the border a cell sees only part of its surroundings, and errs more
        b = BORDER_CELLS
        owner, flow, log_scale = (x[..., b : x.shape[-2] - b, b : x.shape[-1] - b] for x in (owner, flow, log_scale))
        known, point = (owner != NO_POINT).flatten(), owner.flatten().clamp(min=0)
        known &= known.sum() >= MIN_MATCHES
        target = torch.where(known[:, None], uv[point] + flow.flatten(1).T, 0.0)
        sigma_px = self._sigma(self.plan.weighting(cell), log_scale.flatten(1).T, drawn.heat[point], known)
        sigma_px = torch.where(known[:, None], sigma_px, 1.0)
        weight = block_weights(known.view(owner.shape), self.plan.block_px // cell, b)
        matches = TensorMatches(drawn.points[point], target, sigma_px, weight, known, seen.camera, seen.T_body_view)
        return matches, target.isfinite().all() & sigma_px.isfinite().all(), known.sum()

    def _sigma(
        self, weighting: Weighting, log_scale: torch.Tensor, heat: torch.Tensor, known: torch.Tensor
    ) -> torch.Tensor:  # fmt: skip
        """Expected error (N, 2) [pixels] of each match, whatever it is where none is `known` (N)."""
        if weighting is Weighting.UNCERTAINTY:
            return log_scale.exp()
        relative = torch.ones_like(heat)
        if weighting in (Weighting.HEAT, Weighting.BOTH):
            mean = torch.where(known, heat, 0.0).sum() / known.sum().clamp(min=1)
            relative = (mean.clamp(min=MIN_HEAT) / heat.clamp(min=MIN_HEAT)).sqrt()
        if weighting is Weighting.BOTH:
            return log_scale.exp() * relative[:, None]
        # the mean of the two in the middle, as numpy has it
        middle = torch.where(known[:, None], log_scale, torch.nan).nanquantile(0.5)
        return (middle.exp() * relative)[:, None].expand(-1, 2)

    def _up(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self._device)


def project(
    points: torch.Tensor, T_camera_map: torch.Tensor, camera: Camera, min_depth: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """`geometry.project` of tensors: points (N, 3) float32, pose (4, 4) float64."""
    local = points.double() @ T_camera_map[:3, :3].T + T_camera_map[:3, 3]
    u = camera.fx * local[:, 0] / local[:, 2] + camera.cx
    v = camera.fy * local[:, 1] / local[:, 2] + camera.cy
    depth = local[:, 2].float()
    uv = torch.where((depth >= min_depth)[:, None], torch.stack([u, v], 1).float(), torch.nan)
    return uv, depth


def z_buffer(
    uv: torch.Tensor, depth: torch.Tensor, camera: Camera, splat_m: torch.Tensor, max_depth: float
) -> torch.Tensor:  # fmt: skip
    """The index image (H, W) int64 of `geometry.z_buffer`; of points of the same depth the first is taken."""
    height, width, margin = camera.height, camera.width, 2 * MAX_REACH
    column, row = _pixel(uv)
    drawn = (depth <= max_depth) & (column >= -MAX_REACH) & (column < width + MAX_REACH)
    drawn &= (row >= -MAX_REACH) & (row < height + MAX_REACH)
    reach = (0.5 * splat_m * float(np.float32(camera.fx)) / depth).clamp(0, MAX_REACH).long()
    # a canvas with a margin needs no look at the border; what is not drawn loses everywhere, and is spread over it
    # because many writes to one place wait for each other
    wide = width + 2 * margin
    spread = torch.arange(len(depth), device=depth.device) % (height * wide)
    place = torch.where(drawn, (row + margin) * wide + column + margin, spread + margin * wide)
    canvas = torch.full(((height + 2 * margin) * wide,), _FAR, device=uv.device)
    canvas.scatter_reduce_(0, place, _ranked(depth).masked_fill(~drawn, _FAR), "amin")
    # what another point hides at its own pixel would be hidden beside it, too
    reach.masked_fill_(_number(canvas[place]) != torch.arange(len(depth), device=depth.device), -1)
    key = _ranked(depth + YIELD_M + YIELD_SHARE * depth)
    for dr, dc in product(range(-MAX_REACH, MAX_REACH + 1), repeat=2):
        ring = max(abs(dr), abs(dc))
        if ring > 0:
            canvas.scatter_reduce_(0, place + (dr * wide + dc), key.masked_fill(reach < ring, _FAR), "amin")
    return _number(canvas.reshape(-1, wide)[margin : margin + height, margin : margin + width])


def fill_channels(
    index: torch.Tensor, depth: torch.Tensor, intensity: torch.Tensor, height_above: torch.Tensor
) -> torch.Tensor:  # fmt: skip
    """The view of the map (4, H, W) float32 that `features.render_map` gives the networks."""
    there, point = index != NO_POINT, index.clamp(min=0)
    inverse_depth = 4.0 / (depth[point] + 3.0)
    above = (height_above[point] * 0.2).clamp(-1.0, 2.0)
    channels = torch.stack([inverse_depth, torch.ones_like(inverse_depth), intensity[point], above])
    return torch.where(there, channels, 0.0)


def cell_points(uv: torch.Tensor, depth: torch.Tensor, index: torch.Tensor, cell: int) -> torch.Tensor:
    """`features.cell_points` of an index image (H, W): (H/cell, W/cell) int64 or NO_POINT."""
    rows, columns = index.shape[0] // cell, index.shape[1] // cell
    index = index[: rows * cell, : columns * cell]
    point = index.clamp(min=0)
    # a splat may own pixels of a neighbouring cell; a point stands only for the cell it lies in
    column, row = (x[point] // cell for x in _pixel(uv))
    inside = index != NO_POINT
    inside &= column == torch.arange(columns * cell, device=index.device) // cell
    inside &= row == (torch.arange(rows * cell, device=index.device) // cell)[:, None]
    ranked = torch.where(inside, _ranked(depth)[point], _FAR)
    return _number(ranked.reshape(rows, cell, columns, cell).amin((1, 3)))


def _pixel(uv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Column and row (N) int64; whatever they are where the position is not finite."""
    pixel = (uv + 0.5).floor().nan_to_num(-1e6).clamp(-1e6, 1e6).long()
    return pixel[:, 0], pixel[:, 1]


def _ranked(key: torch.Tensor) -> torch.Tensor:
    """Numbers (N) int64 in the order of a positive float32 key, the points' own numbers in their lower bits."""
    order = key.float().contiguous().view(torch.int32).long() << _NUMBER_BITS
    return order | torch.arange(len(key), device=key.device)


def _number(ranked: torch.Tensor) -> torch.Tensor:
    """The point's number out of what `_ranked` gave, NO_POINT where there is none."""
    return torch.where(ranked == _FAR, NO_POINT, ranked & ((1 << _NUMBER_BITS) - 1))


def block_weights(known: torch.Tensor, block: int, border: int) -> torch.Tensor:
    """`iterations.block_weights` (N) of the cells `known` (h, w), whose rows and columns begin with number `border`."""
    if not block:
        return torch.ones_like(known.flatten(), dtype=torch.float64)
    height, width = (n + border for n in known.shape)
    rows, columns = (torch.arange(border, n, device=known.device) // block for n in (height, width))
    number, known = (rows[:, None] * width + columns).flatten(), known.flatten().double()
    weight = known / known.new_zeros(height * width).index_add(0, number, known)[number].clamp(min=1)
    return weight * (known.sum() / weight.sum().clamp(min=1e-9))


def solve_body(
    views: Sequence[TensorMatches], T_map_body: torch.Tensor, prior_sigma: tuple[float, float]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`solver.solve_body` on the device: the pose (4, 4), the information (6, 6) and the number of inliers."""
    parts = [_Linearised(view) for view in views]
    offset, prior = T_map_body.new_zeros(6), T_map_body.new_zeros(6)
    prior[:3], prior[3:] = (1 / sigma**2 for sigma in prior_sigma)
    pose, prior = T_map_body, torch.diag(prior)
    for k in range(GAUSS_NEWTON_STEPS):
        equations = zip(*(part.normal_equations(pose, kernel_width(k)) for part in parts), strict=True)
        H, g, inliers = (reduce(torch.add, of_views) for of_views in equations)
        step = -torch.linalg.solve_ex(H + prior, g + prior @ offset)[0]
        metres, radians = (part.norm().clamp(min=1e-12) for part in (step[:3], step[3:]))
        step = step * torch.minimum(MAX_STEP[0] / metres, MAX_STEP[1] / radians).clamp(max=1.0)
        pose = pose @ _se3_exp(step)
        offset = offset + step
    return pose, H + prior, inliers


class _Linearised:
    """`solver._Linearised` of tensors."""

    def __init__(self, m: TensorMatches):
        self._matches = m.points.double(), m.target.double(), m.sigma_px.double(), m.weight, m.known
        self._camera = m.camera
        self._mount: tuple[torch.Tensor, torch.Tensor] | None = None
        if not np.array_equal(m.T_body_camera, np.eye(4)):
            both = m.T_body_camera, adjoint(inverse(m.T_body_camera))
            T_body_camera, to_view = (torch.from_numpy(x).to(m.known.device) for x in both)
            self._mount = T_body_camera, to_view

    def normal_equations(
        self, T_map_body: torch.Tensor, width: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        """H (6, 6) and g (6) of the tangent vector of the body, and the number of inliers."""
        if self._mount is None:
            return _normal_equations(*self._matches, T_map_body, self._camera, width)
        T_body_camera, to_view = self._mount
        H, g, inliers = _normal_equations(*self._matches, T_map_body @ T_body_camera, self._camera, width)
        return to_view.T @ H @ to_view, to_view.T @ g, inliers


def _normal_equations(
    points: torch.Tensor, target: torch.Tensor, sigma_px: torch.Tensor, weight: torch.Tensor, known: torch.Tensor,
    pose: torch.Tensor, camera: Camera, width: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    rotation = pose[:3, :3]
    x, y, z = ((points - pose[:3, 3]) @ rotation).unbind(1)
    there = known & (z >= MIN_DEPTH_M)
    z = torch.where(there, z, 1.0)
    x, y, zero = x / z, y / z, torch.zeros_like(z)
    # d(u, v)/d(point in the camera), times d(point)/d(xi) = [-I, [p]x] for T_map_camera exp(xi)
    J = torch.stack([
        torch.stack([-1 / z, zero, x / z, x * y, -1 - x * x, y], 1) * camera.fx,
        torch.stack([zero, -1 / z, y / z, 1 + y * y, -x * y, -x], 1) * camera.fy,
    ], 1)  # fmt: skip
    r = torch.stack([camera.fx * x + camera.cx, camera.fy * y + camera.cy], 1) - target
    e = r / sigma_px
    inliers = (there & (e.abs().amax(1) < INLIER_SIGMAS) & (sigma_px.amax(1) < MAX_INLIER_SIGMA_PX)).sum()
    robust = there * weight / (1.0 + (e * e).sum(1) / (width * width))
    information = robust[:, None] / (sigma_px * sigma_px)
    weighted = torch.where(there[:, None, None], J * information[..., None], 0.0).flatten(0, 1)
    J, r = (torch.where(there[:, None, None], J, 0.0).flatten(0, 1), torch.where(there[:, None], r, 0.0).flatten())
    return weighted.T @ J, weighted.T @ r, inliers


def _se3_exp(xi: torch.Tensor) -> torch.Tensor:
    """`geometry.se3_exp` of a tensor (6)."""
    phi = xi[3:]
    angle = phi.norm().clamp(min=1e-9)
    k = xi.new_zeros(3, 3)
    k[0, 1], k[0, 2], k[1, 2] = -phi[2], phi[1], -phi[0]
    k = k - k.T
    # by half angles, which lose no digits where the angle is small
    half = torch.sin(0.5 * angle) / angle
    a, b = torch.sin(angle) / angle, 2 * half * half
    c = torch.where(angle < 1e-3, 1 / 6 - angle**2 / 120, (1 - a) / angle**2)
    kk, eye = k @ k, torch.eye(3, dtype=xi.dtype, device=xi.device)
    pose = torch.eye(4, dtype=xi.dtype, device=xi.device)
    pose[:3, :3] = eye + a * k + b * kk
    pose[:3, 3] = (eye + b * k + c * kk) @ xi[:3]
    return pose
