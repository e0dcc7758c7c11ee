# SPDX-License-Identifier: Apache-2.0
"""Where a track begins: what a user says counts, whenever it comes."""

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from helpers.one_session import SureRefiner, at, initial_pose, one_session
from helpers.robot import write_street
from helpers.ros_side import wait_until

from lhmap_loc_ros.localization import health, transitions
from lhmap_loc_ros.localization.relocalize import PoseHypothesis
from lhmap_loc_ros.localization.states import TrackState
from lhmap_loc_ros.nodes import conversions as convert
from lhmap_loc_ros.nodes import start_poses
from lhmap_loc_ros.nodes.initial_pose import InitialPose, NextStart

WIDE = np.diag([1.0] * 3 + [0.01] * 3)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return write_street(tmp_path_factory.mktemp("street") / "street.lhmap")


def test_what_a_user_says_is_not_replaced_by_what_was_found():
    start = NextStart()
    start.offer(InitialPose(0, at(1), WIDE, "relocalized"))
    start.put(InitialPose(0, at(2), WIDE))
    start.offer(InitialPose(0, at(3), WIDE, "relocalized"))
    assert start.waits and start.take().T_map_base[0, 3] == 2
    assert not start.waits and start.take() is None


class Sees:
    """Proposes one place, from two starts."""

    def __init__(self, place):
        self.place = place

    def candidates(self, image, camera):
        return [PoseHypothesis(self.place, WIDE)] * 2


def test_a_users_pose_that_comes_while_a_place_is_being_found_counts(ros, street, monkeypatch):
    looks_like, says = at(150.0), at(20.0)
    poses = ros.collect(PoseWithCovarianceStamped, "pose")
    monkeypatch.setattr(transitions, "LOST_REJECTIONS", 3)
    monkeypatch.setattr(health, "SEARCH_PERIOD_S", 0.001)
    with one_session(ros.node, street, SureRefiner(looks_like), Sees(looks_like)) as fed:
        fed.initialpose(at(100.0))

        def comes_in_the_same_moment(*given, **more):
            # a place was found and is about to be started from
            fed.session.on_initial_pose(initial_pose(says))
            return InitialPose(*given, **more)

        monkeypatch.setattr(start_poses, "InitialPose", comes_in_the_same_moment)
        for _ in range(20):
            fed.image()
            if fed.session.health.last.state is TrackState.LOST:
                break
        # the search goes on a moment after the image is done with
        assert wait_until(lambda: fed.session.health.last.state is TrackState.LOST)
        wait_until(lambda: False, 0.3)
        fed.image()
        assert wait_until(lambda: poses and abs(convert.pose_to_matrix(poses[-1].pose.pose)[0, 3] - 20.0) < 1.0, 3)
