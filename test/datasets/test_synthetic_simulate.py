# SPDX-License-Identifier: Apache-2.0
"""Simulated bags: their topics, their truth, and what they must not tell."""

from dataclasses import replace

import numpy as np
import pytest

from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.synthetic.receiver import DATUM
from lhmap_loc_ros.datasets.synthetic.runs import Settings
from lhmap_loc_ros.datasets.synthetic.sensors import CameraSpec, LidarSpec
from lhmap_loc_ros.datasets.synthetic.simulate import simulate
from lhmap_loc_ros.datasets.tum import read_tum
from lhmap_loc_ros.errors import InputError

TINY = Settings(
    CameraSpec.pinhole(64, 24, 0.58 * 64, rate=2.0),
    LidarSpec(elevations_deg=np.linspace(-24.8, 2.0, 16).tolist(), azimuths=64, rate=1.0),
    workers=0,
)
SEED = 9


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "run"
    calls = []
    simulate(out, SEED, 25.0, lambda *call: calls.append(call), TINY)
    return out, calls


def read(path, *topics):
    with BagReader(path) as bag:
        return list(bag.messages(list(topics)))


def test_same_seed_same_bytes_on_any_number_of_processes(bags, tmp_path):
    out, _ = bags
    again = tmp_path / "run"
    simulate(again, SEED, 25.0, None, Settings(**{**TINY.__dict__, "workers": 1}))
    files = sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    assert len(files) == 6
    for name in files:
        assert (out / name).read_bytes() == (again / name).read_bytes(), name


def test_the_mapping_bag_ties_scans_to_the_map(bags):
    out, _ = bags
    mapping = out / "mapping"
    scans = read(mapping, "/points")
    assert len(scans) >= 3 and all(len(s.points) > 300 for s in scans)
    assert scans[0].frame == "lidar" and scans[0].offsets_ns.max() < 10**8
    assert {(t.frame, t.child) for t in read(mapping, "/tf")} == {("map", "odom"), ("odom", "base_link")}
    assert {t.child for t in read(mapping, "/tf_static")} == {"lidar", "camera_optical_frame"}
    surveyed = read_tum(out / "mapping.tum")
    chain = {(t.frame, t.child): t.pose for t in read(mapping, "/tf") if t.stamp_ns == surveyed.stamps_ns[50]}
    assert np.allclose(chain["map", "odom"] @ chain["odom", "base_link"], surveyed.poses[50], atol=1e-5)


def test_both_bags_have_the_fixes_of_a_gps_receiver_some_metres_wrong(bags):
    out, _ = bags
    for name in ("mapping", "query"):
        fixes, truth = read(out / name, "/fix"), read_tum(out / f"{name}.tum")
        assert np.allclose(np.diff([fix.stamp_ns for fix in fixes]), 10**9)
        inside = [fix for fix in fixes if truth.covers(fix.stamp_ns)]
        errors = [DATUM.to_map(fix.geodetic) - truth.at(fix.stamp_ns)[:3, 3] for fix in inside]
        assert len(inside) >= 2 and 0.1 < np.linalg.norm(errors, axis=1).max() < 12.0


def test_the_query_bag_has_camera_and_odometry_but_no_truth(bags):
    out, _ = bags
    query = out / "query"
    images = read(query, "/camera/image_raw")
    infos = read(query, "/camera/camera_info")
    assert len(images) == len(infos) >= 6
    assert images[0].image.shape == (24, 64, 3)
    calibration = infos[0].calibration
    assert calibration.matrix[0, 0] == pytest.approx(0.58 * 64) and not calibration.distortion.any()
    transforms = read(query, "/tf", "/tf_static")
    assert {(t.frame, t.child) for t in transforms} == {("odom", "base_link"), ("base_link", "camera_optical_frame")}
    assert not read_frames(query) & {"map", "lidar"}


def read_frames(path):
    with BagReader(path) as bag:
        return {m.frame for m in bag.messages(["/odom", "/tf", "/tf_static", "/camera/image_raw"])}


def test_the_truth_is_stamped_as_the_images_and_covers_the_length(bags):
    out, _ = bags
    truth = read_tum(out / "query.tum")
    assert [m.stamp_ns for m in read(out / "query", "/camera/image_raw")] == truth.stamps_ns.tolist()
    assert 25.0 <= truth.length_m < 35.0


def test_query_and_mapping_drive_beside_each_other(bags):
    out, _ = bags
    a, b = read_tum(out / "mapping.tum"), read_tum(out / "query.tum")
    gaps = np.linalg.norm(b.poses[2:-2, None, :2, 3] - a.poses[None, :, :2, 3], axis=2).min(1)
    assert 0.5 < np.median(gaps) < 4.0


def test_odometry_drifts_from_the_truth(bags):
    out, _ = bags
    truth = read_tum(out / "query.tum")
    odometry = {m.stamp_ns: m.pose for m in read(out / "query", "/odom")}
    first, last = truth.stamps_ns[0], truth.stamps_ns[-1]
    moved = np.linalg.inv(odometry[first]) @ odometry[last]
    true = np.linalg.inv(truth.poses[0]) @ truth.poses[-1]
    error = np.linalg.norm(moved[:3, 3] - true[:3, 3])
    assert 0.02 < error < 2.0


def test_progress_goes_from_zero_to_its_total(bags):
    _, calls = bags
    for stage in {c[0] for c in calls}:
        done = [c[1:] for c in calls if c[0] == stage]
        assert [d for d, _ in done] == list(range(done[-1][1] + 1))


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fail(stage, done, total):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        simulate(tmp_path / "run", SEED, 25.0, fail, TINY)
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_name_the_field(tmp_path):
    with pytest.raises(InputError, match="length"):
        simulate(tmp_path / "a", SEED, 3.0)
    with pytest.raises(InputError, match="seed"):
        simulate(tmp_path / "a", -1, 100.0)
    with pytest.raises(InputError, match="exists"):
        simulate(tmp_path, SEED, 100.0)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: is a file, expected a folder"):
        simulate(tmp_path / "file" / "out", SEED, 25.0, None, TINY)


def test_a_second_camera_looks_back_and_changes_nothing_of_the_first(bags, tmp_path):
    out, _ = bags
    simulate(tmp_path / "two", SEED, 25.0, None, replace(TINY, more_cameras=(TINY.camera,)))
    query = tmp_path / "two" / "query"
    first, second = read(query, "/camera/image_raw"), read(query, "/camera_2/image_raw")
    alone = read(out / "query", "/camera/image_raw")
    assert [m.stamp_ns for m in first] == [m.stamp_ns for m in second] == [m.stamp_ns for m in alone]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, alone, strict=True))
    assert not np.array_equal(first[0].image, second[0].image)
    place = {t.child: t.pose for t in read(query, "/tf_static")}
    ahead, back = place["camera_optical_frame"][:3, 2], place["camera_2_optical_frame"][:3, 2]
    assert ahead[0] > 0.99 and back[0] < -0.99
    assert second[0].frame == read(query, "/camera_2/camera_info")[0].frame == "camera_2_optical_frame"


def test_a_camera_on_the_mapping_robot_sees_with_every_sweep_and_changes_nothing_else(bags, tmp_path):
    out, _ = bags
    simulate(tmp_path / "seen", SEED, 25.0, None, replace(TINY, mapping_camera=True))
    seen = tmp_path / "seen" / "mapping"
    assert (tmp_path / "seen" / "mapping.tum").read_bytes() == (out / "mapping.tum").read_bytes()
    scans, before = read(seen, "/points"), read(out / "mapping", "/points")
    assert all(np.array_equal(a.points, b.points) for a, b in zip(scans, before, strict=True))
    images = read(seen, "/camera/image_raw")
    assert [image.stamp_ns for image in images] == [scan.stamp_ns for scan in scans]
    assert images[0].image.shape == (24, 64, 3) and images[0].image.std() > 5


def test_cameras_look_where_they_are_told_to_else_to_all_sides():
    aside = TINY.camera.model_copy(update={"mount_yaw_deg": 60.0})
    assert replace(TINY, more_cameras=(TINY.camera,) * 3).yaws_deg == (0, 90, 180, 270)
    assert replace(TINY, more_cameras=(aside,)).yaws_deg == (0, 60)
