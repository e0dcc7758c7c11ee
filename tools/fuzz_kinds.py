# SPDX-License-Identifier: Apache-2.0
"""The inputs that tools/fuzz_inputs.py corrupts: a small good one of each kind, and what reads it to the end."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rosbags.convert.converter import convert
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.decoding import decode_calibration
from lhmap_loc_ros.datasets.messages import Image, Scan
from lhmap_loc_ros.datasets.moving_frames import trajectory_from_tf
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import read_trajectory, write_tum
from lhmap_loc_ros.errors import InputError, LhmapError
from lhmap_loc_ros.geometry import make_pose, se3_exp
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map
from lhmap_loc_ros.localization.inputs import BagInputs, images, read_odometry, read_setup

START, STEP = 1_700_000_000 * 10**9, 10**8
WIDTH, HEIGHT = 24, 16
MATRIX = np.array([[20.0, 0, 12], [0, 20, 8], [0, 0, 1]])
LOOKING_AHEAD = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [1.2, 0.1, 1.6])


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    suffix: str
    write: Callable[[Path], None]
    """Writes a good one."""
    read: Callable[[Path], None]
    """Reads all of it as the commands do; raises InputError, and AssertionError for a result that cannot be right."""
    text: bool = False


def _write_drive(path: Path) -> None:
    with BagWriter(path) as bag:
        bag.tf_static(START, {("base_link", "camera"): LOOKING_AHEAD, ("base_link", "lidar"): np.eye(4)})
        random = np.random.default_rng(0)
        for k in range(4):
            stamp, pose = START + k * STEP, se3_exp(np.array([0.6, 0, 0, 0, 0, 0.1]) * k)
            bag.tf(stamp, {("map", "odom"): np.eye(4), ("odom", "base_link"): pose})
            bag.odometry("/odom", stamp, "odom", "base_link", pose)
            bag.camera_info("/camera/camera_info", stamp, "camera", WIDTH, HEIGHT, MATRIX, (0.1, 0, 0, 0, 0))
            picture = random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
            bag.image("/camera/image_raw", stamp, "camera", picture)
            times = np.linspace(0, 0.09, 50)
            bag.points("/points", stamp, "lidar", random.normal(0, 9, (50, 3)), random.random(50), time=times)


def _write_bag(path: Path, plugin: StoragePlugin) -> None:
    """That drive and some JPEGs as one file, messages not compressed: more of them are hit than blocks."""
    store = get_typestore(Stores.ROS2_JAZZY)
    compressed = store.types["sensor_msgs/msg/CompressedImage"]
    with tempfile.TemporaryDirectory() as folder:
        drive, bag = Path(folder) / "drive", Path(folder) / "bag"
        _write_drive(drive)
        with AnyReader([drive]) as reader, Writer(bag, version=9, storage_plugin=plugin) as writer:
            kinds = {c.topic: c.msgtype for c in reader.connections}
            connections = {t: writer.add_connection(t, kind, typestore=store) for t, kind in kinds.items()}
            jpegs = writer.add_connection("/jpeg", compressed.__msgtype__, typestore=store)
            for connection, stamp, data in reader.messages():
                writer.write(connections[connection.topic], stamp, data)
                if connection.topic == "/camera/image_raw":
                    message = reader.deserialize(data, connection.msgtype)
                    pixels = cv2.imencode(".jpg", message.data.reshape(HEIGHT, WIDTH, 3))[1]
                    jpeg = compressed(message.header, "jpeg", pixels.ravel())
                    writer.write(jpegs, stamp, store.serialize_cdr(jpeg, jpeg.__msgtype__))
        shutil.move(next(bag.glob("*[!l]")), path)


def _write_mcap(path: Path) -> None:
    _write_bag(path, StoragePlugin.MCAP)


def _write_compressed(path: Path) -> None:
    """As our own writer does."""
    with tempfile.TemporaryDirectory() as folder:
        _write_drive(Path(folder) / "drive")
        shutil.move(next((Path(folder) / "drive").glob("*.mcap")), path)


def _write_db3(path: Path) -> None:
    _write_bag(path, StoragePlugin.SQLITE3)


def _write_ros1(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _write_mcap(Path(folder) / "drive.mcap")
        old, new = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_JAZZY)
        convert([Path(folder) / "drive.mcap"], path, "", 9, None, "", new, old, [], [], [], [])


def _read_bag(path: Path) -> None:
    """The camera and its images, scans, odometry and transforms; one that is refused does not stop the others."""
    refused = None
    with BagReader(path) as reader:
        for read in (_camera, _jpegs, _scans, _odometry, _tf):
            try:
                read(reader)
            except InputError as error:
                refused = refused or error
        # a message is left out, but none may ask for more memory than there is
        damaged = [reason for reason in reader.left_out.counts if "allocate" in reason or "MemoryError" in reason]
        assert not damaged, damaged[0]
    if refused is not None:
        raise refused


def _camera(reader: BagReader) -> None:
    inputs = BagInputs()
    setup = read_setup(reader, inputs)
    assert np.isfinite(setup.T_base_camera).all()
    for _, image in images(reader, inputs, setup):
        assert image.ndim == 3


def _jpegs(reader: BagReader) -> None:
    for message in reader.messages([t for t in ("/jpeg",) if t in reader.topics]):
        assert isinstance(message, Image) and message.image.dtype == np.uint8 and message.image.ndim == 3


def _scans(reader: BagReader) -> None:
    for scan in reader.messages(["/points"]):
        assert isinstance(scan, Scan) and np.isfinite(scan.points).all() and np.isfinite(scan.intensity).all()
        assert scan.offsets_ns is None or len(scan.offsets_ns) == len(scan.points)


def _odometry(reader: BagReader) -> None:
    odometry = read_odometry(reader, BagInputs())
    assert odometry is None or np.isfinite(odometry.poses).all()


def _tf(reader: BagReader) -> None:
    found = trajectory_from_tf(reader, "/tf", "map", "base_link", "/tf_static")
    assert found is None or np.isfinite(found.poses).all()


def _map_points() -> MapPoints:
    random = np.random.default_rng(1)
    points = random.uniform(0, 60, (800, 3)).astype(np.float32)
    return MapPoints(points, random.random(800, np.float32), random.random(800, np.float32), np.zeros(3))


def _write_lhmap(path: Path) -> None:
    write_map(path, _map_points(), MapMetadata(path_length_m=60.0, path=np.zeros((20, 4))))


def _read_lhmap(path: Path) -> None:
    whole = path.with_name("whole.lhmap")
    if not whole.exists():
        _write_lhmap(whole)
    with LHMap.open(path) as lhmap, LHMap.open(whole) as expected:
        lhmap.verify()
        lhmap.info()
        found, known = lhmap.all_points(), expected.all_points()
        crop = lhmap.crop((30.0, 30.0, 0.0), 30.0)
    assert np.array_equal(found.points, known.points) and len(crop), "points of another map"


def _write_cloud(path: Path) -> None:
    from lhmap_loc_ros.datasets.clouds import Cloud, write_cloud

    points = _map_points()
    write_cloud(path, Cloud(points.points.astype(float), points.intensity, points.heat))


def _write_text_pcd(path: Path) -> None:
    from pypcd4 import Encoding, PointCloud

    points = _map_points()
    fields = ("x", "y", "z", "intensity")
    cloud = PointCloud.from_points([*points.points[:60].T, points.intensity[:60]], fields, (np.float32,) * 4)
    cloud.save(path, Encoding.ASCII)


def _write_packed_pcd(path: Path) -> None:
    from pypcd4 import Encoding, PointCloud

    points = _map_points().points
    PointCloud.from_points(list(points.T), ("x", "y", "z"), (np.float32,) * 3).save(path, Encoding.BINARY_COMPRESSED)


def _read_cloud(path: Path) -> None:
    from lhmap_loc_ros.datasets.clouds import read_cloud

    cloud = read_cloud(path)
    assert np.isfinite(cloud.xyz).all() and cloud.xyz.shape[1] == 3
    for values in (cloud.intensity, cloud.heat):
        assert values is None or (len(values) == len(cloud) and np.isfinite(values).all())


def _write_tum(path: Path) -> None:
    poses = np.array([se3_exp(np.array([0.6, 0, 0, 0, 0, 0.1]) * k) for k in range(30)])
    write_tum(path, Trajectory(START + STEP * np.arange(30), poses))


def _read_poses(path: Path) -> None:
    assert np.isfinite(read_trajectory(path).at(START)).all()


def _write_config(path: Path) -> None:
    from lhmap_loc_ros.configuration import dump
    from lhmap_loc_ros.localization.offline import LocalizeConfig

    path.write_text(dump(LocalizeConfig()))


def _read_config(path: Path) -> None:
    from lhmap_loc_ros.configuration import dump, load
    from lhmap_loc_ros.localization.offline import LocalizeConfig

    dump(load(LocalizeConfig, path))


def _write_calibration(path: Path) -> None:
    path.write_text(
        "image_width: 24\nimage_height: 16\ncamera_name: front\n"
        "camera_matrix: {rows: 3, cols: 3, data: [20.0, 0, 12, 0, 20.0, 8, 0, 0, 1]}\n"
        "distortion_model: plumb_bob\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.02, 0, 0, 0]}\n"
        "projection_matrix: {rows: 3, cols: 4, data: [20.0, 0, 12, 0, 0, 20.0, 8, 0, 0, 0, 1, 0]}\n"
    )


def _read_calibration(path: Path) -> None:
    from lhmap_loc_ros.datasets.calibration_files import read_calibration

    _undistort(read_calibration(path))


def _write_camera_info(path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 0), "camera")
    region = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    lens, projection = np.array([0.1, 0.01, 0.0, 0.0]), np.hstack([MATRIX, np.zeros((3, 1))]).ravel()
    message = types["sensor_msgs/msg/CameraInfo"](
        header, HEIGHT, WIDTH, "equidistant", lens, MATRIX.ravel(), np.eye(3).ravel(), projection, 1, 1, region
    )
    path.write_bytes(store.serialize_cdr(message, message.__msgtype__))


def _read_camera_info(path: Path) -> None:
    try:
        message = get_typestore(Stores.ROS2_JAZZY).deserialize_cdr(path.read_bytes(), "sensor_msgs/msg/CameraInfo")
    except Exception as error:  # as of a message in a bag
        raise InputError(f"damaged: {error!r}") from None
    _undistort(decode_calibration(message))


def _undistort(calibration) -> None:
    for rectified in (False, True):
        rectifier = calibration.rectifier((WIDTH, HEIGHT), rectified)
        views = rectifier.views(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        assert rectifier.rig is not None and views is not None


def _write_parameters(path: Path) -> None:
    settings = Path(__file__).resolve().parent.parent / "config" / "localizer.param.yaml"
    path.write_text(settings.read_text().replace("# map_path", "map_path"))


class _Read(LhmapError):
    """Ends a node as soon as it has read its parameters."""

    exit_code = 0


def _read_parameters(path: Path) -> None:
    """Starts localizer_node as far as its parameters."""
    from rclpy.node import Node

    from lhmap_loc_ros.nodes.localizer_config import LocalizerConfig
    from lhmap_loc_ros.nodes.parameters import declare
    from lhmap_loc_ros.nodes.runtime import run

    def make_node():
        node = Node("localizer_node")
        try:
            declare(node, LocalizerConfig, "localizer_node")
        finally:
            node.destroy_node()
        raise _Read("read")

    sys.argv = ["localizer_node", "--ros-args", "--params-file", str(path)]
    if run(make_node, sys.argv):
        raise InputError("told on stderr")


KINDS = {
    "mcap": Kind(".mcap", _write_mcap, _read_bag),
    "mcap-zstd": Kind(".mcap", _write_compressed, _read_bag),
    "sqlite3": Kind(".db3", _write_db3, _read_bag),
    "ros1": Kind(".bag", _write_ros1, _read_bag),
    "lhmap": Kind(".lhmap", _write_lhmap, _read_lhmap),
    "pcd": Kind(".pcd", _write_cloud, _read_cloud),
    "pcd-packed": Kind(".pcd", _write_packed_pcd, _read_cloud),
    "pcd-text": Kind(".pcd", _write_text_pcd, _read_cloud, text=True),
    "ply": Kind(".ply", _write_cloud, _read_cloud),
    "las": Kind(".las", _write_cloud, _read_cloud),
    "laz": Kind(".laz", _write_cloud, _read_cloud),
    "tum": Kind(".tum", _write_tum, _read_poses, text=True),
    "config": Kind(".yaml", _write_config, _read_config, text=True),
    "calibration": Kind(".yaml", _write_calibration, _read_calibration, text=True),
    "camera_info": Kind(".cdr", _write_camera_info, _read_camera_info),
    "parameters": Kind(".yaml", _write_parameters, _read_parameters, text=True),
}
