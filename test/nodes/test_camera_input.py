# SPDX-License-Identifier: Apache-2.0
"""Calibrations and mountings as drivers tell them, in the node as offline."""

import numpy as np
import pytest
import yaml
from helpers.one_session import SureRefiner, at, one_session
from helpers.robot import START, calibration, image_message, picture, write_street
from helpers.ros_side import wait_until
from helpers.tiny_bag import T_BASE_CAMERA
from scipy.spatial.transform import Rotation
from tf2_ros import StaticTransformBroadcaster

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import make_pose, to_quaternion
from lhmap_loc_ros.nodes import conversions as convert
from lhmap_loc_ros.nodes.diagnostics import session_statuses

P = [70.0, 0.0, 79.0, 0.0, 0.0, 71.0, 23.0, 0.0, 0.0, 0.0, 1.0, 0.0]


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return write_street(tmp_path_factory.mktemp("street") / "street.lhmap")


class Seeing(SureRefiner):
    """Keeps the camera of the last image."""

    def refine(self, image, camera, *args, **kwargs):
        self.camera = camera
        return super().refine(image, camera, *args, **kwargs)


def cameras_by(ros, street, infos, **settings):
    """The cameras that the node localizes images of 160 x 48 pixels with, one for each calibration that comes."""
    refiner, cameras = Seeing(at(50.0)), []
    with one_session(ros.node, street, refiner, **settings) as fed:
        fed.initialpose(at(50.0))
        for info in infos:
            fed.image(info=info)
            cameras.append(refiner.camera)
        assert fed.session.health.used == len(cameras), fed.session.health.problem
    return cameras


def calibrated(width=160, height=48, **changes):
    info = calibration(START, width, height)
    for name, value in changes.items():
        setattr(info, name, value)
    return info


def region(info, x, y, width, height):
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = x, y, width, height
    return info


def test_a_calibration_that_does_not_tell_its_size_has_that_of_the_images(ros, street):
    (unsized,) = cameras_by(ros, street, [calibrated(0, 0, k=calibrated().k)])
    (whole,) = cameras_by(ros, street, [calibrated()])
    assert (whole.width, whole.height) == (160, 48) and unsized == whole


def test_binned_images_of_a_region_have_the_camera_of_their_pixels(ros, street):
    info = region(calibrated(640, 480, binning_x=2, binning_y=2), 100, 200, 320, 96)
    (camera,) = cameras_by(ros, street, [info])
    assert (camera.width, camera.height, camera.fx) == (160, 48, info.k[0] / 2)
    assert camera.cx == pytest.approx((info.k[2] - 100 + 0.5) / 2 - 0.5)


def test_rectified_images_are_those_of_p(ros, street):
    info = calibrated(d=[0.3, 0.1, 0.0, 0.0, 0.0], p=P)
    (camera,) = cameras_by(ros, street, [info], rectified=True)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (70, 71, 79, 23)
    assert cameras_by(ros, street, [info])[0].fx == info.k[0]


CHANGES = {
    "p": calibrated(p=[75.0, *P[1:]]),
    "binning": calibrated(320, 96, p=P, binning_x=2, binning_y=2),
    "roi": region(calibrated(200, 60, p=P), 20, 0, 160, 48),
    "no size": calibrated(0, 0, k=[50.0, *calibrated().k[1:]], p=P),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_calibration_that_changes_while_it_drives_is_taken(ros, street, change):
    before, after = cameras_by(ros, street, [calibrated(p=P), CHANGES[change]], rectified=change == "p")
    assert before != after


def test_the_calibration_comes_from_a_file(ros, street, tmp_path):
    values = {
        "image_width": 160, "image_height": 48, "distortion_model": "plumb_bob",
        "camera_matrix": {"data": [77.0, 0, 80, 0, 77.0, 24, 0, 0, 1]},
    }  # fmt: skip
    (tmp_path / "front.yaml").write_text(yaml.safe_dump(values))
    # what comes on the topic, if anything, does not count
    (camera,) = cameras_by(ros, street, [calibrated()], camera_info_url=f"file://{tmp_path}/front.yaml")
    assert (camera.fx, camera.width) == (77, 160)
    for url in (f"{tmp_path}/rear.yaml", "package://no_such_package/front.yaml"):
        with (
            pytest.raises(InputError, match=url),
            one_session(ros.node, street, SureRefiner(at(50.0)), camera_info_url=url),
        ):
            pass


def test_one_calibration_that_is_none_among_good_ones_does_no_harm(ros, street):
    with one_session(ros.node, street, SureRefiner(at(50.0))) as fed:
        fed.initialpose(at(50.0))
        for info in (calibrated(), calibrated(k=[0.0] * 9), calibrated(d=[float("nan")] * 5)):
            fed.image(info=info)
        fed.image(info=calibrated(60_000, 40_000, d=[0.1] * 5))
        assert (fed.session.health.used, fed.session.health.left_out["camera_info"]) == (4, 3)


def test_an_image_of_a_size_the_calibration_does_not_fit_is_refused(ros, street):
    with one_session(ros.node, street, SureRefiner(at(50.0))) as fed:
        fed.initialpose(at(50.0))
        fed.image()
        fed.show(image_message(fed.stamp_ns + 1, picture(fed.stamp_ns, 80, 24)))
        assert fed.session.health.refused == 1 and "(48, 160, 3)" in fed.session.health.problem
        fed.image()
        assert fed.session.health.used == 2


def test_a_constant_delay_of_the_images_is_taken_off(ros, street):
    with one_session(ros.node, street, SureRefiner(at(50.0)), image_delay_s=0.05) as fed:
        fed.initialpose(at(50.0))
        fed.image()
        assert fed.session.health.last.stamp_ns == fed.stamp_ns - 50_000_000


def test_where_the_base_frame_is_the_cameras_no_transform_is_needed(ros, street):
    own = {"camera_in_base": None, "base_frame_id": "camera"}
    with one_session(ros.node, street, SureRefiner(at(50.0)), **own) as fed:
        fed.initialpose(at(50.0) @ T_BASE_CAMERA)
        # and images that name no frame have that of their calibration, or it is told
        nameless = calibrated()
        nameless.header.frame_id = ""
        fed.image(info=nameless, frame="")
        assert "camera_frame_id" in fed.session.health.problem
        fed.image(frame="")
        assert fed.session.health.used == 1


def test_a_transform_that_is_none_is_left_out_and_the_others_are_used(ros, street):
    head, broadcaster = convert.header(0, "base_link"), StaticTransformBroadcaster(ros.node)
    good = convert.matrix_to_transform(T_BASE_CAMERA, head, "camera")
    zero, nan = (convert.matrix_to_transform(at(1.0), head, child) for child in ("gps", "imu"))
    zero.transform.rotation.w = 0.0
    nan.transform.translation.x = float("nan")
    broadcaster.sendTransform([zero, nan, good])
    with one_session(ros.node, street, SureRefiner(at(50.0)), camera_in_base=None) as fed:
        fed.initialpose(at(50.0))

        def is_localized():
            fed.image()
            return fed.session.health.used

        assert wait_until(is_localized)
        assert fed.session.health.left_out["transform"] == 2
        assert {v.key: v.value for v in status(fed, "localization").values}["transform_left_out"] == "2"


def status(fed, name):
    s = fed.session
    return next(x for x in session_statuses(s.health, s.images, (), s.map, s.config, True) if x.name == name)


def turned(pose, axes, degrees):
    return pose @ make_pose(Rotation.from_euler(axes, degrees, degrees=True), [0, 0, 0])


X_AHEAD = make_pose(np.eye(3), T_BASE_CAMERA[:3, 3])
MOUNTS = {
    "optical": (T_BASE_CAMERA, False),
    "x ahead": (X_AHEAD, True),
    "x ahead, 20 degrees down": (turned(X_AHEAD, "y", 20), True),
    **{
        f"optical, {tilt} degrees down, rolled by {roll}": (turned(T_BASE_CAMERA, "xz", [-tilt, roll]), False)
        for tilt in (-60, 60) for roll in (0, 90, 180, 270)
    },
}  # fmt: skip


@pytest.mark.parametrize("mount", MOUNTS)
def test_a_camera_frame_that_is_not_optical_is_asked_about_once(ros, street, mount, monkeypatch):
    T_base_camera, asked = MOUNTS[mount]
    numbers = tuple(float(v) for part in to_quaternion(T_base_camera) for v in part)
    lines = []
    with one_session(ros.node, street, SureRefiner(at(50.0)), camera_in_base=numbers) as fed:
        monkeypatch.setattr(type(ros.node.get_logger()), "warning", lambda self, text, **how: lines.append(text))
        fed.initialpose(at(50.0))
        for _ in range(3):
            fed.image()
        assert sum("optical frame" in line for line in lines) == asked
        assert ("optical frame" in status(fed, "camera").message) == asked
