# SPDX-License-Identifier: Apache-2.0
"""A camera turned on the robot and stamps that are off show over a drive, and nothing else changes."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml
from helpers import tiny_bag
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from lhmap_loc_ros import cli
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.transforms import TransformTree
from lhmap_loc_ros.datasets.tum import write_tum
from lhmap_loc_ros.errors import BagError, InputError
from lhmap_loc_ros.evaluation.calibration import by_information as by_information_module
from lhmap_loc_ros.evaluation.calibration import calibrate as module
from lhmap_loc_ros.evaluation.calibration.calibrate import calibrate, camera_in_base, static_transform
from lhmap_loc_ros.evaluation.calibration.drive import read_drive
from lhmap_loc_ros.evaluation.calibration.told import lines
from lhmap_loc_ros.evaluation.results import find_image
from lhmap_loc_ros.geometry import Camera, from_quaternion, make_pose, pose_error, se3_exp, to_quaternion
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map
from lhmap_loc_ros.localization.features import render_map
from lhmap_loc_ros.localization.inputs import BagInputs, read_setup
from lhmap_loc_ros.localization.refine import Refinement

SECOND, START, IMAGES = 10**9, 1_700_000_000 * 10**9, 16
CAMERA = Camera(480, 160, 300.0, 300.0, 239.5, 79.5)
TURNED_DEG = np.array([1.0, -1.0, 1.0])
MOUNT = make_pose(np.eye(3), [1.0, 0.2, 1.5])
OPTICAL = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [0.1, 0.0, 0.0])
TRUE_CAMERA = MOUNT @ OPTICAL @ make_pose(Rotation.from_rotvec(TURNED_DEG, degrees=True), np.zeros(3))


def base(seconds, steady=False):
    """T_map_base: now slower, now faster, to the left and to the right."""
    along, yaw = (3 * seconds, 0.0) if steady else (3 * seconds + 1.5 * np.sin(seconds), 0.1 * np.sin(0.8 * seconds))
    return make_pose(Rotation.from_euler("z", yaw), [along, 0.0, 0.0])


def street(with_intensity=True):
    """Ground between two walls, in patches."""
    random, n = np.random.default_rng(0), 120_000
    points = np.column_stack([random.uniform(-2, 85, n), random.uniform(-9, 9, n), np.zeros(n)])
    wall = random.random(n) < 0.5
    points[wall, 1], points[wall, 2] = np.sign(points[wall, 1]) * 9, random.uniform(0, 7, wall.sum())
    cells = np.floor(points / 1.7).astype(int)
    patches = np.random.default_rng(1).random(9973)[(cells @ (73, 179, 283)) % 9973]
    intensity = patches if with_intensity else np.zeros(n)
    return MapPoints(points, intensity, np.ones(n), np.zeros(3))


class KnowingRefiner:
    """Stands in for the networks: where the camera was, a little beside it."""

    def __init__(self, poses):
        self.cameras, self.random = [pose @ TRUE_CAMERA for pose in poses], np.random.default_rng(2)

    def refine(self, image, camera, submap, T_map_camera, mode=None, keep_trace=False):
        nearest = min(self.cameras, key=lambda pose: np.linalg.norm(pose[:3, 3] - T_map_camera[:3, 3]))
        sigma = np.array([0.02, 0.02, 0.02, 0.001, 0.001, 0.001])
        pose = nearest @ se3_exp(sigma * self.random.standard_normal(6))
        return Refinement(pose, np.diag(sigma**2), 0.6, 500, (0.0, 0.0))


def write_drive(folder, late_s=0.0, steady=False, broken=None):
    """A bag whose tf_static does not know that the camera is turned, and its poses; images are taken `late_s` late, and
    that of number `broken` is of another size."""
    points, taken = street(), []
    with BagWriter(folder / "bag") as bag:
        bag.tf_static(START, {("base_link", "mount"): MOUNT, ("mount", "camera"): OPTICAL})
        for k in range(IMAGES):
            stamp = START + k * SECOND
            taken.append(base(k + late_s, steady))
            drawn = render_map(points.points, points.intensity, taken[-1] @ TRUE_CAMERA, CAMERA, 0.3).channels
            grey = np.where(drawn[1] > 0, 40 + 180 * drawn[2], 250).astype(np.uint8)
            bag.camera_info("/camera/camera_info", stamp, "camera", CAMERA.width, CAMERA.height, CAMERA.matrix)
            grey = grey[:-1] if k == broken else grey
            bag.image("/camera/image_raw", stamp, "camera", np.repeat(grey[:, :, None], 3, axis=2))
    seconds = np.arange(-1, IMAGES + 1, 0.1)
    poses = np.array([base(s, steady) for s in seconds])
    write_tum(folder / "bag.tum", Trajectory(START + (seconds * SECOND).astype(np.int64), poses))
    return KnowingRefiner(taken)


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drive")
    refiner = write_drive(folder)
    write_map(folder / "street.lhmap", street(), MapMetadata(origin=(-25.0, -25.0, 0.0)))
    write_map(folder / "plain.lhmap", street(False), MapMetadata(origin=(-25.0, -25.0, 0.0)))
    return folder, refiner


@pytest.fixture(scope="module")
def found(drive):
    folder, refiner = drive
    with LHMap.open(folder / "street.lhmap") as lhmap:
        return calibrate(folder / "bag", lhmap, refiner=refiner)


def test_both_ways_find_how_the_camera_is_turned(found):
    assert np.abs(found.matches.degrees - TURNED_DEG).max() < 0.1
    assert np.abs(found.information.degrees - TURNED_DEG).max() < 0.15
    assert found.agree and (found.matches.sigma_deg < 0.1).all()
    assert "the two ways agree" in lines(found)


def test_the_transform_to_use_is_the_first_of_the_chain(found):
    command = static_transform(found.drive, found.results["both"])
    assert command.endswith("--frame-id base_link --child-frame-id mount")
    told = camera_in_base(found.drive, found.results["both"])
    assert pose_error(from_quaternion(told[:3], told[3:]), TRUE_CAMERA)[1] < 0.15
    assert any(line == f"camera_in_base: [{', '.join(f'{v:.6f}' for v in told)}]" for line in lines(found))
    words = command.split()
    x, y, z, *quaternion = (float(words[words.index(f"--{name}") + 1]) for name in "x y z qx qy qz qw".split())
    corrected = make_pose(Rotation.from_quat(quaternion), (x, y, z)) @ OPTICAL
    assert np.allclose(corrected[:3, 3], TRUE_CAMERA[:3, 3], atol=1e-3)
    assert np.degrees(Rotation.from_matrix(corrected[:3, :3].T @ TRUE_CAMERA[:3, :3]).magnitude()) < 0.15


def test_right_stamps_are_right(found):
    assert found.offset.known and not found.offset.off


def test_late_images_show_where_speed_changes_and_no_more_once_their_delay_is_told(tmp_path, drive):
    refiner = write_drive(tmp_path, late_s=0.08)
    with LHMap.open(drive[0] / "plain.lhmap") as lhmap:
        offset = calibrate(tmp_path / "bag", lhmap, refiner=refiner).offset
        corrected = BagInputs(image_delay_s=-offset.seconds)
        again = calibrate(tmp_path / "bag", lhmap, inputs=corrected, refiner=refiner)
    assert offset.off and abs(offset.seconds - 0.08) < 0.015
    assert again.offset.known and not again.offset.off
    assert again.drive.images[0].stamp_ns == START - corrected.delay_ns


def test_a_steady_drive_tells_nothing_of_stamps(tmp_path, drive):
    refiner = write_drive(tmp_path, late_s=0.08, steady=True)
    with LHMap.open(drive[0] / "plain.lhmap") as lhmap:
        told = calibrate(tmp_path / "bag", lhmap, refiner=refiner)
    assert not told.offset.known and any("cannot be told" in line for line in lines(told))


def test_a_map_without_intensity_leaves_the_matches_alone(drive):
    folder, refiner = drive
    with LHMap.open(folder / "plain.lhmap") as lhmap:
        told = calibrate(folder / "bag", lhmap, refiner=refiner)
    assert told.information is None and told.agree is None
    assert any("no intensity" in line for line in lines(told))


def test_a_maximum_far_from_the_calibration_of_the_bag_is_none_of_it(drive, monkeypatch):
    folder, refiner = drive
    far = SimpleNamespace(x=np.array([6.0, -7.0, -14.9]))
    monkeypatch.setattr(by_information_module, "minimize", lambda *given, **more: far)
    with LHMap.open(folder / "street.lhmap") as lhmap:
        assert calibrate(folder / "bag", lhmap, refiner=refiner).information is None


def test_the_command_writes_figures_and_pictures_and_changes_nothing(drive, tmp_path, monkeypatch):
    folder, refiner = drive
    monkeypatch.setattr(module, "Refiner", lambda config: refiner)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run = ("calibrate", folder / "bag", "--map", folder / "street.lhmap", "--poses", folder / "bag.tum")
    result = CliRunner().invoke(cli.app, [str(a) for a in (*run, "--out", tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "static_transform_publisher" in result.stdout and "mutual information" in result.stdout
    figures = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert figures["agree"] and not figures["stamps_off"]
    assert np.allclose(figures["use"]["both"]["rotation_deg"], TURNED_DEG, atol=0.15)
    picture = cv2.imread(str(tmp_path / "out" / "before_after_1.jpg"))
    assert picture.shape == (2 * CAMERA.height, CAMERA.width, 3)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_image_that_cannot_be_used_is_left_out(tmp_path, drive):
    refiner = write_drive(tmp_path, broken=6)
    with LHMap.open(drive[0] / "plain.lhmap") as lhmap:
        told = calibrate(tmp_path / "bag", lhmap, refiner=refiner)
    assert len(told.drive.images) == 13 and np.abs(told.matches.degrees - TURNED_DEG).max() < 0.15
    assert START + 6 * SECOND not in [image.stamp_ns for image in told.drive.images]


def test_images_that_another_clock_recorded_are_found(drive, monkeypatch):
    folder, _ = drive
    with BagReader(folder / "bag") as reader, LHMap.open(folder / "plain.lhmap") as lhmap:
        inputs = BagInputs()
        images = read_drive(folder / "bag", lhmap, inputs=inputs).images
        setup, undecoded = read_setup(reader, inputs), BagReader._undecoded

        def later(self, topics, start_ns=None, stop_ns=None):
            for topic, recorded, *rest in undecoded(self, topics):
                recorded += 1000 * SECOND
                if (start_ns is None or recorded >= start_ns) and (stop_ns is None or recorded < stop_ns):
                    yield topic, recorded, *rest

        monkeypatch.setattr(BagReader, "_undecoded", later)
        found = find_image(reader, inputs, setup, images[3].stamp_ns)
    np.testing.assert_array_equal(found, images[3].image)


def test_several_cameras_are_refused_where_one_is_looked_at(drive, tmp_path):
    folder, _ = drive
    two = tmp_path / "two.yaml"
    two.write_text("inputs: {more_cameras: [{image: /rear/image_raw}]}")
    for command in (("calibrate", folder / "bag"), ("check", folder / "bag", "-o", tmp_path / "o.png")):
        run = [*command, "--map", folder / "plain.lhmap", "-c", two]
        result = CliRunner().invoke(cli.app, [str(a) for a in run])
        assert result.exit_code == 2 and f"more_cameras found, but lhmap {command[0]} looks at one" in result.stderr


def test_a_robot_that_stands_is_refused(drive, tmp_path):
    folder, refiner = drive
    stamps = START + np.arange(IMAGES) * SECOND
    write_tum(tmp_path / "standing.tum", Trajectory(stamps, np.repeat(np.eye(4)[None], IMAGES, axis=0)))
    with LHMap.open(folder / "plain.lhmap") as lhmap, pytest.raises(InputError, match="on the move"):
        calibrate(folder / "bag", lhmap, tmp_path / "standing.tum", refiner=refiner)


def test_images_that_do_not_match_are_told(drive):
    folder, refiner = drive

    class Blind(KnowingRefiner):
        def refine(self, image, camera, submap, T_map_camera, mode=None, keep_trace=False):
            return Refinement(T_map_camera, np.eye(6), 0.0, 0, (0.0, 0.0))

    with LHMap.open(folder / "plain.lhmap") as lhmap, pytest.raises(InputError, match="0 of .* images match"):
        calibrate(folder / "bag", lhmap, refiner=Blind([]))


def test_frames_between_two_frames():
    tree = TransformTree()
    tree.add("base_link", "mount", MOUNT)
    tree.add("mount", "camera", OPTICAL)
    assert tree.chain("base_link", "camera") == ("base_link", "mount", "camera")
    assert np.allclose(tree.lookup("camera", "base_link") @ MOUNT @ OPTICAL, np.eye(4))
    with pytest.raises(BagError, match="no transform"):
        tree.chain("base_link", "lidar")


def test_calibration_and_mount_may_come_from_settings(tmp_path):
    bag = tiny_bag.write_bag(tmp_path / "bag", 60, without=("/camera/camera_info", "/tf_static"))
    tiny_bag.write_truth(tmp_path / "bag.tum", 60)
    values = {
        "image_width": tiny_bag.WIDTH, "image_height": tiny_bag.HEIGHT, "distortion_model": "plumb_bob",
        "camera_matrix": {"data": tiny_bag.K.ravel().tolist()},
    }  # fmt: skip
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump(values))
    position, quaternion = to_quaternion(tiny_bag.T_BASE_CAMERA)
    mount = tuple([*position, *quaternion])
    inputs = BagInputs(camera_info=str(tmp_path / "camera.yaml"), camera_in_base=mount)
    with LHMap.open(tiny_bag.write_walls(tmp_path / "walls.lhmap")) as lhmap:
        drive = read_drive(bag, lhmap, None, inputs)
        assert drive.frames == ("base_link", "camera_optical_frame") and drive.camera.fx == tiny_bag.K[0, 0]
        np.testing.assert_allclose(drive.T_base_child, tiny_bag.T_BASE_CAMERA, atol=1e-9)
        with pytest.raises(InputError, match="expected a robot's"):
            read_drive(bag, lhmap, None, BagInputs(camera_info=inputs.camera_info, base_frame="camera_optical_frame"))
