# SPDX-License-Identifier: Apache-2.0
"""A mapping drive with many awkward things at once: a map as good as without, and a report that counts them."""

import numpy as np
import pytest
from helpers import box_world as world
from helpers.raw_bag import NAN, Bag, header, make, mount

from lhmap_loc_ros.geometry import se3_exp
from lhmap_loc_ros.mapping import moving
from lhmap_loc_ros.mapping.builder import build_map
from lhmap_loc_ros.mapping.config import BuildConfig

SCANS = 12
CONFIG = BuildConfig(heat="none", budget_mb_per_km=None, resolution_m=0.02)
POINT = np.dtype([("X", "<f4"), ("Y", "<f4"), ("Z", "<f4"), ("Reflectivity", "<u2"), ("t", "<u4")])
FIELDS = [("X", 0, 7), ("Y", 4, 7), ("Z", 8, 7), ("Reflectivity", 12, 4), ("t", 14, 6)]


@pytest.fixture(autouse=True, scope="module")
def close_keyframes():
    """The drive is short: neighbouring scans have to show what moved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "KEYFRAME_SPACING_S", 0.15)
        yield


def cloud(stamp, rows, fields=FIELDS):
    """Of a LiDAR that counts photons and microseconds."""
    found = [make("sensor_msgs/PointField", *field, 1) for field in fields]
    step, data = rows.itemsize if fields else 0, rows.view(np.uint8).ravel() if fields else np.zeros(0, np.uint8)
    size = len(rows) if fields else 0
    return make(
        "sensor_msgs/PointCloud2", header(stamp, "/lidar"), 1, size, found, False, step, step * size, data, True
    )


def scan(stamp, lost):
    """A sweep; every tenth point is none where returns were `lost`."""
    points, intensity, time = world.sweep(stamp, with_car=False)
    rows = np.zeros(len(points), POINT)
    for axis, name in enumerate("XYZ"):
        rows[name] = points[:, axis]
    rows["Reflectivity"], rows["t"] = 3000 * intensity, 1e6 * time
    if lost:
        rows["X"][::10] = np.nan
    return rows


def write_drive(path, awkward):
    drive = world.trajectory(SCANS)
    with Bag(path) as bag:
        wrong = [mount("base_link", "gps", np.eye(4), scale=0.0), mount("base_link", "imu", np.eye(4), shift=NAN)]
        transforms = [*(wrong if awkward else []), mount("/base_link", "/lidar", world.T_BASE_LIDAR)]
        bag.write("/tf_static", make("tf2_msgs/TFMessage", transforms))
        for number, (stamp, pose) in enumerate(zip(drive.stamps_ns.tolist(), drive.poses, strict=True)):
            jump = se3_exp([6, 0, 0, 0, 0, 0]) if awkward and number == 86 else np.eye(4)
            moving = mount("map", "/base_link", pose @ jump)
            moving.header.stamp.sec, moving.header.stamp.nanosec = divmod(stamp, 10**9)
            bag.write("/tf", make("tf2_msgs/TFMessage", [moving]))
            if awkward and number % 30 == 5:
                bag.write("/tf", make("tf2_msgs/TFMessage", [mount("map", "base_link", pose, scale=0.0)]))
                bag.write("/tf", make("tf2_msgs/TFMessage", [mount("map", "base_link", pose, shift=NAN)]))
        for k in range(SCANS):
            stamp = world.START + k * world.SWEEP_NS
            rows = scan(stamp, lost=awkward)
            if awkward and k % 4 == 1:
                bag.write("/points", cloud(stamp - 5, rows, []))
                bag.write("/points", cloud(stamp - 5, rows), spoil=lambda data: data[:200])
                bag.write("/points", cloud(stamp - 5, rows, [f for f in FIELDS if f[0] != "Z"]))
                bag.write("/points", cloud(stamp + 1000 * 86400 * 10**9, rows))
            bag.write("/points", cloud(stamp, rows))
    return path


@pytest.fixture
def left_out(caplog):
    """What the log tells of what was left out."""
    return lambda: " ".join(record.getMessage() for record in caplog.records)


def test_the_map_is_as_good_as_without_and_what_was_left_out_is_counted(tmp_path, left_out):
    maps = {}
    for awkward in (False, True):
        lhmap = build_map(write_drive(tmp_path / f"drive{awkward}", awkward), tmp_path / f"{awkward}.lhmap", CONFIG)
        points = lhmap.all_points()
        distance = world.surface_distance(points.points + points.origin)
        maps[awkward] = len(points), np.quantile(distance, 0.99), lhmap.metadata.intensity
        if not awkward:
            assert "left out" not in left_out()
    assert maps[True][0] > 0.75 * maps[False][0] and maps[True][1] < 1.2 * maps[False][1] + 0.005
    assert maps[False][2] == maps[True][2] == "rank"
    said = left_out()
    for words in ("3 of /points: point cloud has fields none", "3 of /points: damaged", "fields X, Y, Reflectivity, t",
                  "norm zero", "not finite", "jump"):  # fmt: skip
        assert words in said, (words, said)
