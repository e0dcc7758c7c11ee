# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import Camera, Rectifier, project

CAMERA = Camera(640, 192, 370.0, 372.0, 318.0, 90.0)


@settings(deadline=None)
@given(st.integers(40, 1300), st.integers(20, 500), st.floats(-3, 3), st.floats(-1, 1), st.floats(2, 60))
def test_resizing_moves_pixels_like_the_image(width, height, x, y, z):
    point = np.array([[x, y, z]], np.float32)
    before, _ = project(point, np.eye(4), CAMERA)
    after, _ = project(point, np.eye(4), CAMERA.resized(width, height))
    # positions from the image's upper left corner scale with its size
    np.testing.assert_allclose(after + 0.5, (before + 0.5) * (width / 640, height / 192), rtol=1e-4, atol=1e-2)


def test_cropping_shifts_the_principal_point():
    cropped = CAMERA.cropped(10, -4, 320, 96)
    assert (cropped.width, cropped.height) == (320, 96)
    assert (cropped.cx, cropped.cy) == (308.0, 94.0)


@pytest.mark.parametrize("change", [{"fx": 0.0}, {"fy": -1.0}, {"cx": np.nan}, {"width": 0}])
def test_camera_without_calibration_is_refused(change):
    with pytest.raises(InputError, match="not calibrated"):
        Camera(**({"width": 4, "height": 4, "fx": 1.0, "fy": 1.0, "cx": 2.0, "cy": 2.0} | change))


def test_image_of_another_size_is_named():
    with pytest.raises(InputError, match=r"\(10, 20, 3\).*\(192, 640, 3\)"):
        CAMERA.check_image(np.zeros((10, 20, 3), np.uint8))


def test_image_without_distortion_passes_untouched():
    image = np.random.default_rng(0).integers(0, 255, (192, 640, 3), dtype=np.uint8)
    assert Rectifier(640, 192, CAMERA.matrix, [])(image) is image


@pytest.mark.parametrize(
    "model, coefficients", [("plumb_bob", [-0.2, 0.05, 0.001, 0.0, 0.0]), ("equidistant", [0.02, -0.01, 0.0, 0.0])]
)
def test_rectified_image_shows_a_point_where_the_pinhole_projects_it(model, coefficients):
    point = np.array([[1.1, -0.35, 4.0]])
    distort = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    d = np.array(coefficients)
    raw = distort(point.reshape(1, 1, 3), np.zeros(3), np.zeros(3), CAMERA.matrix, d)[0].ravel()
    image = np.zeros((192, 640, 3), np.uint8)
    cv2.circle(image, tuple(np.round(raw).astype(int)), 2, (255, 255, 255), -1)
    out = Rectifier(640, 192, CAMERA.matrix, d, model)(image)
    rows, columns = np.nonzero(out[:, :, 0] > 100)
    expected, _ = project(point.astype(np.float32), np.eye(4), CAMERA)
    assert np.hypot(columns.mean() - expected[0, 0], rows.mean() - expected[0, 1]) < 1.0


def test_unknown_distortion_model_is_refused():
    with pytest.raises(InputError, match="fov"):
        Rectifier(640, 192, CAMERA.matrix, [0.1], "fov")


@pytest.mark.parametrize(("count", "model"), [(3, "plumb_bob"), (6, "rational_polynomial"), (5, "equidistant")])
def test_a_number_of_coefficients_that_no_model_has_is_refused(count, model):
    with pytest.raises(InputError, match=f"{count} coefficients, expected 4"):
        Rectifier(640, 192, CAMERA.matrix, [0.1] * count, model)
