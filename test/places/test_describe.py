# SPDX-License-Identifier: Apache-2.0
"""Descriptors of images and of map views."""

import shutil

import numpy as np
import pytest

from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.geometry import Camera, make_pose
from lhmap_loc_ros.inference import find_model
from lhmap_loc_ros.lhmap import MapPoints
from lhmap_loc_ros.places.describe import PlaceDescriber

ORIGIN = np.array([500_000.0, 5_000_000.0, 100.0])


@pytest.fixture(scope="module")
def describer():
    return PlaceDescriber(threads=1)


@pytest.fixture(scope="module")
def points():
    """Two walls and the ground between them, far from the map's zero."""
    rng = np.random.default_rng(0)
    walls = np.stack([rng.uniform(0, 60, 9000), rng.choice([-5.0, 7.0], 9000), rng.uniform(0, 6, 9000)], 1)
    ground = np.stack([rng.uniform(0, 60, 9000), rng.uniform(-5, 7, 9000), np.zeros(9000)], 1)
    xyz = np.concatenate([walls, ground]).astype(np.float32)
    intensity = (0.5 + 0.5 * np.sin(xyz[:, 0])).astype(np.float32)
    return MapPoints(xyz, intensity, np.ones_like(intensity), ORIGIN)


def pose(x, y, yaw_deg):
    cosine, sine = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    R = np.array([[sine, 0, cosine], [-cosine, 0, sine], [0, -1, 0]])
    return make_pose(R, ORIGIN + (x, y, 1.6))


def test_views_have_descriptors_of_unit_length_that_change_with_place_and_heading(describer, points):
    poses = np.stack([pose(5, 0, 0), pose(5.2, 0.1, 1), pose(35, 2, 0), pose(5, 0, 180)])
    found = describer.views(points, poses)
    assert found.shape == (4, describer.dimension) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    similarity = found @ found[0]
    assert similarity[1] > similarity[2] and similarity[1] > similarity[3]


def test_no_poses_have_no_descriptors(describer, points):
    assert describer.views(points, np.zeros((0, 4, 4))).shape == (0, describer.dimension)


def test_a_view_of_nothing_has_one_too(describer):
    found = describer.views(MapPoints.empty(ORIGIN), pose(0, 0, 0)[None])
    assert found.shape == (1, describer.dimension) and np.isfinite(found).all()


def test_images_of_any_size_and_field_have_descriptors_of_unit_length(describer):
    rng = np.random.default_rng(0)
    for width, height, focal in ((640, 480, 400.0), (1242, 375, 721.0), (200, 300, 300.0)):
        camera = Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
        found = describer.image(rng.integers(0, 255, (height, width, 3), np.uint8), camera)
        assert found.shape == (describer.dimension,) and found.dtype == np.float32
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_heads_that_do_not_fit_are_refused(tmp_path):
    for side in ("image", "map"):
        shutil.copy(find_model("place_image"), tmp_path / f"mixed_{side}.onnx")
    with pytest.raises(ModelError, match=r"mixed_map.onnx has inputs .* expected 'map8' of shape"):
        PlaceDescriber(heads=str(tmp_path / "mixed"))


def test_descriptors_of_other_heads_have_another_name(tmp_path, describer):
    assert PlaceDescriber(threads=1).sha256 == describer.sha256
    for side in ("image", "map"):
        content = find_model(f"place_{side}").read_bytes()
        (tmp_path / f"other_{side}.onnx").write_bytes(content.replace(b'"step"', b'"stop"'))
    assert PlaceDescriber(threads=1, heads=str(tmp_path / "other")).sha256 != describer.sha256


def test_heads_that_do_not_say_how_long_descriptors_are_are_refused(tmp_path):
    for side in ("image", "map"):
        content = find_model(f"place_{side}").read_bytes()
        (tmp_path / f"mute_{side}.onnx").write_bytes(content.replace(b'"dimension"', b'"dimenzion"'))
    with pytest.raises(ModelError, match=r"mute_map.onnx say that descriptors have \['None'\] values"):
        PlaceDescriber(heads=str(tmp_path / "mute"))


def test_networks_of_another_kind_are_refused(tmp_path):
    with pytest.raises(ModelError, match="nothing_image"):
        PlaceDescriber(encoders=str(tmp_path / "nothing"))
