# SPDX-License-Identifier: Apache-2.0
"""Bags played over DDS."""

import time

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from helpers.ros_side import Process, wait_until
from helpers.tiny_bag import START
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosbags.interfaces import Nodetype
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.errors import BagError, ConfigError
from lhmap_loc_ros.nodes import conversions as convert
from lhmap_loc_ros.nodes.player_node import play, run_player
from lhmap_loc_ros.nodes.recorder import run_recorder

PLAYER = ("-m", "lhmap_loc_ros.nodes.player_node")


def test_every_message_arrives_as_recorded_with_a_clock_that_keeps_pace(world, ros):
    images = ros.collect(Image, "/camera/image_raw")
    odometry = ros.collect(Odometry, "/odom")
    ros.collect(CameraInfo, "/camera/camera_info")
    clock = ros.collect(Clock, "/clock")
    static = ros.collect(TFMessage, "/tf_static", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    with Process(*PLAYER, world / "bag", "--rate", "2") as player:
        code, out, _ = player.end(None, 60)
    assert code == 0 and "played 101 messages" in out
    # reliable and waited for: nothing is lost
    assert wait_until(lambda: len(images) == 25 and len(odometry) == 50)
    with BagReader(world / "bag") as reader:
        recorded = list(reader.messages(["/camera/image_raw"]))
    for sent, heard in zip(recorded, images, strict=True):
        assert convert.to_ns(heard.header.stamp) == sent.stamp_ns
        np.testing.assert_array_equal(convert.image_to_array(heard), sent.image)
    assert static[0].transforms[0].child_frame_id == "camera_optical_frame"
    ticks = np.array([convert.to_ns(m.clock) for m in clock])
    assert len(ticks) > 20 and (np.diff(ticks) >= 0).all()
    assert START <= ticks[0] and ticks[-1] <= START + 2_500_000_000


def test_a_clock_in_the_bag_gives_way_to_the_one_that_is_played(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        for topic in ("/clock", "/odom"):
            bag.odometry(topic, START, "odom", "base_link", np.eye(4))
    assert play(tmp_path / "bag", wait_s=0.1).messages == {"/odom": 1}
    assert play(tmp_path / "bag", wait_s=0.1, clock=False).messages == {"/clock": 1, "/odom": 1}


def test_topics_of_types_that_are_not_installed_are_left_out(tmp_path, capfd):
    with BagWriter(tmp_path / "bag") as bag:
        bag.odometry("/odom", START, "odom", "base_link", np.eye(4))
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register({"radar_msgs/msg/Track": ([], [("id", (Nodetype.BASE, ("uint8", 0)))])})
    with Writer(tmp_path / "radar", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.write(writer.add_connection("/radar", "radar_msgs/msg/Track", typestore=store), START, bytes(5))
    # without metadata.yaml: all files of the folder are one recording
    (tmp_path / "bag" / "metadata.yaml").unlink()
    next((tmp_path / "radar").glob("*.mcap")).rename(tmp_path / "bag" / "radar.mcap")
    assert play(tmp_path / "bag", wait_s=0.1).messages == {"/odom": 1}
    assert "/radar is of type radar_msgs/msg/Track, which is not installed: not played" in capfd.readouterr().err
    with pytest.raises(BagError, match="/radar is of type radar_msgs/msg/Track, which is not installed"):
        play(tmp_path / "bag", wait_s=0.1, topics=("/radar",))


def test_the_clock_does_not_go_back_where_a_sleep_takes_too_long(world, monkeypatch):
    sleep, ticks = time.sleep, []
    monkeypatch.setattr("lhmap_loc_ros.nodes.player_node.time.sleep", lambda seconds: sleep(seconds + 0.01))
    monkeypatch.setattr("lhmap_loc_ros.nodes.player_node._Player._tick", lambda player, ns: ticks.append(ns))
    play(world / "bag", rate=4.0, topics=("/odom",), wait_s=0.0)
    assert len(ticks) > 50 and (np.diff(ticks) >= 0).all()


def test_nobody_listening_is_told_and_does_not_stop_it(world, capfd):
    arguments = "--wait", "0.2", "--rate", "50", "--topics", "/odom"
    code, (out, err) = run_player(["player_node", str(world / "bag"), *arguments]), capfd.readouterr()
    assert (code, "played 50 messages" in out) == (0, True)
    assert "no subscriber of /odom" in err


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"topics": ("/nothing",)}, BagError, "/nothing.*the bag has: .*/odom"),
        ({"rate": 0.0}, ConfigError, "rate"),
        ({"wait_for": ("/nothing",)}, BagError, "/nothing"),
    ],
)
def test_what_cannot_be_played_is_named(world, options, error, words):
    with pytest.raises(error, match=words):
        play(world / "bag", **options)


@pytest.mark.parametrize("name", ["missing", "no.mcap"])
def test_a_bag_that_is_none_is_one_line_and_exit_code_2(tmp_path, name, capfd):
    (tmp_path / "no.mcap").write_bytes(b"no bag")
    code, err = run_player(["player_node", str(tmp_path / name)]), capfd.readouterr().err
    assert (code, err.count("\n"), name in err) == (2, 1, True)


def test_the_recorder_gives_the_start_pose(world, ros, tmp_path):
    import json

    initial = {
        "stamp_ns": START,
        "frame": "map",
        "pose": [1, 2, 3, 0, 0, 0, 1],
        "covariance": np.eye(6).ravel().tolist(),
    }
    (tmp_path / "initial.json").write_text(json.dumps(initial))
    heard = ros.collect(PoseWithCovarianceStamped, "initialpose")
    ros.node.create_publisher(PoseWithCovarianceStamped, "pose", 10)
    command = ("-m", "lhmap_loc_ros.nodes.recorder", tmp_path / "out.jsonl", "--initial", tmp_path / "initial.json")
    with Process(*command) as recorder:
        assert wait_until(lambda: heard, 60)
        assert recorder.end(seconds=30)[0] == 0
    assert convert.to_ns(heard[0].header.stamp) == START
    np.testing.assert_allclose(convert.pose_to_matrix(heard[0].pose.pose)[:3, 3], [1, 2, 3])
    assert (tmp_path / "out.jsonl").read_text() == ""


@pytest.mark.parametrize("name", ["start.json", "none.json"])
def test_a_recorder_without_the_start_pose_it_is_told_of_says_so(tmp_path, name, capfd):
    (tmp_path / "start.json").write_text("no JSON")
    code = run_recorder(["recorder", str(tmp_path / "out"), "--initial", str(tmp_path / name)])
    err = capfd.readouterr().err
    assert (code, err.count("\n")) == (2, 1) and f"{name}: is not a start pose" in err


def test_command_plays_and_counts(world):
    command = ("play", world / "bag", "--rate", "50", "--wait", "0", "--topic", "/odom")
    with Process("-m", "lhmap_loc_ros", *command) as player:
        code, out, err = player.end(None, 60)
    assert (code, "played 50 messages" in out) == (0, True), err
