# SPDX-License-Identifier: Apache-2.0
"""Odometry as robots send it: late, seldom, of another frame, without stamps or directions."""

import time
from contextlib import nullcontext

import numpy as np
import pytest
from helpers.one_session import SureRefiner, at, one_session
from helpers.robot import SECOND, image_message, picture, write_street
from helpers.ros_side import RosSide, wait_until
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from tf2_ros import Buffer, StaticTransformBroadcaster, TransformListener

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import make_pose, pose_error
from lhmap_loc_ros.localization.states import TrackState
from lhmap_loc_ros.nodes import conversions as convert
from lhmap_loc_ros.nodes.diagnostics import session_statuses
from lhmap_loc_ros.nodes.fixed_frames import FixedFrames
from lhmap_loc_ros.nodes.latest import Mailbox
from lhmap_loc_ros.nodes.localizer_config import LocalizerConfig
from lhmap_loc_ros.nodes.odometry_input import OdometryInput
from lhmap_loc_ros.nodes.stamps import Stamps

SPEED = 2.0


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return write_street(tmp_path_factory.mktemp("street") / "street.lhmap")


class MovingRefiner(SureRefiner):
    """Each image shows the robot 0.2 m further along."""

    def refine(self, *args, **kwargs):
        self.place = self.place @ at(SPEED / 10)
        return super().refine(*args, **kwargs)


def drive(fed, images, every, late):
    """Results of images at 10 Hz, with odometry each `every` of them, `late` images after its stamp, 13 ms from one."""
    start_ns, results = fed.stamp_ns, []
    for k in range(1, images + 1):
        n = k - late
        if n > 0 and n % every == 0:
            odometry_ns = start_ns + n * SECOND // 10 - 13_000_000
            fed.odometry(odometry_at(odometry_ns, start_ns), odometry_ns)
        fed.image()
        results.append(fed.session.health.last)
    return results


def odometry_at(stamp_ns, start_ns):
    return at(SPEED * (stamp_ns - start_ns) / SECOND)


@pytest.mark.parametrize(("every", "late"), [(1, 4), (1, 10), (10, 0), (10, 6)], ids=str)
def test_late_and_rare_odometry_tells_of_map_to_odom_and_stops_nothing(ros, street, every, late, monkeypatch):
    take, waits = Mailbox.take_odometry, []

    def timed(mailbox, until_ns, wait_s):
        began = time.monotonic()
        taken = take(mailbox, until_ns, wait_s)
        waits.append(time.monotonic() - began >= wait_s)
        return taken

    monkeypatch.setattr(Mailbox, "take_odometry", timed)
    with RosSide() as other:
        buffer = Buffer(cache_time=Duration(seconds=60))
        buffer.listener = TransformListener(buffer, other.node)  # the real one listens for as long as it lives
        with one_session(ros.node, street, MovingRefiner(at(50.0))) as fed:
            assert wait_until(lambda: other.node.count_publishers("/tf"))
            fed.initialpose(at(50.0))
            start_ns = fed.stamp_ns
            results = drive(fed, 32, every, late)
            assert len(waits) == 32 and sum(waits) < 20  # in vain
            assert results[-1].state is TrackState.TRACKING and not fed.session.health.lacks_odometry
            wait_until(lambda: False, 0.3)
    agree = []
    for result in results[5:]:
        if buffer.can_transform("map", "odom", Time(nanoseconds=result.stamp_ns)):
            then = buffer.lookup_transform("map", "odom", Time(nanoseconds=result.stamp_ns))
            pose = convert.transform_to_matrix(then.transform) @ odometry_at(result.stamp_ns, start_ns)
            agree.append(pose_error(pose, result.T_map_base)[0])
    # to a millimetre where odometry tells of the images themselves
    assert len(agree) > 4 and max(agree) < (1e-3 if every == 1 else 0.05), agree


def test_odometry_of_another_frame_of_the_robot_or_of_none_is_that_of_base_link(ros, street):
    T_base_imu = make_pose(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), [0.7, -0.3, 1.2])
    broadcaster = StaticTransformBroadcaster(ros.node)
    with one_session(ros.node, street, SureRefiner(at(50.0))) as fed:
        fed.initialpose(at(50.0))
        fed.image()
        fed.odometry(at(0.0) @ T_base_imu, child="imu")
        assert "imu" in fed.session.health.complaint and "tf_static" in fed.session.health.complaint
        head = convert.header(0, "base_link")
        broadcaster.sendTransform(convert.matrix_to_transform(T_base_imu, head, "imu"))

        def reaches(child, pose):
            for k in (1, 2):
                fed.odometry(pose, fed.stamp_ns + k * SECOND // 10, child=child)
            fed.image()
            told = fed.session.health.last.T_map_odom
            return told is not None and pose_error(told, at(50.0))[0] < 0.2

        assert wait_until(lambda: reaches("imu", at(0.0) @ T_base_imu))
        assert wait_until(lambda: reaches("", at(0.0)))
        assert wait_until(lambda: reaches("/imu", at(0.0) @ T_base_imu))


@pytest.mark.parametrize("tf_child", ("odom", "base_link"))
def test_odometry_in_a_frame_that_is_not_broadcast_is_told_or_of_no_matter(ros, tf_child):
    config = LocalizerConfig(map_path="m", tf_child=tf_child)
    odometry = OdometryInput(ros.node, config, FixedFrames(ros.node, "base_link", lambda text: None))
    message = Odometry(header=convert.header(SECOND, "odom_combined"), child_frame_id="base_link")
    message.pose.pose = convert.matrix_to_pose(at(3.0))
    with pytest.raises(InputError, match="odom_frame_id") if tf_child == "odom" else nullcontext():
        assert odometry.read(message)[1][0, 3] == 3.0


def test_odometry_that_is_none_among_good_is_left_out_and_counted(ros, street):
    with one_session(ros.node, street, MovingRefiner(at(50.0))) as fed:
        fed.initialpose(at(50.0))
        for k in range(1, 12):
            fed.odometry(at(SPEED * k / 10), fed.stamp_ns + SECOND // 10)
            if k % 3 == 0:
                head = convert.header(fed.stamp_ns + SECOND // 10 + 1, "odom")
                none = Odometry(header=head, child_frame_id="base_link")
                none.pose.pose.orientation.w = 0.0
                fed.session.on_odometry(none)
                fed.odometry(at(float("nan")), fed.stamp_ns + SECOND // 10 + 2)
                fed.odometry(at(0.0), 0)
                fed.odometry(at(0.0), stamp_ns=fed.stamp_ns - SECOND // 5)
            fed.image()
            assert fed.session.health.last.T_map_odom is not None or k < 2
        session = fed.session
        assert session.health.left_out["odometry"] == 12 and session.health.last.motion == "odometry"
        (localization, *_) = session_statuses(session.health, session.images, (), session.map, session.config, True)
        assert {v.key: v.value for v in localization.values}["odometry_left_out"] == "12"


def test_one_image_without_a_stamp_among_others_is_left_out(ros, street):
    with one_session(ros.node, street, SureRefiner(at(50.0))) as fed:
        fed.initialpose(at(50.0))
        fed.image()
        fed.show(image_message(0, picture(0)))
        assert fed.session.health.left_out["image"] == 1 and "stamped 0" in fed.session.health.complaint
        fed.image()
        assert fed.session.health.used == 2


def test_images_and_odometry_that_all_lack_stamps_have_the_time_when_they_come(ros, street):
    with one_session(ros.node, street, SureRefiner(at(50.0))) as fed:
        fed.initialpose(at(50.0))
        for _ in range(5):
            fed.odometry(stamp_ns=0)
            fed.stamp_ns = 0
            fed.image(after_s=0.0)
            time.sleep(0.02)
        health = fed.session.health
        assert (health.used, health.left_out["image"], health.left_out["odometry"]) == (4, 1, 1)
        assert abs(health.last.stamp_ns - time.time_ns()) < 10 * SECOND and health.last.T_map_odom is not None


def test_a_simulation_may_begin_at_zero(ros):
    node = Node("simulated", context=ros.context, parameter_overrides=[Parameter("use_sim_time", value=True)])
    # its clock stands at zero until /clock is heard
    assert Stamps(node, "an image").of(0) == 0
    node.destroy_node()
