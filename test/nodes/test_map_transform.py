# SPDX-License-Identifier: Apache-2.0
"""map -> odom on /tf: there at any time while the pose is good, and in agreement with `pose` at the image's stamp."""

import time
from types import SimpleNamespace

import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from helpers.one_session import SureRefiner, at, one_session
from helpers.robot import SECOND, calibration, image_message, picture, write_street
from helpers.ros_side import RosSide, wait_until
from helpers.tiny_bag import T_BASE_CAMERA
from rclpy.serialization import serialize_message
from rclpy.time import Time
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, StaticTransformBroadcaster, TransformListener

from lhmap_loc_ros.geometry import Rig, pose_error
from lhmap_loc_ros.localization.states import TrackState
from lhmap_loc_ros.nodes import conversions as convert
from lhmap_loc_ros.nodes.localizer_config import LocalizerConfig
from lhmap_loc_ros.nodes.map_transform import PERIOD_S, MapTransform

SLOW_S = 0.5
"""Between two images of a camera at 2 Hz."""


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return write_street(tmp_path_factory.mktemp("street") / "street.lhmap")


class DriftingRefiner(SureRefiner):
    """Each image shows the robot 2 cm further along."""

    def refine(self, *args, **kwargs):
        self.place = self.place @ at(0.02)
        return super().refine(*args, **kwargs)


@pytest.fixture
def slow_camera(ros, street):
    """A robot tracked by a camera at 2 Hz on the clock of the machine: the fed session, and a function that drives."""
    with one_session(ros.node, street, DriftingRefiner(at(50.0))) as fed:
        timer = ros.node.create_timer(PERIOD_S, fed.session.repeat_transform)
        fed.stamp_ns = time.time_ns() - round(SLOW_S * SECOND)
        fed.initialpose(at(50.0))

        def drive(images, look=lambda: None):
            for _ in range(images):
                end = time.monotonic() + SLOW_S
                fed.odometry(at(0.0), time.time_ns() - round(0.02 * SECOND))
                fed.odometry(at(0.0), time.time_ns())
                fed.image(after_s=(time.time_ns() - fed.stamp_ns) / SECOND)
                while time.monotonic() < end:
                    look()
                    time.sleep(0.02)

        yield fed, drive
        ros.node.destroy_timer(timer)


def test_a_lookup_at_now_never_fails_between_the_images_of_a_slow_camera(slow_camera):
    fed, drive = slow_camera
    with RosSide() as other:
        buffer, poses = Buffer(), other.collect(PoseWithCovarianceStamped, "pose")
        buffer.listener = TransformListener(buffer, other.node)  # the real one listens for as long as it lives
        drive(5)
        assert wait_until(lambda: buffer.can_transform("map", "odom", Time())) and fed.session.health.used == 5
        found = []
        drive(5, lambda: found.append(buffer.can_transform("map", "odom", Time(nanoseconds=time.time_ns()))))
        assert fed.session.health.last.state is TrackState.TRACKING
        assert len(found) > 20 and all(found), found
        # and what was published stays true: odometry stands still at its origin, so map -> odom is the pose
        for pose in poses[-4:]:
            then = buffer.lookup_transform("map", "odom", Time.from_msg(pose.header.stamp))
            metres, degrees = pose_error(
                convert.transform_to_matrix(then.transform), convert.pose_to_matrix(pose.pose.pose)
            )
            assert metres < 1e-3 and degrees < 0.01


def test_it_is_not_repeated_where_the_pose_is_not_good_any_more(slow_camera):
    fed, drive = slow_camera
    with RosSide() as other:
        heard = other.collect(TFMessage, "/tf")
        drive(2)
        assert wait_until(lambda: len(heard) > 5)
        fed.session.deactivate()
        wait_until(lambda: False, 0.2)
        heard.clear()
        assert not wait_until(lambda: heard, 0.5)
        fed.session.activate()
        assert wait_until(lambda: len(heard) > 2, 5)


def test_a_lost_track_has_no_transform(ros):
    config = LocalizerConfig(map_path="m")
    transform = MapTransform(ros.node, config, "map")
    with RosSide() as other:
        heard = other.collect(TFMessage, "/tf")
        assert wait_until(lambda: transform.publisher.get_subscription_count() == 1)
        good = SimpleNamespace(state=TrackState.TRACKING, stamp_ns=time.time_ns(), T_map_odom=at(1.0))
        transform.at_image(good)
        transform.repeat()
        assert wait_until(lambda: len(heard) == 2)
        transform.at_image(SimpleNamespace(state=TrackState.LOST))
        transform.repeat()
        assert not wait_until(lambda: len(heard) > 2, 0.5)


def test_two_cameras_with_one_stamp_give_one_transform(ros, street):
    with RosSide() as other:
        heard = other.collect(TFMessage, "/tf")
        cameras = {"cameras": ("left", "right"), "camera_in_base": None, "tf_child": "base_link"}
        with one_session(ros.node, street, SureRefiner(at(50.0)), **cameras) as fed:
            mount(ros, "camera")
            fed.initialpose(at(50.0))

            def is_mounted():
                fed.image("left")
                return fed.session.health.used

            assert wait_until(is_mounted)
            for _ in range(3):
                fed.image("left")
                fed.image("right", after_s=0.0)
            assert wait_until(lambda: len(heard) >= 4) and fed.session.health.used == 7
            wait_until(lambda: False, 0.3)
    stamps = [convert.to_ns(t.header.stamp) for message in heard for t in message.transforms]
    assert len(stamps) == len(set(stamps)) == 4


class SeesAll(SureRefiner):
    """Tells how many cameras the images came from that it was shown at once."""

    def __init__(self, place):
        super().__init__(place)
        self.seen = []

    def refine(self, image, camera, *rest, **more):
        self.seen.append(len(camera.cameras) if isinstance(camera, Rig) else 1)
        camera.check_image(image)
        return super().refine(image, camera, *rest, **more)


def test_images_of_one_stamp_go_into_one_solve(ros, street):
    refiner, pair = SeesAll(at(50.0)), ("left", "right")
    with one_session(ros.node, street, refiner, cameras=pair, camera_in_base=None) as fed:
        mount(ros, "camera")
        fed.initialpose(at(50.0))

        def seen_together():
            fed.stamp_ns += SECOND // 10
            before = fed.session.health.used + fed.session.health.refused
            for camera in pair:
                fed.session.on_camera_info(camera, calibration(fed.stamp_ns, 160, 48))
                fed.session.on_image(camera, serialize_message(image_message(fed.stamp_ns, picture(fed.stamp_ns))))
            wait_until(lambda: fed.session.health.used + fed.session.health.refused > before)
            return 2 in refiner.seen

        assert wait_until(seen_together)
        assert fed.session.health.last.accepted


def mount(ros, frame):
    """Puts a camera on the robot, by tf_static."""
    ros.still = StaticTransformBroadcaster(ros.node)
    ros.still.sendTransform(convert.matrix_to_transform(T_BASE_CAMERA, convert.header(0, "base_link"), frame))


def test_map_to_base_link_is_continued_between_images_but_not_for_long(ros, street):
    # 0.2 m each half second
    with one_session(ros.node, street, AdvancingRefiner(at(50.0)), tf_child="base_link") as fed, RosSide() as other:
        timer = ros.node.create_timer(PERIOD_S, fed.session.repeat_transform)
        buffer, looked = Buffer(), []
        buffer.listener = TransformListener(buffer, other.node)  # the real one listens for as long as it lives
        fed.stamp_ns = time.time_ns()
        fed.initialpose(at(50.0))
        for k in range(9):
            fed.image(after_s=(time.time_ns() - fed.stamp_ns) / SECOND)
            x, image_ns, end = fed.session.health.last.T_map_base[0, 3], fed.stamp_ns, time.monotonic() + SLOW_S
            while k > 4 and time.monotonic() < end:
                time.sleep(0.02)
                now_ns = time.time_ns()
                if buffer.can_transform("map", "base_link", Time(nanoseconds=now_ns)):
                    there = buffer.lookup_transform("map", "base_link", Time(nanoseconds=now_ns)).transform
                    looked.append(there.translation.x - x - 0.4 * (now_ns - image_ns) / SECOND)
                else:
                    looked.append(None)
            time.sleep(max(0.0, end - time.monotonic()))
        errors = [abs(error) for error in looked if error is not None]
        # a busy machine may leave a gap
        assert len(looked) > 20 and len(errors) > 0.8 * len(looked), looked
        assert max(errors) < 0.1
        # and where no image comes any more it ends
        time.sleep(1.5)
        assert not buffer.can_transform("map", "base_link", Time(nanoseconds=time.time_ns()))
        ros.node.destroy_timer(timer)


class AdvancingRefiner(SureRefiner):
    """Each image shows the robot 20 cm further along."""

    def refine(self, *args, **kwargs):
        self.place = self.place @ at(0.2)
        return super().refine(*args, **kwargs)
