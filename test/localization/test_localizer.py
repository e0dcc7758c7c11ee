# SPDX-License-Identifier: Apache-2.0
"""The localizer: from a map, a camera and images to poses, in a few lines."""

import numpy as np
import pytest
from helpers.tiny_bag import HEIGHT, SECOND, START, T_BASE_CAMERA, WIDTH, K, KnowingRefiner, truth_at, write_walls

from lhmap_loc_ros.configuration import validate
from lhmap_loc_ros.errors import InputError, LhmapError, MapFormatError
from lhmap_loc_ros.geometry import Camera, inverse, make_pose, pose_error
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.localization.localizer import Localizer, LocalizerConfig
from lhmap_loc_ros.localization.refine import Refinement
from lhmap_loc_ros.localization.relocalize import PlaceSearch, PoseHypothesis
from lhmap_loc_ros.localization.states import TrackState

CAMERA = PosedCamera(Camera(WIDTH, HEIGHT, K[0, 0], K[1, 1], K[0, 2], K[1, 2]), T_BASE_CAMERA)
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
STAMPS = [START + k * SECOND // 10 for k in range(12)]


@pytest.fixture(scope="module")
def walls(tmp_path_factory):
    return write_walls(tmp_path_factory.mktemp("map") / "walls.lhmap")


def beside(metres=1.0):
    return truth_at(START) @ make_pose(np.eye(3), (metres, 0, 0))


def test_images_become_poses_from_a_start_a_metre_beside(walls):
    with Localizer(walls, refiner=KnowingRefiner()) as localizer:
        localizer.start(beside())
        assert localizer.started and localizer.state is TrackState.INITIALIZING
        estimates = [localizer.localize(IMAGE, CAMERA, stamp) for stamp in STAMPS]
        assert localizer.state is TrackState.TRACKING
    assert pose_error(estimates[-1].T_map_base, truth_at(STAMPS[-1]))[0] < 0.15
    assert estimates[-1].covariance.shape == (6, 6) and estimates[-1].stamp_ns == STAMPS[-1]


def test_a_start_pose_with_a_stamp_is_moved_on_by_odometry(walls):
    late, localizer = STAMPS[5], Localizer(walls, refiner=KnowingRefiner())
    for stamp in STAMPS[:7]:
        localizer.add_odometry(stamp, inverse(truth_at(START)) @ truth_at(stamp))
    assert localizer.odometry_ns == STAMPS[6]
    localizer.start(truth_at(START), 1e-6 * np.eye(6), START)
    localizer.refiner.next = 5
    estimate = localizer.localize(IMAGE, CAMERA, late)
    assert estimate.motion == "odometry"
    assert pose_error(estimate.T_map_base, truth_at(late))[0] < 0.15
    localizer.close()


@pytest.mark.parametrize(
    ("pose", "covariance", "words"),
    [
        (np.full((4, 4), np.nan), None, "initial pose is not finite"),
        (np.eye(3), None, "initial pose is not finite"),
        (truth_at(START), -np.eye(6), "covariance of the initial pose"),
        (np.eye(4), None, r"walls.lhmap: 0 points within 60 m of the start \[0.0, 0.0, 0.0\], expected 200"),
    ],
)
def test_an_impossible_start_is_told_at_once_and_the_one_before_counts(walls, pose, covariance, words):
    with Localizer(walls, refiner=KnowingRefiner()) as localizer:
        localizer.start(beside())
        with pytest.raises(InputError, match=words):
            localizer.start(pose, covariance)
        assert pose_error(localizer.localize(IMAGE, CAMERA, START).T_map_base, truth_at(START))[0] < 0.5


def test_without_a_start_pose_it_says_what_to_call(walls):
    with Localizer(walls, refiner=KnowingRefiner()) as localizer:
        with pytest.raises(LhmapError, match=r"call start\("):
            localizer.localize(IMAGE, CAMERA, START)
        localizer.start(beside())
        localizer.localize(IMAGE, CAMERA, START)
        localizer.clear()
        assert not localizer.started


def test_an_image_of_another_size_does_not_use_up_the_start(walls):
    with Localizer(walls, refiner=KnowingRefiner()) as localizer:
        localizer.start(beside())
        with pytest.raises(InputError, match="image is uint8 of shape"):
            localizer.localize(IMAGE[:8], CAMERA, STAMPS[3])
        assert localizer.localize(IMAGE, CAMERA, START).accepted


class NearRefiner(KnowingRefiner):
    """Says nothing from more than 4 m beside the truth."""

    def refine(self, image, camera, submap, T_map_camera, mode=None, keep_trace=False):
        if pose_error(T_map_camera, self.known[self.next])[0] > 4:
            return Refinement(T_map_camera, np.eye(6), 0.0, 0, (0.0, 0.0))
        found = super().refine(image, camera, submap, T_map_camera)
        self.next -= 1
        return found


class Oracle:
    """Knows two poses beside the place of every image."""

    stamp_ns = START

    def candidates(self, image, camera):
        for metres in (-1.0, 1.0):
            yield PoseHypothesis(truth_at(self.stamp_ns) @ make_pose(np.eye(3), (metres, 0, 0)), np.eye(6))


def test_a_lost_robot_is_found_by_a_relocalizer_of_ones_own(walls):
    oracle, refiner = Oracle(), NearRefiner()
    config = validate(LocalizerConfig, {"tracker": {"states": {"lost_after_s": 0.3}}})
    with Localizer(walls, config, refiner=refiner, relocalizer=oracle) as localizer:
        localizer.start(beside(20.0), np.diag([0.04] * 3 + [1e-3] * 3))
        estimates = []
        for number, stamp in enumerate(STAMPS):
            oracle.stamp_ns, refiner.next = stamp, number
            estimates.append(localizer.localize(IMAGE, CAMERA, stamp))
    assert TrackState.LOST in [estimate.state for estimate in estimates]
    assert estimates[-1].state is TrackState.TRACKING
    assert pose_error(estimates[-1].T_map_base, truth_at(STAMPS[-1]))[0] < 0.2


class Followed(PlaceSearch):
    """Finds the place at the first image, and has followed the images until a later one."""

    def find(self, stamp_ns, image, camera, T_odom_base, should_continue, region=None):
        return PoseHypothesis(truth_at(stamp_ns), 1e-4 * np.eye(6))

    def moved_on(self, T_map_base):
        return STAMPS[5], inverse(T_map_base) @ truth_at(STAMPS[5])


def test_without_odometry_the_way_driven_during_the_search_is_what_the_images_show(walls):
    with Localizer(walls, refiner=KnowingRefiner(), search=Followed()) as localizer:
        found = localizer.locate(IMAGE, CAMERA, STAMPS[0])
        localizer.start(found.T_map_base, found.covariance, STAMPS[0])
        localizer.refiner.next = 7
        estimate = localizer.localize(IMAGE, CAMERA, STAMPS[7])
        assert not localizer.follows and estimate.motion == "velocity" and estimate.T_map_odom is None
    assert pose_error(estimate.T_map_base, truth_at(STAMPS[7]))[0] < 0.15
    speed = np.linalg.norm((inverse(truth_at(STAMPS[0])) @ truth_at(STAMPS[5]))[:3, 3]) / 0.5
    assert np.linalg.norm(estimate.velocity[:3]) == pytest.approx(speed, rel=0.1)


def test_other_settings_count_from_the_next_image_on(walls):
    with Localizer(walls, refiner=KnowingRefiner()) as localizer:
        localizer.start(beside())
        assert localizer.localize(IMAGE, CAMERA, STAMPS[0]).accepted
        localizer.reconfigure(validate(LocalizerConfig, {"tracker": {"measurement": {"min_inlier_ratio": 0.99}}}))
        assert not localizer.localize(IMAGE, CAMERA, STAMPS[1]).accepted


def test_a_damaged_tile_is_told_and_the_rest_of_the_map_serves(walls, tmp_path):
    data = bytearray(walls.read_bytes())
    with LHMap.open(walls) as lhmap:
        largest = lhmap.index[lhmap.index["count"].argmax()]
    data[int(largest["offset"]) + 10] ^= 0xFF
    (tmp_path / "damaged.lhmap").write_bytes(data)
    with Localizer(tmp_path / "damaged.lhmap", refiner=KnowingRefiner()) as localizer:
        localizer.start(beside())
        estimate = localizer.localize(IMAGE, CAMERA, START)
    assert "is damaged" in estimate.map_problem and not estimate.problem


def test_a_file_that_is_no_map_is_named(tmp_path):
    with pytest.raises(MapFormatError, match="missing.lhmap"):
        Localizer(tmp_path / "missing.lhmap")


class Upset(PlaceSearch):
    """Cannot use every other image, and else does not know."""

    images = 0

    def find(self, stamp_ns, image, camera, T_odom_base, should_continue, region=None):
        self.images += 1
        if self.images % 2:
            raise InputError("the camera sees 12 % of what the mapping robot's did")

    def restart(self):
        pass


def test_an_image_that_cannot_be_looked_for_does_not_end_the_search_and_is_told_once(walls, caplog):
    search, refiner = Upset(), NearRefiner()
    config = validate(LocalizerConfig, {"tracker": {"states": {"lost_after_s": 0.3}}, "relocalize": {"enabled": False}})
    with Localizer(walls, config, refiner=refiner, search=search) as localizer:
        localizer.start(beside(20.0), np.diag([0.04] * 3 + [1e-3] * 3))
        for stamp in STAMPS:
            localizer.localize(IMAGE, CAMERA, stamp)
        assert localizer.state is TrackState.LOST
        with pytest.raises(InputError, match="12 %"):
            for _ in range(2):
                localizer.locate(IMAGE, CAMERA, STAMPS[-1])
    assert search.images > 5 and len(caplog.records) == 1


def test_a_start_pose_that_is_exact_along_some_direction_is_one(walls):
    for covariance in (np.zeros((6, 6)), np.diag([0.04, 0.04, 0, 1e-3, 1e-3, 1e-3])):
        with Localizer(walls, refiner=KnowingRefiner()) as localizer:
            localizer.start(truth_at(START), covariance, START)
            estimate = localizer.localize(IMAGE, CAMERA, START)
        assert estimate.accepted and np.linalg.eigvalsh(estimate.covariance)[0] > 0


def test_how_far_the_robot_is_from_what_was_told_is_not_known_by_odometry_that_began_anew(walls):
    def drive(begin_s, xs):
        for k, x in enumerate(xs):
            localizer.add_odometry(round((begin_s + 0.1 * k) * 1e9), make_pose(np.eye(3), (x, 0, 0)))

    class Remembers(PlaceSearch):
        def find(self, stamp_ns, image, camera, T_odom_base, should_continue, region=None):
            self.region = region

        def restart(self):
            pass

    with Localizer(walls, refiner=KnowingRefiner(), search=Remembers()) as localizer:
        drive(0.0, np.arange(500.0, 507.0, 0.5))
        localizer.search_around(truth_at(START), np.diag([5.0**2] * 3 + [1e-2] * 3), 1_300_000_000)
        drive(1.4, np.arange(0.0, 4.0, 0.5))
        localizer.locate(IMAGE, CAMERA, 2_000_000_000)
        assert 25 < localizer._search.region.radius_m < 60
