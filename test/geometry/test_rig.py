# SPDX-License-Identifier: Apache-2.0
"""Rigs of cameras, and wide lenses as virtual views."""

import cv2
import numpy as np
import pytest

from lhmap_loc_ros.datasets.synthetic.lens import unproject
from lhmap_loc_ros.datasets.synthetic.sensors import CAMERAS, CameraSpec
from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import (
    Camera,
    Rectifier,
    Rig,
    front_view,
    inverse,
    joined,
    joined_images,
    make_pose,
    posed_images,
    project,
    se3_exp,
)

FISHEYE = CAMERAS["fisheye"]
CAMERA = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)


def rectifier_of(spec: CameraSpec) -> Rectifier:
    return Rectifier(spec.width, spec.height, spec.matrix, spec.d or [0.0] * 5, spec.distortion_model)


@pytest.mark.parametrize("name", [name for name in CAMERAS if name != "fisheye"])
def test_a_lens_of_up_to_110_degrees_stays_one_pinhole_camera(name):
    rectifier = rectifier_of(CAMERAS[name])
    image = np.random.default_rng(0).integers(0, 255, (CAMERAS[name].height, CAMERAS[name].width, 3), np.uint8)
    assert rectifier.rig is rectifier.camera
    np.testing.assert_array_equal(rectifier.views(image), rectifier(image))


def test_a_fisheye_of_190_degrees_is_seen_through_three_views_that_reach_its_borders():
    rig = rectifier_of(FISHEYE).rig
    assert len(rig.cameras) == 3
    yaws = [np.degrees(np.arctan2(T[0, 2], T[2, 2])) for T in rig.T_rig_camera]
    half = np.degrees(np.arctan(rig.cameras[0].width / 2 / rig.cameras[0].fx))
    assert yaws[1] == pytest.approx(0, abs=1e-9) and yaws[0] == pytest.approx(-yaws[2])
    # they overlap, and end where the lens does
    assert yaws[1] + half > yaws[2] - half + 5 and 93 < yaws[2] + half < 97


@pytest.mark.parametrize(("across", "views"), [(120, 2), (145, 2), (160, 3)])
def test_the_wider_the_lens_the_more_views(across, views):
    spec = CameraSpec.pinhole(640, 480, 320 / np.radians(across / 2), distortion_model="equidistant", d=(0.0,) * 4)
    assert len(rectifier_of(spec).rig.cameras) == views


@pytest.mark.parametrize("pixel", [(70.0, 500.0), (200.0, 420.0), (512.0, 600.0), (820.0, 560.0), (960.0, 500.0)])
def test_a_virtual_view_shows_a_point_where_its_camera_says(pixel):
    [ray] = unproject(FISHEYE, np.array([pixel]))
    image = np.zeros((1024, 1024, 3), np.uint8)
    cv2.circle(image, tuple(np.round(pixel).astype(int).tolist()), 3, (255, 255, 255), -1)
    rectifier, seen = rectifier_of(FISHEYE), 0
    for view in posed_images(rectifier.views(image), rectifier.rig):
        uv, _ = project((7.0 * ray)[None].astype(np.float32), inverse(view.T_rig_camera), view.camera)
        inside = ((uv > 10) & (uv < (view.camera.width - 10, view.camera.height - 10))).all()
        assert bool(view.image.max() > 100) == bool(inside)
        if inside:
            rows, columns = np.nonzero(view.image[:, :, 0] > 100)
            assert np.hypot(columns.mean() - uv[0, 0], rows.mean() - uv[0, 1]) < 0.7
            seen += 1
    assert seen


def test_a_wide_lens_with_radial_distortion_gives_views_too():
    k1, edge = -0.08, np.tan(np.radians(62.0))
    spec = CameraSpec.pinhole(640, 480, 320 / (edge * (1 + k1 * edge**2)), d=(k1, 0.0, 0.0, 0.0))
    rectifier = rectifier_of(spec)
    assert len(rectifier.rig.cameras) == 2
    [ray] = unproject(spec, np.array([(80.0, 250.0)]))
    image = np.zeros((480, 640, 3), np.uint8)
    cv2.circle(image, (80, 250), 3, (255, 255, 255), -1)
    view = posed_images(rectifier.views(image), rectifier.rig)[0]
    uv, _ = project((5.0 * ray)[None].astype(np.float32), inverse(view.T_rig_camera), view.camera)
    rows, columns = np.nonzero(view.image[:, :, 0] > 100)
    assert np.hypot(columns.mean() - uv[0, 0], rows.mean() - uv[0, 1]) < 0.7


def test_what_lies_beyond_the_turning_point_of_the_distortion_is_black():
    """Past it the model shows what is nearer to the axis a second time."""
    spec = CameraSpec.pinhole(400, 400, 100.0, distortion_model="equidistant", d=(0.0, -0.06, 0.0, 0.0))
    rectifier = rectifier_of(spec)
    turns = np.degrees((1 / (5 * 0.06)) ** 0.25)
    white = np.full((400, 400, 3), 255, np.uint8)
    for view in posed_images(rectifier.views(white), rectifier.rig):
        column, row = np.meshgrid(np.arange(view.camera.width), np.arange(view.camera.height))
        rays = np.stack([(column - view.camera.cx) / view.camera.fx, (row - view.camera.cy) / view.camera.fy,
                         np.ones_like(row)], -1) @ view.T_rig_camera[:3, :3].T  # fmt: skip
        angle = np.degrees(np.arctan2(np.hypot(rays[..., 0], rays[..., 1]), rays[..., 2]))
        assert (view.image[angle > turns + 1] == 0).all() and (view.image[angle < turns - 2] > 250).all()


def test_cameras_and_rigs_join_to_one_rig_in_the_frame_of_the_first():
    left, right = (make_pose(np.eye(3), (x, 0, 0)) for x in (-0.3, 0.3))
    rig = Rig((CAMERA, CAMERA), (left, right))
    on_robot, behind = se3_exp([1, 2, 0.5, 0.1, 0.2, 0.3]), se3_exp([-1, 0, 0.5, 0, 3, 0])
    both, T_base_rig = joined([(CAMERA, on_robot), (rig, behind)])
    np.testing.assert_array_equal(T_base_rig, on_robot)
    for T_rig_camera, expected in zip(both.T_rig_camera, (on_robot, behind @ left, behind @ right), strict=True):
        np.testing.assert_allclose(T_base_rig @ T_rig_camera, expected, atol=1e-12)
    images = [np.full((48, 64, 3), k, np.uint8) for k in range(3)]
    assert [int(image[0, 0, 0]) for image in joined_images([images[0], tuple(images[1:])])] == [0, 1, 2]
    both.check_image(images)
    assert front_view(images, both).image is images[0]


def test_one_camera_alone_stays_a_camera():
    image = np.zeros((48, 64, 3), np.uint8)
    assert joined([(CAMERA, np.eye(4))])[0] is CAMERA and joined_images([image]) is image


def test_an_image_too_few_or_of_another_size_is_refused():
    rig = Rig((CAMERA, CAMERA), (np.eye(4), np.eye(4)))
    image = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(InputError, match="1 images found, expected one of each of 2 cameras"):
        rig.check_image((image,))
    with pytest.raises(InputError, match="shape"):
        rig.check_image((image, image[:40]))
