# SPDX-License-Identifier: Apache-2.0
"""Awkward drives: what can be used is, what cannot is left out and counted, and nothing is lost with it."""

import numpy as np
import pytest
import yaml
from helpers.tiny_bag import HEIGHT, START, T_BASE_CAMERA, WIDTH, K, write_bag
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from lhmap_loc_ros.configuration import load, validate
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.errors import BagError, ConfigError
from lhmap_loc_ros.geometry import make_pose, se3_exp, to_quaternion
from lhmap_loc_ros.localization.inputs import BagInputs, images, read_odometry, read_setup
from lhmap_loc_ros.localization.offline import LocalizeConfig

STEP = 100_000_000
FRAME = "camera_optical_frame"


def write(path, stamps, size=lambda k: (HEIGHT, WIDTH), frame=FRAME, static=True, mount=T_BASE_CAMERA):
    with BagWriter(path) as bag:
        if static:
            bag.tf_static(START, {("base_link", FRAME): mount})
        bag.camera_info("/camera/camera_info", START, frame, WIDTH, HEIGHT, K)
        for k, stamp in enumerate(stamps):
            bag.image("/camera/image_raw", stamp, frame, np.full((*size(k), 3), k, np.uint8))
    return path


def read(path, **inputs):
    inputs = validate(BagInputs, inputs)
    with BagReader(path) as reader:
        setup = read_setup(reader, inputs)
        found = list(images(reader, inputs, setup))
        return setup, [stamp for stamp, _ in found], reader.left_out.counts


def test_images_of_another_size_out_of_order_or_twice_are_left_out_and_counted(tmp_path):
    stamps = [START + k * STEP for k in (0, 1, 1, 3, 2, 4)]
    bag = write(tmp_path / "b", stamps, lambda k: (HEIGHT, 99) if k == 5 else (HEIGHT, WIDTH))
    _, used, left_out = read(bag)
    # recorded when stamped: the reader sorts, so only the one that comes twice and the narrow one go
    assert used == [START + k * STEP for k in (0, 1, 2, 3)]
    assert sum(left_out.values()) == 2 and any("(48, 99, 3)" in words for words in left_out)


def test_odometry_that_is_not_finite_among_good_is_left_out(tmp_path):
    bag = write_bag(tmp_path / "b", nan_odometry_at=4)
    with BagReader(bag) as reader:
        assert len(read_odometry(reader, BagInputs())) == 23
        assert [(words.split(":")[0], n) for words, n in reader.left_out.counts.items()] == [("/odom", 1)]


def test_transforms_that_are_not_finite_are_left_out(tmp_path):
    wrong = se3_exp([1, 2, 3, 0, 0, 0])
    wrong[0, 3] = np.nan
    with BagWriter(tmp_path / "b") as bag:
        bag.tf_static(START, {("base_link", "gps"): wrong, ("base_link", FRAME): T_BASE_CAMERA})
    with BagReader(tmp_path / "b") as reader:
        np.testing.assert_allclose(reader.static_transforms().lookup("base_link", FRAME), T_BASE_CAMERA, atol=1e-9)
        assert list(reader.left_out.counts.values()) == [1]


def test_the_place_of_the_camera_comes_from_the_settings_or_is_not_needed(tmp_path):
    bag = write(tmp_path / "b", [START], static=False)
    position, quaternion = to_quaternion(T_BASE_CAMERA)
    setup, _, _ = read(bag, camera_in_base=[*position, *quaternion])
    np.testing.assert_allclose(setup.T_base_camera, T_BASE_CAMERA, atol=1e-9)
    setup, _, _ = read(bag, base_frame="/" + FRAME)
    np.testing.assert_array_equal(setup.T_base_camera, np.eye(4))
    with pytest.raises(BagError, match="no topic /tf_static"):
        read(bag)


def test_without_the_topics_of_the_camera_it_is_told_what_to_set(tmp_path):
    bag = write(tmp_path / "b", [START])
    with pytest.raises(BagError, match=r"no topic /front; .*{image: /camera/image_raw, camera_info: /camera/camera_i"):
        read(bag, image="/front")
    with BagWriter(tmp_path / "mapping") as mapping:
        mapping.tf_static(START, {("base_link", FRAME): T_BASE_CAMERA})
    with pytest.raises(BagError, match=r"no topic /camera/image_raw.*: is it the bag of a run with a camera\?"):
        read(tmp_path / "mapping")


def test_a_camera_frame_that_is_not_optical_is_told(tmp_path, caplog):
    read(write(tmp_path / "a", [START]))
    assert "optical frame" not in caplog.text
    read(write(tmp_path / "b", [START], mount=make_pose(np.eye(3), [1.2, 0, 1.6])))
    assert "looks at the sky: is 'camera_optical_frame' its optical frame" in caplog.text
    caplog.clear()
    # where the poses wanted are those of the camera nothing says where up is
    read(write(tmp_path / "c", [START], static=False), base_frame=FRAME)
    assert "optical frame" not in caplog.text


ROS = {
    "image_width": WIDTH, "image_height": HEIGHT, "distortion_model": "plumb_bob",
    "camera_matrix": {"rows": 3, "cols": 3, "data": K.ravel().tolist()},
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.0] * 5},
}  # fmt: skip
KALIBR = {
    "cam0": {
        "camera_model": "pinhole", "intrinsics": [90.0, 90.0, 80.0, 24.0], "resolution": [WIDTH, HEIGHT],
        "distortion_model": "radtan", "distortion_coeffs": [0.0] * 4,
    }
}  # fmt: skip


MESSAGE = {
    "header": {"frame_id": "camera"}, "width": WIDTH, "height": HEIGHT, "distortion_model": "plumb_bob",
    "d": [0.0] * 5, "k": K.ravel().tolist(), "binning_x": 0,
}  # fmt: skip


@pytest.mark.parametrize("values", (ROS, KALIBR, MESSAGE))
def test_the_calibration_comes_from_a_file(tmp_path, values):
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump(values))
    bag = write_bag(tmp_path / "b", without=("/camera/camera_info",))
    setup, used, _ = read(bag, camera_info=str(tmp_path / "camera.yaml"))
    np.testing.assert_array_equal(setup.camera.matrix, K)
    assert len(used) == 12


def test_of_a_chain_of_cameras_each_has_its_own(tmp_path, caplog):
    other = {**KALIBR["cam0"], "intrinsics": [99.0, 99.0, 80.0, 24.0], "rostopic": "/camera/image_raw"}
    file = tmp_path / "chain.yaml"
    file.write_text(yaml.safe_dump({**KALIBR, "cam1": other}))
    bag = write_bag(tmp_path / "b", without=("/camera/camera_info",))
    assert read(bag, camera_info=str(file))[0].camera.fx == 99 and not caplog.text
    other["rostopic"] = "/elsewhere"
    file.write_text(yaml.safe_dump({**KALIBR, "cam1": other}))
    assert read(bag, camera_info=f"file://{file}")[0].camera.fx == 90 and "the first is taken" in caplog.text


def test_a_constant_delay_of_the_images_is_taken_off(tmp_path):
    _, used, _ = read(write(tmp_path / "b", [START, START + STEP]), image_delay_s=0.05)
    assert used == [START - STEP // 2, START + STEP // 2]


def test_stamps_that_begin_at_zero_are_stamps(tmp_path):
    assert read(write(tmp_path / "b", [0, STEP, 2 * STEP]))[1] == [0, STEP, 2 * STEP]


def test_a_false_stamp_does_not_cost_the_rest_of_the_drive(tmp_path):
    good = [START + k * STEP for k in range(5)]
    ahead = START + 1000 * 86400 * 10**9
    _, used, left_out = read(write_as_recorded(tmp_path / "first", [ahead, *good]))
    assert used == good and list(left_out.values()) == [1]
    _, used, left_out = read(write_as_recorded(tmp_path / "between", [*good[:3], ahead, *good[3:]]))
    assert used == good and list(left_out.values()) == [1]


def test_images_that_are_seldom_taken_are_all_used(tmp_path):
    seldom = [START + k * 1200 * STEP for k in range(5)]
    assert read(write_as_recorded(tmp_path / "b", seldom))[1:] == (seldom, {})


def test_odometry_of_a_frame_that_nobody_knows_among_good_is_left_out(tmp_path):
    with BagWriter(tmp_path / "b") as bag:
        for k, child in enumerate(["base_link", "wheel", "", "base_link"]):
            bag.odometry("/odom", START + k * STEP, "odom", child, np.eye(4))
    with BagReader(tmp_path / "b") as reader:
        assert len(read_odometry(reader, BagInputs())) == 3
        assert [words for words in reader.left_out.counts] == ["/odom: tells the poses of 'wheel', not of 'base_link'"]


def write_as_recorded(path, stamps):
    """Images recorded one after the other, whatever their stamps."""
    bag = write(path.with_name(path.name + " in order"), [START])
    store = get_typestore(Stores.ROS2_JAZZY)
    with AnyReader([bag]) as reader, Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for connection, _, data in reader.messages():
            own = writer.add_connection(connection.topic, connection.msgtype, typestore=store)
            message = reader.deserialize(data, connection.msgtype)
            for k, stamp in enumerate(stamps if hasattr(message, "encoding") else [None]):
                if stamp is not None:
                    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
                    data = store.serialize_cdr(message, connection.msgtype)
                writer.write(own, START + k, data)
    return path


def test_home_and_leading_slashes_in_settings():
    inputs = validate(BagInputs, {"base_frame": "/robot", "image": "~/image"})
    assert inputs.base_frame == "robot" and inputs.image == "~/image"


def test_one_file_of_a_recording_in_several_is_read(tmp_path, caplog):
    bag = write_bag(tmp_path / "b")
    about = yaml.safe_load((bag / "metadata.yaml").read_text())
    about["rosbag2_bagfile_information"]["relative_file_paths"].append("b_1.mcap")
    (bag / "metadata.yaml").write_text(yaml.safe_dump(about))
    assert len(read(bag)[1]) == 12 and "b_1.mcap" in caplog.text
    (bag / "metadata.yaml").unlink()
    assert len(read(bag)[1]) == 12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("inputs: {image: /a}\ninputs: {rectified: true}\n", "mine.yaml: is not YAML: inputs found twice .* line 1"),
        ("inputs:\n  image: /a\n  rectified: true\n  image: /b\n", "image found twice in the part at line 2"),
    ],
)
def test_a_setting_that_comes_twice_is_told(tmp_path, text, words):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load(LocalizeConfig, tmp_path / "mine.yaml")
