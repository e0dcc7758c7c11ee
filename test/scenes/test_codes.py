# SPDX-License-Identifier: Apache-2.0
"""Codes of grid cells are a section of the map; decoded, they propose places, as what other methods learned does."""

import dataclasses

import numpy as np
import pytest
from helpers.known_places import ORIGIN, KnowingRefiner, on_path, write_street
from helpers.known_scene import MOUNTED, KnowingEncoder, image_at, street_material
from helpers.section_head import rewritten

from lhmap_loc_ros.errors import MapFormatError
from lhmap_loc_ros.geometry import perturb, pose_error
from lhmap_loc_ros.lhmap import LHMap, SectionData
from lhmap_loc_ros.lhmap.writer import write_with_section
from lhmap_loc_ros.places.start_search import StartSearch
from lhmap_loc_ros.scenes.codes import NONE, CodesDecoder, MapCodes, quantized
from lhmap_loc_ros.scenes.locate import SceneFinder, SceneSearch

FINE = 48
"""The shipped decoder takes so many features besides those at 1/8."""


@pytest.fixture(scope="module")
def coded_map(tmp_path_factory):
    """A map with codes of its street, learned in a few seconds, open."""
    pytest.importorskip("torch")
    from lhmap_loc_ros.training.scene import Amount
    from lhmap_loc_ros.training.scene_codes import learn_codes

    path = tmp_path_factory.mktemp("coded") / "street.lhmap"
    write_street(path).close()
    with LHMap.open(path) as lhmap:
        learned = learn_codes(street_material(fine=FINE), "codes", lhmap, amount=Amount(steps=30))
        write_with_section(lhmap, path, learned.to_section())
    with LHMap.open(path) as lhmap:
        yield lhmap


def finder_in(lhmap):
    return SceneFinder(lhmap, KnowingRefiner(), "codes", encoder=KnowingEncoder(FINE))


def test_an_image_is_proposed_near_where_it_was_taken_and_verified_there(coded_map):
    truth = on_path(15.3, 0.03, 0.2)
    found = finder_in(coded_map).propose(image_at(truth), MOUNTED)
    assert min(pose_error(proposal.place.T_map_base, truth)[0] for proposal in found) < 4
    assert pose_error(finder_in(coded_map).locate(image_at(truth), MOUNTED).T_map_base, truth)[0] < 0.01


def test_the_node_takes_codes_where_it_is_told_to(monkeypatch, coded_map):
    monkeypatch.setattr("lhmap_loc_ros.scenes.locate.SceneEncoder", lambda view: KnowingEncoder(FINE))
    assert isinstance(StartSearch.in_map(coded_map, KnowingRefiner(), "codes")._search, SceneSearch)


def test_places_come_from_the_grid_cell_that_knows_them(monkeypatch, coded_map):
    """With a decoder that knows all that lies in a grid cell, and says so."""
    learned, material = MapCodes.of(coded_map), street_material(fine=FINE)
    decoder, k = CodesDecoder(learned, "street"), 5
    local, depth = material.T_map_camera[k].copy(), np.nan_to_num(material.depth[k])
    local[:3, 3] -= coded_map.metadata.origin
    from lhmap_loc_ros.scenes.encoder import cell_rays

    places = (cell_rays(learned.view) * depth[:, None]) @ local[:3, :3].T + local[:3, 3]

    def decode(embedded, cell):
        relative = (places - learned.centres[cell]) / 12.5
        inside = (np.abs(relative[:, :2]) < 1).all(1) & (depth > 0)
        # what it knows nothing of it puts into its middle
        return np.column_stack([relative * inside[:, None], np.where(inside, 1.0, 4.9)]).T

    monkeypatch.setattr(decoder, "_decode", decode)
    look = decoder.look(material.features[k].astype(np.float32))
    number = int(learned.images.head[np.argmin(np.linalg.norm(learned.images.codes - look.code, axis=1))])
    start = perturb(local, (0.8, 0.3, -1.0), (1.0, 4.0, 2.0))
    solved = decoder.pose(number, look, np.ones(len(places), bool), start)
    assert pose_error(solved.T_map_camera, local)[0] < 0.01 and len(look.decoded) > 1


def test_codes_in_eight_bits_are_what_they_were():
    codes = np.random.default_rng(0).normal(size=(20, 48)).astype(np.float32)
    codes[3] = 0
    steps, values = quantized(codes)
    assert values.dtype == np.int8 and np.abs(values * steps[:, None].astype(np.float32) - codes).max() < 0.02


def test_what_is_stored_is_what_was_learned_within_its_bytes(coded_map):
    learned = MapCodes.of(coded_map)
    assert learned.to_section().data == coded_map.section("codes")[1]
    assert learned.counts.sum() == len(learned.values) and (learned.asked != NONE).any(1).all()
    # 38 m at 200 kB a kilometre
    assert len(learned.to_section().data) <= 7600
    assert [len(learned.of_cell(k)) for k in range(len(learned.counts))] == learned.counts.tolist()


def _with(**arrays):
    def change(lhmap):
        learned = MapCodes.of(lhmap)
        values = {name: edit(getattr(learned, name).copy()) for name, edit in arrays.items()}
        return dataclasses.replace(learned, **values).to_section().data

    return change


def _told(**values):
    return lambda lhmap: rewritten(lhmap.section("codes")[1], lambda head: head.update(values))


CHANGES = {
    "cut short": lambda lhmap: lhmap.section("codes")[1][:-7],
    "too long": lambda lhmap: lhmap.section("codes")[1] + b"\0",
    "empty": lambda lhmap: b"",
    "other sizes": _told(codes=3),
    "huge sizes": _told(values=10**12),
    "negative sizes": _told(codes=-1),
    "no camera": lambda lhmap: rewritten(lhmap.section("codes")[1], lambda head: head.pop("view")),
    "a grid cell that is not there": _with(asked=lambda a: np.full_like(a, 999)),
    "codes of no grid cell": _with(counts=lambda a: np.zeros_like(a)),
    "not a number": _with(steps=lambda a: np.full_like(a, np.nan)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_sections_that_make_no_sense_are_refused_by_name_and_the_map_is_used_all_the_same(tmp_path, coded_map, change):
    path = tmp_path / "odd.lhmap"
    write_with_section(coded_map, path, SectionData("codes", 1, change(coded_map)))
    with LHMap.open(path) as lhmap:
        assert len(lhmap.crop(ORIGIN + 5, 30)) == len(coded_map.crop(ORIGIN + 5, 30))
        with pytest.raises(MapFormatError, match="odd.lhmap: section 'codes' is not understood"):
            finder_in(lhmap)


def test_damage_is_refused_by_name(tmp_path, coded_map):
    content = bytearray(coded_map.path.read_bytes())
    content[-5] ^= 4
    (tmp_path / "bad.lhmap").write_bytes(bytes(content))
    with LHMap.open(tmp_path / "bad.lhmap") as lhmap:
        assert len(lhmap.crop(ORIGIN + 5, 30)) == len(coded_map.crop(ORIGIN + 5, 30))
        with pytest.raises(MapFormatError, match="bad.lhmap.*'codes' is damaged"):
            finder_in(lhmap)


@pytest.mark.parametrize(("name", "what"), [("decoder", "with the decoder"), ("encoder", "with the network")])
def test_codes_of_other_networks_are_refused_by_name(tmp_path, coded_map, name, what):
    path = tmp_path / "foreign.lhmap"
    foreign = dataclasses.replace(MapCodes.of(coded_map), **{name: "0ff1ce"})
    write_with_section(coded_map, path, foreign.to_section())
    with LHMap.open(path) as lhmap:
        with pytest.raises(MapFormatError, match=f"foreign.lhmap: codes learned {what} 0ff1ce found, expected"):
            finder_in(lhmap)
