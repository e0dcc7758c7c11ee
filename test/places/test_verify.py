# SPDX-License-Identifier: Apache-2.0
"""What one image says of several poses, with the networks of the refiner."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.known_places import ORIGIN, write_street

from lhmap_loc_ros.geometry import Camera, inverse, make_pose, pose_error
from lhmap_loc_ros.localization.covariance import StartCovariances
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.localization.refine import Refiner, RefinerConfig
from lhmap_loc_ros.localization.relocalize import PoseHypothesis
from lhmap_loc_ros.places.encoded_once import EncodedOnce
from lhmap_loc_ros.places.verdict import Demands, Verdict
from lhmap_loc_ros.places.verify import Verifier

CAMERA = Camera(160, 48, 90.0, 90.0, 80.0, 24.0)
T_BASE_CAMERA = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [1.2, 0.1, 1.6])


class CountingModels:
    """Networks that match every map point where it is drawn; count the images they encode."""

    grids, networks, tensor_device, at_once = ((160, 48),), (), None, False
    covariance = StartCovariances()

    def __init__(self):
        self.encoded = 0

    def for_grid(self, grid):
        return self

    def image(self, image):
        self.encoded += 1
        return np.zeros(1), np.zeros(1)

    def map(self, view):
        return None

    def coarse(self, encoded, image8):
        return np.zeros((2, 6, 20), np.float32), np.zeros((2, 6, 20), np.float32)

    def fine(self, encoded, image4):
        return np.zeros((2, 12, 40), np.float32), np.zeros((2, 12, 40), np.float32)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    with write_street(tmp_path_factory.mktemp("m") / "m.lhmap") as lhmap:
        yield lhmap


def at(x):
    return make_pose(np.eye(3), ORIGIN + (x, 5, 1.5))


def test_an_image_is_encoded_once_however_many_poses_it_is_compared_at(street):
    models, camera = CountingModels(), PosedCamera(CAMERA, T_BASE_CAMERA)
    verifier = Verifier(street, Refiner(RefinerConfig(), models), 60.0)
    image = np.zeros((48, 160, 3), np.uint8)
    poses = [at(x) for x in (20.0, 60.0, 100.0, 140.0)]
    verdict = verifier.best(image, camera, poses)
    assert models.encoded == 1
    # networks that move nothing agree everywhere
    assert min(pose_error(verdict.place.T_map_base, pose)[0] for pose in poses) < 0.1
    assert verdict.margin < 1.5 and not verdict.agrees
    image[0, 0] = 255
    verifier.best(image, camera, poses)
    assert models.encoded == 2


def test_where_there_is_no_map_there_is_no_verdict(street):
    verifier = Verifier(street, Refiner(RefinerConfig(), CountingModels()), 60.0)
    camera = PosedCamera(CAMERA, T_BASE_CAMERA)
    assert verifier.best(np.zeros((48, 160, 3), np.uint8), camera, [at(5000.0)]) is None
    assert verifier.best(np.zeros((48, 160, 3), np.uint8), camera, []) is None


@pytest.mark.parametrize(
    "change, met",
    (
        ({}, True),
        ({"ratio": 0.2}, False),
        ({"sigma": 0.3}, False),
        ({"rival": 0.35}, False),
        ({"agrees": False}, False),
    ),
)
def test_a_verdict_must_meet_every_demand(change, met):
    v = SimpleNamespace(**{"ratio": 0.4, "sigma": 0.1, "rival": 0.2, "agrees": True} | change)
    covariance = np.diag([v.sigma**2] * 3 + [1e-4] * 3)
    verdict = Verdict(PoseHypothesis(inverse(np.eye(4)), covariance, v.ratio), v.rival, v.agrees)
    assert Demands(score=2.0, inlier_ratio=0.25, margin=1.3).met_by(verdict) == met


def test_places_compared_two_at_once_give_the_same(street, monkeypatch):
    camera, image = PosedCamera(CAMERA, T_BASE_CAMERA), np.full((48, 160, 3), 90, np.uint8)
    poses = [at(x) for x in range(20, 180, 10)]
    one, two = (Verifier(street, Refiner(RefinerConfig(), CountingModels()), 60.0) for _ in range(2))
    assert not one._in_threads
    monkeypatch.setattr(two, "_in_threads", True)
    for a, b in zip(one.compare(image, camera, poses), two.compare(image, camera, poses), strict=True):
        np.testing.assert_array_equal(a.place.T_map_base, b.place.T_map_base)
        assert (a.place.inlier_ratio, a.rival) == (b.place.inlier_ratio, b.rival)


@pytest.mark.parametrize("views", (2, 3))
def test_the_images_of_several_views_are_encoded_once_each(views):
    models = CountingModels()
    encoded, images = EncodedOnce(models), [np.full((3, 48, 160), k, np.float32) for k in range(views)]
    for _ in range(24):
        for image in images:
            encoded.for_grid((160, 48)).image(image)
    assert models.encoded == views
    for k in range(20):  # of other moments
        encoded.for_grid((160, 48)).image(images[0] + 10 + k)
    encoded.for_grid((160, 48)).image(images[0])
    assert models.encoded == views + 21
