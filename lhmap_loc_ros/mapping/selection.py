# SPDX-License-Identifier: Apache-2.0
"""Which points are worth their bytes: a budget for every stretch of the path, shared by direction and heat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from scipy.spatial import cKDTree

from ..geometry import distance_along

_DIRECTIONS = 16
_HEADING_M = 5.0
"""The last metres of a path tell where it would lead on."""
PLANE_CUBES = 9
"""Of a cube on a plane, the cubes of the plane among the 27 around it and itself."""
_PRICINGS, _FIRST_PRICE = 2, 0.67
"""How often what points cost is found out, and what one is at first taken for. Twice as many cost some 1.7 times as
much, so that each pricing takes an error of the count to a quarter."""


def select_points(
    points: np.ndarray,
    heat: np.ndarray,
    priority: np.ndarray,
    stations: np.ndarray,
    budgets: np.ndarray,
    fair_share: float,
    heat_power: float | None = None,
    reach_m: float = np.inf,
    cost: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None,
) -> np.ndarray:
    """Numbers of the points to keep, ascending.

    `points` (N, 3) and the `stations` (S, 3) are in the same frame; `priority` (N,) are pseudo-random numbers
    in [0, 1), the same at every build. The rule:

    1. The path is cut into stretches, with some more beyond its ends, whose middles are the stations; a point belongs
       to the stretch nearest to it horizontally, if that is not further than `reach_m`. Each stretch may keep its
       budget (S,); what a stretch does not need is left unused, so none is paid for by another. Of stretches
       with the budget 0 nothing is kept.
    2. Around its middle a stretch has 16 directions. `fair_share` of its budget is dealt evenly over them,
       the hottest points first; what a direction cannot use goes to the others.
    3. The rest goes to the hottest points of the stretch that are left.

    Budgets are numbers of points, or, with a `cost`, whatever that says (S,) of the points that each stretch keeps.

    "Hottest first" is strict without a `heat_power`. With one, points are drawn in a scrambled but fixed order in
    which the odds of coming before another go with the heat to that power: 0 thins evenly, and the higher, the
    stricter. Neighbours of a hot point are about as hot, and the strict rule keeps them all: patches of everything
    between patches of nothing. Points of equal heat come in the scrambled order in any case.
    """
    if heat_power is None:
        heat = heat + 1e-6 * priority
    else:
        # weighted sampling without replacement: the greatest of u^(1 / weight) first
        heat = np.log(priority + 1e-12) / np.maximum(heat, 1e-3) ** heat_power
    distance, owner = cKDTree(stations[:, :2]).query(points[:, :2], workers=1)
    order = np.lexsort((-heat, owner))
    order = order[(distance[order] <= reach_m) & (budgets[owner[order]] > 0)]
    ranked = np.split(order, np.searchsorted(owner[order], np.arange(1, len(stations))))
    directions = [_directions(points[members] - station) for members, station in zip(ranked, stations, strict=True)]

    def first(counts: np.ndarray) -> list[np.ndarray]:
        shares = zip(ranked, directions, counts.astype(int).tolist(), strict=True)
        return [members[_share(direction, count, fair_share)] for members, direction, count in shares]

    kept = first(budgets if cost is None else budgets / _FIRST_PRICE)
    for _ in range(0 if cost is None else _PRICINGS):
        # as many as the budget pays for at the price of those; where everything is kept, it may pay for more
        affordable = budgets * np.array([len(members) for members in kept]) / np.maximum(cost(kept), 1e-9)
        kept = first(np.minimum(affordable, len(points)))
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)


def company(cubes: np.ndarray) -> np.ndarray:
    """How much of a surface is around each of some cubes (C, 3) int: (C,), 1 as on a plane, 1/9 of one alone.

    What says where a cube is takes the fewer bytes, the more of its neighbours are there.
    """
    if not len(cubes):
        return np.zeros(0)
    cubes = cubes - cubes.min(axis=0) + 1
    shape = cubes.max(axis=0) + 2
    keys = np.ravel_multi_index(cubes.T, shape)
    order = np.argsort(keys)
    known, count, out = keys[order], np.zeros(len(keys), np.int64), np.empty(len(keys))
    for step in product((-1, 0, 1), repeat=3):
        wanted = known + (step[0] * shape[1] + step[1]) * shape[2] + step[2]
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        count += known[at] == wanted
    out[order] = np.minimum(count / PLANE_CUBES, 1.0)
    return out


def stretches(
    path: np.ndarray, stretch_m: float, budget_per_m: float, beyond_m: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the stretches (S, 3) and their budgets (S,) int, at least one stretch.

    Beyond both ends of the path there are more of them, straight on, as far as `beyond_m`: the last views see that far.
    All share what the path pays for. Where the path visits a place again, the budgets of both visits add up there.
    """
    along = distance_along(path)
    length = max(float(along[-1]), 1.0)
    count = max(1, round(length / stretch_m))

    def at(distances) -> np.ndarray:
        return np.column_stack([np.interp(distances, along, path[:, k]) for k in range(3)])

    stations = [at((np.arange(count) + 0.5) * length / count)]
    for end, inside in ((0.0, _HEADING_M), (length, length - _HEADING_M)):
        end, inside = at([end, np.clip(inside, 0.0, length)])
        reach = np.linalg.norm(end - inside)
        if reach > 0:
            steps = (np.arange(round(beyond_m / stretch_m)) + 0.5) * stretch_m
            stations.append(end + steps[:, None] * (end - inside) / reach)
    stations = np.concatenate(stations)
    return stations, np.full(len(stations), max(1, round(budget_per_m * length / len(stations))))


def without_twins(stations: np.ndarray, budgets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stations (S, 3) each place once, in their order, with the budgets (S,) of all that are there.

    Of two stretches at one place, as of a run that two bags hold, either could be the nearest to a point, which would
    be lost where it is counted to the one whose budget is not asked for.
    """
    _, first, place = np.unique(stations[:, :2], axis=0, return_index=True, return_inverse=True)
    kept = np.sort(first)
    return stations[kept], np.bincount(place.ravel(), budgets).astype(budgets.dtype)[np.argsort(first)]


def _directions(offsets: np.ndarray) -> np.ndarray:
    """In which of the directions around a station points lie (N, 2 or 3) from it: (N,) int."""
    turn = np.arctan2(offsets[:, 1], offsets[:, 0]) / (2 * np.pi)
    return np.floor(turn * _DIRECTIONS).astype(int) % _DIRECTIONS


def _share(direction: np.ndarray, budget: int, fair_share: float) -> np.ndarray:
    """Which of some points, hottest first, to keep: (N,) bool. `direction` (N,) is in 0..15."""
    if len(direction) <= budget:
        return np.ones(len(direction), bool)
    quota = _level(np.bincount(direction, minlength=_DIRECTIONS), int(budget * fair_share))
    # the rank of each point among those of its direction
    by_direction = np.argsort(direction, kind="stable")
    first = np.searchsorted(direction[by_direction], np.arange(_DIRECTIONS))
    rank = np.empty(len(direction), np.int64)
    rank[by_direction] = np.arange(len(direction)) - first[direction[by_direction]]
    keep = rank < quota[direction]
    rest = np.flatnonzero(~keep)[: max(budget - int(keep.sum()), 0)]
    keep[rest] = True
    return keep


def _level(counts: np.ndarray, budget: int) -> np.ndarray:
    """Quotas that share `budget` evenly without exceeding `counts`; what one cannot use goes to the others."""
    quota = np.zeros_like(counts)
    while budget > 0 and (quota < counts).any():
        hungry = np.flatnonzero(quota < counts)
        each = max(budget // len(hungry), 1)
        for k in hungry[:budget]:
            given = min(each, counts[k] - quota[k], budget)
            quota[k] += given
            budget -= given
    return quota
