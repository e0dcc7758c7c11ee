# SPDX-License-Identifier: Apache-2.0
"""Bags of every kind come out as the same arrays; what is wrong with one is said in one line."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.messages import Scan
from lhmap_loc_ros.datasets.moving_frames import trajectory_from_odometry, trajectory_from_tf
from lhmap_loc_ros.errors import BagError, InputError, MapFormatError
from lhmap_loc_ros.geometry import se3_exp
from lhmap_loc_ros.lhmap import LHMap

STAMP = 1_700_000_000_123_456_789
XYZ = np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0], [-7.0, 8.0, 9.5]], np.float32)
POSE = se3_exp([1, 2, 3, 0.1, -0.2, 0.3])


@pytest.fixture
def bag(tmp_path):
    """One message of each kind."""
    path = tmp_path / "bag"
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    with BagWriter(path) as writer:
        writer.tf_static(STAMP, {("base_link", "lidar"): POSE, ("base_link", "camera"): np.eye(4)})
        writer.tf(STAMP, {("map", "odom"): np.eye(4), ("odom", "base_link"): POSE})
        writer.points("/points", STAMP, "lidar", XYZ, np.array([0.1, 0.2, 0.9]), time=np.array([0.0, 0.05, 0.1]))
        writer.image("/image", STAMP, "camera", image)
        writer.image("/grey", STAMP, "camera", image[..., 0])
        writer.camera_info("/info", STAMP, "camera", 6, 4, [[5, 0, 3], [0, 5, 2], [0, 0, 1]])
        writer.odometry("/odom", STAMP, "odom", "base_link", POSE, pose_covariance=np.eye(6))
    return path


def only(path, topic, **options):
    with BagReader(path, **options) as reader:
        messages = list(reader.messages([topic]))
    assert len(messages) == 1
    return messages[0]


def test_points(bag):
    scan = only(bag, "/points")
    assert (scan.topic, scan.stamp_ns, scan.frame) == ("/points", STAMP, "lidar")
    np.testing.assert_array_equal(scan.points, XYZ[[0, 2]])
    np.testing.assert_allclose(scan.intensity, [0.1, 0.9], atol=1e-6)
    np.testing.assert_allclose(scan.offsets_ns, [0, 100_000_000], atol=10)


def test_images_are_rgb(bag):
    colour, grey = only(bag, "/image").image, only(bag, "/grey").image
    np.testing.assert_array_equal(colour.ravel(), np.arange(72))
    assert grey.shape == (4, 6, 3)
    np.testing.assert_array_equal(grey, np.repeat(colour[..., :1], 3, axis=2))


def test_camera_odometry_and_transforms(bag):
    with BagReader(bag) as reader:
        assert reader.camera_info("/info").rectifier().camera.fx == 5
        tree = reader.static_transforms()
        odometry = trajectory_from_odometry(reader, "/odom", "base_link", "/tf_static")
        transforms = list(reader.messages(["/tf"]))
        assert reader.count("/tf") == 1 and reader.topics["/points"] == "sensor_msgs/msg/PointCloud2"
    np.testing.assert_allclose(tree.lookup("camera", "lidar"), POSE, atol=1e-12)
    np.testing.assert_allclose(tree.lookup("lidar", "base_link"), np.linalg.inv(POSE), atol=1e-12)
    np.testing.assert_allclose(odometry.at(STAMP), POSE, atol=1e-12)
    assert [(t.frame, t.child) for t in transforms] == [("map", "odom"), ("odom", "base_link")]
    np.testing.assert_array_equal(only(bag, "/odom").covariance, np.eye(6))


def test_messages_of_several_topics_keep_their_order(tmp_path):
    with BagWriter(tmp_path / "b") as writer:
        for k in range(6):
            writer.points(f"/p{k % 2}", STAMP + k, "lidar", XYZ)
    with BagReader(tmp_path / "b") as reader:
        assert [m.stamp_ns - STAMP for m in reader.messages(["/p0", "/p1"])] == list(range(6))
        assert [m.stamp_ns - STAMP for m in reader.messages(["/p1"], STAMP + 2, STAMP + 5)] == [3]


# --- other kinds of bags, written message by message ------------------------------------------------------


def cloud(types, fields, array, stamp_ns=STAMP, big_endian=False, ros1=False):
    """A PointCloud2 of a structured array; `fields` are (name, datatype)."""
    field = types["sensor_msgs/msg/PointField"]
    out = [field(name, array.dtype.fields[name][1], datatype, 1) for name, datatype in fields]
    time = types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
    head = {"seq": 0} if ros1 else {}
    header = types["std_msgs/msg/Header"](stamp=time, frame_id="lidar", **head)
    data = array.view(np.uint8).ravel()
    return types["sensor_msgs/msg/PointCloud2"](
        header, 1, len(array), out, big_endian, array.itemsize, data.size, data, True
    )


def write_rosbag2(path, topics, plugin=StoragePlugin.SQLITE3, packed=None):
    """topics: {name: [(stamp, message maker)]}, the maker called with the types."""
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(path, version=9, storage_plugin=plugin)
    if packed is not None:
        writer.set_compression(packed, CompressionFormat.ZSTD)
    with writer:
        for topic, messages in topics.items():
            made = [(stamp, make(store.types)) for stamp, make in messages]
            connection = writer.add_connection(topic, made[0][1].__msgtype__, typestore=store)
            for stamp, message in made:
                writer.write(connection, stamp, store.serialize_cdr(message, message.__msgtype__))
    return path


OUSTER = np.array([(1.5, 2, 3, 700, 0), (4, 5, 6, 255, 99_000_000)],
                  np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("t", "<u4")]))  # fmt: skip
OUSTER_FIELDS = [("x", 7), ("y", 7), ("z", 7), ("intensity", 7), ("t", 6)]


def test_sqlite3_with_nanosecond_times(tmp_path):
    path = write_rosbag2(tmp_path / "b", {"/points": [(STAMP, lambda t: cloud(t, OUSTER_FIELDS, OUSTER))]})
    scan = only(path, "/points")
    np.testing.assert_array_equal(scan.offsets_ns, [0, 99_000_000])
    np.testing.assert_allclose(scan.intensity, [700, 255])


def test_absolute_times_in_seconds_and_big_endian(tmp_path):
    dtype = np.dtype([("x", ">f8"), ("y", ">f8"), ("z", ">f8"), ("intensity", ">u1"), ("timestamp", ">f8")])
    array = np.array([(1, 2, 3, 255, STAMP / 1e9), (4, 5, 6, 51, STAMP / 1e9 + 0.1)], dtype)
    fields = [("x", 8), ("y", 8), ("z", 8), ("intensity", 2), ("timestamp", 8)]
    path = write_rosbag2(tmp_path / "b", {"/points": [(STAMP, lambda t: cloud(t, fields, array, big_endian=True))]})
    scan = only(path, "/points")
    np.testing.assert_array_equal(scan.points, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(scan.intensity, [255, 51])
    # float64 seconds of today are good to some 200 ns
    np.testing.assert_allclose(scan.offsets_ns, [0, 100_000_000], atol=500)


def test_rows_whose_step_is_not_told_have_no_gaps(tmp_path):
    def make(step, types, rows=2):
        whole = cloud(types, OUSTER_FIELDS, np.tile(OUSTER, rows))
        return dataclasses.replace(whole, height=rows, width=2, row_step=step)

    path = write_rosbag2(tmp_path / "b", {
        "/0": [(STAMP, partial(make, 0))], "/40": [(STAMP, partial(make, 40))], "/39": [(STAMP, partial(make, 39))],
    })  # fmt: skip
    np.testing.assert_array_equal(only(path, "/0").points, only(path, "/40").points)
    assert len(only(path, "/0").points) == 4
    with pytest.raises(BagError, match="2x2 points has 80 bytes in rows of 39, expected 2 rows of at least 40"):
        only(path, "/39")


def test_times_of_an_unknown_unit_are_refused(tmp_path):
    array = OUSTER.copy()
    array["t"] = [0, 4_000_000_000]
    path = write_rosbag2(tmp_path / "b", {"/points": [(STAMP, lambda t: cloud(t, OUSTER_FIELDS, array))]})
    with pytest.raises(BagError, match=r"'t'.*between 0 and 4 s.*at most 2 s"):
        only(path, "/points")


@pytest.mark.parametrize("lost", (np.nan, 0.0))
def test_times_of_lost_returns_do_not_count(tmp_path, lost):
    """An organised cloud keeps a place for each beam, whether an echo came back or not."""
    dtype = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("timestamp", "<f8")])
    now = STAMP / 1e9
    array = np.array([(np.nan, np.nan, np.nan, lost), (1, 2, 3, now), (4, 5, 6, now + 0.1)], dtype)
    fields = [("x", 7), ("y", 7), ("z", 7), ("timestamp", 8)]
    path = write_rosbag2(tmp_path / "b", {"/points": [(STAMP, lambda t: cloud(t, fields, array))]})
    scan = only(path, "/points")
    np.testing.assert_array_equal(scan.points, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(scan.offsets_ns, [0, 100_000_000], atol=500)
    array["x"][0] = array["y"][0] = array["z"][0] = 7
    path = write_rosbag2(tmp_path / "c", {"/points": [(STAMP, lambda t: cloud(t, fields, array))]})
    with pytest.raises(BagError, match="not finite|expected a sweep"):
        only(path, "/points")


def test_ros1_bag(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / "old.bag"
    with Writer1(path) as writer:
        message = cloud(store.types, OUSTER_FIELDS, OUSTER, ros1=True)
        connection = writer.add_connection("/points", message.__msgtype__, typestore=store)
        writer.write(connection, STAMP, store.serialize_ros1(message, message.__msgtype__))
    scan = only(path, "/points")
    np.testing.assert_array_equal(scan.points, [[1.5, 2, 3], [4, 5, 6]])
    assert scan.stamp_ns == STAMP


def image(encoding, pixels, compressed=None):
    def make(types):
        header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 0), "camera")
        if compressed is not None:
            return types["sensor_msgs/msg/CompressedImage"](header, encoding, np.frombuffer(compressed, np.uint8))
        # rows padded by one byte
        rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, 1)))
        return types["sensor_msgs/msg/Image"](
            header, len(pixels), pixels.shape[1], encoding, 0, rows.shape[1], rows.ravel()
        )

    return make


def test_other_encodings(tmp_path):
    import cv2

    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[:] = (200, 100, 50)
    png = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    bgra = np.dstack([rgb[..., ::-1], np.full((4, 6), 9, np.uint8)])
    topics = {
        "/bgr": [(1, image("bgr8", np.ascontiguousarray(rgb[..., ::-1])))],
        "/bgra": [(1, image("bgra8", bgra))],
        "/png": [(1, image("png", None, png))],
        "/depth": [(1, image("16UC1", np.zeros((4, 6, 2), np.uint8)))],
        "/broken": [(1, image("jpeg", None, b"no picture"))],
    }
    path = write_rosbag2(tmp_path / "b", topics)
    for topic in ("/bgr", "/bgra", "/png"):
        np.testing.assert_array_equal(only(path, topic).image, rgb, err_msg=topic)
    with pytest.raises(BagError, match="encoding '16UC1' found, expected one of rgb8"):
        only(path, "/depth")
    with pytest.raises(BagError, match="'jpeg', 10 bytes.*cannot be decoded"):
        only(path, "/broken")


# --- what can be wrong -----------------------------------------------------------------------------------------


def test_missing_topics_are_named_with_what_there_is(bag):
    with BagReader(bag) as reader:
        with pytest.raises(BagError, match=r"no topic /lidar; the bag has: /grey .*, /points \(sensor_msgs"):
            list(reader.messages(["/lidar"]))
        with pytest.raises(BagError, match="CameraInfo"):
            reader.camera_info("/odom")
        with pytest.raises(BagError, match=r"/grey is of type sensor_msgs/msg/Image, expected sensor_msgs/msg/PointCl"):
            next(reader.messages_as(Scan, "/grey"))
        for read in (
            lambda: trajectory_from_tf(reader, "/odom", "map", "base_link"),
            lambda: trajectory_from_odometry(reader, "/points", "base_link", "/tf_static"),
            lambda: reader.static_transforms("/points"),
        ):
            with pytest.raises(BagError, match=r"/(odom|points) is of type .*, expected (tf2|nav)_msgs"):
                read()
        with pytest.raises(BagError, match="no transform from 'gps' to 'lidar'; the known frames are base_link"):
            reader.static_transforms().lookup("lidar", "gps")


def test_missing_and_foreign_bags(tmp_path):
    with pytest.raises(BagError, match="no such bag"):
        BagReader(tmp_path / "nowhere")
    (tmp_path / "text.bag").write_text("hello")
    with pytest.raises(BagError, match=r"text.bag: not a readable bag"):
        BagReader(tmp_path / "text.bag")
    with pytest.raises(BagError, match=r"a folder without metadata.yaml found, expected a rosbag2$"):
        BagReader(tmp_path)
    for name in ("query", "mapping"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.yaml").write_text("")
    with pytest.raises(BagError, match="bags in it: mapping, query"):
        BagReader(tmp_path)
    with pytest.raises(BagError, match="maping: no such bag; bags in .*: mapping, query"):
        BagReader(tmp_path / "maping")
    (tmp_path / "campus.lhmap").write_bytes(b"")
    with pytest.raises(BagError, match="an LHMap found, expected a bag"):
        BagReader(tmp_path / "campus.lhmap")
    with pytest.raises(MapFormatError, match="a bag found, expected an LHMap"):
        LHMap.open(tmp_path / "query")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.99])
def test_truncated_bags(bag, share):
    (file,) = bag.glob("*.mcap")
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BagError, match=r"bag: (not a readable bag|damaged)"), BagReader(bag) as reader:
        list(reader.messages(list(reader.topics)))


def test_damaged_messages(bag):
    (file,) = bag.glob("*.mcap")
    content = bytearray(file.read_bytes())
    for k in range(400, 900):
        content[k] ^= 0x5A
    file.write_bytes(content)
    with pytest.raises(BagError, match="bag: "), BagReader(bag) as reader:
        list(reader.messages(list(reader.topics)))


def test_uncalibrated_camera(tmp_path):
    with BagWriter(tmp_path / "b") as writer:
        writer.camera_info("/info", STAMP, "camera", 6, 4, np.zeros((3, 3)))
    with BagReader(tmp_path / "b") as reader, pytest.raises(InputError, match="not calibrated: fx is 0"):
        reader.camera_info("/info")


@pytest.mark.parametrize("damage", ["metadata", "last file"])
def test_of_a_recording_that_broke_off_the_sound_files_are_read(bag, caplog, damage):
    if damage == "metadata":
        (bag / "metadata.yaml").write_text("rosbag2_bagfile_information:\n  version: 9\n")
    else:
        (bag / "metadata.yaml").unlink()
        whole = next(bag.glob("*.mcap"))
        (bag / "bag_1.mcap").write_bytes(whole.read_bytes()[:500])
    assert only(bag, "/points").stamp_ns == STAMP
    assert "bag.mcap read" in caplog.text and ("bag_1.mcap (" in caplog.text) == (damage == "last file")


@pytest.mark.parametrize("plugin", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize("packed", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_recordings_are_read_however_they_are_named(tmp_path, plugin, packed):
    topics = {"/points": [(STAMP, lambda t: cloud(t, OUSTER_FIELDS, OUSTER))]}
    path = write_rosbag2(tmp_path / "b", topics, plugin, packed)
    file = next(file for file in path.iterdir() if file.name != "metadata.yaml")
    for name in (path, file, path / "metadata.yaml"):
        assert only(name, "/points").stamp_ns == STAMP
    (path / "metadata.yaml").unlink()
    for name in (path, file):
        if packed is CompressionMode.MESSAGE:
            assert only(name, "/points").stamp_ns == STAMP
        else:
            with pytest.raises(BagError, match=f"{file.name}: compressed as a whole, .* unzstd$"):
                BagReader(name)


def test_poses_that_are_not_finite(tmp_path):
    def odometry(types):
        t = types
        header = t["std_msgs/msg/Header"](t["builtin_interfaces/msg/Time"](1, 0), "odom")
        pose = t["geometry_msgs/msg/Pose"](
            t["geometry_msgs/msg/Point"](np.nan, 0.0, 0.0), t["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
        )
        return t["geometry_msgs/msg/PoseStamped"](header, pose)

    path = write_rosbag2(tmp_path / "b", {"/pose": [(1, odometry)]})
    with pytest.raises(BagError, match="b: pose is not finite: translation"):
        only(path, "/pose")


def test_broken_pictures_and_empty_clouds_among_good_ones_are_left_out(tmp_path):
    import cv2

    jpeg = cv2.imencode(".jpg", np.zeros((4, 6, 3), np.uint8))[1].tobytes()
    good, empty = partial(cloud, fields=OUSTER_FIELDS, array=OUSTER), partial(cloud, fields=[], array=OUSTER[:0])
    topics = {
        "/image": [(1, image("jpeg", None, jpeg)), (2, image("jpeg", None, jpeg[:50])), (3, image("jpeg", None, jpeg))],
        "/points": [(1, good), (2, lambda t: dataclasses.replace(empty(t), point_step=0)), (3, good)],
    }
    with BagReader(write_rosbag2(tmp_path / "b", topics)) as reader:
        for _ in range(2):  # what is read twice counts once
            assert len(list(reader.messages(["/image"]))) == len(list(reader.messages(["/points"]))) == 2
        assert sorted((words.split(":")[0], n) for words, n in reader.left_out.counts.items()) == [
            ("/image", 1), ("/points", 1)
        ]  # fmt: skip


def test_a_channel_that_is_none_of_ros_does_not_spoil_the_others(bag, monkeypatch):
    from rosbags.rosbag2 import storage_mcap

    read = storage_mcap.McapReader.read_index

    def with_foreign_schema(self):
        self.schemas[999] = storage_mcap.Schema(999, "foxglove.Log", "protobuf", "")
        read(self)
        self.connections.append(
            self.connections[0]._replace(
                id=999, topic="/log", msgtype="foxglove.Log", msgdef=storage_mcap.get_msgdef(self.schemas[999]),
                ext=self.connections[0].ext._replace(serialization_format="protobuf"),
            )
        )  # fmt: skip

    monkeypatch.setattr(storage_mcap.McapReader, "read_index", with_foreign_schema)
    with BagReader(next(bag.glob("*.mcap"))) as reader:
        assert len(list(reader.messages(["/points"]))) == 1 and "/log" not in reader.topics
        with pytest.raises(BagError, match=r"/log cannot be read: foxglove.Log in protobuf, expected cdr"):
            reader.require("/log")
