# SPDX-License-Identifier: Apache-2.0
"""What a running localizer_node says and takes: topics, parameters and services, over DDS."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from helpers.localizer_runs import LATCHED, localizer, near_start, player, stamp_of
from helpers.ros_side import RosSide, grows, is_silent, set_parameter, wait_until
from helpers.tiny_bag import truth_at
from nav_msgs.msg import Odometry
from std_msgs.msg import Float32, String
from std_srvs.srv import SetBool, Trigger

from lhmap_loc_ros.geometry import pose_error
from lhmap_loc_ros.nodes import conversions as convert


@pytest.fixture(scope="module")
def running(world):
    """A node that tracks, and what it says."""
    with RosSide() as ros, localizer(world, **near_start()), player(world, "--loop"):
        heard = {
            "pose": ros.collect(PoseWithCovarianceStamped, "pose"),
            "odometry": ros.collect(Odometry, "odometry/global"),
            "state": ros.collect(String, "state", LATCHED),
            "score": ros.collect(Float32, "score"),
            "status": ros.collect(DiagnosticArray, "status"),
        }
        assert wait_until(lambda: len(heard["pose"]) > 5, 60)
        yield ros, heard


def test_odometry_drops_into_robot_localization(running):
    _, heard = running
    message = heard["odometry"][-1]
    assert (message.header.frame_id, message.child_frame_id) == ("map", "base_link")
    pose = convert.pose_to_matrix(message.pose.pose)
    assert pose_error(pose, truth_at(stamp_of(message)))[0] < 0.5
    covariance = np.reshape(message.twist.covariance, (6, 6))
    assert np.linalg.eigvalsh(covariance)[0] > 0


def test_state_and_score_are_told(running):
    _, heard = running
    assert wait_until(lambda: {"INITIALIZING", "TRACKING"} <= {m.data for m in heard["state"]})
    assert all(0 <= m.data <= 1 for m in heard["score"]) and heard["score"][-1].data == pytest.approx(0.8)


def test_a_threshold_changes_while_it_runs_and_an_impossible_one_does_not(running):
    ros, heard = running
    assert set_parameter(ros, "tracker.measurement.min_inlier_ratio", 0.95).successful
    seen = len(heard["status"])
    assert wait_until(lambda: len(heard["status"]) > seen + 3)
    values = {v.key: v.value for v in heard["status"][-1].status[0].values}
    assert values["accepted"] == "0"
    assert set_parameter(ros, "tracker.measurement.min_inlier_ratio", 0.25).successful
    assert "range" in set_parameter(ros, "tracker.measurement.min_inlier_ratio", 3.0).reason


def test_reinitialize_starts_anew_from_what_is_known(running):
    ros, heard = running
    answer = ros.call(Trigger, "/reinitialize")
    assert answer.success and "initial_pose" in answer.message


def test_trigger_node_switches_localization(running):
    ros, heard = running
    assert ros.call(SetBool, "/trigger_node", data=False).success and is_silent(heard["pose"])
    assert ros.call(SetBool, "/trigger_node", data=True).success
    # the bag comes round again, with a clock that jumps back
    assert grows(heard["status"])
