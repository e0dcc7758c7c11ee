# SPDX-License-Identifier: Apache-2.0
"""The figures of finding places say what came of every image."""

import numpy as np
import pytest

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.evaluation.place import Trial, candidate_errors, chance, figures, recalls, rows
from lhmap_loc_ros.evaluation.place_baseline import PlainDescriber
from lhmap_loc_ros.geometry import Camera, Rig, make_pose, perturb
from lhmap_loc_ros.lhmap import MapPoints
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.places.codes import Quantizer
from lhmap_loc_ros.places.database import PlaceDatabase

OPTICAL = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]])


def trial(candidates=((1.0, 5.0),), images=1, errors=None, seconds=(1.0,)):
    return Trial(0, np.array(candidates, float), None, None, list(seconds), errors, images)


@pytest.fixture
def database():
    n = 100
    positions = np.column_stack([np.arange(n) * 3.0, np.zeros(n), np.zeros(n)])
    codes = np.zeros((n, 8, 32), np.uint8)
    return PlaceDatabase("x", Quantizer.of(64), 3.0, positions, np.ones(n), np.zeros(n), codes)


def test_recall_counts_the_best_candidates_that_are_near_and_look_the_same_way():
    here, turned, far = (3.0, 10.0), (4.0, 170.0), (15.0, 3.0)
    found = recalls([np.array([here, far]), np.array([turned, here]), np.array([far, far]), np.array([(99.0, 0.0)])])
    assert found["recall_at_1_5m"] == 0.25 and found["recall_at_1_5m_any_heading"] == 0.5
    assert found["recall_at_5_5m"] == 0.5 and found["recall_at_1_20m"] == 0.5 and found["recall_at_5_20m"] == 0.75


def test_success_and_false_accepts_count_every_trial(database):
    inside = [
        trial(errors=(0.1, 1.0)),
        trial(images=4, errors=(0.2, 1.0)),
        trial(images=8, errors=(0.3, 0.5)),
        trial(images=2, errors=(30.0, 4.0)),
        trial(images=10),
        trial(errors=(1.0, 1.0)),  # neither right nor at another place
    ]
    outside = [trial(candidates=((np.nan, np.nan),), images=10), trial(images=1, errors=(np.inf, np.inf))]
    found = figures(inside, outside, database, plain=False)
    assert (found["success_rate"], found["success_rate_5"], found["success_rate_10"]) == (1 / 6, 2 / 6, 3 / 6)
    assert found["false_accept_rate"] == 1 / 8 and found["false_accept_rate_10"] == 2 / 8
    assert found["false_accepts_inside_10"] == found["false_accepts_outside_10"] == 1
    assert found["seconds_p50"] == 1.0 and found["images"] == 6 and found["images_outside"] == 2
    assert all(len(row) == 4 for row in rows(found))


def test_chance_is_that_of_views_drawn_at_random(database):
    found = chance([], database)
    # 10 of 300 m, 2 of 8 headings
    assert found["recall_at_1_5m"] == pytest.approx(1 / 30 / 4)
    assert found["recall_at_5_20m"] == pytest.approx(1 - (1 - 4 / 30 / 4) ** 5)


def test_candidates_of_a_rig_are_judged_by_the_camera_that_was_compared(database):
    camera, T_base_rig = Camera(64, 48, 50.0, 50.0, 31.5, 23.5), make_pose(OPTICAL, (1.0, 0.0, 1.6))
    aside, ahead = (perturb(np.eye(4), (0, 0, 0), (0, yaw, 0)) for yaw in (70, 30))
    rig = PosedCamera(Rig((camera, camera), (aside, ahead)), T_base_rig)
    alone = PosedCamera(camera, T_base_rig @ ahead)
    descriptor, truth = np.ones(64, np.float32) / 8, make_pose(np.eye(3), (150.0, 0.0, 0.0))
    of_rig, of_one = (candidate_errors(database, descriptor, camera, truth) for camera in (rig, alone))
    np.testing.assert_allclose(of_rig, of_one)
    assert rig.front.camera is camera and alone.front is alone


def test_without_images_there_are_no_figures(database):
    with pytest.raises(InputError, match="no image"):
        figures([], [trial()], database, plain=False)


def test_the_baseline_knows_its_own_pictures_again():
    """Bright stripes on a wall, seen as intensities from the map, and as brightness in the image."""
    random = np.random.default_rng(0)
    xyz = np.column_stack([np.full(60_000, 10.0), random.uniform(-12, 12, 60_000), random.uniform(0, 6, 60_000)])
    bright = (np.sin(xyz[:, 1]) + np.sin(0.37 * xyz[:, 1]) > 0).astype(np.float32)
    points = MapPoints(xyz, bright, bright, np.zeros(3))
    poses = np.array([make_pose(OPTICAL, (0.0, y, 1.6)) for y in (-4.0, 0.0, 4.0)])
    views = PlainDescriber().views(points, poses)
    from lhmap_loc_ros.places.views import PLACE_CAMERA, map_view

    shown = map_view(points.points, points.intensity, poses[1], 0.2).channels[2]
    image = np.repeat((255 * shown).astype(np.uint8)[:, :, None], 3, axis=2)
    camera = Camera(*shown.shape[::-1], PLACE_CAMERA.fx, PLACE_CAMERA.fy, PLACE_CAMERA.cx, PLACE_CAMERA.cy)
    similarity = views @ PlainDescriber().image(image, camera)
    assert similarity.argmax() == 1 and similarity[1] > 0.7
