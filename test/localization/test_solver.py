# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lhmap_loc_ros.geometry import Camera, inverse, perturb, pose_error, project, se3_exp, se3_log
from lhmap_loc_ros.localization.solver import solve_pose

CAMERA = Camera(320, 96, 185.0, 185.0, 159.5, 44.0)
TRUTH = se3_exp([3.0, -2.0, 1.0, 0.4, -0.7, 0.2])
PRIOR = (2.0, np.radians(10))


def scene(rng, n=600, noise=0.0):
    """Points in front of the camera in the map, and where they are seen [pixels]."""
    depth = rng.uniform(4, 40, n)
    uv = np.column_stack([rng.uniform(0, 320, n), rng.uniform(0, 96, n)])
    rays = np.column_stack([(uv[:, 0] - CAMERA.cx) / CAMERA.fx, (uv[:, 1] - CAMERA.cy) / CAMERA.fy, np.ones(n)])
    local = rays * depth[:, None]
    points = local @ TRUTH[:3, :3].T + TRUTH[:3, 3]
    return points, uv + rng.laplace(0, noise, (n, 2)) if noise else uv


def solve(points, uv, sigma_px, start, weight=None):
    weight = np.ones(len(points)) if weight is None else weight
    return solve_pose(points, uv, sigma_px, weight, start, CAMERA, PRIOR)


@pytest.mark.parametrize("seed", range(5))
def test_exact_matches_give_the_exact_pose_from_a_rough_start(seed):
    rng = np.random.default_rng(seed)
    points, uv = scene(rng)
    start = perturb(TRUTH, rng.uniform(-2, 2, 3), rng.uniform(-10, 10, 3))
    solution = solve(points, uv, np.full_like(uv, 0.1), start)
    metres, degrees = pose_error(solution.T_map_camera, TRUTH)
    assert metres < 1e-3 and degrees < 1e-3
    assert solution.inlier_ratio > 0.999


def test_a_third_of_wild_matches_does_not_move_the_pose():
    rng = np.random.default_rng(1)
    points, uv = scene(rng, noise=0.3)
    wild = rng.random(len(uv)) < 0.33
    uv[wild] += rng.uniform(-60, 60, (wild.sum(), 2))
    start = perturb(TRUTH, (0.8, -0.5, 0.9), (3, -4, 2))
    solution = solve(points, uv, np.full_like(uv, 0.4), start)
    metres, degrees = pose_error(solution.T_map_camera, TRUTH)
    assert metres < 0.08 and degrees < 0.3
    assert 0.5 < solution.inlier_ratio < 0.8


def test_covariance_predicts_the_spread_of_independent_errors():
    rng = np.random.default_rng(2)
    normalised = []
    for _ in range(200):
        points, uv = scene(rng, n=200)
        uv = uv + rng.normal(0, 0.5, uv.shape)
        solution = solve(points, uv, np.full_like(uv, 0.5), TRUTH)
        xi = se3_log(inverse(solution.T_map_camera) @ TRUTH)
        normalised.append(xi / np.sqrt(np.diag(np.linalg.inv(solution.information))))
    spread = np.std(normalised, axis=0)
    # the Cauchy weight makes the solver a little more careful than it had to be
    assert (spread > 0.6).all() and (spread < 1.2).all()


def test_uncertain_axis_counts_less():
    rng = np.random.default_rng(3)
    points, uv = scene(rng)
    uv[:, 0] += 8.0
    sigma_px = np.column_stack([np.full(len(uv), 50.0), np.full(len(uv), 0.1)])
    solution = solve(points, uv, sigma_px, TRUTH)
    trusted = solve(points, uv, np.full_like(uv, 0.1), TRUTH)
    assert pose_error(solution.T_map_camera, TRUTH)[1] < 0.2 * pose_error(trusted.T_map_camera, TRUTH)[1]


def test_a_match_with_a_share_of_two_counts_like_two():
    rng = np.random.default_rng(8)
    points, uv = scene(rng, noise=0.5)
    sigma_px, twice = np.full_like(uv, 0.5), rng.random(len(uv)) < 0.3
    again = np.flatnonzero(twice)
    repeated = (np.concatenate([x, x[again]]) for x in (points, uv, sigma_px))
    found, expected = solve(points, uv, sigma_px, TRUTH, 1.0 + twice), solve(*repeated, TRUTH)
    np.testing.assert_allclose(found.T_map_camera, expected.T_map_camera, atol=1e-6)
    np.testing.assert_allclose(found.information, expected.information, rtol=1e-4, atol=1e-4 * found.information.max())


def test_without_information_the_pose_stays_and_the_covariance_is_the_prior():
    points, uv = scene(np.random.default_rng(4), n=40)
    solution = solve(points, uv + 30, np.full_like(uv, 1e6), TRUTH)
    assert pose_error(solution.T_map_camera, TRUTH)[0] < 1e-3
    sigma = np.sqrt(np.diag(np.linalg.inv(solution.information)))
    np.testing.assert_allclose(sigma, np.repeat(PRIOR, 3), rtol=0.01)


def test_matches_that_are_not_sure_are_no_inliers_however_well_they_fit():
    points, uv = scene(np.random.default_rng(4))
    sigma_px = np.full_like(uv, 0.5)
    sigma_px[:450] = 12.0
    assert solve(points, uv, sigma_px, TRUTH).inlier_ratio == pytest.approx(0.25)


def test_points_behind_the_camera_are_ignored():
    points, uv = scene(np.random.default_rng(5))
    behind = points.copy()
    behind[:300] = TRUTH[:3, 3] - (points[:300] - TRUTH[:3, 3])
    solution = solve(behind, uv, np.full_like(uv, 0.1), perturb(TRUTH, (0.3, 0, 0), (0, 2, 0)))
    assert pose_error(solution.T_map_camera, TRUTH)[0] < 1e-2
    assert solution.inlier_ratio == pytest.approx(0.5, abs=0.01)


def test_projection_and_solver_agree_on_conventions():
    points, uv = scene(np.random.default_rng(6))
    found, _ = project(points.astype(np.float32), inverse(TRUTH), CAMERA)
    np.testing.assert_allclose(found, uv, atol=1e-2)
