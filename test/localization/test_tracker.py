# SPDX-License-Identifier: Apache-2.0
"""The tracker against a refiner with known errors and faults."""

import numpy as np
import pytest
from helpers.fake_world import CAMERA, IMAGE, MOUNTED, SECOND, T_BASE_CAMERA, Drive, EmptyMap, FakeRefiner, error, truth
from scipy.stats import chi2

from lhmap_loc_ros.configuration import dump, load, validate
from lhmap_loc_ros.errors import ConfigError, InputError, LhmapError, ModelError
from lhmap_loc_ros.geometry import inverse, perturb, se3_exp, se3_log
from lhmap_loc_ros.localization import measurement, motion, reconvergence
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.localization.manifold import max_std
from lhmap_loc_ros.localization.measurement import MeasurementNoise
from lhmap_loc_ros.localization.refine_plan import RefineMode
from lhmap_loc_ros.localization.tracker import Tracker, TrackerConfig, TrackState

# the fake refiner's errors are independent and its covariance is true
TRUE = MeasurementNoise(covariance_scale=1.0, bias_along_m=0.0, bias_across_m=0.0, bias_deg=0.0)


@pytest.fixture
def honest(monkeypatch):
    """Measurements whose covariance is taken as it is, and odometry that errs by the way alone."""
    for name, value in (("UNCONFIRMED_SCALE", 1.0), ("FLOOR_M", 0.0), ("FLOOR_DEG", 0.0)):
        monkeypatch.setattr(measurement, name, value)
    monkeypatch.setattr(motion, "TRANSLATION_PER_RADIAN", 0.0)
    return TRUE


@pytest.fixture(autouse=True)
def coarse_measurements(monkeypatch):
    """Those of the fake refiner scatter several times as much as those of the shipped networks."""
    monkeypatch.setattr(reconvergence, "SCATTER_M", 1.5)
    monkeypatch.setattr(reconvergence, "SCATTER_DEG", 4.0)


def jump_of(metres):
    def fault(result):
        result.T_map_camera = perturb(result.T_map_camera, [0, 0, metres], [0, 0, 0])
        return result

    return fault


def unusable(result):
    result.inlier_ratio = 0.01
    return result


def test_converges_and_tracks():
    drive = Drive(start=[1.0, -0.8, 0.2, 0.02, -0.02, 0.08])
    results = drive.run(60)
    assert error(results[0]) < 1.1  # from 1.3
    assert results[0].state is TrackState.INITIALIZING
    assert results[-1].state is TrackState.TRACKING
    assert np.median([error(r) for r in results[20:]]) < 0.15
    assert all(r.accepted for r in results)
    assert results[5].timings_ms.keys() == {"crop", "refine", "total"}


def test_filter_beats_single_measurements(honest):
    results = Drive(noise=honest).run(80)
    measured = [np.linalg.norm((inverse(truth(r.stamp_ns) @ T_BASE_CAMERA) @ r.refinement.T_map_camera)[:3, 3])
                for r in results[10:]]  # fmt: skip
    assert np.mean([error(r) for r in results[10:]]) < 0.7 * np.mean(measured)


def nees(result):
    """Squared error in standard deviations: of an honest covariance chi-square with 6 degrees of freedom."""
    xi = se3_log(inverse(result.T_map_base) @ truth(result.stamp_ns))
    return xi @ np.linalg.solve(result.covariance, xi)


def test_errors_that_each_image_has_by_itself_are_never_larger_than_told(honest):
    found = [np.mean([nees(r) for r in Drive(noise=honest, seed=seed).run(30)[::6]]) for seed in range(25)]
    # images of one run are correlated: take the runs as the independent samples
    assert np.mean(found) < chi2.ppf(0.999, 6 * 25) / 25


def test_an_error_that_all_images_share_is_told_however_many_came():
    found = []
    for seed in range(25):
        drive = Drive(seed=seed)
        shared = se3_exp(FakeRefiner.SIGMA * np.random.default_rng(seed).standard_normal(6))

        def alike(result, drive=drive, shared=shared):
            result.T_map_camera = truth(drive.refiner.stamp_ns) @ T_BASE_CAMERA @ shared
            return result

        drive.refiner.fault = alike
        found.append(nees(drive.run(40)[-1]))
    low, high = chi2.ppf([0.001, 0.999], 6 * 25) / 25
    assert low < np.mean(found) < high


def test_jump_of_the_measurement_is_rejected():
    drive = Drive()
    drive.run(20)
    drive.refiner.fault = jump_of(5.0)
    result = drive.step()
    assert not result.accepted
    assert result.innovation > drive.tracker.config.measurement.gate
    assert error(result) < 0.3
    drive.refiner.fault = None
    assert drive.step().accepted


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_not_finite_is_no_measurement(value):
    drive = Drive()
    drive.run(20)

    def fault(result):
        result.T_map_camera = np.full((4, 4), value)
        return result

    drive.refiner.fault = fault
    result = drive.step()
    assert not result.accepted
    assert np.isnan(result.innovation)
    assert np.isfinite(result.T_map_base).all() and np.isfinite(result.covariance).all()


def test_covariance_that_is_none_is_no_measurement():
    drive = Drive()
    drive.run(20)

    def fault(result):
        result.covariance = -np.eye(6)
        return result

    drive.refiner.fault = fault
    assert not drive.step().accepted


def test_covariance_grows_without_measurements_until_lost():
    drive = Drive()
    assert drive.run(20)[-1].state is TrackState.TRACKING
    drive.refiner.fault = unusable
    results = drive.run(120)
    variances = [np.trace(r.covariance[:3, :3]) for r in results]
    assert np.all(np.diff(variances) > 0)
    states = [r.state for r in results]
    assert states[5] is TrackState.DEGRADED
    assert states[-1] is TrackState.LOST
    # the reported uncertainty covers the drift
    assert all(error(r) < 3 * np.sqrt(np.trace(r.covariance[:3, :3])) for r in results)


def test_short_gap_degrades_and_recovers():
    drive = Drive()
    drive.run(20)
    drive.refiner.fault = unusable
    assert drive.run(15)[-1].state is TrackState.DEGRADED
    drive.refiner.fault = None
    states = [r.state for r in drive.run(30)]
    assert states[0] is TrackState.DEGRADED
    assert states[-1] is TrackState.TRACKING


def test_scattered_contradictions_end_in_lost_within_two_seconds():
    drive = Drive()
    drive.run(20)
    random = np.random.default_rng(3)

    def fault(result):
        result.T_map_camera = perturb(result.T_map_camera, random.uniform(-1, 1, 3) * [8, 1, 8], [0, 0, 0])
        return result

    drive.refiner.fault = fault
    assert drive.run(20)[-1].state is TrackState.LOST


def test_prediction_gone_astray_converges_again():
    """Good measurements that contradict a confident wrong prediction are believed once they agree."""
    drive = Drive()
    drive.run(20)
    drive.tracker._filter.pose = perturb(drive.tracker._filter.pose, [1.5, -1.0, 0], [0, 0, 4])
    results = drive.run(30)
    assert not results[0].accepted
    assert error(results[0]) > 1
    assert error(results[-1]) < 0.4
    assert results[-1].state is TrackState.TRACKING
    assert TrackState.LOST not in [r.state for r in results]


def test_agreement_that_fits_worse_than_usual_is_not_believed():
    """Locked on the neighbouring lane: consistent, but fewer matches fit. Never a confident wrong pose."""
    drive = Drive()
    drive.run(20)

    def fault(result):
        result.T_map_camera = perturb(result.T_map_camera, [3.4, 0, 0], [0, 0, 0])
        result.inlier_ratio = 0.4
        return result

    drive.refiner.fault = fault
    results = drive.run(20)
    assert not any(r.accepted for r in results)
    assert all(error(r) < 1 for r in results)
    assert results[-1].state is TrackState.LOST


def test_converging_again_is_not_confident_at_once():
    drive = Drive()
    before = drive.run(30)[-1]
    drive.tracker._filter.pose = perturb(drive.tracker._filter.pose, [1.5, -1.0, 0], [0, 0, 4])
    again = next(r for r in drive.run(20) if r.accepted)
    assert again.state is TrackState.DEGRADED
    assert np.trace(again.covariance) > 2 * np.trace(before.covariance)


def test_converging_again_is_unsure_in_every_direction():
    drive = Drive()
    drive.run(20)
    drive.refiner.fault = jump_of(3.7)  # ahead, in the camera's frame
    results = drive.run(8)
    again = next(k for k, r in enumerate(results) if r.accepted)
    before, after = (np.sqrt(np.diag(results[k].covariance)) for k in (again - 1, again))
    assert (after[:3] > 1.2 * before[:3]).all()


def test_measurements_that_pass_while_not_tracking_hardly_teach_what_is_usual():
    drive = Drive()
    drive.run(30)
    usual = drive.tracker.health.usual_inliers
    drive.refiner.fault = unusable
    drive.run(4)
    assert drive.tracker.state is TrackState.DEGRADED

    def few_inliers(result):
        result.inlier_ratio = 0.06
        return result

    drive.refiner.fault = few_inliers
    assert all(r.accepted and r.state is TrackState.DEGRADED for r in drive.run(8))
    assert drive.tracker.health.usual_inliers > 0.8 * usual


def test_lost_track_wants_agreement_then_recovers():
    drive = Drive()
    drive.run(20)
    drive.refiner.fault = unusable
    assert drive.run(120)[-1].state is TrackState.LOST
    drive.refiner.fault = None
    results = drive.run(20)
    # a wide covariance would let the first one pass: it is not believed alone
    assert not results[0].accepted and results[0].state is TrackState.LOST
    assert results[-1].state is TrackState.TRACKING
    assert error(results[-1]) < 0.4


def test_far_agreement_is_not_believed():
    drive = Drive()
    drive.run(20)
    drive.refiner.fault = jump_of(30.0)
    results = drive.run(30)
    assert not any(r.accepted for r in results)
    assert results[-1].state is TrackState.LOST


def test_without_odometry_velocity_is_kept():
    drive = Drive(odometry=False)
    results = drive.run(60)
    assert results[-1].state is TrackState.TRACKING
    assert results[-1].motion == "velocity" and drive.refiner.modes[-1] is RefineMode.TRACK
    assert results[-1].T_map_odom is None
    assert np.median([error(r) for r in results[20:]]) < 0.3
    drive.refiner.fault = unusable
    # 0.3 s on: 2.4 m driven, most of it predicted
    assert error(drive.run(3)[-1]) < 0.7


def test_map_to_odom_closes_the_chain():
    drive = Drive()
    result = drive.run(10)[-1]
    # the odometry at the image stamp: the drive feeds one pose exactly there
    np.testing.assert_allclose(result.T_map_odom @ drive.odom, result.T_map_base, atol=1e-9)


def test_wide_refinements_only_until_tracking():
    drive = Drive()
    drive.run(30)
    assert drive.refiner.modes[1] is RefineMode.WIDE and drive.refiner.modes[-1] is RefineMode.TRACK_ODOMETRY


def test_one_coarse_iteration_after_an_image_that_fits_less_well_than_usual():
    drive = Drive()
    drive.run(20)

    def poor(result):
        result.inlier_ratio = 0.6 * result.inlier_ratio
        return result

    drive.refiner.fault = poor
    drive.run(2)
    drive.refiner.fault = None
    drive.run(2)
    assert drive.tracker.state is TrackState.TRACKING
    near, doubtful = RefineMode.TRACK_ODOMETRY, RefineMode.RECOVER
    assert drive.refiner.modes[-4:] == [near, doubtful, doubtful, near]


def test_search_on_the_first_image_after_an_initial_pose_alone():
    drive = Drive()
    drive.run(3)
    assert drive.refiner.modes == [RefineMode.MULTI_START, RefineMode.WIDE, RefineMode.WIDE]
    drive.tracker.initialize(drive.stamp_ns, np.eye(4), np.eye(6))
    drive.step()
    assert drive.refiner.modes[-1] is RefineMode.MULTI_START


def test_unsure_start_is_not_lost_before_it_was_tried():
    """An image long after the start pose and no odometry: nobody knows how far the robot drove."""
    drive = Drive(odometry=False)
    drive.stamp_ns = 6 * SECOND // 10
    first = drive.step()
    assert first.state is TrackState.INITIALIZING and first.accepted
    assert drive.run(10)[-1].state is TrackState.TRACKING


def test_empty_map_gives_prediction_only():
    result = Drive(lhmap=EmptyMap(points=3)).step()
    assert result.refinement is None and not result.accepted
    assert "3 map points" in result.problem


def test_broken_network_is_survived_and_told():
    drive = Drive()
    drive.run(20)

    def fault(result):
        raise ModelError("values that are not finite")

    drive.refiner.fault = fault
    results = drive.run(5)
    assert results[-1].state is TrackState.DEGRADED
    assert "not finite" in results[-1].problem


def test_initial_pose_is_moved_forward_by_odometry():
    """An initial pose two seconds old: odometry bridges to the first image."""
    drive = Drive()
    drive.refiner.fault = unusable
    drive.run(21)
    drive.tracker.initialize(0, truth(0), np.diag([0.01] * 6))
    result = drive.step()
    assert result.motion == "odometry" and result.state is TrackState.INITIALIZING
    assert error(result) < 0.8  # of 16 m driven


def test_bad_calls_are_refused():
    tracker = Tracker(TrackerConfig(), FakeRefiner(), EmptyMap())
    with pytest.raises(LhmapError, match="no initial pose"):
        tracker.process_image(0, IMAGE, MOUNTED)
    with pytest.raises(InputError, match="not finite"):
        tracker.initialize(0, np.full((4, 4), np.nan), np.eye(6))
    with pytest.raises(InputError, match="covariance"):
        tracker.initialize(0, np.eye(4), -np.eye(6))
    tracker.initialize(SECOND, truth(SECOND), np.eye(6))
    with pytest.raises(InputError, match="older"):
        tracker.process_image(SECOND // 2, IMAGE, MOUNTED)
    with pytest.raises(InputError, match="shape"):
        tracker.process_image(SECOND, IMAGE[:, :-1], MOUNTED)
    with pytest.raises(InputError, match="not finite"):
        tracker.add_odometry(SECOND, np.full((4, 4), np.nan))
    with pytest.raises(InputError, match="camera"):
        PosedCamera(CAMERA, np.full((4, 4), np.inf))
    tracker.clear()
    assert not tracker.initialized


def test_configuration_names_the_wrong_field(tmp_path):
    path = tmp_path / "tracker.yaml"
    motion, states = "motion:\n    translation_per_metre: -1", "states:\n    lost_after_s: often"
    path.write_text(f"tracker:\n  {motion}\n  {states}\n  crop: 3\n")
    with pytest.raises(ConfigError) as caught:
        load(TrackerConfig, path, "tracker")
    for word in (str(path), "motion.translation_per_metre", "-1", "lost_after_s", "crop"):
        assert word in str(caught.value)
    path.write_text("tracker: 3")
    with pytest.raises(ConfigError, match="a file of ROS parameters is for nodes; no such field, expected motion"):
        validate(TrackerConfig, {"localize_node": {}})
    with pytest.raises(ConfigError, match="motion.speed: no such field, expected translation_per_metre, "):
        validate(TrackerConfig, {"motion": {"speed": 1}})
    with pytest.raises(ConfigError, match="tracker is 3"):
        load(TrackerConfig, path, "tracker")
    path.write_text("[1, 2]")
    with pytest.raises(ConfigError, match="list"):
        load(TrackerConfig, path)
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="not YAML"):
        load(TrackerConfig, path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(TrackerConfig, tmp_path / "none.yaml")


def test_configuration_survives_yaml(tmp_path):
    config = validate(TrackerConfig, {"motion": {"translation_per_metre": 0.2}})
    (tmp_path / "c.yaml").write_text(dump(config))
    assert load(TrackerConfig, tmp_path / "c.yaml") == config
    assert load(TrackerConfig, None) == TrackerConfig()


def test_transported_covariance_matches_samples():
    """Noise of the camera pose, seen at base_link, has the covariance the measurement claims."""
    from lhmap_loc_ros.localization.manifold import transport_covariance

    random, T_camera_base = np.random.default_rng(0), inverse(T_BASE_CAMERA)
    sigma = np.array([0.1, 0.05, 0.2, 0.02, 0.03, 0.01])
    samples = [se3_log(T_BASE_CAMERA @ se3_exp(sigma * random.standard_normal(6)) @ T_camera_base) for _ in range(4000)]
    transported = transport_covariance(np.diag(sigma**2), T_camera_base)
    np.testing.assert_allclose(np.cov(np.array(samples).T), transported, atol=1.5e-3)
    assert max_std(np.diag(sigma**2))[0] == pytest.approx(0.2)


def test_measurements_that_scatter_about_a_wrong_place_confirm_nothing_and_end_in_lost():
    """As at a wrong start: each image says something else within its large covariance, so that all of them pass."""
    drive = Drive()
    scatter = np.random.default_rng(4)

    def somewhere(result):
        noise = se3_exp(np.array([0.8, 0.5, 0.8, 0.02, 0.03, 0.02]) * scatter.standard_normal(6))
        result.T_map_camera = result.T_map_camera @ noise
        result.covariance, result.inlier_ratio = np.diag([0.5**2] * 3 + [0.03**2] * 3), 0.2
        return result

    drive.refiner.fault = somewhere
    results = drive.run(120)
    lost = [r.state for r in results].index(TrackState.LOST)
    assert np.mean([r.accepted for r in results[:lost]]) > 0.9
    assert {r.state for r in results[:lost]} == {TrackState.INITIALIZING}
    # nor does the scatter pass for several that agree
    assert {r.state for r in results[lost:]} == {TrackState.LOST}
    # what nothing confirms is as unsure as it was at the start
    assert all((max_std(r.covariance)[0] >= 0.6) for r in results)


def test_covariance_does_not_shrink_before_the_track_is_confirmed_again():
    drive = Drive()
    drive.run(20)
    drive.refiner.fault = unusable
    drive.run(15)
    drive.refiner.fault = None
    results = drive.run(30)
    unconfirmed = [r for r in results if r.state is not TrackState.TRACKING]
    assert any(r.accepted for r in unconfirmed)
    assert np.all(np.diff([np.trace(r.covariance[:3, :3]) for r in unconfirmed]) > -1e-6)
    assert np.trace(results[-1].covariance[:3, :3]) < 0.7 * np.trace(unconfirmed[-1].covariance[:3, :3])


def test_other_settings_hold_from_the_next_image_on():
    drive = Drive()
    drive.run(20)
    drive.tracker.reconfigure(validate(TrackerConfig, {"measurement": {"min_inlier_ratio": 0.9}}))
    result = drive.step()
    assert not result.accepted
    drive.tracker.reconfigure(TrackerConfig())
    assert drive.step().accepted


def test_velocity_is_that_of_the_robot():
    velocity = Drive().run(20)[-1].velocity
    np.testing.assert_allclose(velocity, [8.0, 0, 0.1, 0, 0, 0.05], atol=0.6)


def test_cameras_that_look_elsewhere_keep_the_track_together():
    """A second camera looks backwards; the front one is blind most of the time."""
    drive, behind = Drive(), PosedCamera(CAMERA, perturb(T_BASE_CAMERA, (0, 0, -2.0), (0, 180, 0)))
    drive.run(10)

    def seen_from_behind(result):
        result.T_map_camera = result.T_map_camera @ inverse(T_BASE_CAMERA) @ behind.T_base_camera
        return result

    for _ in range(20):
        drive.refiner.fault = unusable
        assert not drive.step().accepted
        drive.refiner.fault = seen_from_behind
        # both images have the same stamp
        result = drive.tracker.process_image(drive.stamp_ns - SECOND // 10, IMAGE, behind)
        assert result.accepted and result.state is TrackState.TRACKING and error(result) < 0.6


def test_images_of_two_cameras_some_ms_apart_leave_the_velocity_alone():
    drive = Drive(odometry=False)
    for _ in range(30):
        result = drive.step()
        drive.refiner.stamp_ns = stamp_ns = drive.stamp_ns - SECOND // 10 + SECOND // 500
        result = drive.tracker.process_image(stamp_ns, IMAGE, MOUNTED)
    np.testing.assert_allclose(result.velocity, [8.0, 0, 0.1, 0, 0, 0.05], atol=1.5)
    assert error(result) < 0.5


@pytest.mark.parametrize("turned_deg, axis", [(0, 0), (180, 0), (40, 0), (90, 1), (-50, 1)])
def test_the_error_that_images_share_lies_the_way_the_camera_looks(turned_deg, axis):
    bias = np.diag(MeasurementNoise().bias(perturb(T_BASE_CAMERA, (0, 0, 0), (0, turned_deg, 0))))
    assert np.argmax(bias[:3]) == axis and sorted(bias[:3]) == [0.06**2, 0.06**2, 0.12**2]
    noise = MeasurementNoise(bias_along_m=1.0)
    assert max_std(Drive(noise=noise).run(20)[-1].covariance)[0] > 1.0
