# SPDX-License-Identifier: Apache-2.0
"""Drawing and solving by PyTorch is what the compiled code does; here on the CPU."""

import numpy as np
import pytest
from helpers.wall_world import CAMERA, IMAGE, TRUTH, wall

from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.geometry import Camera, Rig, inverse, perturb, pose_error, project, se3_exp
from lhmap_loc_ros.localization import features, solver
from lhmap_loc_ros.localization.covariance import StartCovariances
from lhmap_loc_ros.localization.iterations import GridView, block_weights
from lhmap_loc_ros.localization.refine import RefineMode, RefinePlan, Refiner, RefinerConfig

torch = pytest.importorskip("torch", reason="backend torch is not installed")
from lhmap_loc_ros.localization import device_iterations as device

GRID = Camera(480, 144, 280.0, 280.0, 238.0, 66.0)


@pytest.fixture
def local():
    """The wall, and the pose that sees it, without the map's origin."""
    crop = wall(20000)
    pose = TRUTH.copy()
    pose[:3, 3] -= crop.origin
    return crop, pose


@pytest.mark.parametrize("turn", ((0, 0, 0), (4, -30, 3), (0, 180, 0)))
@pytest.mark.parametrize("width", (None, 0.0, 3.0))
def test_the_same_points_are_drawn(local, turn, width):
    crop, pose = local
    pose = perturb(pose, (0.3, -0.2, 9.0), turn)
    widths = features.point_widths(crop.points) if width is None else np.full(len(crop.points), width, np.float32)
    view = features.render_map(crop.points, crop.intensity, pose, GRID, widths)
    points, intensity, splat = (torch.from_numpy(x.copy()) for x in (crop.points, crop.intensity, widths))
    uv, depth = device.project(points, torch.from_numpy(inverse(pose)), GRID)
    np.testing.assert_allclose(uv, view.uv, rtol=1e-5, atol=1e-3)
    index = device.z_buffer(uv, depth, GRID, splat, 80.0)
    # a point on the border between two pixels may be rounded to either
    assert np.mean(index.numpy() != view.index) < 1e-4
    index = torch.from_numpy(view.index).long()
    channels = device.fill_channels(index, depth, intensity, points[:, 2] - np.float32(pose[2, 3]))
    np.testing.assert_allclose(channels, view.channels, rtol=1e-5, atol=1e-5)
    for cell in (8, 4):
        owner = device.cell_points(uv, depth, index, cell)
        assert np.mean(owner.numpy() != features.cell_points(view, cell)) < 1e-3


def test_the_same_pose_is_solved_for_with_outliers_and_cells_without_a_match(local):
    crop, truth = local
    rng = np.random.default_rng(3)
    start = perturb(truth, (0.8, -0.3, 1.1), (2, -4, 3))
    points = crop.points[rng.permutation(len(crop.points))[:600]]
    uv, depth = project(points, inverse(truth), GRID)
    known = np.isfinite(uv).all(1) & (rng.random(len(uv)) < 0.8)
    target = np.nan_to_num(uv) + rng.normal(0, 0.5, uv.shape)
    target[rng.random(len(uv)) < 0.2] += 60
    sigma_px = rng.uniform(0.3, 6, uv.shape)
    prior = (2.0, np.radians(10))
    weight = rng.uniform(0.2, 3, len(uv))
    expected = solver.solve_pose(points[known], target[known], sigma_px[known], weight[known], start, GRID, prior)
    found = device.TensorMatches(*map(torch.from_numpy, (points, target, sigma_px, weight, known)), GRID, np.eye(4))
    pose, information, inliers = device.solve_body([found], torch.from_numpy(start), prior)
    metres, degrees = pose_error(pose.numpy(), expected.T_map_camera)
    assert metres < 1e-4 and degrees < 1e-3
    np.testing.assert_allclose(information, expected.information, rtol=1e-3, atol=1e-3 * information.max())
    assert int(inliers) / known.sum() == pytest.approx(expected.inlier_ratio, abs=0.01)


@pytest.mark.parametrize("block", (0, 1, 4, 8))
@pytest.mark.parametrize("border", (0, 1, 3))
def test_matches_have_the_same_shares(block, border):
    known = np.random.default_rng(4).random((44 - 2 * border, 152 - 2 * border)) < 0.4
    rows, columns = (x + border for x in np.nonzero(known))
    found = device.block_weights(torch.from_numpy(known), block, border).numpy()[known.flatten()]
    np.testing.assert_allclose(found, block_weights(rows, columns, block), rtol=1e-9)


@pytest.mark.parametrize("xi", ((1, 2, 3, 0, 0, 0), (1, 2, 3, 1e-5, -2e-5, 1e-6), (0.1, -2, 1, 0.2, 1.4, -0.7)))
def test_the_exponential_is_that_of_the_compiled_code(xi):
    found = device._se3_exp(torch.tensor(xi, dtype=torch.float64))
    np.testing.assert_allclose(found, se3_exp(xi), atol=1e-9)


@pytest.mark.parametrize("weighting", ("uniform", "uncertainty", "heat", "both"))
@pytest.mark.parametrize("mode", (RefineMode.WIDE, RefineMode.TRACK))
def test_an_iteration_of_the_shipped_networks_ends_at_the_same_pose(mode, weighting):
    pytest.importorskip("onnx", reason="backend torch is not installed")
    crop, start = wall(20000), perturb(TRUTH, (0.1, -0.1, 0.2), (0.3, 0.5, -0.2))
    crop.heat[:] = np.random.default_rng(1).uniform(0.1, 1, len(crop.heat))
    image = np.random.default_rng(2).integers(0, 255, IMAGE.shape, np.uint8)
    weights = {"coarse_weighting": weighting, "fine_weighting": weighting}

    def refined(geometry):
        plan = RefinePlan(geometry=geometry, **weights).adapted([RefineMode.WIDE], coarse=1, fine=1)
        return Refiner(RefinerConfig(backend="torch", max_iterations=1), plan=plan).refine(
            image, CAMERA, crop, start, mode
        )

    found, expected = map(refined, ("device", "cpu"))
    metres, degrees = pose_error(found.T_map_camera, expected.T_map_camera)
    assert metres < 0.02 and degrees < 0.05 and pose_error(found.T_map_camera, start)[0] > 0.05
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=0.05, atol=0.02 * expected.covariance.max())
    assert abs(found.matches - expected.matches) <= 2


ON_DEVICE = RefinePlan(geometry="device")


class Networks:
    """Say the same of every cell."""

    grids, networks, tensor_device, covariance = ((480, 144),), (), "cpu", StartCovariances()
    at_once = False

    def for_grid(self, grid):
        return self

    def __init__(self, flow):
        self.flow = flow

    def image(self, image):
        return None, None

    def map(self, view):
        return view

    def coarse(self, encoded, image8):
        return torch.full((2, 18, 60), self.flow), torch.zeros(2, 18, 60)

    def fine(self, encoded, image4):
        return torch.full((2, 36, 120), self.flow), torch.zeros(2, 36, 120)


def test_what_is_not_finite_is_refused():
    with pytest.raises(ModelError, match="not finite"):
        Refiner(RefinerConfig(), Networks(np.nan), ON_DEVICE).refine(IMAGE, CAMERA, wall(5000), TRUTH)


@pytest.mark.parametrize("points", (5, 5000))
def test_without_enough_points_in_view_there_is_no_pose(points):
    away = perturb(TRUTH, (0, 0, 0), (0, 180, 0))
    result = Refiner(RefinerConfig(), Networks(0.0), ON_DEVICE).refine(IMAGE, CAMERA, wall(points), away)
    assert not result.succeeded
    np.testing.assert_array_equal(result.T_map_camera, away)


def test_the_matches_of_all_views_of_a_rig_go_into_one_solve():
    aside = perturb(np.eye(4), (0.2, 0, 0), (0, 20, 0))
    behind = perturb(np.eye(4), (0, 0, 0), (0, 180, 0))

    def refined(*poses):
        refiner = Refiner(RefinerConfig(), Networks(0.0), ON_DEVICE)
        rig = Rig((CAMERA,) * len(poses), poses)
        return refiner.refine((IMAGE,) * len(poses), rig, wall(5000), TRUTH, RefineMode.TRACK)

    ahead, turned, both = refined(np.eye(4)), refined(aside), refined(np.eye(4), aside, behind)
    assert both.matches == ahead.matches + turned.matches
    assert np.linalg.det(both.covariance) < np.linalg.det(ahead.covariance)
    assert pose_error(both.T_map_camera, TRUTH)[0] < 1e-3


def views(networks):
    view = features.View.of(CAMERA, *networks.grids[0])
    return [GridView(networks, view, np.eye(4), IMAGE)]


def test_auto_draws_on_the_cpu_where_the_networks_are_there():
    refiner = Refiner(RefinerConfig(), Networks(0.0))
    assert type(refiner._iterations(views(Networks(0.0)), None)).__name__ == "HostIterations"


def test_a_device_that_pytorch_does_not_find_is_refused_where_it_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    networks = Networks(0.0)
    networks.tensor_device = "cuda:0"
    assert type(Refiner(RefinerConfig(), networks)._iterations(views(networks), None)).__name__ == "HostIterations"
    with pytest.raises(ModelError, match="cuda:0.*finds no CUDA GPU"):
        Refiner(RefinerConfig(), networks, ON_DEVICE)._iterations(views(networks), None)


def test_a_backend_without_tensors_has_no_such_device():
    with pytest.raises(ModelError, match="geometry device.*onnxruntime.*torch, tensorrt, auto"):
        Refiner(RefinerConfig(backend="onnxruntime"), plan=ON_DEVICE)


def test_networks_that_auto_put_elsewhere_are_named_where_a_device_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="geometry device: networks by ONNX Runtime, CPU found"):
        Refiner(RefinerConfig(), plan=ON_DEVICE)
