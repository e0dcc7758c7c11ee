# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import Calibration, Camera, Rectifier, is_rectified, project

CAMERA = Camera(640, 192, 370.0, 372.0, 318.0, 90.0)
K = np.array([[90.0, 0, 80], [0, 90, 24], [0, 0, 1]])


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


def lens(image, d, model):
    return Rectifier(640, 192, CAMERA.matrix, d, model)(image)


@pytest.mark.parametrize("d", [[], [0.0] * 4, [0.0] * 5])
def test_an_equidistant_lens_without_coefficients_is_no_pinhole(d):
    image = np.random.default_rng(0).integers(0, 255, (192, 640, 3), dtype=np.uint8)
    maps = cv2.fisheye.initUndistortRectifyMap(
        CAMERA.matrix, np.zeros(4), np.eye(3), CAMERA.matrix, (640, 192), cv2.CV_16SC2
    )
    np.testing.assert_array_equal(lens(image, d, "equidistant"), cv2.remap(image, *maps, cv2.INTER_LINEAR))


@pytest.mark.parametrize(
    "alias, model", [("PLUMB_BOB", "plumb_bob"), ("radtan", "plumb_bob"), ("pinhole", "plumb_bob"),
                     ("Kannala Brandt4", "equidistant"), ("FISHEYE", "equidistant"), ("KannalaBrandt8", "equidistant"),
                     ("Plumb-Bob", "plumb_bob"), ("RadialTangential", "plumb_bob"), ("PINHOLE", "plumb_bob")]
)  # fmt: skip
def test_other_names_of_a_distortion_model_mean_the_same(alias, model):
    image = np.random.default_rng(0).integers(0, 255, (192, 640, 3), dtype=np.uint8)
    d = [0.1, -0.02, 0.001, 0.002]
    np.testing.assert_array_equal(lens(image, d, alias), lens(image, d, model))
    np.testing.assert_array_equal(lens(image, [*d, 0.0], alias), lens(image, [*d, 0.0], model))


@pytest.mark.parametrize(
    "d, model", [([0.1, np.nan, 0, 0], "plumb_bob"), ([np.inf] * 4, "equidistant"), ([0.1, 0.2], "plumb_bob")]
)
def test_coefficients_that_say_nothing_are_no_calibration(d, model):
    with pytest.raises(InputError, match="camera is not calibrated"):
        Rectifier(640, 192, CAMERA.matrix, d, model)


def test_coefficients_without_a_model_are_taken_as_their_number_says_or_refused():
    image = np.random.default_rng(0).integers(0, 255, (192, 640, 3), dtype=np.uint8)
    d = [0.1, -0.02, 0.001, 0.002, 0.01]
    np.testing.assert_array_equal(lens(image, d, ""), lens(image, d, "plumb_bob"))
    for model, some in (("", d[:4]), ("none", d)):
        with pytest.raises(InputError, match="model"):
            lens(image, some, model)


P = np.array([[300.0, 0, 310, 0], [0, 300, 95, 0], [0, 0, 1, 0]])


def calibration(**changed):
    values = {"distortion": np.array([-0.2, 0.05, 0, 0, 0]), "distortion_model": "plumb_bob", "projection": P}
    return Calibration(640, 192, CAMERA.matrix, **(values | changed))


def test_rectified_images_are_those_of_p_and_stay_as_they_are():
    image = np.random.default_rng(0).integers(0, 255, (192, 640, 3), dtype=np.uint8)
    rectifier = calibration().rectifier(rectified=True)
    assert rectifier(image) is image and (rectifier.camera.fx, rectifier.camera.cx) == (300, 310)
    with pytest.raises(InputError, match="not calibrated: P"):
        calibration(projection=np.zeros((3, 4))).rectifier(rectified=True)
    assert is_rectified("/camera/image_rect_color/compressed") and not is_rectified("/camera/image_raw")


def test_binning_and_region_of_interest_move_the_camera_as_they_move_the_image():
    part = calibration(roi=(100, 20, 400, 120)).rectifier()
    assert part.camera == CAMERA.cropped(100, 20, 400, 120)
    half = calibration(binning=(2, 2))
    assert half.rectifier().camera == CAMERA.resized(320, 96) == half.rectifier((320, 96)).camera
    # a driver that calibrated the binned image
    assert half.rectifier((640, 192)).camera == CAMERA
    # the picture itself: what the whole sensor shows, undistorted and cropped
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (192, 640, 3), dtype=np.uint8), (0, 0), 3)
    whole = calibration().rectifier()(image)[20:140, 100:500]
    seen = part(np.ascontiguousarray(image[20:140, 100:500]))
    assert np.abs(seen[20:-20, 30:-30].astype(int) - whole[20:-20, 30:-30]).max() < 6


def test_a_calibration_that_does_not_tell_its_size_has_that_of_the_images():
    unknown = Calibration(0, 0, CAMERA.matrix, np.zeros(5), "plumb_bob")
    assert unknown.needs_image_size and unknown.rectifier((640, 192)).camera == CAMERA
    with pytest.raises(InputError, match="0x0"):
        unknown.rectifier()


@pytest.mark.parametrize("size", [(4_294_967_295, 480), (60_000, 40_000), (30_000, 30_000)])
@pytest.mark.parametrize("d", [[], [0.1] * 5])
def test_an_image_larger_than_any_camera_s_is_no_calibration(size, d):
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} pixels, expected"):
        Rectifier(*size, CAMERA.matrix, d)


def test_rectified_images_without_distortion_need_no_p():
    plain = Calibration(160, 48, K, np.zeros(5), "plumb_bob")
    assert plain.rectifier(rectified=True).camera == plain.rectifier().camera
    with pytest.raises(InputError, match="P of rectified images has fx 0"):
        Calibration(160, 48, K, np.array([0.1, 0, 0, 0, 0]), "plumb_bob").rectifier(rectified=True)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (lambda k: k.T, "last row of K is .*80"),
        (lambda k: k / [[160], [48], [1]], "fx is 0.5625 of 160 pixels"),
        (lambda k: k * np.eye(3), "principal point is at 0, 0"),
        (lambda k: 0 * k, "K is zero, but P is not .rectified: true"),
    ],
)
def test_a_matrix_that_is_not_in_pixels_or_turned_over_is_told(matrix, words):
    projection = np.hstack([K, np.zeros((3, 1))])
    calibration = Calibration(160, 48, matrix(K), np.zeros(5), "plumb_bob", projection)
    with pytest.raises(InputError, match=words):
        calibration.rectifier()
