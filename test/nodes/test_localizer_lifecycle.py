# SPDX-License-Identifier: Apache-2.0
"""localizer_node as others manage it, from start to end, over DDS."""

import json
import signal

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from helpers.localizer_runs import LATCHED, localizer, near_start, player
from helpers.ros_side import change, grows, is_silent, set_parameter, wait_until
from helpers.tiny_bag import START, truth_at
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from lhmap_loc_ros.nodes import conversions as convert


def state(ros):
    return ros.call(GetState, "/localizer_node/get_state").current_state.label


def test_a_manager_brings_it_up_and_down(world, ros):
    poses = ros.collect(PoseWithCovarianceStamped, "pose")
    initial = ros.node.create_publisher(PoseWithCovarianceStamped, "initialpose", 1)
    with localizer(world, autostart="false", **near_start()) as node, player(world, "--loop"):
        assert state(ros) == "unconfigured"
        assert change(ros, Transition.TRANSITION_CONFIGURE) and state(ros) == "inactive"
        # a start pose is taken while inactive, and nothing is published
        assert wait_until(lambda: initial.get_subscription_count() == 1)
        start = convert.to_pose_with_covariance(truth_at(START + 1_000_000_000), np.diag([9.0, 9, 9, 0.1, 0.1, 0.1]))
        initial.publish(PoseWithCovarianceStamped(header=convert.header(0, "map"), pose=start))
        assert is_silent(poses) and not poses
        assert change(ros, Transition.TRANSITION_ACTIVATE) and grows(poses)
        assert change(ros, Transition.TRANSITION_DEACTIVATE) and is_silent(poses)
        assert change(ros, Transition.TRANSITION_ACTIVATE) and grows(poses)
        assert change(ros, Transition.TRANSITION_DEACTIVATE) and change(ros, Transition.TRANSITION_CLEANUP)
        assert state(ros) == "unconfigured" and is_silent(poses)
        assert wait_until(lambda: not any(map(ros.node.count_publishers, ("/tf", "pose", "map_cloud"))))
        # and once more from the beginning
        assert change(ros, Transition.TRANSITION_CONFIGURE) and change(ros, Transition.TRANSITION_ACTIVATE)
        assert state(ros) == "active"
        code, _, err = node.end(signal.SIGTERM, 10)
        assert (code, "Traceback" in err) == (0, False)


def test_a_map_that_cannot_be_opened_leaves_it_unconfigured_until_it_is_told_a_better_one(world, ros):
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    good = str(world / "walls.lhmap")
    with localizer(world, autostart="false") as node:
        assert set_parameter(ros, "map_path", str(world / "nowhere.lhmap")).successful
        assert not change(ros, Transition.TRANSITION_CONFIGURE) and state(ros) == "unconfigured"
        assert wait_until(lambda: diagnostics and "nowhere.lhmap" in diagnostics[-1].status[0].message)
        assert set_parameter(ros, "map_path", good).successful
        assert change(ros, Transition.TRANSITION_CONFIGURE) and state(ros) == "inactive"
        refused = set_parameter(ros, "map_path", "other")
        assert not refused.successful and "fixed until it is cleaned up" in refused.reason
        assert node.end(signal.SIGTERM, 10)[0] == 0


def test_it_starts_again_where_it_was_switched_off(world, ros, tmp_path):
    saved = tmp_path / "state" / "pose.json"
    poses = ros.collect(PoseWithCovarianceStamped, "pose")
    states = ros.collect(String, "state", LATCHED)
    # slowly: the drive begins anew the second time, and the saved pose must not be far from there; nor may it end
    # before a busy machine has shown three poses
    slowly = ("--rate", "0.2")
    with localizer(world, save_pose_path=saved, save_pose_rate=50.0, **near_start()) as node, player(world, *slowly):
        assert wait_until(lambda: "TRACKING" in [m.data for m in states], 60)
        assert wait_until(saved.exists) and node.end(signal.SIGTERM, 10)[0] == 0
    place = json.loads(saved.read_text())["position"]
    assert abs(place[0] - 1000) < 40
    wait_until(lambda: False, 0.5)
    poses.clear()
    with localizer(world, save_pose_path=saved) as node, player(world, *slowly):
        # nobody says where it is
        assert wait_until(lambda: len(poses) > 2, 60)
        assert node.end(signal.SIGTERM, 10)[0] == 0


def test_without_any_start_reinitialize_says_what_to_do(world, ros):
    with localizer(world) as node:
        answer = ros.call(Trigger, "/reinitialize")
        assert not answer.success and "initialpose" in answer.message
        assert node.end(signal.SIGTERM, 10)[0] == 0
