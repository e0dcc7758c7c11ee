# SPDX-License-Identifier: Apache-2.0
"""Which relocalizer finds the place in a map: as asked, or by what the map has."""

import pytest
from helpers.known_places import KnowingDescriber, KnowingRefiner, on_path, write_street
from helpers.known_scene import MOUNTED, KnowingEncoder, image_at

from lhmap_loc_ros.errors import InputError, MapFormatError
from lhmap_loc_ros.geometry import pose_error
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.places.build import add_places
from lhmap_loc_ros.places.locate import CANDIDATES, SequencePlaceFinder
from lhmap_loc_ros.places.start_search import StartSearch
from lhmap_loc_ros.scenes.locate import SceneSearch


@pytest.fixture
def both(tmp_path, learned_map):
    """A map with places and with what was learned, open."""
    path = tmp_path / "both.lhmap"
    path.write_bytes(learned_map.path.read_bytes())
    add_places(path, KnowingDescriber())
    with LHMap.open(path) as lhmap:
        yield lhmap


@pytest.fixture(autouse=True)
def no_networks(monkeypatch):
    monkeypatch.setattr("lhmap_loc_ros.places.describe.PlaceDescriber", KnowingDescriber)
    monkeypatch.setattr("lhmap_loc_ros.scenes.locate.SceneEncoder", lambda view: KnowingEncoder())


def searched(lhmap, relocalizer="auto"):
    return type(StartSearch.in_map(lhmap, KnowingRefiner(), relocalizer)._search)


def test_coordinates_and_places_propose_half_each_where_the_map_has_both(both):
    truth = on_path(15.0)
    search = StartSearch.in_map(both, KnowingRefiner())._search
    found = search.propose(image_at(truth), MOUNTED, None, None)
    alone = StartSearch.in_map(both, KnowingRefiner(), "coordinates")._search.propose(
        image_at(truth), MOUNTED, None, None
    )
    half = CANDIDATES // 2
    assert half < len(found) <= CANDIDATES and len(alone) <= half + 1
    assert pose_error(found[min(half, len(alone))], truth)[0] < 5
    search.restart()
    assert search.images == 0


def test_by_default_it_is_coordinates_where_the_map_has_them_else_places(tmp_path, both, learned_map):
    assert searched(both) is searched(learned_map) is SceneSearch
    write_street(tmp_path / "p.lhmap").close()
    add_places(tmp_path / "p.lhmap", KnowingDescriber())
    with LHMap.open(tmp_path / "p.lhmap") as only_places:
        assert searched(only_places) is SequencePlaceFinder


def test_the_one_that_is_asked_for_is_taken(both):
    assert searched(both, "places") is SequencePlaceFinder and searched(both, "regression") is SceneSearch
    with pytest.raises(InputError, match="nothing was learned by the method 'constraints'"):
        searched(both, "constraints")
    with pytest.raises(InputError, match="relocalizer 'gps' found, expected one of auto, places, coordinates"):
        searched(both, "gps")


def test_coordinates_of_another_network_are_told_and_places_taken_instead(monkeypatch, caplog, both, learned_map):
    monkeypatch.setattr(KnowingEncoder, "sha256", "0ff1ce")
    assert searched(both) is SequencePlaceFinder
    assert "coordinates learned with the network 5ca1ab1e found" in caplog.text
    with pytest.raises(MapFormatError, match="expected 0ff1ce"):
        searched(both, "coordinates")
    with pytest.raises(MapFormatError, match="expected 0ff1ce"):
        searched(learned_map)


def test_a_map_can_be_searched_if_it_has_any_of_them(tmp_path, learned_map):
    assert StartSearch.possible_in(learned_map) and StartSearch.possible_in(learned_map, "auto")
    assert StartSearch.possible_in(learned_map, "coordinates") and not StartSearch.possible_in(learned_map, "places")
    with write_street(tmp_path / "plain.lhmap") as plain:
        assert not StartSearch.possible_in(plain) and not StartSearch.possible_in(plain, "auto")


def test_a_localizer_searches_by_what_its_settings_say(tmp_path, both):
    from lhmap_loc_ros.localization.localizer import Localizer, LocalizerConfig

    with write_street(tmp_path / "plain.lhmap") as plain:
        localizer = Localizer(plain, LocalizerConfig(relocalizer="coordinates"), refiner=KnowingRefiner())
        with pytest.raises(InputError, match="plain.lhmap: nothing was learned by the method 'coordinates'"):
            localizer.locate(image_at(on_path(15.0)), MOUNTED, 0)
    truth = on_path(15.0)
    for relocalizer in ("auto", "coordinates"):
        localizer = Localizer(both, LocalizerConfig(relocalizer=relocalizer), refiner=KnowingRefiner())
        assert pose_error(localizer.locate(image_at(truth), MOUNTED, 0).T_map_base, truth)[0] < 0.01
