# SPDX-License-Identifier: Apache-2.0
"""An image is localized without a start pose, and only where nothing speaks against it."""

import numpy as np
import pytest
from helpers.known_places import (
    MOUNTED,
    NOWHERE,
    ORIGIN,
    T_BASE_CAMERA,
    KnowingDescriber,
    KnowingRefiner,
    image_at,
    on_path,
    write_street,
)

from lhmap_loc_ros.errors import InputError, MapFormatError, ModelError
from lhmap_loc_ros.geometry import inverse, make_pose, pose_error
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.localization.search_area import Region
from lhmap_loc_ros.places.build import add_places
from lhmap_loc_ros.places.database import Heading
from lhmap_loc_ros.places.locate import CANDIDATES, PlaceFinder, SequencePlaceFinder
from lhmap_loc_ros.places.verify import ASIDE, ASIDE_FIRST, FINISHED, ROUNDS


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """By the period in which the street looks the same, its map with places; None: it never does."""
    folder, out = tmp_path_factory.mktemp("streets"), {}
    for period in (None, 60.0):
        path = folder / f"{period}.lhmap"
        write_street(path).close()
        add_places(path, KnowingDescriber(period=period))
        out[period] = LHMap.open(path)
    yield out
    for lhmap in out.values():
        lhmap.close()


def finder_in(streets, refiner=None, period=None):
    return PlaceFinder(streets[period], refiner or KnowingRefiner(), KnowingDescriber(period=period))


@pytest.mark.parametrize("x, yaw, side", ((50.0, 0.0, 0.0), (120.3, 3.1, 0.6), (199.0, -0.3, -0.8), (77.7, 1.9, 0.3)))
def test_an_image_from_anywhere_in_the_map_is_localized(streets, x, yaw, side):
    truth = on_path(x, yaw, side)
    found = finder_in(streets).locate(image_at(truth), MOUNTED)
    assert pose_error(found.T_map_base, truth) == pytest.approx((0, 0), abs=1e-5)
    assert found.inlier_ratio == 0.5 and found.covariance.shape == (6, 6)


def test_an_image_from_elsewhere_is_not(streets):
    assert finder_in(streets).locate(NOWHERE, MOUNTED) is None


def test_a_poor_fit_is_not_believed(streets):
    assert finder_in(streets, KnowingRefiner(ratio=0.3)).locate(image_at(on_path(50.0)), MOUNTED) is None


def test_of_two_places_alike_none_is_believed_unless_a_region_says_which(streets):
    truth = on_path(130.0)
    finder = finder_in(streets, KnowingRefiner(alike={-60.0: 0.95}), period=60.0)
    assert finder.locate(image_at(truth), MOUNTED) is None
    region = Region(tuple(truth[:2, 3]), 25.0)
    assert pose_error(finder.locate(image_at(truth), MOUNTED, region).T_map_base, truth) == pytest.approx(
        (0, 0), abs=1e-5
    )


def test_a_heading_that_is_known_leaves_out_the_others(streets):
    truth, finder = on_path(50.0, 0.1), finder_in(streets)
    assert finder.locate(image_at(truth), MOUNTED, heading=Heading(0.0, 0.5)) is not None
    assert finder.locate(image_at(truth), MOUNTED, heading=Heading(np.pi, 0.5)) is None


@pytest.mark.parametrize("side", (-5.5, 5.5))
def test_a_robot_in_another_lane_is_found_from_a_start_there(streets, side):
    """The refiner's reach is 4 m."""
    truth = on_path(50.0, 0.0, side)
    found = finder_in(streets).locate(image_at(truth), MOUNTED)
    assert pose_error(found.T_map_base, truth) == pytest.approx((0, 0), abs=1e-5)


def test_a_pose_that_one_start_alone_leads_to_is_not_believed(streets):
    class Fickle(KnowingRefiner):
        def refine(self, *arguments):
            found = super().refine(*arguments)
            found.T_map_camera[:2, 3] += np.random.default_rng(self.looked).normal(0, 1, 2)
            return found

    assert finder_in(streets, Fickle()).locate(image_at(on_path(50.0)), MOUNTED) is None


def test_the_work_is_bounded_and_ends_when_it_is_told(streets):
    refiner = KnowingRefiner()
    finder = finder_in(streets, refiner)
    finder.locate(image_at(on_path(50.0)), MOUNTED)
    rounds = sum(kept for _, kept in ROUNDS[:-1])
    assert refiner.looked <= CANDIDATES + rounds + FINISHED + 1
    refiner.looked = 0
    finder.locate(NOWHERE, MOUNTED)
    assert refiner.looked <= CANDIDATES + 2 * (ASIDE + ASIDE_FIRST) + rounds + FINISHED
    refiner.looked = 0
    assert finder.locate(image_at(on_path(50.0)), MOUNTED, should_continue=lambda: refiner.looked < 3) is None
    assert refiner.looked == 3


def test_a_network_that_fails_at_one_place_does_not_hide_the_others(streets):
    class Failing(KnowingRefiner):
        def refine(self, *arguments):
            if self.looked == 3:
                self.looked += 1
                raise ModelError("not finite")
            return super().refine(*arguments)

    assert finder_in(streets, Failing()).locate(image_at(on_path(50.0)), MOUNTED) is not None


def test_maps_without_places_or_with_those_of_other_networks_are_told(tmp_path, streets):
    with write_street(tmp_path / "plain.lhmap") as plain:
        with pytest.raises(InputError, match="plain.lhmap: has no places.*lhmap places"):
            PlaceFinder(plain, KnowingRefiner(), KnowingDescriber())
    other = KnowingDescriber()
    other.sha256 = "deadbeef"
    with pytest.raises(MapFormatError, match="by networks"):
        PlaceFinder(streets[None], KnowingRefiner(), other)


def always(way):
    return lambda _: way


def drive(search, xs, odometry=True, side=0.0):
    """What a search says of images at these places along the path, and the truth."""
    before = on_path(xs[0] - 6.0)
    for x in xs:
        truth = on_path(x, 0.0, side)
        motion = always(inverse(before) @ truth) if odometry else None
        yield search.process_image(image_at(truth), MOUNTED, motion), truth
        before = truth


def test_what_one_image_does_not_say_two_that_agree_do(streets):
    search = SequencePlaceFinder(finder_in(streets, KnowingRefiner(ratio=0.25)))
    (first, _), (found, truth) = drive(search, (50.0, 56.0))
    assert first is None and pose_error(found.T_map_base, truth) == pytest.approx((0, 0), abs=1e-5)


def test_a_pose_that_is_likely_already_is_confirmed_with_less_work(streets):
    refiner = KnowingRefiner(ratio=0.25)
    search = SequencePlaceFinder(finder_in(streets, refiner))
    (first, _), looked = next(drive(search, (50.0,))), refiner.looked
    ((found, _),) = drive(search, (56.0,))
    assert first is None and found is not None and refiner.looked - looked < 0.7 * looked


def test_the_same_view_again_is_no_second_witness(streets):
    search = SequencePlaceFinder(finder_in(streets, KnowingRefiner(ratio=0.25)))
    assert [found for found, _ in drive(search, (50.0, 50.1, 50.2))] == [None] * 3


def test_without_odometry_images_do_not_confirm_each_other(streets):
    search = SequencePlaceFinder(finder_in(streets, KnowingRefiner(ratio=0.25)))
    assert [found for found, _ in drive(search, (50.0, 56.0, 62.0), odometry=False)] == [None] * 3


def test_images_of_nowhere_are_never_believed_however_many(streets):
    search = SequencePlaceFinder(finder_in(streets))
    for _ in range(0, 60, 5):
        assert search.process_image(NOWHERE, MOUNTED, always(make_pose(np.eye(3), (5, 0, 0)))) is None


def test_images_vote_for_the_place_that_all_of_them_look_like(streets):
    """Each image alone looks like two places, by turns like the wrong one more."""
    finder = finder_in(streets)
    search, database = SequencePlaceFinder(finder), finder.database
    for number, x in enumerate((50.0, 56.0, 62.0, 68.0)):
        scores = np.full(database.codes.shape[:2], 0.1, np.float32)
        wrong = (140.0, 20.0, 170.0, 90.0)[number]
        for where, score in ((x, 0.8), (wrong, 0.9)):
            place, heading, _ = database.nearest((ORIGIN + (5 + where, 5, 2))[None], np.zeros(1))
            scores[place, heading] = score
        search._votes.add(scores, inverse(on_path(x - 6.0)) @ on_path(x), T_BASE_CAMERA)
    best = search._votes.candidates(1)[0]
    assert pose_error(best, on_path(68.0))[0] < 3.1
