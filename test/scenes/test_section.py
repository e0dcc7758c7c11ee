# SPDX-License-Identifier: Apache-2.0
"""What was learned is a section of the map: read as it was written, refused by name where it is damaged."""

import dataclasses

import numpy as np
import pytest
from helpers.known_places import ORIGIN
from helpers.section_head import rewritten
from hypothesis import given, settings
from hypothesis import strategies as st

from lhmap_loc_ros.errors import MapFormatError
from lhmap_loc_ros.lhmap import LHMap, SectionData
from lhmap_loc_ros.lhmap.writer import write_with_section
from lhmap_loc_ros.scenes.section import Learned


def test_what_is_stored_is_what_was_learned(learned_map):
    learned = Learned.of(learned_map, "coordinates")
    again = learned.to_section()
    assert again.data == learned_map.section("coordinates")[1]
    assert learned.view.width == 240 and len(learned.images.yaws) == 20 and len(learned.scales) == 1
    assert Learned.of(learned_map, "constraints") is None and not learned_map.has_section("constraints")


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_damage_is_refused_by_name_and_the_map_is_used_all_the_same(tmp_path_factory, learned_map, data):
    content = bytearray(learned_map.path.read_bytes())
    size = sum(section.bytes for section in learned_map.metadata.sections)
    content[data.draw(st.integers(len(content) - size, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("bad") / "bad.lhmap"
    path.write_bytes(bytes(content))
    with LHMap.open(path) as lhmap:
        assert len(lhmap.crop(ORIGIN + 5, 30)) == len(learned_map.crop(ORIGIN + 5, 30))
        with pytest.raises(MapFormatError, match="bad.lhmap.*'(coordinates|regression)' is damaged"):
            for method in ("coordinates", "regression"):
                Learned.of(lhmap, method)


CHANGES = {
    "cut short": lambda data: data[:-7],
    "too long": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "no head": lambda data: b"\xff" * 64,
    "other sizes": lambda data: rewritten(data, lambda head: head.update(width=64)),
    "huge sizes": lambda data: rewritten(data, lambda head: head.update(images=10**12)),
    "negative sizes": lambda data: rewritten(data, lambda head: head.update(heads=-1)),
    "no camera": lambda data: rewritten(data, lambda head: head.pop("view")),
    "another grid": lambda data: rewritten(data, lambda head: head["view"].update(width=10**6)),
    "no focal length": lambda data: rewritten(data, lambda head: head["view"].update(fx=0)),
    "not a number": lambda data: data[:-2] + np.float16("nan").tobytes(),
    "a head that is not there": lambda data: rewritten(data, lambda head: head.update(encoder=[1])) + b"?",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_sections_that_make_no_sense_are_refused_by_name(tmp_path, learned_map, change):
    path = tmp_path / "odd.lhmap"
    data = change(learned_map.section("coordinates")[1])
    write_with_section(learned_map, path, SectionData("coordinates", 1, data))
    with LHMap.open(path) as lhmap:
        with pytest.raises(MapFormatError, match="odd.lhmap: section 'coordinates' is not understood"):
            Learned.of(lhmap, "coordinates")
        assert Learned.of(lhmap, "regression") is not None


def test_a_later_version_is_refused_by_its_number(tmp_path, learned_map):
    path = tmp_path / "later.lhmap"
    section = dataclasses.replace(Learned.of(learned_map, "coordinates").to_section(), version=7)
    write_with_section(learned_map, path, section)
    with LHMap.open(path) as lhmap:
        with pytest.raises(MapFormatError, match="'coordinates' of version 7 found, expected 1"):
            Learned.of(lhmap, "coordinates")
