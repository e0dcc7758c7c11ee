# SPDX-License-Identifier: Apache-2.0
"""A run without a start pose begins where the search finds the place."""

import numpy as np
import pytest
from helpers.known_places import (
    CAMERA,
    MOUNTED,
    NOWHERE,
    T_BASE_CAMERA,
    KnowingDescriber,
    KnowingRefiner,
    image_at,
    on_path,
)

from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import inverse, make_pose, pose_error
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.localization.offline import localize_bag
from lhmap_loc_ros.places.locate import PlaceFinder
from lhmap_loc_ros.places.start_search import StartSearch

SECOND = 1_000_000_000


class Refiner(KnowingRefiner):
    """That of a tracker, too."""

    def refine(self, image, camera, submap, T_map_camera, mode=None):
        found = super().refine(image, camera, submap, T_map_camera)
        found.last_step, found.timings_ms, found.iterations = (0.01, 0.1), {}, 3
        return found


def search_in(lhmap, refiner):
    return StartSearch(PlaceFinder(lhmap, refiner, KnowingDescriber()))


def write_run(path, blind=0):
    """A bag of 30 images, 1 m and 0.1 s apart, the first `blind` of which show nothing."""
    with BagWriter(path) as bag:
        matrix = np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1]])
        bag.tf_static(SECOND, {("base_link", "camera"): T_BASE_CAMERA})
        for k in range(30):
            stamp, pose = SECOND + k * SECOND // 10, on_path(40.0 + k)
            bag.odometry("/odom", stamp, "odom", "base_link", inverse(on_path(40.0)) @ pose)
            bag.camera_info("/camera/camera_info", stamp, "camera", CAMERA.width, CAMERA.height, matrix)
            bag.image("/camera/image_raw", stamp, "camera", NOWHERE if k < blind else image_at(pose))
    return path


def test_a_bag_is_localized_without_a_start_pose(tmp_path, street):
    refiner = Refiner()
    bag, told = write_run(tmp_path / "run", blind=4), []
    record = localize_bag(
        bag, street, None, None, lambda *step: told.append(step), refiner=refiner, search=search_in(street, refiner)
    )
    # from before the networks are loaded on it is told what happens, and when the place is found
    assert told[0] == ("search", 0, 30) and ("search", record.searched + 1, record.searched + 1) in told
    # the image after 5 m is the first that tells it
    assert len(record) in (24, 25) and record.states[-1] == "TRACKING"
    assert record.searched == 30 - len(record)
    assert pose_error(record.poses[-1], on_path(69.0))[0] < 0.1


def test_where_no_image_tells_its_place_it_is_said(tmp_path, street):
    refiner = Refiner()
    with pytest.raises(InputError, match="none of 30 images tells its place in .*street.lhmap"):
        localize_bag(
            write_run(tmp_path / "run", blind=30), street, None, refiner=refiner, search=search_in(street, refiner)
        )


def test_images_that_show_nothing_new_are_not_looked_at(street):
    search, image = search_in(street, Refiner(ratio=0.1)), image_at(on_path(50.0))
    # by images every 0.1 s: how far each leads, how many are looked at within 6 s
    for metres, looked_at in ((0.5, 6), (0.1, 2), (0.0, 1), (None, 12)):
        for k in range(60):
            odometry = None if metres is None else on_path(metres * k)
            assert search.find(k * SECOND // 10, image, MOUNTED, odometry) is None
        assert search.images == looked_at
        search.restart()


def test_images_are_looked_at_on_after_their_stamps_went_back(street):
    search, image = search_in(street, Refiner(ratio=0.1)), image_at(on_path(50.0))
    for stamp in (100 * SECOND, 3 * SECOND):
        search.find(stamp, image, MOUNTED, None)
    assert search.images == 2


class Followed:
    """In place of the visual odometry: 2 m between any two images."""

    def __init__(self):
        self.stamps_ns = []

    def follow(self, stamp_ns, image, camera):
        self.stamps_ns.append(stamp_ns)
        return True

    def since_mark(self):
        return self.stamps_ns[-1], lambda pose: make_pose(np.eye(3), (2.0, 0, 0))

    def mark(self):
        pass

    def forget(self):
        pass


@pytest.mark.parametrize("odometry", (None, on_path(50.0)))
def test_without_odometry_the_images_between_tell_how_the_robot_moved_on(street, odometry):
    search, image, truth, wanted = search_in(street, Refiner(ratio=0.1)), image_at(on_path(50.0)), on_path(50.0), []
    search._visual = Followed()

    def goes_on():
        wanted.append(search.follows)
        if wanted == [True]:
            search.follow(2 * SECOND, image, MOUNTED)
        return True

    assert not search.follows and search.moved_on(truth) is None
    search.find(SECOND, image, MOUNTED, odometry, goes_on)
    assert not search.follows and set(wanted) == {odometry is None}
    moved = search.moved_on(truth)
    assert moved is None if odometry is not None else moved[0] == 2 * SECOND and moved[1][0, 3] == 2.0


class Telling:
    """A search that remembers how far it was told that the robot moved."""

    images, ways = 0, ()

    def process_image(self, image, camera, motion, region, should_continue):
        way = None if motion is None else motion(None)
        self.ways = (*self.ways, None if way is None else float(way[0, 3]))


def test_what_came_before_odometry_began_anew_tells_nothing_of_how_the_robot_moved(street):
    search, image = search_in(street, Refiner()), image_at(on_path(50.0))
    search._search = Telling()
    for k, x in enumerate((500.0, 510.0, 3.0, 13.0)):
        if x == 3.0:
            search.forget_odometry()
        search.find(k * SECOND, image, MOUNTED, make_pose(np.eye(3), (x, 0, 0)))
    assert search._search.ways == (None, 10.0, None, 10.0)


def test_without_odometry_images_of_a_camera_that_is_not_followed_are_not_looked_at(street):
    search, image = search_in(street, Refiner(ratio=0.1)), image_at(on_path(50.0))
    aside = PosedCamera(MOUNTED.camera, MOUNTED.T_base_camera @ make_pose(np.eye(3), (0.5, 0, 0)))
    for k in range(3):
        search.find(k * SECOND // 2, image, MOUNTED, None)
        search.find(k * SECOND // 2 + SECOND // 4, image, aside, None)
    assert search.images == 3
