# SPDX-License-Identifier: Apache-2.0
"""The refiner around networks that know the answer: everything but the networks is real."""

import threading

import numpy as np
import pytest
import yaml
from helpers.wall_world import CAMERA, IMAGE, ORIGIN, TRUTH, wall

from lhmap_loc_ros.configuration import dump, validate
from lhmap_loc_ros.errors import ConfigError, InputError, ModelError
from lhmap_loc_ros.geometry import NO_POINT, Camera, inverse, perturb, pose_error, project
from lhmap_loc_ros.lhmap import MapPoints
from lhmap_loc_ros.localization import iterations, refine
from lhmap_loc_ros.localization.covariance import CovarianceModel, StartCovariances
from lhmap_loc_ros.localization.features import View, cell_points, quarter_turn, quarters_to_upright, render_map
from lhmap_loc_ros.localization.network_set import NetworkSet
from lhmap_loc_ros.localization.refine import RefineMode, RefinePlan, RefinerConfig
from lhmap_loc_ros.localization.solver import Solution


@pytest.fixture
def crop():
    return wall(20000)


class Oracle:
    """Knows the true pose; learns the present one by listening to `render_map`."""

    grids, tensor_device, at_once = ((320, 96),), None, True
    covariance = StartCovariances(CovarianceModel((np.log(3.0),) * 6), CovarianceModel((np.log(2.0),) * 6))

    def __init__(self, monkeypatch, crop, blind=False):
        self.crop, self.blind, self.calls = crop, blind, []

        def listen(points, intensity, pose, camera, *rest):
            self.view = render_map(points, intensity, pose, camera, *rest)
            self.camera, self.pose, self.points = camera, pose, points
            return self.view

        monkeypatch.setattr(iterations, "render_map", listen)

    def for_grid(self, grid):
        return self

    def image(self, image):
        assert image.shape == (3, 96, 320)
        return "8", "4"

    def _match(self, cell, features):
        self.calls.append(features)
        local = TRUTH.copy()
        local[:3, 3] -= self.crop.origin
        uv, _ = project(self.points, inverse(local), self.camera)
        owner = cell_points(self.view, cell)
        flow = np.zeros((2, *owner.shape), np.float32)
        r, c = np.nonzero(owner != NO_POINT)
        flow[:, r, c] = np.nan_to_num((uv - self.view.uv)[owner[r, c]].T, nan=500.0)
        return flow, np.full_like(flow, np.nan if self.blind else -2.0)

    def map(self, view):
        return view

    def coarse(self, encoded, image8):
        return self._match(8, image8)

    def fine(self, encoded, image4):
        return self._match(4, image4)


def test_perfect_matches_give_the_pose_in_a_far_away_map(monkeypatch, crop):
    models = Oracle(monkeypatch, crop)
    refiner = refine.Refiner(refine.RefinerConfig(), models)
    start = perturb(TRUTH, (1.5, 0.4, -1.8), (4, -8, 3))
    result = refiner.refine(IMAGE, CAMERA, crop, start, keep_trace=True)
    # the second coarse iteration finds nothing left to correct, and the first fine one agrees
    assert models.calls == ["8", "8", "4"] and len(result.trace) == 3
    metres, degrees = pose_error(result.T_map_camera, TRUTH)
    assert metres < 0.01 and degrees < 0.01
    assert result.matches > 200 and result.inlier_ratio > 0.99 and result.succeeded
    assert {"encode", "project", "network", "solve"} <= set(result.timings_ms)


def test_what_is_seen_at_the_border_does_not_move_the_pose(monkeypatch, crop):
    models = Oracle(monkeypatch, crop)
    exact = models._match

    def wrong_at_the_border(cell, features):
        flow, log_scale = exact(cell, features)
        flow[1, [0, -1]] -= 3.0
        flow[0, :, 0], flow[0, :, -1] = flow[0, :, 0] + 3.0, flow[0, :, -1] - 3.0
        return flow, log_scale + 3.0  # as unsure as wrong: the robust weights cannot tell

    monkeypatch.setattr(models, "_match", wrong_at_the_border)
    refiner, errors = refine.Refiner(refine.RefinerConfig(), models), []
    for border in (0, 1):
        monkeypatch.setattr(iterations, "BORDER_CELLS", border)
        errors.append(pose_error(refiner.refine(IMAGE, CAMERA, crop, TRUTH).T_map_camera, TRUTH)[0])
    assert errors[1] < 1e-3 < 0.005 < errors[0]


@pytest.mark.parametrize(
    ("mode", "variance"),
    [(RefineMode.WIDE, 9), (RefineMode.RECOVER, 9), (RefineMode.TRACK, 4), (RefineMode.TRACK_ODOMETRY, 4)],
)
def test_covariance_is_scaled_by_the_calibration_of_its_kind_of_start(monkeypatch, crop, mode, variance):
    models = Oracle(monkeypatch, crop)
    refiner = refine.Refiner(refine.RefinerConfig(), models)
    wide = refiner.refine(IMAGE, CAMERA, crop, TRUTH, mode).covariance
    models.covariance = StartCovariances()
    plain = refiner.refine(IMAGE, CAMERA, crop, TRUTH, mode).covariance
    np.testing.assert_allclose(wide, variance * plain, rtol=1e-6)


@pytest.mark.parametrize(
    ("limit", "tracked", "recovered"), [(1, [4], [8, 4]), (3, [4, 4, 4], [8, 4, 4]), (5, 5 * [4], [8, 4, 4, 4, 4])]
)
def test_a_tracked_image_is_matched_at_most_so_many_times(monkeypatch, crop, limit, tracked, recovered):
    models, random = Oracle(monkeypatch, crop), np.random.default_rng(0)
    monkeypatch.setattr(models, "_match", lambda cell, _: models.calls.append(cell) or _noise(random, models, cell))
    refiner = refine.Refiner(refine.RefinerConfig(max_iterations=limit), models)
    for mode, cells in ((RefineMode.TRACK, tracked), (RefineMode.RECOVER, recovered)):
        models.calls.clear()
        refiner.refine(IMAGE, CAMERA, crop, TRUTH, mode)
        assert models.calls == cells


@pytest.mark.parametrize(("mode", "iterations"), [(RefineMode.TRACK, 2), (RefineMode.TRACK_ODOMETRY, 1)])
def test_a_larger_correction_settles_a_pose_that_odometry_predicted(monkeypatch, crop, mode, iterations):
    models = Oracle(monkeypatch, crop)
    begun = perturb(TRUTH, (0.04, 0.0, 0.05), (0, 0, 0))
    result = refine.Refiner(refine.RefinerConfig(), models).refine(IMAGE, CAMERA, crop, begun, mode)
    assert result.iterations == iterations and models.calls == ["4"] * iterations
    assert pose_error(result.T_map_camera, TRUTH)[0] < 0.01


@pytest.mark.parametrize(
    ("offset", "seen_within"), [((0.1, 0, -1.8, 1, -2, 1), (1.0, 90.0)), ((-1.3, 0.2, 0.3, 1, 7, 0), (0.8, 4.0))]
)
def test_search_finds_the_pose_that_a_refinement_from_too_far_does_not(monkeypatch, crop, offset, seen_within):
    """Matches are known only near the truth [m, deg], which the start is behind, or beside and turned."""
    models = Oracle(monkeypatch, crop)
    exact, truth = models._match, TRUTH.copy()
    truth[:3, 3] -= ORIGIN

    def blind_from_afar(cell, features):
        flow, log_scale = exact(cell, features)
        near = np.less(pose_error(models.pose, truth), seen_within).all()
        return (flow, log_scale) if near else (np.zeros_like(flow), np.full_like(flow, 3.0))

    monkeypatch.setattr(models, "_match", blind_from_afar)
    start = perturb(TRUTH, offset[:3], offset[3:])

    monkeypatch.setattr(iterations, "point_widths", lambda points: 0.2)

    def refined(mode, **changes):
        plan = RefinePlan().adapted(coarse=3, fine=4, **changes)
        return refine.Refiner(refine.RefinerConfig(), models, plan).refine(IMAGE, CAMERA, crop, start, mode)

    for lost in (refined(RefineMode.WIDE), refined(RefineMode.MULTI_START, multi_start=False)):
        assert pose_error(lost.T_map_camera, TRUTH)[0] > 1 and lost.inlier_ratio < 0.3
    found = refined(RefineMode.MULTI_START)
    assert pose_error(found.T_map_camera, TRUTH)[0] < 0.01 and found.inlier_ratio > 0.99


@pytest.mark.parametrize(("agreement", "metres"), [(0.15, 1.0), (0.1, 6.0)])
def test_search_believes_a_place_far_from_the_start_less(monkeypatch, crop, agreement, metres):
    """From the start everything leads 6 m ahead, where a third agrees, from beside it to a place 1 m away."""

    class TwoPlaces(iterations.HostIterations):
        def set_submap(self, crops):
            pass

        def step(self, cell, pose):
            beside = abs((inverse(start) @ pose)[0, 3]) > 0.5
            found = perturb(start, (1.0, 0, 0) if beside else (0, 0, 6.0), (0, 0, 0))
            return self._fit(pose, Solution(found, np.eye(6), agreement if beside else 0.35), 100)

    start = TRUTH.copy()
    start[:3, 3] -= ORIGIN
    monkeypatch.setattr(refine, "HostIterations", TwoPlaces)
    refiner = refine.Refiner(refine.RefinerConfig(), Oracle(monkeypatch, crop))
    result = refiner.refine(IMAGE, CAMERA, crop, TRUTH, RefineMode.MULTI_START)
    assert pose_error(result.T_map_camera, TRUTH)[0] == pytest.approx(metres)


@pytest.mark.parametrize(
    ("elsewhere", "agreement", "sigma_m"), [(1.0, 0.21, (0.4, 0.6)), (1.0, 0.05, (0, 0.02)), (0, 0.2, (0, 0.02))]
)
def test_a_search_is_as_sure_as_its_starts_agree(monkeypatch, crop, elsewhere, agreement, sigma_m):
    """Starts beside lead elsewhere [m], where as many matches agree, or fewer; or to the same place."""

    class TwoEnds(iterations.HostIterations):
        def set_submap(self, crops):
            pass

        def step(self, cell, pose):
            beside = abs((inverse(start) @ pose)[0, 3]) > 0.5
            found = perturb(start, (elsewhere if beside else 0.0, 0, 0), (0, 0, 0))
            return self._fit(pose, Solution(found, np.eye(6) * 1e4, agreement if beside else 0.2), 100)

    start = TRUTH.copy()
    start[:3, 3] -= ORIGIN
    monkeypatch.setattr(refine, "HostIterations", TwoEnds)
    refiner = refine.Refiner(refine.RefinerConfig(), Oracle(monkeypatch, crop))
    result = refiner.refine(IMAGE, CAMERA, crop, TRUTH, RefineMode.MULTI_START)
    assert pose_error(result.T_map_camera, TRUTH)[0] == pytest.approx(elsewhere if agreement > 0.2 else 0.0, abs=0.01)
    assert sigma_m[0] <= np.sqrt(result.spread[0, 0]) <= sigma_m[1]
    # the rest is what the solver says, three times by the model of rough starts
    np.testing.assert_allclose(result.covariance - result.spread, 0.03**2 * np.eye(6), atol=1e-9)


def test_search_ends_the_best_of_its_new_starts_alone(monkeypatch, crop):
    models, random = Oracle(monkeypatch, crop), np.random.default_rng(0)
    monkeypatch.setattr(models, "_match", lambda cell, _: models.calls.append(cell) or _noise(random, models, cell))
    refiner = refine.Refiner(refine.RefinerConfig(), models, RefinePlan().adapted(coarse=1, fine=3))
    refiner.refine(IMAGE, CAMERA, crop, TRUTH, RefineMode.MULTI_START)
    # the start; it turned as found, two ahead and two behind, four beside; three of those on to the third fine one
    assert models.calls == [8, 4, 4, 4] + 9 * [8, 8, 4] + 3 * [4, 4]


def test_search_goes_nowhere_with_an_image_that_shows_nothing(monkeypatch, crop):
    models, random = Oracle(monkeypatch, crop), np.random.default_rng(0)
    monkeypatch.setattr(models, "_match", lambda cell, _: _noise(random, models, cell))
    refiner = refine.Refiner(refine.RefinerConfig(), models, RefinePlan().adapted(coarse=3, fine=4))
    result = refiner.refine(IMAGE, CAMERA, crop, TRUTH, RefineMode.MULTI_START, keep_trace=True)
    assert result.inlier_ratio < 0.2 and len(result.trace) == 7  # that of a single start


def _noise(random, models, cell):
    [(width, height)] = models.grids
    shape = (2, height // cell, width // cell)
    return random.normal(0, 30, shape), np.full(shape, -2.0)


def test_search_ends_where_image_and_map_agree(monkeypatch, crop):
    models = Oracle(monkeypatch, crop)
    refine.Refiner(refine.RefinerConfig(), models).refine(IMAGE, CAMERA, crop, TRUTH, RefineMode.MULTI_START)
    assert models.calls == ["8", "4"]


def test_no_map_in_view_says_so_and_keeps_the_start(monkeypatch, crop):
    models = Oracle(monkeypatch, crop)
    away = perturb(TRUTH, (0, 0, 0), (0, 180, 0))
    result = refine.Refiner(refine.RefinerConfig(), models).refine(IMAGE, CAMERA, crop, away)
    assert not result.succeeded and models.calls == []
    np.testing.assert_array_equal(result.T_map_camera, away)
    assert np.sqrt(result.covariance[0, 0]) == pytest.approx(2.0)


def test_image_of_another_size_is_refused(monkeypatch, crop):
    with pytest.raises(InputError, match="200, 640"):
        refine.Refiner(refine.RefinerConfig(), Oracle(monkeypatch, crop)).refine(IMAGE[:100], CAMERA, crop, TRUTH)


def test_network_that_returns_nan_is_an_error(monkeypatch, crop):
    with pytest.raises(ModelError, match="not finite"):
        refine.Refiner(refine.RefinerConfig(), Oracle(monkeypatch, crop, blind=True)).refine(IMAGE, CAMERA, crop, TRUTH)


def test_image_and_first_map_view_are_encoded_at_once_and_failures_are_told(monkeypatch, crop):
    models = Oracle(monkeypatch, crop)
    drawn = threading.Event()

    def map_view(view):
        drawn.set()
        return view

    def image(image):
        # waits for the other thread: one after the other they would never end
        assert drawn.wait(10)
        raise ModelError("out of memory")

    monkeypatch.setattr(models, "map", map_view)
    monkeypatch.setattr(models, "image", image)
    with pytest.raises(ModelError, match="out of memory"):
        refine.Refiner(refine.RefinerConfig(), models).refine(IMAGE, CAMERA, crop, TRUTH)


def test_one_thread_encodes_one_after_the_other():
    config = refine.RefinerConfig(backend="onnxruntime", threads=1)
    three = config.model_copy(update={"threads": 3})
    alone, together = (NetworkSet(c).for_grid(NetworkSet(c).grids[0]) for c in (config, three))
    assert not alone.at_once and together.at_once


@pytest.mark.parametrize("size", [(1242, 375), (640, 192), (1280, 960), (800, 120), (160, 48)])
def test_view_shows_a_point_at_the_pixel_its_camera_says(size):
    camera = Camera(*size, 0.58 * size[0], 0.58 * size[0], 0.49 * size[0], 0.5 * size[1])
    view = View.of(camera, 320, 96)
    point = np.array([[0.6, 0.15, 8.0]], np.float32)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    u, v = project(point, np.eye(4), camera)[0][0]
    reach = max(2, size[0] // 200)
    image[round(v) - reach : round(v) + reach + 1, round(u) - reach : round(u) + reach + 1] = 255
    seen = view.sample(image)[0]
    rows, columns = np.nonzero(seen > 0.5)
    expected = project(point, np.eye(4), view.camera)[0][0]
    # the mark was drawn on whole pixels of the camera image
    assert np.hypot(columns.mean() - expected[0], rows.mean() - expected[1]) < 0.8 * max(1, 320 / size[0])


def test_cell_owners_lie_in_their_cells_and_are_the_nearest(crop):
    local = TRUTH.copy()
    local[:3, 3] -= ORIGIN
    view = render_map(crop.points, crop.intensity, local, View.of(CAMERA, 320, 96).camera)
    owner = cell_points(view, 8)
    rows, columns = np.nonzero(owner != NO_POINT)
    assert len(rows) > 100
    uv = np.floor(view.uv[owner[rows, columns]] + 0.5)
    np.testing.assert_array_equal(uv[:, 0] // 8, columns)
    np.testing.assert_array_equal(uv[:, 1] // 8, rows)


def test_map_channels_are_zero_where_nothing_projects(crop):
    local = TRUTH.copy()
    local[:3, 3] -= ORIGIN
    view = render_map(crop.points, crop.intensity, local, View.of(CAMERA, 320, 96).camera)
    assert (view.channels[:, view.index == NO_POINT] == 0).all()
    assert (view.channels[1, view.index != NO_POINT] == 1).all()
    assert (view.channels[0] <= 4 / 3).all() and (view.channels[2] <= 1).all()


@pytest.mark.parametrize(
    "weighting, trusted", [("uniform", False), ("uncertainty", True), ("heat", True), ("both", True)]
)
def test_doubtful_matches_count_as_little_as_the_weighting_says(monkeypatch, crop, weighting, trusted):
    """Half of the matches are wrong all alike; the network's scales and the heat of their points both tell."""
    cold = crop.points[:, 0] < 0
    crop = MapPoints(crop.points, crop.intensity, np.where(cold, 0.001, 1.0), ORIGIN)
    models = Oracle(monkeypatch, crop)
    exact = models._match

    def wrong_where_cold(cell, features):
        flow, log_scale = exact(cell, features)
        owner = cell_points(models.view, cell)
        wrong = (owner != NO_POINT) & cold[owner]
        flow[1, wrong] += 2.0
        log_scale = np.where(wrong, 2.0, -1.0) * np.ones_like(flow)
        return flow, log_scale

    monkeypatch.setattr(models, "_match", wrong_where_cold)
    plan = RefinePlan(coarse_weighting=weighting, fine_weighting=weighting)
    refiner = refine.Refiner(refine.RefinerConfig(), models, plan)
    error = pose_error(refiner.refine(IMAGE, CAMERA, crop, TRUTH).T_map_camera, TRUTH)
    assert (error[1] < 0.1) == trusted, error


def test_all_matches_of_a_block_together_weigh_like_one_alone():
    rows, columns = np.array([[4, 4], [4, 7], [7, 4], [3, 4], [9, 40]]).T
    weight = iterations.block_weights(rows, columns, 4)
    np.testing.assert_allclose(weight / weight[-1], [1 / 3, 1 / 3, 1 / 3, 1, 1])
    assert weight.mean() == pytest.approx(1)
    np.testing.assert_array_equal(iterations.block_weights(rows, columns, 0), 1.0)


def test_map_points_without_any_heat_are_matched_all_the_same(monkeypatch, crop):
    crop = MapPoints(crop.points, crop.intensity, np.zeros(len(crop.points)), ORIGIN)
    refiner = refine.Refiner(refine.RefinerConfig(), Oracle(monkeypatch, crop))
    assert pose_error(refiner.refine(IMAGE, CAMERA, crop, TRUTH).T_map_camera, TRUTH)[0] < 0.01


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (
            {"backend": "tensorrt", "precision": "bf16"},
            "bf16 does not go with backend tensorrt, expected auto, fp32 or fp16",
        ),
        ({"precision": "bf16"}, "bf16 does not go with backend auto"),
        ({"backend": "cuda"}, "backend: found 'cuda'"),
        ({"device": "gpu"}, "device 'gpu' is unknown"),
        ({"backend": "openvino", "device": "cuda:1"}, "device cuda:1 does not go with backend openvino"),
    ],
)
def test_backends_and_precisions_that_do_not_go_together_are_refused(choice, words):
    with pytest.raises(ConfigError, match=words):
        validate(RefinerConfig, choice)


def test_backends_and_precisions_can_be_chosen():
    config = validate(RefinerConfig, {"backend": "openvino", "precision": "bf16"})
    assert (config.backend.value, config.precision.value) == ("openvino", "bf16")
    assert yaml.safe_load(dump(config))["backend"] == "openvino"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_the_chosen_backend_computes_all_networks(backend):
    for package in {"openvino": ("openvino", "onnx"), "torch": ("torch", "onnx")}.get(backend, ()):
        pytest.importorskip(package)
    networks = NetworkSet(RefinerConfig(backend=backend, threads=1)).networks
    words = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}[backend]
    assert len(networks) == 4 and all(words in network.backend for network in networks)


@pytest.mark.parametrize("quarters", range(4))
def test_a_camera_on_its_side_or_head_gives_the_pose_of_the_camera(monkeypatch, crop, quarters):
    """The networks see the same upright image; what they find is told of the camera as it is mounted."""
    upright = refine.Refiner(refine.RefinerConfig(), Oracle(monkeypatch, crop)).refine(IMAGE, CAMERA, crop, TRUTH)
    T_turned_camera = quarter_turn(quarters)
    mounted = np.ascontiguousarray(np.rot90(IMAGE, -quarters)), CAMERA.turned(-quarters)
    assert quarters_to_upright(TRUTH @ T_turned_camera) == quarters
    refiner = refine.Refiner(refine.RefinerConfig(), Oracle(monkeypatch, crop))
    found = refiner.refine(*mounted, crop, TRUTH @ T_turned_camera)
    np.testing.assert_allclose(found.T_map_camera @ inverse(T_turned_camera), upright.T_map_camera, atol=1e-6)
    # up in the map is no longer down in the camera: the variances change places
    turned = np.abs(T_turned_camera[:3, :3]).T @ np.diag(upright.covariance)[:3]
    np.testing.assert_allclose(np.diag(found.covariance)[:3], turned, rtol=1e-4)


@pytest.mark.parametrize("quarters", range(4))
def test_a_turned_camera_sees_points_where_the_turned_image_shows_them(quarters):
    camera = Camera(640, 480, 500.0, 520.0, 300.0, 250.0)
    points = np.random.default_rng(0).uniform((-2, -2, 5), (2, 2, 9), (20, 3)).astype(np.float32)
    u, v = project(points, np.eye(4), camera)[0].T
    image = np.arange(480 * 640).reshape(480, 640)
    turned, _ = project(points, quarter_turn(quarters), camera.turned(quarters))
    seen = np.rot90(image, quarters)[tuple(np.round(turned[:, ::-1]).astype(int).T)]
    np.testing.assert_array_equal(seen, image[np.round(v).astype(int), np.round(u).astype(int)])
