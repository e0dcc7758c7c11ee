# SPDX-License-Identifier: Apache-2.0
"""Relocalizers learned from images propose places, and are believed where image and map agree."""

import dataclasses

import numpy as np
import pytest
from helpers.known_places import KnowingRefiner, on_path, write_street
from helpers.known_scene import MOUNTED, KnowingEncoder, image_at

from lhmap_loc_ros.errors import InputError, MapFormatError
from lhmap_loc_ros.geometry import inverse, pose_error
from lhmap_loc_ros.localization.relocalize import PoseHypothesis
from lhmap_loc_ros.localization.search_area import Region
from lhmap_loc_ros.places.start_search import StartSearch
from lhmap_loc_ros.places.verify import Verdict
from lhmap_loc_ros.scenes.locate import Proposal, SceneFinder, believed


def finder_in(lhmap, encoder, method="coordinates", refiner=None):
    return SceneFinder(lhmap, refiner or KnowingRefiner(), method, encoder=encoder)


def test_coordinates_tell_the_pose_of_an_image_between_those_learned_from(learned_map, encoder):
    finder = finder_in(learned_map, encoder)
    for x in (7.0, 15.3, 24.8):
        truth = on_path(x, 0.03, 0.2)
        best = finder.propose(image_at(truth), MOUNTED)[0]
        metres, degrees = pose_error(best.place.T_map_base, truth)
        assert metres < 1.5 and degrees < 4 and best.inliers > 50


def test_their_covariance_is_a_covariance(learned_map, encoder):
    best = finder_in(learned_map, encoder).propose(image_at(on_path(15.0)), MOUNTED)[0]
    values = np.linalg.eigvalsh(best.place.covariance)
    assert (values > 0).all() and values[-1] < 4


def test_regression_tells_about_where(learned_map, encoder):
    truth = on_path(15.0)
    best = finder_in(learned_map, encoder, "regression").propose(image_at(truth), MOUNTED)[0]
    metres, degrees = pose_error(best.place.T_map_base, truth)
    assert metres < 6 and degrees < 10


def test_what_fits_the_map_is_believed_and_what_does_not_is_not(learned_map, encoder):
    truth = on_path(15.0)
    found = finder_in(learned_map, encoder).locate(image_at(truth), MOUNTED)
    assert pose_error(found.T_map_base, truth)[0] < 0.01
    assert finder_in(learned_map, encoder, refiner=KnowingRefiner(ratio=0.1)).locate(image_at(truth), MOUNTED) is None


def test_a_pose_solved_by_many_cells_is_a_witness_of_what_the_map_says(learned_map, encoder):
    def verdict(at, ratio=0.25, rival=0.1):
        return Verdict(PoseHypothesis(at, np.eye(6) * 1e-3, ratio), rival, agrees=False)

    solved = Proposal(PoseHypothesis(on_path(15.0), np.eye(6)), 300, 0.4)
    assert believed(verdict(on_path(15.3)), [solved])
    assert not believed(verdict(on_path(17.0)), [solved])
    assert not believed(verdict(on_path(15.3)), [dataclasses.replace(solved, ratio=0.1)])
    assert not believed(verdict(on_path(15.3)), [dataclasses.replace(solved, inliers=20)])
    assert not believed(verdict(on_path(15.3), rival=0.24), [solved])
    assert not believed(verdict(on_path(15.3)), []) and not believed(None, [solved])
    assert finder_in(learned_map, encoder).propose(image_at(on_path(15.0)), MOUNTED)[0].ratio > 0.1


def test_a_search_believes_two_images_that_agree(learned_map, encoder):
    finder = finder_in(learned_map, encoder, "regression", refiner=KnowingRefiner(ratio=0.25))
    search = finder.search()
    assert search.process_image(image_at(on_path(10.0)), MOUNTED) is None
    way = inverse(on_path(10.0)) @ on_path(14.0)
    assert search.process_image(image_at(on_path(14.0)), MOUNTED, lambda _: way) is not None


def test_nothing_is_proposed_outside_of_a_region(learned_map, encoder):
    region = Region(tuple(on_path(35.0)[:2, 3]), 8.0)
    for proposal in finder_in(learned_map, encoder).propose(image_at(on_path(5.0)), MOUNTED, region):
        assert np.hypot(*(proposal.place.T_map_base[:2, 3] - region.center)) < 10


def test_a_map_that_nothing_was_learned_of_says_so(tmp_path, encoder):
    with write_street(tmp_path / "plain.lhmap") as lhmap:
        with pytest.raises(InputError, match="nothing was learned by the method 'coordinates'.*lhmap learn"):
            finder_in(lhmap, encoder)


def test_what_was_learned_with_another_network_is_refused(learned_map):
    other = KnowingEncoder()
    other.sha256 = "0ff1ce"
    with pytest.raises(MapFormatError, match="learned with the network 5ca1ab1e found, expected 0ff1ce"):
        finder_in(learned_map, other)


def test_start_search_takes_coordinates_where_the_map_has_them(learned_map, encoder):
    search = StartSearch(finder_in(learned_map, encoder))
    assert search.find(0, image_at(on_path(15.0)), MOUNTED, None) is not None
