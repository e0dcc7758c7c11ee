# SPDX-License-Identifier: Apache-2.0
"""The tool that counts found places, on a street and a refiner that are made up."""

from types import SimpleNamespace

import numpy as np
import pytest

from lhmap_loc_ros.geometry import Camera, make_pose, pose_error
from lhmap_loc_ros.lhmap import MapMetadata
from lhmap_loc_ros.localization.estimate import PosedCamera

PATH = tuple((float(x), 0.0, 0.0, 0.0) for x in range(0, 100, 3))


@pytest.fixture
def tool(load_tool):
    return load_tool("find_places")


class StreetRefiner:
    """An image shows the place (x [m]) that its grey value says; it fits there, and by chance anywhere else."""

    def __init__(self):
        self.looked = 0

    def refine(self, image, camera, submap, T_map_camera):
        self.looked += 1
        place = make_pose(np.eye(3), (float(image[0, 0, 0]), 0, 0))
        metres, degrees = pose_error(T_map_camera, place)
        right = metres < 4 and degrees < 20
        return SimpleNamespace(
            T_map_camera=place if right else T_map_camera, covariance=np.eye(6) * 1e-3, matches=100,
            inlier_ratio=0.6 if right else 0.1,
        )  # fmt: skip


def street(name, *places):
    pictures = [np.full((4, 4, 3), x, np.uint8) for x in places]
    camera = PosedCamera(Camera(4, 4, 4.0, 4.0, 2.0, 2.0), np.eye(4))
    poses = [make_pose(np.eye(3), (x, 0, 0)) for x in places]
    return SimpleNamespace(name=name, camera=camera, images=pictures, poses=poses)


def test_places_are_counted_right_and_those_of_other_streets_wrong(tool):
    crop = SimpleNamespace(points=np.zeros((1, 3)))
    lhmap = SimpleNamespace(metadata=MapMetadata(path=PATH), crop=lambda *_, **__: crop)
    refiner = StreetRefiner()
    search = tool.Search(lhmap, tool.Remembering(refiner), metres=5.0)
    rows = tool.count(search, street("a", 31, 61), [street("b", 31, 200)])
    assert rows["a"] == {"right": 2}
    assert rows["a, place left out"] == {"none": 2}
    # the first looks like a place of this street, the second like none
    assert rows["b in the map of a"] == {"wrong": 1, "none": 1}


def test_a_place_is_looked_at_once(tool):
    refiner = StreetRefiner()
    remembering = tool.Remembering(refiner)
    image = np.full((4, 4, 3), 9, np.uint8)
    for _ in range(2):
        remembering.refine(image, None, None, np.eye(4))
    assert refiner.looked == 1
