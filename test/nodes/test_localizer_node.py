# SPDX-License-Identifier: Apache-2.0
"""localizer_node and player_node as processes of their own, over DDS."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from helpers import FOLDER
from helpers.localizer_runs import LATCHED, LOCALIZER, TOPICS, localizer, near_start, player, stamp_of
from helpers.ros_side import Process, ros_parameters, wait_until
from helpers.tiny_bag import START, truth_at
from nav_msgs.msg import Path as PathMessage
from rclpy.duration import Duration
from rclpy.time import Time
from sensor_msgs.msg import Image, PointCloud2
from sensor_msgs_py import point_cloud2
from tf2_ros import Buffer, TransformListener

from lhmap_loc_ros.geometry import pose_error
from lhmap_loc_ros.localization.record import RunRecord
from lhmap_loc_ros.nodes import conversions as convert
from lhmap_loc_ros.nodes import localizer_node
from lhmap_loc_ros.nodes.recorder import read_recording


@pytest.fixture(scope="module")
def drive(world, tmp_path_factory):
    """One bag played to one localizer, all of its topics listened to."""
    from helpers.ros_side import RosSide

    recording = tmp_path_factory.mktemp("drive") / "poses.jsonl"
    with RosSide() as ros, localizer(world, **near_start()) as node:
        heard = {
            "pose": ros.collect(PoseWithCovarianceStamped, "pose"),
            "path": ros.collect(PathMessage, "path"),
            "overlay": ros.collect(Image, "overlay"),
            "status": ros.collect(DiagnosticArray, "status"),
            "diagnostics": ros.collect(DiagnosticArray, "/diagnostics"),
            "map_cloud": ros.collect(PointCloud2, "map_cloud", LATCHED),
        }
        buffer = Buffer(cache_time=Duration(seconds=60))
        buffer.listener = TransformListener(buffer, ros.node)  # the real one listens for as long as it lives
        with Process("-m", "lhmap_loc_ros.nodes.recorder", recording) as recorder:
            # DDS finds its ends in its own time: nothing is played before all of them have met
            assert wait_until(lambda: heard["map_cloud"] and heard["diagnostics"], 60)
            assert wait_until(lambda: ros.node.count_subscribers("pose") == 2, 60)
            wait_until(lambda: False, 1.0)
            with player(world) as play:
                played = play.end(None, seconds=120)
            assert wait_until(lambda: heard["pose"] and heard["diagnostics"] and heard["overlay"])
            # what the recorder has heard cannot be asked; it is the same DDS, so give it the same time
            wait_until(lambda: False, 0.5)
            assert recorder.end(signal.SIGTERM, 30)[0] == 0
        ended = node.end(signal.SIGINT, 30)
    return {**heard, "tf": buffer, "ended": ended, "played": played, "recording": recording}


def test_poses_are_those_of_the_truth(drive):
    assert len(drive["pose"]) >= 5
    for message in drive["pose"][2:]:
        pose, _ = convert.from_pose_with_covariance(message.pose)
        metres, degrees = pose_error(pose, truth_at(stamp_of(message)))
        assert (message.header.frame_id, metres < 0.3, degrees < 1.5) == ("map", True, True)


def test_poses_carry_the_stamps_of_images_in_order(drive):
    stamps = np.array([stamp_of(m) for m in drive["pose"]])
    assert (np.diff(stamps) > 0).all()
    assert not ((stamps - START) % 100_000_000).any()


def test_covariances_are_sound_and_shrink(drive):
    covariances = [np.reshape(m.pose.covariance, (6, 6)) for m in drive["pose"]]
    for covariance in covariances:
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-12)
        assert np.linalg.eigvalsh(covariance)[0] > 0
    assert np.trace(covariances[-1]) < np.trace(covariances[0])
    # the errors are of the size that the covariance says
    message = drive["pose"][-1]
    error = convert.pose_to_matrix(message.pose.pose)[:3, 3] - truth_at(stamp_of(message))[:3, 3]
    assert error @ np.linalg.solve(covariances[-1][:3, :3], error) < 30


def test_tf_joins_map_and_odom(drive):
    transform = drive["tf"].lookup_transform("map", "odom", Time())
    # odometry begins at the first image, without drift
    metres, degrees = pose_error(convert.transform_to_matrix(transform.transform), truth_at(START))
    assert metres < 0.3 and degrees < 1.5
    # the robot's own transform is the odometry's to publish
    assert not drive["tf"].can_transform("odom", "base_link", Time())


def test_path_and_status_follow_the_poses(drive):
    stamps = {stamp_of(m) for m in drive["pose"]}
    assert {stamp_of(p) for p in drive["path"][-1].poses} <= stamps
    values = {v.key: v.value for v in drive["status"][-1].status[0].values}
    assert values["state"] in ("INITIALIZING", "TRACKING")
    assert (values["motion"], values["accepted"]) == ("odometry", "1")
    assert stamps <= {stamp_of(m) for m in drive["status"]}


def test_diagnostics_tell_how_it_goes(drive):
    status = {s.name.removeprefix("/localizer_node: "): s for s in drive["diagnostics"][-1].status}
    assert set(status) == {"localization", "camera", "network", "map"}
    values = {v.key: int(v.value) for v in status["camera"].values if v.key.startswith("images")}
    assert 0 < values["images_received"] <= 25
    assert values["images_dropped"] < values["images_received"]


def test_the_map_is_latched_and_the_overlay_drawn(drive):
    assert len(point_cloud2.read_points(drive["map_cloud"][0])) == 20_000
    picture = convert.image_to_array(drive["overlay"][0])
    assert picture.shape == (48, 160, 3)
    assert drive["overlay"][0].header.frame_id == "camera_optical_frame"


def test_the_recorder_heard_the_same(drive):
    record = read_recording(drive["recording"])
    assert isinstance(record, RunRecord)
    messages = {stamp_of(m): m for m in drive["pose"]}
    assert len(record) >= 5
    for stamp, pose in zip(record.stamps_ns, record.poses, strict=True):
        np.testing.assert_allclose(pose, convert.pose_to_matrix(messages[stamp].pose.pose), atol=1e-9)
    assert (record.latency_ms > 0).all() and (np.diff(record.arrival_s) >= 0).all()


def test_everything_was_played_and_ended_well(drive):
    code, out, _ = drive["played"]
    assert (code, "played 101 messages" in out) == (0, True)
    code, _, err = drive["ended"]
    assert (code, "Traceback" in err, "terminate" in err) == (0, False, False)


def test_it_waits_for_initialpose_and_publishes_base_link_where_asked(world, ros):
    poses = ros.collect(PoseWithCovarianceStamped, "pose")
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    buffer = Buffer(cache_time=Duration(seconds=60))
    buffer.listener = TransformListener(buffer, ros.node)  # the real one listens for as long as it lives
    initial = ros.node.create_publisher(PoseWithCovarianceStamped, "initialpose", 1)
    with localizer(world, tf_child="base_link") as node, player(world, "--loop"):
        assert wait_until(lambda: any("waiting for initialpose" in m.status[0].message for m in diagnostics), 60)
        assert not poses
        start = convert.to_pose_with_covariance(truth_at(START + 1_000_000_000), np.diag([9.0, 9, 9, 0.1, 0.1, 0.1]))
        for _ in range(20):
            initial.publish(PoseWithCovarianceStamped(header=convert.header(0, "map"), pose=start))
            # given just before the bag begins anew, it is forgotten with everything else
            if wait_until(lambda: len(poses) > 3, 3):
                break
        assert len(poses) > 3
        assert wait_until(lambda: buffer.can_transform("map", "base_link", Time()))
        assert not buffer.can_transform("map", "odom", Time())
        # the robot is there at the time of an image, and not a tenth of a second later
        stamp_ns = stamp_of(buffer.lookup_transform("map", "base_link", Time()))
        assert wait_until(lambda: stamp_ns in map(stamp_of, poses))
        code, _, err = node.end(signal.SIGTERM, 30)
    assert code == 0 and "track: TRACKING" in err


def test_two_robots_are_told_apart(world, ros):
    """Each in its namespace: topics, parameters and the names on /diagnostics."""
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    shipped = Path(__file__).parents[2] / "config" / "localizer.param.yaml"
    arguments = [*ros_parameters(map_path=world / "walls.lhmap"), "-r", "__ns:=/robot1", "--params-file", shipped]
    with Process(LOCALIZER, world / "bag", *arguments) as node:
        assert wait_until(lambda: len(diagnostics) > 1 and len(diagnostics[-1].status) == 4, 60)
        topics = dict(ros.node.get_topic_names_and_types())
        assert {"/robot1/pose", "/robot1/image", "/robot1/initialpose", "/robot1/map_cloud"} <= set(topics)
        assert {s.hardware_id for s in diagnostics[-1].status} == {"/robot1/localizer_node"}
        assert "/robot1/localizer_node: camera" in [s.name for s in diagnostics[-1].status]
        assert node.end(signal.SIGTERM, 30)[0] == 0


def test_a_parameter_file_for_a_node_of_another_name_is_told(world, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("localizer_node:\n  ros__parameters:\n    image_delay_s: 0.5\n")
    given = [*ros_parameters(map_path=world / "walls.lhmap"), "--params-file", file]
    with Process("-m", "lhmap_loc_ros.nodes.localizer_node", *given, "-r", "__ns:=/robot1") as node:
        code, _, err = node.end(None, 60)
    assert (code, err.count("\n")) == (2, 1)
    assert "mine.yaml" in err and "/robot1/localizer_node" in err and "/**/localizer_node" in err


def test_it_says_what_it_waits_for(world, ros):
    with localizer(world) as node:
        assert wait_until(lambda: ros.node.count_subscribers("/camera/image_raw") == 1)
        time.sleep(8)
        code, _, err = node.end(signal.SIGTERM, 30)
    assert code == 0 and err.count("no image has come on /camera/image_raw") == 1


def test_a_missing_map_is_one_clear_line(world):
    arguments = ros_parameters(map_path=world / "nowhere.lhmap")
    with Process("-m", "lhmap_loc_ros.nodes.localizer_node", *arguments) as node:
        code, _, err = node.end(None, 60)
    assert code == 2
    assert err.count("\n") == 1 and "nowhere.lhmap" in err


def test_a_fault_while_it_is_configured_is_told(world, monkeypatch, capfd):
    def fails(config):
        raise ImportError("No module named 'onnxruntime'")

    monkeypatch.setattr(localizer_node, "make_refiner", fails)
    code = localizer_node.run_localizer(["node", *ros_parameters(map_path=world / "walls.lhmap")])
    assert code == 1 and "error: ImportError: No module named 'onnxruntime'" in capfd.readouterr().err


def test_a_foreign_map_is_named(world):
    foreign = world / "foreign.lhmap"
    foreign.write_bytes(b"something else entirely")
    with Process("-m", "lhmap_loc_ros.nodes.localizer_node", *ros_parameters(map_path=foreign)) as node:
        code, _, err = node.end(None, 60)
    assert (code, "foreign.lhmap" in err, "Traceback" in err) == (2, True, False)


def test_the_networks_themselves_run_in_the_node(world, ros, untrained_flow, monkeypatch):
    # untrained: they know nothing, and the node must say so rather than claim to track
    monkeypatch.setenv("LHMAP_MODELS", str(untrained_flow[-1]))
    status = ros.collect(DiagnosticArray, "status")
    # an iteration each: with more, networks that know nothing walk out of the map
    arguments = ros_parameters(map_path=world / "walls.lhmap", **near_start(), **{"refiner.max_iterations": 1})
    node = Process(FOLDER / "localizer_of_one_iteration.py", *arguments, *TOPICS)
    with node, player(world, "--loop"):
        assert wait_until(lambda: len(status) > 9, 120)
        assert node.end(seconds=30)[0] == 0
    told = [{v.key: v.value for v in message.status[0].values} for message in status]
    assert all(float(values["refine_ms"]) > 0 and values["state"] != "TRACKING" for values in told)
    # and some images lead out of the map even so
    assert any(int(values["matches"]) > 0 for values in told)


def test_missing_networks_are_one_clear_line(world, tmp_path, monkeypatch):
    monkeypatch.setenv("LHMAP_MODELS", str(tmp_path))
    arguments = ros_parameters(map_path=world / "walls.lhmap")
    with Process("-m", "lhmap_loc_ros.nodes.localizer_node", *arguments) as node:
        code, _, err = node.end(None, 60)
    assert (code, err.count("\n"), str(tmp_path) in err) == (2, 1, True)
