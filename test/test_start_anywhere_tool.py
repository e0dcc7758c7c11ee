# SPDX-License-Identifier: Apache-2.0
"""The tool that starts the node anywhere and carries it off: the drive it makes, and what it makes of a record."""

import numpy as np
import pytest
from helpers.tiny_bag import SECOND, START, truth_at, write_bag, write_truth

from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import read_tum
from lhmap_loc_ros.geometry import inverse, make_pose
from lhmap_loc_ros.localization.record import RunRecord


@pytest.fixture
def tool(load_tool):
    return load_tool("start_anywhere")


def test_a_carried_robot_sees_the_end_of_the_drive_and_then_its_beginning_while_its_odometry_goes_on(tool, tmp_path):
    bag = write_bag(tmp_path / "drive", frames=30)
    write_truth(tmp_path / "drive.tum", frames=30)
    tool.carry(bag, read_tum(tmp_path / "drive.tum"), tmp_path / "carried", SECOND)
    truth = read_tum(tmp_path / "carried.tum")
    with BagReader(tmp_path / "carried") as reader:
        images = [message.stamp_ns for message in reader.messages(["/camera/image_raw"])]
        odometry = list(reader.messages(["/odom"]))
    assert images == truth.stamps_ns.tolist() and len(images) == 20 and (np.diff(images) > 0).all()
    np.testing.assert_allclose(truth.poses[0], truth_at(START + 19 * SECOND // 10), atol=1e-5)
    np.testing.assert_allclose(truth.poses[10], truth_at(START), atol=1e-5)
    assert images[10] - images[9] == tool.CARRIED_NS + SECOND // 10
    # within a leg odometry moves as the robot does, between them it stands still
    told = Trajectory(np.array([m.stamp_ns for m in odometry]), np.array([m.pose for m in odometry]))
    for a, b in ((0, 9), (10, 19)):
        moved = inverse(told.at(images[a])) @ told.at(images[b])
        np.testing.assert_allclose(moved, inverse(truth.poses[a]) @ truth.poses[b], atol=1e-4)
    first = int(np.searchsorted(told.stamps_ns, images[10]))
    np.testing.assert_allclose(told.poses[first], told.poses[first - 1], atol=1e-6)


def record(states, errors_m):
    """One image a second along x, so far off beside the path."""
    n = len(states)
    poses = np.array([make_pose(np.eye(3), (k, error, 0)) for k, error in enumerate(errors_m)])
    numbers = {name: np.zeros(n) for name in ("inlier_ratio", "innovation", "latency_ms", "arrival_s")}
    stamps = np.arange(n) * SECOND
    return RunRecord(stamps, np.array(states), np.ones(n, bool), poses, np.zeros((n, 6, 6)), **numbers)


def leg(tool, states, errors_m, carried=False):
    n = len(states)
    truth = Trajectory(np.arange(n) * SECOND, np.array([make_pose(np.eye(3), (k, 0, 0)) for k in range(n)]))
    return tool.leg_of(record(states, errors_m), truth, 1, carried, 0, n * SECOND)


def test_a_robot_is_found_once_it_tracks_within_half_a_metre(tool):
    found = leg(tool, ["INITIALIZING", "INITIALIZING", "TRACKING", "TRACKING"], [9, 0.1, 0.1, 0.3])
    assert found.found_s == 2 and found.wrong_s == 0 and found.believed_wrong == 0
    assert found.largest_m == pytest.approx(0.3)
    assert leg(tool, ["INITIALIZING"] * 3, [0.1] * 3).found_s is None


def test_a_wrong_place_that_is_tracked_is_counted_and_how_long(tool):
    wrong = leg(tool, ["TRACKING", "TRACKING", "INITIALIZING", "TRACKING", "TRACKING"], [8, 8, 8, 0.1, 0.1])
    assert wrong.believed_wrong == 1 and wrong.wrong_s == 2 and wrong.found_s == 3


def test_the_track_that_a_carried_robot_still_holds_is_no_new_belief(tool):
    held = leg(tool, ["TRACKING", "TRACKING", "LOST", "TRACKING"], [90, 90, 90, 0.1], carried=True)
    assert held.believed_wrong == 0 and held.wrong_s == 2 and held.found_s == 3
    again = leg(tool, ["TRACKING", "LOST", "TRACKING", "TRACKING"], [90, 90, 40, 0.1], carried=True)
    assert again.believed_wrong == 1
