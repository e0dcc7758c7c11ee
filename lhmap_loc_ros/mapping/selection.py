# SPDX-License-Identifier: Apache-2.0
"""Selection of points under a budget: one for each segment of the path, shared out by direction and by heat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from scipy.spatial import cKDTree

from ..geometry import distance_along

SEGMENT_M, EXTRAPOLATE_M = 10.0, 20.0
"""Length of the segments of the path, and how far it is extrapolated at both ends, metres."""
ANGULAR_UNIFORM_FRACTION = 1.0
"""Fraction of a segment's budget that is divided evenly over its sectors: 0.2 to 1 were measured (docs/training.md)."""
HEAT_POWER = 0.7
"""Exponent of heat as a weight in sampling: 0 to 1 and the strict order were measured (docs/map-format.md)."""
_SECTORS = 16
_HEADING_M = 5.0
"""Length of the end of a path that gives the heading it is extrapolated with, metres."""
PLANE_BLOCKS = 9
"""Occupied blocks among the 27 around a block of a plane, itself included."""
_COST_ITERATIONS, _INITIAL_COST = 2, 0.67
"""How often the cost of a point is measured, and what it is assumed to be at first. Cost grows with the 0.75th power of
the number of points, so each iteration divides the error of that number by four."""


def select_points(
    points: np.ndarray,
    heat: np.ndarray,
    priority: np.ndarray,
    centers: np.ndarray,
    budgets: np.ndarray,
    angular_uniform_fraction: float,
    heat_power: float = HEAT_POWER,
    reach_m: float = np.inf,
    cost: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None,
) -> np.ndarray:
    """Numbers of the points to keep, ascending.

    `points` (N, 3) and the `centers` of the path's segments (S, 3) are in the same frame; `priority` (N,) are
    pseudo-random numbers in [0, 1), the same at every build. The rule:

    1. A point belongs to the segment whose center is nearest horizontally, if that is not farther than `reach_m`. Each
       segment keeps points for its own budget (S,); what is left of it is not passed on. A budget of 0 keeps nothing.
    2. `angular_uniform_fraction` of a segment's budget is divided evenly over 16 sectors around its center, the
       hottest points of each first; what a sector cannot use goes to the others.
    3. The rest of the budget goes to the hottest points of the segment that are left.

    Budgets are numbers of points or, with `cost`, in its unit: it gives the cost (S,) of the points each segment keeps.

    "Hottest first" is a weighted sample without replacement: the weight is heat to `heat_power`, the order fixed by
    `priority`. A power of 0 is an even sample; higher powers come close to the strict order, which keeps whole patches,
    since neighbours of a hot point are about as hot, and nothing between them.
    """
    # Efraimidis and Spirakis 2006: the greatest of u^(1 / weight) first
    heat = np.log(priority + 1e-12) / np.maximum(heat, 1e-3) ** heat_power
    distance, owner = cKDTree(centers[:, :2]).query(points[:, :2], workers=1)
    order = np.lexsort((-heat, owner))
    order = order[(distance[order] <= reach_m) & (budgets[owner[order]] > 0)]
    ranked = np.split(order, np.searchsorted(owner[order], np.arange(1, len(centers))))
    sectors = [_sectors(points[members] - center) for members, center in zip(ranked, centers, strict=True)]

    def first(counts: np.ndarray) -> list[np.ndarray]:
        shares = zip(ranked, sectors, counts.astype(int).tolist(), strict=True)
        return [members[_allocate(sector, count, angular_uniform_fraction)] for members, sector, count in shares]

    if cost is None:
        kept = first(budgets)
    else:
        kept = first(budgets / _INITIAL_COST)
        for _ in range(_COST_ITERATIONS):
            # as many as the budget allows at the mean cost of those
            affordable = budgets * np.array([len(members) for members in kept]) / np.maximum(cost(kept), 1e-9)
            kept = first(np.minimum(affordable, len(points)))
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)


def occupancy_density(blocks: np.ndarray) -> np.ndarray:
    """Occupied share of each block's neighbourhood (B,), in units of that on a plane, at most 1; 1/9 for one alone.

    `blocks` (B, 3) int are the places of the occupied blocks, each once. The octree codes a block in fewer bytes, the
    more of its neighbours are occupied.
    """
    if not len(blocks):
        return np.zeros(0)
    blocks = blocks - blocks.min(axis=0) + 1
    shape = blocks.max(axis=0) + 2
    keys = np.ravel_multi_index(blocks.T, shape)
    order = np.argsort(keys)
    known, count, out = keys[order], np.zeros(len(keys), np.int64), np.empty(len(keys))
    for step in product((-1, 0, 1), repeat=3):
        wanted = known + (step[0] * shape[1] + step[1]) * shape[2] + step[2]
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        count += known[at] == wanted
    out[order] = np.minimum(count / PLANE_BLOCKS, 1.0)
    return out


def path_segments(
    path: np.ndarray, segment_m: float, budget_per_m: float, extrapolate_m: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Centers of the path's segments (S, 3), at least one, and their equal budgets (S,) int.

    The path is extrapolated straight on by `extrapolate_m` at both ends, into what the last views see; these segments
    share the budget of the path itself. Where the path visits a place again, the budgets of both visits add up there.
    """
    along = distance_along(path)
    length = max(float(along[-1]), 1.0)
    count = max(1, round(length / segment_m))

    def at(distances: np.ndarray | Sequence[float]) -> np.ndarray:
        return np.column_stack([np.interp(distances, along, path[:, k]) for k in range(3)])

    parts = [at((np.arange(count) + 0.5) * length / count)]
    for end, inside in ((0.0, _HEADING_M), (length, length - _HEADING_M)):
        end, inside = at([end, np.clip(inside, 0.0, length)])
        reach = np.linalg.norm(end - inside)
        if reach > 0:
            steps = (np.arange(round(extrapolate_m / segment_m)) + 0.5) * segment_m
            parts.append(end + steps[:, None] * (end - inside) / reach)
    centers = np.concatenate(parts)
    return centers, np.full(len(centers), max(1, round(budget_per_m * length / len(centers))))


def merge_duplicates(centers: np.ndarray, budgets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different centers (S, 3), in their order, each with the sum of the budgets (S,) at its place.

    Two bags of one run give equal segments. Which of them is nearest to a point would be left to chance, and segments
    are not all selected by the same job.
    """
    _, first, place = np.unique(centers[:, :2], axis=0, return_index=True, return_inverse=True)
    kept = np.sort(first)
    return centers[kept], np.bincount(place.ravel(), budgets).astype(budgets.dtype)[np.argsort(first)]


def _sectors(offsets: np.ndarray) -> np.ndarray:
    """Sector (N,) int, counter-clockwise from x, of points by their offsets (N, 2 or 3) from a center."""
    turn = np.arctan2(offsets[:, 1], offsets[:, 0]) / (2 * np.pi)
    return np.floor(turn * _SECTORS).astype(int) % _SECTORS


def _allocate(sector: np.ndarray, budget: int, angular_uniform_fraction: float) -> np.ndarray:
    """Which points to keep (N,) bool, from the sector of each (N,) int, hottest first."""
    if len(sector) <= budget:
        return np.ones(len(sector), bool)
    quota = _even_quotas(np.bincount(sector, minlength=_SECTORS), int(budget * angular_uniform_fraction))
    # rank of each point in its sector
    by_sector = np.argsort(sector, kind="stable")
    first = np.searchsorted(sector[by_sector], np.arange(_SECTORS))
    rank = np.empty(len(sector), np.int64)
    rank[by_sector] = np.arange(len(sector)) - first[sector[by_sector]]
    keep = rank < quota[sector]
    rest = np.flatnonzero(~keep)[: max(budget - int(keep.sum()), 0)]
    keep[rest] = True
    return keep


def _even_quotas(counts: np.ndarray, budget: int) -> np.ndarray:
    """Quotas that divide `budget` evenly without exceeding `counts`; what one cannot use goes to the others."""
    quota = np.zeros_like(counts)
    while budget > 0 and (quota < counts).any():
        unfilled = np.flatnonzero(quota < counts)
        each = max(budget // len(unfilled), 1)
        for k in unfilled[:budget]:
            given = min(each, counts[k] - quota[k], budget)
            quota[k] += given
            budget -= given
    return quota
