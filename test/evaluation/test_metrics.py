# SPDX-License-Identifier: Apache-2.0
"""Figures of a run, checked against `evo` and against errors known by construction."""

from dataclasses import replace

import numpy as np
import pytest
from evo.core import metrics as evo
from evo.core.trajectory import PoseTrajectory3D
from helpers.example_runs import SECOND, SIGMA, START, drive, odometry_of, record_of
from scipy.spatial import cKDTree

from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.evaluation import figures, metrics
from lhmap_loc_ros.evaluation.report import counted
from lhmap_loc_ros.evaluation.summary import compare, summarize
from lhmap_loc_ros.geometry import perturb
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map


def seconds_of(truth):
    return (truth.stamps_ns - START) / SECOND


def evo_rmse(metric, estimate, truth):
    stamps = seconds_of(truth)
    metric.process_data(
        (PoseTrajectory3D(poses_se3=list(truth.poses), timestamps=stamps),
         PoseTrajectory3D(poses_se3=list(estimate.poses), timestamps=stamps))
    )  # fmt: skip
    return metric.get_statistic(evo.StatisticsType.rmse)


def test_ate_and_rpe_agree_with_evo():
    truth = drive()
    record = record_of(truth)
    difference = metrics.differences(record.poses, truth.poses)
    translation, angle = evo.PoseRelation.translation_part, evo.PoseRelation.rotation_angle_deg
    ate, rpe = metrics.ate(difference), metrics.rpe(record.poses, truth.poses, seconds_of(truth))
    assert ate[0] == pytest.approx(evo_rmse(evo.APE(translation), record, truth), rel=1e-9)
    assert ate[1] == pytest.approx(evo_rmse(evo.APE(angle), record, truth), rel=1e-6)
    step = {"delta": 10, "delta_unit": evo.Unit.frames, "all_pairs": True}
    assert rpe[0] == pytest.approx(evo_rmse(evo.RPE(translation, **step), record, truth), rel=1e-9)
    assert rpe[1] == pytest.approx(evo_rmse(evo.RPE(angle, **step), record, truth), rel=1e-6)


def test_rpe_of_a_short_run_is_not_a_number():
    truth = drive(5)
    assert np.isnan(metrics.rpe(truth.poses, truth.poses, seconds_of(truth))).all()


def test_rpe_does_not_go_over_gaps():
    truth = drive(100)
    estimate = truth.poses.copy()
    estimate[:, :3, 3] *= 1.01
    seconds, kept = seconds_of(truth), np.r_[0:25, 75:100]
    whole = metrics.rpe(estimate, truth.poses, seconds)[0]
    assert metrics.rpe(estimate[kept], truth.poses[kept], seconds[kept])[0] == pytest.approx(whole, rel=0.2)


def test_differences_are_along_the_axes_of_the_body():
    truth = drive(50).poses
    moved = np.array([perturb(pose, [0.3, -0.2, 0.1], [0, 0, 2]) for pose in truth])
    np.testing.assert_allclose(metrics.differences(moved, truth)[:, :3], [[0.3, -0.2, 0.1]] * 50, atol=1e-9)
    metres, degrees = metrics.norms(metrics.differences(moved, truth))
    np.testing.assert_allclose(degrees, 2)
    np.testing.assert_allclose(metres, np.sqrt(0.14))


def test_coverage_of_an_honest_covariance():
    truth = drive(3000)
    record = record_of(truth)
    difference = metrics.differences(record.poses, truth.poses)
    np.testing.assert_allclose(metrics.coverage(difference, record.covariances), 0.683, atol=0.03)
    assert metrics.coverage(difference, record.covariances / 4).max() < 0.45
    assert metrics.ellipsoid_coverage(difference, record.covariances) == pytest.approx(0.683, abs=0.03)
    assert metrics.ellipsoid_coverage(difference, record.covariances / 4) < 0.1


def test_losses_count_entries():
    assert metrics.losses(["TRACKING", "LOST", "LOST", "INITIALIZING", "LOST"]) == 2
    assert metrics.losses(["LOST"]) == 1
    assert metrics.losses(["TRACKING"] * 5) == 0


def test_stamps_outside_and_in_gaps_are_not_covered():
    truth = drive(20)
    keep = np.r_[0:5, 15:20]
    broken = Trajectory(truth.stamps_ns[keep], truth.poses[keep])
    stamps = np.array(
        [START - 1, START, START + SECOND // 20, START + SECOND, START + 15 * SECOND // 10, START + 9 * SECOND]
    )
    poses, covered = metrics.sample(broken, stamps)
    np.testing.assert_array_equal(covered, [False, True, True, False, True, False])
    assert np.isnan(poses[~covered]).all()
    np.testing.assert_allclose(poses[1], truth.poses[0])


def test_truth_of_another_rate_is_interpolated():
    truth, fine = drive(100, rate=10), drive(1, rate=10)
    assert len(fine) == 1
    stamps = truth.stamps_ns[:-1] + SECOND // 20
    record = record_of(Trajectory(stamps, truth.at(stamps)))
    comparison = compare(record, truth)
    np.testing.assert_allclose(np.std(comparison.difference[:, 0]), SIGMA[0], rtol=0.2)


def test_summary_tells_what_was_put_in():
    truth = drive(400)
    states = ["INITIALIZING"] * 4 + ["TRACKING"] * 200 + ["LOST"] * 20 + ["TRACKING"] * 176
    figures = summarize(compare(record_of(truth, states=states), truth, odometry_of(truth)))
    assert figures["losses"] == 1
    assert figures["tracking_share"] == pytest.approx(376 / 400)
    assert figures["length_m"] == pytest.approx(8 * 39.9, rel=0.01)
    assert figures["rate_hz"] == pytest.approx(10)
    assert 0.08 < figures["translation_median_m"] < 0.16
    assert figures["translation_median_m"] < figures["translation_p90_m"] < figures["translation_max_m"]
    assert figures["forward_median_m"] == pytest.approx(0.674 * SIGMA[0], rel=0.15)
    assert figures["yaw_median_deg"] == pytest.approx(np.degrees(0.674 * SIGMA[5]), rel=0.15)
    assert 70 < figures["latency_ms_p50"] < 110 < figures["latency_ms_p99"]
    assert figures["odometry_translation_median_m"] > 3 * figures["translation_median_m"]
    assert figures["recall_050m_5deg"] == 1.0


def test_summary_and_report_tell_how_many_frames_count():
    truth = drive(100)
    whole = summarize(compare(record_of(truth), truth))
    assert (whole["frames"], whole["frames_without_pose"], whole["frames_without_truth"]) == (100, 0, 0)
    assert counted(whole).startswith("Every frame counts,")
    fewer = summarize(compare(record_of(truth), Trajectory(truth.stamps_ns[30:], truth.poses[30:])))
    assert (fewer["frames"], fewer["frames_without_truth"]) == (70, 30)
    assert counted({**fewer, "frames_without_pose": 8}).startswith(
        "70 frames count, 8 without a pose and 30 without a true one do not;"
    )
    assert summarize(compare(replace(record_of(truth), searched=8), truth))["frames_without_pose"] == 8


def test_the_report_reads_only_the_tiles_around_the_drive(tmp_path, monkeypatch):
    truth, n, read = drive(20), 4000, []
    xyz = truth.poses[0, :3, 3] + np.random.default_rng(0).uniform((-300, -300, 0), (300, 300, 3), (n, 3))
    points = MapPoints(xyz - xyz[0], np.zeros(n), np.linspace(0, 1, n), xyz[0])
    write_map(tmp_path / "m.lhmap", points, MapMetadata())
    with LHMap.open(tmp_path / "m.lhmap") as lhmap:
        tile = lhmap.tile
        monkeypatch.setattr(lhmap, "tile", lambda number: read.append(number) or tile(number))
        figure = figures.trajectory(compare(record_of(truth), truth), lhmap)
        assert 0 < len(read) < len(lhmap.index) / 5
    (drawn,) = (c for c in figure.axes[0].collections if len(c.get_offsets()) > 2)
    axis, places = figure.axes[0], np.asarray(drawn.get_offsets())
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    inside = (xyz[:, 0] > left) & (xyz[:, 0] < right) & (xyz[:, 1] > low) & (xyz[:, 1] < high)
    assert len(places) == pytest.approx(inside.sum(), abs=2) and cKDTree(xyz[:, :2]).query(places)[0].max() < 0.03


def test_odometry_starts_on_the_truth():
    truth = drive(50)
    poses, covered = metrics.anchored(odometry_of(truth), truth.stamps_ns, truth.poses)
    assert covered.all()
    np.testing.assert_allclose(poses[0], truth.poses[0], atol=1e-9)


def test_truth_of_another_day_is_an_error():
    truth = drive(20)
    other = Trajectory(truth.stamps_ns + 3600 * SECOND, truth.poses)
    with pytest.raises(InputError, match="covers none of 20 frames"):
        compare(record_of(truth), other)


def test_record_as_csv():
    rows = record_of(drive(3)).to_csv().splitlines()
    assert len(rows) == 4
    named = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert named["state"] == "INITIALIZING"
    assert float(named["sigma_x_m"]) == pytest.approx(0.1)
    assert float(named["x"]) == pytest.approx(500, abs=0.5)
