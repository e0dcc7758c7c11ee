# SPDX-License-Identifier: Apache-2.0
"""Several views of one moment are one problem: the solver, and the refiner around networks that know the answer."""

import numpy as np
import pytest
from helpers.wall_world import CAMERA, IMAGE, TRUTH, wall

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import (
    NO_POINT,
    Camera,
    Rig,
    inverse,
    make_pose,
    perturb,
    pose_error,
    project,
    se3_exp,
    transform,
)
from lhmap_loc_ros.localization import iterations, refine
from lhmap_loc_ros.localization.covariance import StartCovariances
from lhmap_loc_ros.localization.features import cell_points, quarter_turn, render_map
from lhmap_loc_ros.localization.refine import RefineMode
from lhmap_loc_ros.localization.solver import Matches, solve_body, solve_pose

VIEWS = Camera(320, 240, 200.0, 210.0, 158.0, 122.0), Camera(400, 200, 260.0, 255.0, 205.0, 90.0)
BODY = se3_exp([3.0, -2.0, 1.0, 0.4, -0.7, 0.2])
AHEAD, ASIDE = np.eye(4), se3_exp([0.4, -0.1, 0.3, 0.1, 1.3, -0.2])
PRIOR = (2.0, np.radians(10))
TIGHT = (1e4, 1e4)


def matches(rng, camera, T_body_camera, n=150, noise=0.4):
    """Points that a view of the body sees, each a little off."""
    uv = np.column_stack([rng.uniform(0, camera.width, n), rng.uniform(0, camera.height, n)])
    rays = np.column_stack([(uv - (camera.cx, camera.cy)) / (camera.fx, camera.fy), np.ones(n)])
    points = transform(BODY @ T_body_camera, rays * rng.uniform(4, 30, n)[:, None])
    sigma_px = rng.uniform(0.3, 0.8, (n, 2))
    return Matches(points, uv + noise * sigma_px * rng.normal(size=(n, 2)), sigma_px, np.ones(n), camera, T_body_camera)


def residuals(views, pose):
    """All residuals in their scales at a pose of the body, robust weights apart."""
    out = []
    for m in views:
        local = transform(inverse(pose @ m.T_body_camera), m.points)
        uv = local[:, :2] / local[:, 2:] * (m.camera.fx, m.camera.fy) + (m.camera.cx, m.camera.cy)
        out.append(((uv - m.target) / m.sigma_px).ravel())
    return np.concatenate(out)


def robust(e):
    """What the solver minimises: the Cauchy weight of each match in the end of its schedule."""
    square = np.square(e.reshape(-1, 2)).sum(1)
    return np.repeat(1.0 / (1.0 + square / 16.0), 2)


@pytest.mark.parametrize("seed", range(5))
def test_one_solve_of_two_views_solves_the_joint_problem(seed):
    rng = np.random.default_rng(seed)
    views = [matches(rng, camera, T) for camera, T in zip(VIEWS, (AHEAD, ASIDE), strict=True)]
    start = perturb(BODY, rng.uniform(-1, 1, 3), rng.uniform(-5, 5, 3))
    solution = solve_body(views, start, TIGHT)
    # the derivatives of all residuals by the body's tangent vector, numerically
    step = 1e-6
    J = np.column_stack([
        (residuals(views, solution.T_map_camera @ se3_exp(step * axis))
         - residuals(views, solution.T_map_camera @ se3_exp(-step * axis))) / (2 * step) for axis in np.eye(6)
    ])  # fmt: skip
    e = residuals(views, solution.T_map_camera)
    weight = robust(e)
    information = J.T @ (weight[:, None] * J)
    np.testing.assert_allclose(information, solution.information, rtol=1e-3, atol=1e-5 * information.max())
    # where nothing is left to correct
    assert np.abs(np.linalg.solve(solution.information, J.T @ (weight * e))).max() < 1e-4
    assert pose_error(solution.T_map_camera, BODY)[0] < 0.05 and solution.inlier_ratio > 0.95


def test_two_views_tell_more_than_either():
    rng = np.random.default_rng(7)
    views = [matches(rng, camera, T) for camera, T in zip(VIEWS, (AHEAD, ASIDE), strict=True)]
    both, *alone = (np.linalg.inv(solve_body(part, BODY, PRIOR).information) for part in (views, views[:1], views[1:]))
    for other in alone:
        assert (np.diag(both) < np.diag(other)).all()


def test_matches_of_one_camera_in_two_parts_give_what_they_give_together():
    rng = np.random.default_rng(3)
    m = matches(rng, VIEWS[0], AHEAD)
    start = perturb(BODY, (0.5, -0.2, 0.6), (2, -3, 1))
    whole = solve_pose(m.points, m.target, m.sigma_px, m.weight, start, m.camera, PRIOR)
    parts = [Matches(m.points[k], m.target[k], m.sigma_px[k], m.weight[k], m.camera, AHEAD)
             for k in (slice(0, 40), slice(40, None))]  # fmt: skip
    found = solve_body(parts, start, PRIOR)
    np.testing.assert_allclose(found.T_map_camera, whole.T_map_camera, atol=1e-9)
    np.testing.assert_allclose(found.information, whole.information, rtol=1e-9)
    assert found.inlier_ratio == whole.inlier_ratio


def test_a_solve_on_the_device_of_two_views_is_that_of_the_compiled_code():
    torch = pytest.importorskip("torch", reason="backend torch is not installed")
    from lhmap_loc_ros.localization import device_iterations as device

    rng = np.random.default_rng(4)
    views = [matches(rng, camera, T) for camera, T in zip(VIEWS, (AHEAD, ASIDE), strict=True)]
    start = perturb(BODY, (0.5, -0.2, 0.6), (2, -3, 1))
    expected = solve_body(views, start, PRIOR)
    tensors = [
        device.TensorMatches(
            *map(torch.from_numpy, (m.points, m.target, m.sigma_px, m.weight, np.ones(len(m.points), bool))),
            m.camera, m.T_body_camera,
        ) for m in views
    ]  # fmt: skip
    pose, information, inliers = device.solve_body(tensors, torch.from_numpy(start), PRIOR)
    assert pose_error(pose.numpy(), expected.T_map_camera)[0] < 1e-4
    np.testing.assert_allclose(information, expected.information, rtol=1e-3, atol=1e-3 * information.max())
    assert int(inliers) / 300 == pytest.approx(expected.inlier_ratio, abs=0.01)


class Oracle:
    """Knows where each camera of a rig truly is, and tells them apart by their focal lengths on the grid."""

    grids, tensor_device, at_once, networks = ((320, 96), (272, 384)), None, False, ()
    covariance = StartCovariances()

    def __init__(self, monkeypatch, crop, T_rig_camera, noise=0.0):
        self.crop, self.T_rig_camera, self.noise = crop, T_rig_camera, noise
        self.random, self.calls = np.random.default_rng(0), []

        def listen(points, intensity, pose, camera, *rest):
            self.view, self.camera, self.points = render_map(points, intensity, pose, camera, *rest), camera, points
            return self.view

        monkeypatch.setattr(iterations, "render_map", listen)

    def for_grid(self, grid):
        return self

    def image(self, image):
        return None, None

    def map(self, view):
        return view

    def _match(self, cell):
        local = TRUTH @ self.T_rig_camera[round(self.camera.fx, 3)]
        local[:3, 3] -= self.crop.origin
        uv, _ = project(self.points, inverse(local), self.camera)
        owner = cell_points(self.view, cell)
        self.calls.append((cell, round(self.camera.fx, 3)))
        flow = np.zeros((2, *owner.shape), np.float32)
        r, c = np.nonzero(owner != NO_POINT)
        flow[:, r, c] = np.nan_to_num((uv - self.view.uv)[owner[r, c]].T, nan=500.0)
        return flow + self.noise * self.random.normal(size=flow.shape), np.full_like(flow, -2.0)

    def coarse(self, encoded, image8):
        return self._match(8)

    def fine(self, encoded, image4):
        return self._match(4)


LEFT, RIGHT = (perturb(make_pose(np.eye(3), (x, 0, 0)), (0, 0, 0), (0, yaw, 0)) for x, yaw in ((-0.3, -25), (0.4, 30)))
CAMERAS = Camera(640, 200, 371.0, 371.0, 318.0, 95.0), Camera(640, 200, 400.0, 400.0, 318.0, 95.0)
ON_GRID = [round(371.0 / 2, 3), round(400.0 / 2, 3)]


@pytest.fixture
def crop():
    return wall(20000)


def test_a_rig_of_one_camera_gives_the_very_same_as_the_camera(monkeypatch, crop):
    start = perturb(TRUTH, (0.5, 0.2, -0.6), (1, -3, 2))
    results = []
    for image, camera in ((IMAGE, CAMERA), ((IMAGE,), Rig((CAMERA,), (np.eye(4),)))):
        refiner = refine.Refiner(refine.RefinerConfig(), Oracle(monkeypatch, crop, {ON_GRID[0]: np.eye(4)}, noise=0.3))
        results.append(refiner.refine(image, camera, crop, start, RefineMode.WIDE))
    alone, rig = results
    np.testing.assert_array_equal(rig.T_map_camera, alone.T_map_camera)
    np.testing.assert_array_equal(rig.covariance, alone.covariance)
    assert (rig.inlier_ratio, rig.matches, rig.iterations) == (alone.inlier_ratio, alone.matches, alone.iterations)


def refined(monkeypatch, crop, rig, T_rig_camera, start, noise=0.0, kind=RefineMode.TRACK):
    models = Oracle(monkeypatch, crop, T_rig_camera, noise)
    images = tuple(np.zeros((camera.height, camera.width, 3), np.uint8) for camera in rig.cameras)
    return refine.Refiner(refine.RefinerConfig(), models).refine(images, rig, crop, start, kind), models


def test_two_cameras_give_one_pose_of_the_rig(monkeypatch, crop):
    rig = Rig(CAMERAS, (LEFT, RIGHT))
    known, start = dict(zip(ON_GRID, (LEFT, RIGHT), strict=True)), perturb(TRUTH, (0.3, 0.1, -0.2), (1, -2, 1))
    found, models = refined(monkeypatch, crop, rig, known, start)
    assert pose_error(found.T_map_camera, TRUTH)[0] < 0.01
    # each iteration matches each view
    assert [fx for _, fx in models.calls] == ON_GRID * found.iterations
    one, _ = refined(monkeypatch, crop, Rig(CAMERAS[:1], (LEFT,)), {ON_GRID[0]: LEFT}, TRUTH)
    assert found.matches > 1.3 * one.matches
    assert np.linalg.det(found.covariance) < np.linalg.det(one.covariance)


def test_a_camera_that_sees_no_map_has_no_part(monkeypatch, crop):
    behind = perturb(np.eye(4), (0, 0, 0), (0, 180, 0))
    rig = Rig(CAMERAS, (np.eye(4), behind))
    found, models = refined(monkeypatch, crop, rig, dict(zip(ON_GRID, (np.eye(4), behind), strict=True)), TRUTH)
    assert pose_error(found.T_map_camera, TRUTH)[0] < 0.01
    assert {fx for _, fx in models.calls} == {ON_GRID[0]}


@pytest.mark.parametrize("quarters", (1, 2, 3))
def test_each_camera_is_turned_upright_by_itself(monkeypatch, crop, quarters):
    """The first on its side or head, the second upright; the poses are those of the rig as it is mounted."""
    T_turned_camera = quarter_turn(quarters)
    image_camera = CAMERAS[0].turned(-quarters)
    rig = Rig((image_camera, CAMERAS[1]), (LEFT @ T_turned_camera, RIGHT))
    start = perturb(TRUTH, (0.3, 0.1, -0.2), (1, -2, 1))
    known = dict(zip(ON_GRID, (LEFT, RIGHT), strict=True))
    found, _ = refined(monkeypatch, crop, rig, known, start)
    assert pose_error(found.T_map_camera, TRUTH)[0] < 0.01
    # and with the frame of the rig itself turned
    mounted = Rig(rig.cameras, tuple(inverse(T_turned_camera) @ T for T in rig.T_rig_camera))
    turned, _ = refined(monkeypatch, crop, mounted, known, start @ T_turned_camera)
    np.testing.assert_allclose(turned.T_map_camera @ inverse(T_turned_camera), found.T_map_camera, atol=1e-6)


def test_an_image_too_few_is_refused(monkeypatch, crop):
    refiner = refine.Refiner(refine.RefinerConfig(), Oracle(monkeypatch, crop, {}))
    with pytest.raises(InputError, match="expected one of each of 2 cameras"):
        refiner.refine((IMAGE,), Rig(CAMERAS, (LEFT, RIGHT)), crop, TRUTH)
