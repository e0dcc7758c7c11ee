# SPDX-License-Identifier: Apache-2.0
"""The protocol must count every frame and must not let the truth into what a method sees."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from helpers.tiny_bag import T_BASE_CAMERA, truth_at, write_bag, write_truth, write_walls

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.evaluation import protocol
from lhmap_loc_ros.evaluation.bag_queries import BagQueries
from lhmap_loc_ros.evaluation.disturb import KINDS, Disturbance
from lhmap_loc_ros.evaluation.evaluate import evaluate_bag, rows
from lhmap_loc_ros.evaluation.methods import Regress, Start, make_method
from lhmap_loc_ros.evaluation.protocol import Estimate, Query, figures, narrowed, run, start_pose, without_intensity
from lhmap_loc_ros.geometry import Camera, Rig, inverse, perturb, se3_exp
from lhmap_loc_ros.lhmap import LHMap, MapPoints, write_map
from lhmap_loc_ros.localization.regressor import Regressor, RegressorConfig

CAMERA = Camera(64, 48, 50.0, 50.0, 32.0, 24.0)
POINTS = MapPoints(
    np.random.default_rng(0).uniform(-20, 20, (500, 3)).astype(np.float32), np.ones(500, np.float32),
    np.ones(500, np.float32), np.zeros(3),
)  # fmt: skip


def queries(count=40, crop=lambda pose: POINTS):
    rng = np.random.default_rng(1)
    for k in range(count):
        truth = se3_exp(rng.normal(0, 1, 6))
        yield Query(k, rng.integers(0, 255, (48, 64, 3), np.uint8), CAMERA, truth, crop)


class Spy:
    """Writes down what it is given and answers with the start, moved."""

    iterations = 2

    def __init__(self, move=(0, 0, 0)):
        self.seen, self.move = [], move

    def localize(self, image, camera, crop, start):
        self.seen.append((image.copy(), camera, crop, start.copy()))
        out = perturb(start, self.move, (0, 0, 0))
        start[:] = 0  # what a method does to its input is its own affair
        return Estimate((out,))


class Oracle:
    """Answers with the truth, a known error beside it."""

    iterations = 1

    def __init__(self, error, covariance=None):
        self.truths = iter([q.T_map_camera for q in queries()])
        self.error, self.covariance = error, covariance

    def localize(self, image, camera, crop, start):
        return Estimate((perturb(next(self.truths), *self.error),), self.covariance)


def test_the_list_of_start_errors_is_the_committed_one():
    errors = protocol.start_errors()
    assert errors.shape == (512, 6) and np.abs(errors).max() <= 1
    assert np.abs(np.abs(errors).mean(0) - 0.5).max() < 0.04
    text = "\n".join(",".join(f"{v:.4f}" for v in row) for row in errors)
    assert hashlib.sha256(text.encode()).hexdigest().startswith("52e9369d8102e571")


@pytest.mark.parametrize("level", [1, 2, 3])
def test_start_poses_fill_the_range_of_their_level(level):
    metres, degrees = protocol.LEVELS[level]
    starts = np.array([start_pose(np.eye(4), level, k) for k in range(512)])
    assert 0.98 * metres < np.abs(starts[:, :3, 3]).max() <= metres
    angles = np.degrees(np.arccos(np.clip((np.trace(starts[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert degrees < angles.max() < 1.8 * degrees


def test_unknown_level_is_refused():
    with pytest.raises(InputError, match="level 4.*1, 2, 3"):
        start_pose(np.eye(4), 4, 0)


def test_another_truth_behind_the_same_start_changes_nothing_a_method_sees():
    asked = []

    def crop(pose):
        asked.append(pose.copy())
        return POINTS

    first = list(queries(crop=crop))
    # the same images, starts and map, but other truths: each truth is moved by the difference of two start errors
    second = []
    for q in first:
        start, number = start_pose(q.T_map_camera, 1, q.number), q.number + 100
        error = start_pose(np.eye(4), 1, number)
        second.append(replace(q, number=number, T_map_camera=start @ inverse(error)))
    spies = Spy(), Spy()
    outcomes = [run(group, spy, 1) for group, spy in zip((first, second), spies, strict=True)]
    assert not np.allclose(outcomes[0].errors[:, -1], outcomes[1].errors[:, -1])
    for a, b in zip(spies[0].seen, spies[1].seen, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1] is b[1] and a[2] is b[2]
        np.testing.assert_allclose(a[3], b[3], atol=1e-12)
    starts = [s[3] for spy in spies for s in spy.seen]
    np.testing.assert_array_equal(asked, starts)


def test_start_scores_its_own_error():
    f = figures(run(queries(), Start(), 2), run(queries(), Start(), 2, grey=True))
    assert f["frames"] == 40 and f["translation_median_m"] == f["start_translation_median_m"] > 0.5
    assert f["grey_forward_median_m"] == f["start_forward_median_m"] and not f["grey_leaks"]


def test_known_errors_give_their_figures():
    f = figures(run(queries(), Oracle(((0, 0, -0.3), (0, 0, 1.0))), 1))
    assert f["translation_median_m"] == pytest.approx(0.3) and f["translation_p90_m"] == pytest.approx(0.3)
    assert f["rotation_median_deg"] == pytest.approx(1.0)
    assert f["axis_medians"]["forward_m"] == pytest.approx(0.3)
    assert f["axis_medians"]["about_forward_deg"] == pytest.approx(1.0)
    assert f["signed_axis_medians"]["forward_m"] == pytest.approx(-0.3)
    assert (f["recall_025m_2deg"], f["recall_050m_5deg"], f["recall_5m_10deg"]) == (0.0, 1.0, 1.0)
    assert len(f["passes"]) == 2 and f["within_sigmas"] is None


def test_a_frame_given_up_counts_with_its_start_error():
    class Quitter(Start):
        iterations = 3

        def localize(self, *_):
            return Estimate(())

    outcome = run(queries(), Quitter(), 1)
    assert outcome.gave_up == 40 and outcome.errors.shape == (40, 4, 6)
    np.testing.assert_array_equal(outcome.errors[:, -1], outcome.errors[:, 0])


def test_grey_control_shows_no_image_and_catches_a_method_that_knows_the_truth():
    spy = Spy()
    run(queries(), spy, 1, grey=True)
    assert all((image == 128).all() for image, *_ in spy.seen)
    honest = figures(run(queries(), Spy((0, 0, 0.1)), 1), run(queries(), Spy((0, 0, 0.1)), 1, grey=True))
    assert not honest["grey_leaks"]
    nearly = (0, 0, 0.1), (0, 0, 0)
    knowing = figures(run(queries(), Oracle(nearly), 1), run(queries(), Oracle(nearly), 1, grey=True))
    assert knowing["grey_leaks"]
    # all frames moved alike is no knowledge of any of them
    assert honest["grey_forward_spread"] == pytest.approx(1.0, abs=0.05)
    assert knowing["grey_forward_spread"] == pytest.approx(0.0, abs=1e-6)


def test_a_narrowed_query_sees_the_same_things_in_the_same_directions():
    camera = Camera(400, 200, 200.0, 210.0, 180.0, 90.0)
    image = np.random.default_rng(0).integers(0, 256, (200, 400, 3), np.uint8)
    query = Query(0, image, camera, np.eye(4), lambda pose: None)

    cut = narrowed(query, 50.0)

    assert cut.image.shape == (cut.camera.height, cut.camera.width, 3)
    assert cut.camera.width == pytest.approx(2 * 200 * np.tan(np.radians(25)), abs=2)
    ray = np.array([0.1, -0.05, 1.0])
    at, before = (np.round(c.matrix @ ray)[:2].astype(int) for c in (cut.camera, camera))
    np.testing.assert_array_equal(cut.image[at[1], at[0]], query.image[before[1], before[0]])


def test_without_intensity_a_query_has_the_same_points():
    points = MapPoints(np.ones((3, 3)), np.array([0.1, 0.5, 1.0]), np.ones(3), np.zeros(3))
    query = Query(0, np.zeros((2, 2, 3), np.uint8), Camera(2, 2, 1.0, 1.0, 0.5, 0.5), np.eye(4), lambda pose: points)

    crop = without_intensity(query).crop(np.eye(4))

    np.testing.assert_array_equal(crop.points, points.points)
    assert not crop.intensity.any() and points.intensity.any()


def test_two_frames_have_no_spread():
    f = figures(run(queries(2), Start(), 1), run(queries(2), Start(), 1, grey=True))
    assert f["grey_forward_spread"] is None


def test_errors_are_measured_in_standard_deviations():
    sigma = np.array([1, 1, 0.2, 1, 1, 1.0])
    f = figures(run(queries(), Oracle(((0, 0, 0.3), (0, 0, 0)), np.diag(sigma**2)), 1))
    assert f["within_sigmas"]["1"] == [1, 1, 0, 1, 1, 1] and f["within_sigmas"]["2"] == [1] * 6


@pytest.mark.parametrize(("error_m", "sigma_m", "share"), [(1.5, 0.2, 1.0), (1.5, 0.3, 0.0), (0.9, 0.1, 0.0)])
def test_a_pose_far_off_is_wrong_and_sure_where_its_covariance_denies_it(error_m, sigma_m, share):
    covariance = np.diag([sigma_m**2] * 3 + [1.0] * 3)
    assert figures(run(queries(), Oracle(((0, 0, error_m), (0, 0, 0)), covariance), 1))["wrong_and_sure"] == share


@pytest.fixture
def files(tmp_path):
    write_bag(tmp_path / "query")
    write_truth(tmp_path / "query.tum")
    return tmp_path / "query", write_walls(tmp_path / "walls.lhmap")


def test_bag_is_evaluated_frame_by_frame(files):
    bag, path = files
    with LHMap.open(path) as lhmap:
        f, outcome = evaluate_bag(Start(), lhmap, bag, 1)
        assert f["frames"] == 12 and outcome.errors.shape == (12, 2, 6)
        assert len(rows(f)) == 11
        some, _ = evaluate_bag(Start(), lhmap, bag, 1, frames="4-9/5", grey=False)
        assert some["frames"] == 2 and "grey_forward_median_m" not in some
        with BagQueries(bag, lhmap, frames="3") as found:
            (query,) = found
        stamp = 1_700_000_000_300_000_000
        np.testing.assert_allclose(query.T_map_camera, truth_at(stamp) @ T_BASE_CAMERA, atol=1e-6)
        assert len(query.crop(query.T_map_camera).points) > 1000


def test_map_built_from_the_queries_is_refused(files, tmp_path):
    bag, path = files
    with LHMap.open(path) as lhmap:
        metadata = lhmap.metadata.model_copy(update={"sources": ("query",)})
        write_map(tmp_path / "own.lhmap", lhmap.all_points(), metadata)
    with LHMap.open(tmp_path / "own.lhmap") as lhmap, pytest.raises(InputError, match="built from query"):
        evaluate_bag(Start(), lhmap, bag, 1)


def test_a_bag_given_as_a_dot_has_its_name_and_its_truth_beside_it(files, tmp_path, monkeypatch):
    bag, path = files
    monkeypatch.chdir(bag)
    with LHMap.open(path) as lhmap:
        with BagQueries(".", lhmap, frames="3") as found:
            assert len(list(found)) == 1
        metadata = lhmap.metadata.model_copy(update={"sources": ("query",)})
        write_map(tmp_path / "own.lhmap", lhmap.all_points(), metadata)
    with LHMap.open(tmp_path / "own.lhmap") as lhmap, pytest.raises(InputError, match="built from query"):
        BagQueries(".", lhmap)


def test_frames_that_do_not_exist_or_have_no_truth_are_named(files, tmp_path):
    bag, path = files
    write_truth(tmp_path / "short.tum", frames=8)
    with LHMap.open(path) as lhmap:
        with pytest.raises(InputError, match="none of the 12 frames"):
            evaluate_bag(Start(), lhmap, bag, 1, frames="50-60")
        with pytest.raises(InputError, match="does not cover image 8"):
            evaluate_bag(Start(), lhmap, bag, 1, truth=tmp_path / "short.tum")


def test_unknown_method_is_refused():
    with pytest.raises(InputError, match="'dance'.*start, flow"):
        make_method("dance")


@pytest.mark.parametrize("text", ["snow=1", "blur", "blur=x", "occlusion=2", "blur=-1"])
def test_impossible_disturbance_is_refused(text):
    with pytest.raises(InputError, match="expected"):
        Disturbance.parse(text)


@pytest.mark.parametrize(
    "name,strength", [("exposure", -2), ("blur", 2), ("noise", 20), ("occlusion", 0.3), ("fog", 0.05)]
)
def test_disturbed_image_differs_and_stays_the_same_every_time(name, strength):
    query = next(iter(queries()))
    disturb = Disturbance(name, strength)
    a, b = disturb(query), disturb(query)
    np.testing.assert_array_equal(a.image, b.image)
    assert (a.image != query.image).mean() > 0.2
    assert a.T_map_camera is query.T_map_camera and a.crop is query.crop
    assert name in KINDS


def rig_query():
    rig = Rig((CAMERA, CAMERA.resized(32, 24)), (np.eye(4), perturb(np.eye(4), (0, 0, 0), (0, 60, 0))))
    rng = np.random.default_rng(0)
    images = tuple(rng.integers(0, 255, (camera.height, camera.width, 3), np.uint8) for camera in rig.cameras)
    return Query(3, images, rig, np.eye(4), lambda pose: POINTS)


@pytest.mark.parametrize("name", ("exposure", "blur", "noise", "occlusion", "fog"))
def test_every_image_of_a_rig_is_disturbed(name):
    query = rig_query()
    disturbed = Disturbance(name, 0.5)(query)
    query.camera.check_image(disturbed.image)
    for before, after in zip(query.image, disturbed.image, strict=True):
        assert not np.array_equal(before, after)
    np.testing.assert_array_equal(disturbed.T_map_camera, query.T_map_camera)


def test_every_image_of_a_rig_is_grey_in_the_control():
    seen = []

    class Listener:
        iterations = 1

        def localize(self, image, camera, crop, start):
            camera.check_image(image)
            seen.extend(image)
            return Estimate((start,))

    run([rig_query()], Listener(), 1, grey=True)
    assert len(seen) == 2 and all((image == protocol.GREY).all() for image in seen)


def test_a_method_of_one_image_refuses_a_rig():
    query = rig_query()
    with pytest.raises(InputError, match="regress.*rig of 2 views"):
        Regress(Regressor(RegressorConfig(), [])).localize(query.image, query.camera, POINTS, np.eye(4))


def test_no_exposure_change_leaves_the_image():
    query = next(iter(queries()))
    np.testing.assert_array_equal(Disturbance("exposure", 0.0)(query).image, query.image)


def test_missing_tiles_are_missing_from_wherever_one_looks():
    def crop(pose):
        return replace(POINTS, points=20 * POINTS.points - pose[:3, 3].astype(np.float32), origin=pose[:3, 3])

    query = replace(next(iter(queries())), crop=crop)
    thin = Disturbance("missing_tiles", 0.25)(query)
    here, there = (thin.crop(perturb(np.eye(4), (x, 0, 0), (0, 0, 0))) for x in (0.0, 64.0))
    assert 0.1 < 1 - len(here.points) / 500 < 0.45
    np.testing.assert_allclose(here.points + here.origin, there.points + there.origin, atol=1e-3)


def test_wrong_calibration_makes_a_perfect_answer_wrong_by_as_much():
    queries_ = [Disturbance("extrinsic_m", 0.05)(Disturbance("extrinsic_deg", 0.5)(q)) for q in queries()]
    f = figures(run(queries_, Oracle(((0, 0, 0), (0, 0, 0))), 1))
    assert f["translation_median_m"] == pytest.approx(0.05, abs=1e-6)
    assert f["rotation_median_deg"] == pytest.approx(0.5, abs=1e-2)
