# SPDX-License-Identifier: Apache-2.0
"""Merging into voxels, isolated points, and the selection by budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.mapping.cloud import VoxelCloud, merge_voxels
from lhmap_loc_ros.mapping.grid import TileGroups
from lhmap_loc_ros.mapping.noise import find_isolated
from lhmap_loc_ros.mapping.selection import (
    HEAT_POWER,
    merge_duplicates,
    occupancy_density,
    path_segments,
    select_points,
)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 300), voxel=st.sampled_from([0.1, 0.25, 1.0]),
       far=st.sampled_from([0.0, 4.2e5]))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_voxels_are_means(seed, n, voxel, far):
    rng = np.random.default_rng(seed)
    scans = [rng.uniform(-2, 2, (n, 3)) + far for _ in range(3)]
    bright = [rng.random(n) for _ in scans]
    cloud = VoxelCloud(voxel)
    members = [cloud.add(points, b) for points, b in zip(scans, bright, strict=True)]
    points, intensity = np.concatenate(scans), np.concatenate(bright)
    keys, owner = np.unique(np.floor(points * (1.0 / voxel)), axis=0, return_inverse=True)
    assert len(cloud) == len(keys)
    member = np.concatenate(members)
    out = cloud.to_points()
    for k in range(min(len(keys), 20)):
        mine = owner.ravel() == k
        (number,) = set(member[mine])
        np.testing.assert_allclose(out.points[number] + out.origin, points[mine].mean(axis=0), atol=1e-4)
        assert out.intensity[number] == pytest.approx(intensity[mine].mean(), abs=1e-5)
        assert cloud.hits[number] == mine.sum()


def test_grows_beyond_its_first_table():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 40, (200_000, 3))
    cloud = VoxelCloud(0.5)
    for part in np.array_split(points, 7):
        cloud.add(part)
    assert len(cloud) == len(np.unique(np.floor(points / 0.5), axis=0))
    assert cloud.hits.sum() == 200_000


def test_points_that_are_not_finite_and_bad_input():
    cloud = VoxelCloud(0.1)
    assert cloud.add(np.full((2, 3), np.nan)).tolist() == [-1, -1] and len(cloud.to_points()) == 0
    assert cloud.add(np.array([[np.inf, 0, 0], [1, 1, 1]])).tolist() == [-1, 0]
    with pytest.raises(InputError, match=r"shape \(3,\), expected \(N, 3\)"):
        cloud.add(np.zeros(3))
    with pytest.raises(InputError, match="more than 105 km"):
        cloud.add(np.array([[2e5, 0, 0]]))
    with pytest.raises(InputError, match="voxel size is 0"):
        VoxelCloud(0)


def test_isolated_points():
    wall = np.stack(np.meshgrid([5.0], np.arange(0, 3, 0.1), np.arange(0, 2, 0.1)), -1).reshape(-1, 3)
    stray = np.array([[0.0, 0, 9], [-4, 2, 1]])
    alone = find_isolated(np.concatenate([wall, stray]))
    assert not alone[: len(wall)].any() and alone[len(wall) :].all()


@given(seed=st.integers(0, 1000), x=st.floats(-30, 30), radius=st.floats(0, 30))
@settings(max_examples=30, deadline=None)
def test_tiles_hold_all_that_is_near(seed, x, radius):
    points = np.random.default_rng(seed).uniform(-25, 25, (300, 3)).astype(np.float32)
    members = TileGroups(points, 8.0).members((x, 1.0), radius)
    near = np.flatnonzero(np.hypot(points[:, 0] - x, points[:, 1] - 1.0) <= radius)
    assert set(near) <= set(members) and len(set(members)) == len(members)


STRICT = 60.0
"""A power of heat that leaves little to chance."""


def select(points, heat, path, per_m, share, power=HEAT_POWER):
    centers, budgets = path_segments(path, 10.0, per_m)
    priority = np.random.default_rng(11).random(len(points))
    return select_points(points, heat, priority, centers, budgets, share, power)


PATH = np.column_stack([np.linspace(0, 100, 51), np.zeros(51), np.zeros(51)])


@given(seed=st.integers(0, 1000), share=st.floats(0, 1), per_m=st.floats(0.5, 30))
@settings(max_examples=40, deadline=None)
def test_no_segment_exceeds_its_budget_or_gets_nothing(seed, share, per_m):
    rng = np.random.default_rng(seed)
    n = 3000
    # nearly all of the heat, and of the points, at one end
    points = np.column_stack([100 * rng.random(n) ** 3, rng.uniform(-20, 20, n), rng.random(n)])
    heat = np.where(points[:, 0] < 15, 0.5 + rng.random(n) / 2, rng.random(n) / 4).astype(np.float32)
    kept = select(points, heat, PATH, per_m, share)
    assert (np.diff(kept) > 0).all()
    centers, budgets = path_segments(PATH, 10.0, per_m)
    owner = np.abs(points[:, :1] - centers[:, 0]).argmin(axis=1)
    for k, budget in enumerate(budgets):
        assert (owner[kept] == k).sum() == min(budget, (owner == k).sum())


def test_the_hottest_are_kept_and_every_direction_gets_its_share():
    rng = np.random.default_rng(0)
    angle = rng.uniform(-np.pi, np.pi, 4000)
    points = np.column_stack([50 + 10 * np.cos(angle), 10 * np.sin(angle), np.zeros(4000)])
    heat = np.where(np.abs(angle) < 0.3, 1.0, 0.5) + rng.random(4000) / 4
    single = PATH[[25, 25]]
    greedy = select(points, heat, single, 160, 0.0, STRICT)
    assert heat[greedy].min() > 0.9 and len(greedy) == 160
    fair = select(points, heat, single, 160, 1.0, STRICT)
    counts = np.bincount(np.floor(angle[fair] / (2 * np.pi) * 16).astype(int) % 16, minlength=16)
    assert len(fair) == 160 and counts.min() >= 5
    # in a direction, the hottest
    sector = (angle > 1.2) & (angle < 1.5)
    assert heat[fair][sector[fair]].min() >= np.sort(heat[sector])[-60]


def test_without_heat_the_sample_is_even():
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(0, 100, 20_000), rng.uniform(-10, 10, 20_000), np.zeros(20_000)])
    points = points[np.argsort(points[:, 1])]  # what came first must not win
    kept = select(points, np.ones(20_000, np.float32), PATH, 40, 0.0)
    assert abs(points[kept, 1].mean()) < 0.5 and abs(np.abs(points[kept, 1]).mean() - 5) < 0.3


def test_heat_power_goes_from_an_even_sample_to_the_strict_order():
    rng = np.random.default_rng(3)
    points = rng.uniform((0, -20, 0), (10, 20, 3), (20_000, 3)).astype(np.float32)
    heat = np.where(points[:, 1] > 10, 1.0, 0.25).astype(np.float32)  # one quarter of the ground is hot

    def hot_share(power):
        kept = select(points, heat, PATH[:2], 100, 0.0, power)
        return np.mean(heat[kept] == 1.0)

    shares = [hot_share(power) for power in (0.0, 1.0, 3.0, STRICT)]
    assert shares[0] == pytest.approx(0.25, abs=0.05) and shares[-1] == 1.0
    assert shares[0] + 0.15 < shares[1] < shares[2] - 0.1 < 0.95


@given(seed=st.integers(0, 1000), power=st.floats(0.75, 1), budget=st.integers(20, 1000))
@settings(max_examples=30, deadline=None)
def test_budgets_pay_for_what_points_cost(seed, power, budget):
    rng = np.random.default_rng(seed)
    points = np.column_stack([100 * rng.random(9000) ** 2, rng.uniform(-20, 20, 9000), rng.random(9000)])
    heat, priority, price = rng.random(9000), rng.random(9000), rng.uniform(0.5, 2, 10)
    centers, _ = path_segments(PATH, 10.0, 1)
    owner = np.abs(points[:, :1] - centers[:, 0]).argmin(axis=1)

    def cost(kept):  # the cheaper, the more there are
        return price * np.array([len(members) for members in kept]) ** power

    kept = select_points(points, heat, priority, centers, np.full(10, budget), 0.5, cost=cost)
    for k, members in enumerate(np.bincount(owner, minlength=10)):
        counts = (owner[kept] == k).sum()
        paid_for = min((budget / price[k]) ** (1 / power), members)
        assert 0.75 * paid_for - 2 < counts < 1.25 * paid_for + 2


def test_what_lies_beyond_the_ends_of_a_path_has_a_share_of_its_budget():
    bend = np.concatenate([PATH, [(100, 1, 0), (100, 10, 0)]])
    inside, whole = path_segments(bend, 10.0, 30)
    centers, shared = path_segments(bend, 10.0, 30, 20.0)
    np.testing.assert_array_equal(centers[: len(inside)], inside)
    beyond = [(-5, 0, 0), (-15, 0, 0), (100, 15, 0), (100, 25, 0)]
    np.testing.assert_allclose(centers[len(inside) :], beyond, atol=1e-6)
    assert shared.sum() == pytest.approx(whole.sum(), rel=0.01) and np.ptp(shared) == 0
    # a vehicle that stands still has no heading
    assert len(path_segments(np.zeros((3, 3)), 10.0, 30, 20.0)[0]) == 1


def test_occupancy_is_denser_on_a_plane_than_on_a_line_and_least_for_a_single_block():
    x, y = (n.ravel() for n in np.meshgrid(np.arange(-3, 4), np.arange(5)))
    plane = np.column_stack([x, y, np.zeros_like(x)])
    line, alone = [(0, 20, z) for z in range(5)], [(40, 40, 40)]
    cubes = np.concatenate([plane, line, alone])[np.random.default_rng(0).permutation(len(plane) + 6)]
    found = dict(zip(map(tuple, cubes.tolist()), occupancy_density(cubes), strict=True))
    assert found[0, 2, 0] == 1 and found[-3, 0, 0] == pytest.approx(4 / 9)
    assert found[0, 20, 2] == pytest.approx(3 / 9) and found[40, 40, 40] == pytest.approx(1 / 9)
    # a filled space counts as a plane
    assert occupancy_density(np.array(list(np.ndindex(3, 3, 3)))).max() == 1
    assert len(occupancy_density(np.zeros((0, 3), int))) == 0


def test_segments_selected_by_different_jobs_keep_what_they_keep_together():
    rng = np.random.default_rng(5)
    points, heat = rng.uniform((0, -30, 0), (100, 30, 3), (9000, 3)), rng.random(9000)
    priority, (centers, budgets) = rng.random(9000), path_segments(PATH, 10.0, 20)

    def cost(kept):
        return np.array([len(members) ** 0.8 + points[members, 2].sum() for members in kept])

    def select(budgets):
        return select_points(points, heat, priority, centers, budgets, 0.5, 0.7, 25.0, cost)

    together, parts = select(budgets), []
    for first in range(0, len(centers), 3):
        own = np.isin(np.arange(len(centers)), range(first, first + 3))
        parts.append(select(np.where(own, budgets, 0)))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), together)
    assert np.abs(points[together, 1]).max() <= 25


def test_segments_at_one_place_are_merged_and_their_budgets_added():
    centers = np.array([(5.0, 1, 0), (0, 0, 0), (5, 1, 0.2), (-3, 0, 0), (0, 0, 0)])
    places, budgets = merge_duplicates(centers, np.array([1, 10, 100, 1000, 10_000]))
    np.testing.assert_array_equal(places, centers[[0, 1, 3]])
    assert budgets.tolist() == [101, 10_010, 1000] and budgets.dtype == np.int64


def test_clouds_merged_in_pieces_are_the_cloud_merged_at_once():
    rng = np.random.default_rng(6)
    points, intensity = rng.uniform(-3, 3, (5000, 3)) + (4e5, 5e6, 100), rng.random(5000)
    whole, pieces = VoxelCloud(0.25), []
    whole.add(points, intensity)
    for part in np.array_split(np.arange(5000), 3):
        piece = VoxelCloud(0.25)
        piece.add(points[part], intensity[part])
        pieces.append(piece.voxels())
    merged, once = merge_voxels(pieces), merge_voxels([whole.voxels()])
    np.testing.assert_array_equal(merged["grid"], once["grid"])
    for name in ("sum", "intensity", "hits"):
        np.testing.assert_allclose(merged[name], once[name], rtol=1e-5, atol=1e-4)
    assert merged["hits"].sum() == 5000 and len(merge_voxels([])) == 0
