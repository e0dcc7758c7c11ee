# SPDX-License-Identifier: Apache-2.0
"""A place is found only where the image fits the map there and nowhere else."""

import numpy as np
import pytest
from helpers.fake_world import CAMERA, IMAGE, MOUNTED, T_BASE_CAMERA, EmptyMap, Refined

from lhmap_loc_ros.errors import MapFormatError, ModelError
from lhmap_loc_ros.geometry import Rig, inverse, make_pose, perturb, pose_error
from lhmap_loc_ros.lhmap import MapMetadata
from lhmap_loc_ros.localization import relocalize
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.localization.relocalize import AlongPath, PoseHypothesis, Recovery, find_place
from lhmap_loc_ros.localization.states import Search, TrackState

PATH = tuple((float(x), 0.0, 1.0, 3.1 if x % 10 else -3.1) for x in range(0, 100, 5))
TRUTH = make_pose(np.diag([-1.0, -1.0, 1.0]), (52.0, 0.5, 1.0))


class Map(EmptyMap):
    metadata = MapMetadata(path=PATH)


class PlaceRefiner:
    """Fits within 3 m of each of some poses, by the ratio given for it; elsewhere by chance."""

    def __init__(self, *places):
        self.places, self.looked = places, 0

    def refine(self, image, camera, submap, T_map_camera):
        self.looked += 1
        for pose, ratio in self.places:
            metres, degrees = pose_error(T_map_camera, pose @ T_BASE_CAMERA)
            if metres < 3 and degrees < 20:
                return Refined(pose @ T_BASE_CAMERA, np.eye(6) * 1e-3, ratio)
        return Refined(T_map_camera, np.eye(6), 0.1)


def find(refiner, around=(60.0, 0.0, 1.0)):
    along = AlongPath(Map())
    along.around = None if around is None else np.array(around)
    candidates = along.candidates(IMAGE, CAMERA)
    return find_place(candidates, refiner, Map(), IMAGE, MOUNTED, 60.0)


def test_the_place_is_found_along_the_path():
    found = find(PlaceRefiner((TRUTH, 0.6)))
    assert pose_error(found.T_map_base, TRUTH) == pytest.approx((0, 0), abs=1e-6)
    assert found.inlier_ratio == 0.6 and np.linalg.eigvalsh(found.covariance)[0] > 0


def test_two_places_alike_are_none():
    twin = make_pose(TRUTH[:3, :3], TRUTH[:3, 3] + (15, 0, 0))
    assert find(PlaceRefiner((TRUTH, 0.6), (twin, 0.55))) is None
    assert find(PlaceRefiner((TRUTH, 0.6), (twin, 0.4))) is not None


def test_a_poor_fit_is_no_place():
    assert find(PlaceRefiner((TRUTH, 0.27))) is None
    assert find(PlaceRefiner((TRUTH, 0.29))) is not None


def test_a_place_that_one_start_alone_leads_to_is_not_believed(monkeypatch):
    refiner = PlaceRefiner((TRUTH, 0.6))
    monkeypatch.setattr(relocalize, "SPACING_M", 5.0)
    assert find(refiner) is None
    monkeypatch.setattr(relocalize, "SUPPORTERS", 1)
    assert find(refiner) is not None


def test_starts_that_lead_to_the_same_place_but_fit_far_less_well_do_not_support_it():
    class Fading(PlaceRefiner):
        def refine(self, *arguments):
            refined = super().refine(*arguments)
            return Refined(refined.T_map_camera, refined.covariance, refined.inlier_ratio / self.looked)

    assert find(Fading((TRUTH, 0.9)), around=TRUTH[:3, 3]) is None


def test_only_places_near_the_last_pose_are_tried_and_not_too_many(monkeypatch):
    refiner = PlaceRefiner((TRUTH, 0.6))
    monkeypatch.setattr(relocalize, "RADIUS_M", 20.0)
    assert find(refiner, around=(95.0, 0, 0)) is None
    assert 0 < refiner.looked <= 24
    refiner = PlaceRefiner((TRUTH, 0.6))
    monkeypatch.setattr(relocalize, "MAX_CANDIDATES", 5)
    find(refiner, around=None)
    assert refiner.looked == 5


def test_the_nearest_come_first_and_headings_do_not_turn_the_long_way_round():
    along = AlongPath(Map())
    along.around = np.array([50.0, 0, 0])
    candidates = along.candidates(IMAGE, CAMERA)
    distance = [abs(c.T_map_base[0, 3] - 50) for c in candidates]
    assert distance == sorted(distance) and len(candidates) > 10
    # the path always heads towards -x
    assert all(c.T_map_base[0, 0] < -0.9 for c in candidates[::2])
    assert all(c.T_map_base[0, 0] > 0.9 for c in candidates[1::2])


def test_a_network_that_fails_at_one_place_does_not_hide_the_others():
    class Failing(PlaceRefiner):
        def refine(self, *arguments):
            if self.looked == 0:
                self.looked += 1
                raise ModelError("not finite")
            return super().refine(*arguments)

    assert find(Failing((TRUTH, 0.6))) is not None


def test_without_candidates_or_map_there_is_no_place():
    assert find_place([], PlaceRefiner(), Map(), IMAGE, MOUNTED, 60.0) is None
    nowhere = [PoseHypothesis(np.eye(4), np.eye(6))]
    assert find_place(nowhere, PlaceRefiner(), EmptyMap(0), IMAGE, MOUNTED, 60.0) is None


def test_a_search_ends_when_it_is_told():
    refiner = PlaceRefiner((TRUTH, 0.6))
    candidates = AlongPath(Map()).candidates(IMAGE, CAMERA)
    found = find_place(
        candidates, refiner, Map(), IMAGE, MOUNTED, 60.0, should_continue=lambda: refiner.looked < 3
    )  # fmt: skip
    assert found is None and refiner.looked == 3


class Lost:
    """What the tracker says of an image: `state`, or TRACKING at `believed`; odometry is that of the truth."""

    def __init__(self, truth, believed=None, odometry=True, state=TrackState.LOST, search=Search.NEARBY):
        self.state = state if believed is None else TrackState.TRACKING
        self.search = search if believed is None else Search.NONE
        self.truth, self.T_map_base = truth, truth if believed is None else believed
        self.motion = "odometry" if odometry else "velocity"


def recovered(*results, start=None):
    """What comes of some images, the place being that of the last one's truth."""
    refiner = PlaceRefiner((TRUTH, 0.6))
    recovery = Recovery(Map(), refiner)
    if start is not None:
        recovery.reset(start)
    return list(looked_for(recovery, results))


def looked_for(recovery, results):
    before = results[0].truth
    for result in results:
        before, result.delta = result.truth, inverse(before) @ result.truth
        yield recovery.update(result, IMAGE, MOUNTED, 60.0)


def at(x):
    return make_pose(TRUTH[:3, :3], (x, 0.5, 1.0))


def test_a_lost_robot_is_looked_for_where_odometry_has_taken_it(monkeypatch):
    monkeypatch.setattr(relocalize, "RADIUS_M", 15.0)
    for images in ((Lost(at(95.0), believed=at(95.0)), Lost(at(55.0))), (Lost(at(95.0)), Lost(at(55.0)))):
        found = recovered(*images, start=at(95.0))
        assert found[0] is None
        assert pose_error(found[1].T_map_base, TRUTH) == pytest.approx((0, 0), abs=1e-6)
        # images to come shall confirm it
        assert np.sqrt(np.linalg.eigvalsh(found[1].covariance[:3, :3])[0]) >= 0.5
    blind = [Lost(at(95.0), believed=at(95.0), odometry=False), Lost(at(55.0), odometry=False)]
    assert recovered(*blind) == [None, None]
    monkeypatch.setattr(relocalize, "MAX_CANDIDATES", 99)
    monkeypatch.setattr(relocalize, "RADIUS_M", 45.0)
    assert recovered(*blind)[1] is not None


def test_attempts_go_on_to_places_further_away_and_look_at_the_nearest_again(monkeypatch):
    monkeypatch.setattr(relocalize, "RADIUS_M", 60.0)
    lost = [Lost(at(95.0), odometry=False)] * 8
    # 43 m from where it was believed: half of the poses of each attempt are new
    found = recovered(*lost, start=at(95.0))
    assert found[0] is None and any(found)

    along = AlongPath(Map())
    along.around = np.array([95.0, 0, 0])
    first = [pose.T_map_base[0, 3] for pose in along.candidates(IMAGE, CAMERA)[:24]]
    along.go_on()
    second = [pose.T_map_base[0, 3] for pose in along.candidates(IMAGE, CAMERA)[:24]]
    assert first[:12] == second[:12] and min(first[:12]) > max(first[12:]) > min(first[12:]) > max(second[12:])


def test_a_damaged_tile_hides_no_other_place():
    class Damaged(Map):
        def crop(self, center, radius, damaged=None):
            if damaged is None:
                raise MapFormatError("a tile is damaged")
            damaged.append(MapFormatError("a tile is damaged"))
            return super().crop(center, radius, damaged)

    recovery = Recovery(Damaged(), PlaceRefiner((TRUTH, 0.6)))
    recovery.reset(at(55.0))
    assert next(looked_for(recovery, [Lost(at(55.0))])) is not None


def test_it_is_looked_for_only_when_it_is_time(monkeypatch):
    monkeypatch.setattr(relocalize, "RADIUS_M", 15.0)
    lost = [Lost(at(95.0)), Lost(at(55.0), search=Search.EVERYWHERE), Lost(at(55.0))]
    assert [place is not None for place in recovered(*lost, start=at(95.0))] == [False, False, True]
    doubtful = Lost(at(55.0), state=TrackState.DEGRADED, search=Search.NEARBY)
    assert recovered(doubtful, start=at(55.0))[0] is not None


def test_who_knows_places_by_their_looks_sees_the_image_ahead_and_the_whole_rig_is_tried_there():
    views = [perturb(np.eye(4), (0, 0, 0), (0, yaw, 0)) for yaw in (-60, 0, 60)]
    rig, images = PosedCamera(Rig((CAMERA,) * 3, tuple(views)), T_BASE_CAMERA), tuple(IMAGE + k for k in range(3))
    shown = []

    class Looks:
        def candidates(self, image, camera):
            shown.append((int(image[0, 0, 0]), camera))
            return [PoseHypothesis(TRUTH, np.eye(6))] * 2

    class RigRefiner(PlaceRefiner):
        def refine(self, image, camera, submap, T_map_camera):
            camera.check_image(image)
            return super().refine(image, camera, submap, T_map_camera)

    recovery = Recovery(Map(), RigRefiner((TRUTH, 0.6)), Looks())
    lost = Lost(at(55.0))
    lost.delta = np.eye(4)
    assert recovery.update(lost, images, rig, 60.0) is not None
    assert shown == [(1, CAMERA)]


def test_between_two_drives_nothing_is_tried():
    class TwoStreets(EmptyMap):
        there = [(float(x), 0.0, 0.0, 0.0) for x in range(0, 101, 5)]
        metadata = MapMetadata(path=(*there, *((x, 50.0, 0.0, np.pi) for x, *_ in reversed(there))))

    along = AlongPath(TwoStreets())
    along.around = np.array([95.0, 20.0, 0.0])
    ys = {round(float(place.T_map_base[1, 3]), 3) for place in along.candidates(IMAGE, CAMERA)}
    assert ys == {0.0}
