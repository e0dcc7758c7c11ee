# SPDX-License-Identifier: Apache-2.0
"""What the localizer says to whoever sets it up: on /diagnostics, in the log, in answers of services."""

import pytest
from helpers.one_session import SureRefiner, at, one_session
from helpers.robot import STAND_IN, Robot, calibration, write_street
from helpers.ros_side import Process, ros_parameters, wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_srvs.srv import SetBool

from lhmap_loc_ros.nodes.diagnostics import OK, session_statuses
from lhmap_loc_ros.nodes.reports import Reports


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return write_street(tmp_path_factory.mktemp("street") / "street.lhmap")


def camera_status(session):
    statuses = session_statuses(session.health, session.images, (), session.map, session.config, True)
    return next(status for status in statuses if status.name == "camera")


@pytest.fixture
def told(monkeypatch):
    """What is logged as a warning."""
    lines = []
    monkeypatch.setattr(Reports, "log", lambda self, subject, text: lines.append(text))
    return lines


def test_while_it_waits_for_a_start_pose_the_camera_is_said_to_be_well(ros, street):
    with one_session(ros.node, street, SureRefiner(at(50.0))) as fed:
        assert "no image has come" in camera_status(fed.session).message
        fed.image()
        status = camera_status(fed.session)
        assert (status.level, status.message) == (OK, "images come; waiting for initialpose")


def test_images_of_another_qos_or_type_are_hinted_at(ros, street):
    with one_session(ros.node, street, SureRefiner(at(50.0))) as fed:
        assert "it has no publisher" in fed.session.health.problem
        other = ros.node.create_publisher(CompressedImage, "image", 1)
        assert wait_until(lambda: ros.node.count_publishers("image"))
        fed.session.tell_waiting()
        assert "QoS" in fed.session.health.problem
        ros.node.destroy_publisher(other)


def test_each_wrong_initialpose_is_logged(street):
    with Process(STAND_IN, *ros_parameters(map_path=street)) as node, Robot() as robot:
        robot.begin()
        robot.send_initial(frame="odom")
        robot.send_initial(frame="earth")
        robot.drive(1)
        # and a word with the answer of the service
        assert robot.call(SetBool, "/trigger_node", data=False).message == "inactive"
        assert robot.call(SetBool, "/trigger_node", data=True).message == "active"
        _, _, err = node.end()
    assert "in frame 'odom'" in err and "in frame 'earth'" in err


def test_a_pose_that_cannot_be_saved_is_told_at_the_start(ros, street, tmp_path, told):
    (tmp_path / "file").touch()
    where = str(tmp_path / "file" / "pose.json")
    with one_session(ros.node, street, SureRefiner(at(50.0)), save_pose_path=where):
        assert any("save_pose_path" in line and "expected a folder" in line for line in told)


def test_a_calibration_published_once_before_it_starts_is_heard(street):
    with Robot() as robot:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        robot.node.destroy_publisher(robot._info)
        robot._info = robot.node.create_publisher(CameraInfo, "camera_info", latched)
        robot._info.publish(calibration(robot.stamp_ns, 160, 48))
        robot._info = type("Silent", (), {"publish": staticmethod(lambda message: None)})
        with Process(STAND_IN, *ros_parameters(map_path=street)) as node:
            robot.begin()
            assert node.end()[0] == 0
