# SPDX-License-Identifier: Apache-2.0
"""The places of a map: made from it alone, stored in its file, searched."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.known_places import MOUNTED, ORIGIN, T_BASE_CAMERA, KnowingDescriber, image_at, on_path, write_street
from helpers.section_head import rewritten
from hypothesis import given, settings
from hypothesis import strategies as st

from lhmap_loc_ros.errors import InputError, MapFormatError
from lhmap_loc_ros.geometry import pose_error
from lhmap_loc_ros.lhmap import LHMap, SectionData, layout, write_map
from lhmap_loc_ros.lhmap.writer import write_with_section
from lhmap_loc_ros.localization.search_area import Region
from lhmap_loc_ros.places.build import EYE_M, HEADINGS, SPACING_M, add_places, describe_map
from lhmap_loc_ros.places.database import SECTION, VERSION, Heading, PlaceDatabase
from lhmap_loc_ros.places.virtual_poses import along_path


def test_places_lie_along_the_path_with_the_camera_over_the_ground(street):
    database = PlaceDatabase.of(street)
    along = database.positions - ORIGIN
    assert len(database) == round(200 / SPACING_M) + 1 and database.headings == HEADINGS
    order = np.argsort(along[:, 0])
    np.testing.assert_allclose(np.diff(along[order, 0]), 200 / (len(database) - 1), atol=0.02)
    np.testing.assert_allclose(along[:, 1:], np.tile((5, 2), (len(database), 1)), atol=0.01)
    # the ground is half a metre below the path
    np.testing.assert_allclose(database.eyes, EYE_M - 0.5, atol=0.03)


def test_what_is_stored_is_what_was_described(street):
    fresh, stored = describe_map(street, KnowingDescriber()), PlaceDatabase.of(street)
    order = [np.lexsort((d.positions[:, 1], d.positions[:, 0])) for d in (fresh, stored)]
    for name, tolerance in (("positions", 0.006), ("eyes", 0.006), ("yaws", 1e-4), ("codes", 0)):
        ours, theirs = (getattr(d, name)[o] for d, o in zip((fresh, stored), order, strict=True))
        np.testing.assert_allclose(ours, theirs, atol=tolerance)
    assert (stored.describer, stored.quantizer, stored.spacing_m) == ("5ca1ab1e", fresh.quantizer, SPACING_M)


def test_a_map_of_a_kilometre_has_places_of_less_than_a_hundred_kilobytes(street):
    (section,) = street.metadata.sections
    assert section.bytes / 0.2 <= 100_000
    assert street.info()["section_bytes"] == {SECTION: section.bytes}


def test_tiles_are_the_same_with_places_and_without(tmp_path, street):
    plain = write_street(tmp_path / "plain.lhmap")
    for number in range(len(plain.index)):
        assert plain.tile_bytes(number) == street.tile_bytes(number)
    assert PlaceDatabase.of(plain) is None


def test_describing_again_gives_the_same_file(tmp_path, street):
    again = tmp_path / "again.lhmap"
    again.write_bytes(street.path.read_bytes())
    add_places(again, KnowingDescriber())
    assert again.read_bytes() == street.path.read_bytes()


def test_what_was_described_before_is_not_described_again(tmp_path):
    remembered, describer = {}, KnowingDescriber()

    def keep(name, compute):
        if name not in remembered:
            remembered[name] = compute()
        return remembered[name]

    with write_street(tmp_path / "m.lhmap") as lhmap:
        first = describe_map(lhmap, describer, keep=keep)
        seen = describer.viewed
        second = describe_map(lhmap, describer, keep=keep)
    # from the path and, where there is ground, from both sides of it
    assert seen == describer.viewed and 2 * len(first) * HEADINGS < seen <= 3 * len(first) * HEADINGS
    np.testing.assert_array_equal(first.codes, second.codes)


def test_other_sections_of_a_map_stay(tmp_path):
    path = tmp_path / "m.lhmap"
    with write_street(path) as lhmap:
        write_with_section(lhmap, path, SectionData("other", 3, b"something"))
    add_places(path, KnowingDescriber())
    with LHMap.open(path) as lhmap:
        assert lhmap.section("other") == (3, b"something") and PlaceDatabase.of(lhmap) is not None
        lhmap.verify()


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_damaged_places_are_refused_by_name_and_the_map_is_used_all_the_same(tmp_path_factory, street, data):
    content = bytearray(street.path.read_bytes())
    (section,) = street.metadata.sections
    position = data.draw(st.integers(len(content) - section.bytes, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("bad") / "bad.lhmap"
    path.write_bytes(bytes(content))
    with LHMap.open(path) as lhmap:
        assert len(lhmap.crop(ORIGIN + 5, 30)) == len(street.crop(ORIGIN + 5, 30))
        with pytest.raises(MapFormatError, match="bad.lhmap.*'places' is damaged"):
            PlaceDatabase.of(lhmap)
        with pytest.raises(MapFormatError, match="'places' is damaged"):
            lhmap.verify()


def page_reader():
    """The reader on the page of the format, which knows no sections."""
    page = (Path(__file__).parents[2] / "docs" / "map-format.md").read_text()
    scope: dict = {}
    exec(page.split("```python\n")[1].split("```")[0], scope)
    return scope["read"]


def test_readers_that_know_no_sections_read_the_map(street):
    header, rows = page_reader()(street.path)
    assert header["points"] == len(rows) == len(street.all_points())


def test_maps_from_before_there_were_sections_gain_places(tmp_path, street):
    content = write_street(tmp_path / "m.lhmap").path.read_bytes()
    preamble = layout.parse_preamble(content[: layout.PREAMBLE.size], "map")
    head = content[layout.PREAMBLE.size : preamble.tiles_offset]
    old = dataclasses.replace(preamble, version=(1, 2))
    header = head[: preamble.header_bytes].replace(b',"sections":[]', b" " * len(b',"sections":[]'))
    assert len(header) == preamble.header_bytes and b"sections" not in header
    head = header + head[preamble.header_bytes :]
    old = dataclasses.replace(old, crc=layout.head_crc(old, head))
    path = tmp_path / "old.lhmap"
    path.write_bytes(old.pack() + head + content[preamble.tiles_offset :])
    with LHMap.open(path) as lhmap:
        lhmap.verify()
        assert PlaceDatabase.of(lhmap) is None and lhmap.metadata.sections == ()
    add_places(path, KnowingDescriber())
    assert path.read_bytes() == street.path.read_bytes()


@pytest.mark.parametrize(
    "version, content, message",
    (
        (2, b"", "section .places. of version 2 found, expected 1"),
        (1, b"", "'places' is not understood"),
        (1, b"\x02\x00\x00\x00{}", "'places' is not understood"),
        (1, b"\xff\xff\x00\x00{}", "'places' is not understood"),
    ),
)
def test_places_that_are_none_are_refused(tmp_path, version, content, message):
    path = tmp_path / "m.lhmap"
    with write_street(path) as lhmap:
        write_with_section(lhmap, path, SectionData(SECTION, version, content))
    with LHMap.open(path) as lhmap, pytest.raises(MapFormatError, match=message):
        PlaceDatabase.of(lhmap)


@pytest.mark.parametrize(
    "told, found",
    (
        ({"headings": 0}, "0 headings found"),
        ({"headings": 10**12}, r"codes of shape \(.*\) found"),
        ({"tiles": -1}, r"tiles of shape \(-1,\) found"),
        ({"tiles": 1}, "bytes found, expected"),
        ({"bits": 3}, "expected 8, 4, 2 or 1 bits"),
    ),
)
def test_places_whose_head_makes_no_sense_are_refused_by_what_it_says(tmp_path, street, told, found):
    path = tmp_path / "m.lhmap"
    section = rewritten(street.section(SECTION)[1], lambda head: head.update(told))
    write_with_section(street, path, SectionData(SECTION, VERSION, section))
    with LHMap.open(path) as lhmap, pytest.raises(MapFormatError, match=f"'places' is not understood: .*{found}"):
        PlaceDatabase.of(lhmap)


def test_places_by_other_networks_are_told(street):
    assert PlaceDatabase.of(street, "5ca1ab1e") is not None
    with pytest.raises(MapFormatError, match="by networks 5ca1ab1e found, expected deadbeef: lhmap places MAP"):
        PlaceDatabase.of(street, "deadbeef")


def test_a_map_without_a_path_has_no_places(tmp_path, street):
    metadata = street.metadata.model_copy(update={"path": np.zeros((0, 4))})
    write_map(tmp_path / "m.lhmap", street.all_points(), metadata)
    with pytest.raises(InputError, match="no path of the mapping drive"):
        add_places(tmp_path / "m.lhmap", KnowingDescriber())


@given(x=st.floats(0, 200), heading=st.integers(0, HEADINGS - 1))
@settings(max_examples=30, deadline=None)
def test_an_image_of_a_place_looks_like_that_place(street, x, heading):
    yaw = heading * 2 * np.pi / HEADINGS
    truth, describer, database = on_path(x, yaw), KnowingDescriber(), PlaceDatabase.of(street)
    descriptor = describer.image(image_at(truth), MOUNTED.camera, T_BASE_CAMERA)
    (peak,) = database.peaks(database.scores(descriptor), 1)
    metres, degrees = pose_error(database.base_pose(peak, T_BASE_CAMERA), truth)
    # the nearest place, or, as codes of one bit err and count with their neighbours', the one beside it
    assert metres <= 1.5 * SPACING_M and degrees < 1


def test_the_error_of_one_code_counts_for_less_than_what_its_neighbours_say(street):
    database, describer = PlaceDatabase.of(street), KnowingDescriber()
    damaged = database.codes.copy()
    place = int(np.argmin(np.abs(database.positions[:, 0] - ORIGIN[0] - 105)))
    damaged[place] = ~damaged[place]
    descriptor = describer.image(image_at(on_path(100.0)), MOUNTED.camera, T_BASE_CAMERA)
    scores = dataclasses.replace(database, codes=damaged).scores(descriptor)
    (peak,) = database.peaks(scores, 1)
    assert abs(database.positions[peak.place, 0] - ORIGIN[0] - 105) <= 2 * SPACING_M
    alone = database.quantizer.dots(damaged[place], descriptor)
    assert scores[place, 0] > 0.1 > 0 > alone[0]


def test_neighbours_are_compared_in_the_directions_that_they_look_in_common(street):
    """A place whose headings begin elsewhere, as after a turn of the path, says the same."""
    database = PlaceDatabase.of(street)
    turned = np.arange(len(database)) % 2
    yaws = database.yaws + turned * 2 * np.pi / database.headings
    codes = np.array([np.roll(row, -t, axis=0) for row, t in zip(database.codes, turned, strict=True)])
    other = dataclasses.replace(database, yaws=yaws, codes=codes)
    descriptor = KnowingDescriber().image(image_at(on_path(50.0)), MOUNTED.camera, T_BASE_CAMERA)
    found = np.array([np.roll(row, t) for row, t in zip(other.scores(descriptor), turned, strict=True)])
    np.testing.assert_allclose(found, database.scores(descriptor), atol=1e-5)


@given(
    seed=st.integers(0, 1000), x=st.floats(-20, 220), radius=st.floats(0, 80),
    yaw=st.floats(-10, 10), tolerance=st.floats(0.1, 4),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_regions_and_headings_leave_out_what_is_beyond_and_change_nothing_within(
    street, seed, x, radius, yaw, tolerance
):
    database = PlaceDatabase.of(street)
    descriptor = np.random.default_rng(seed).standard_normal(64).astype(np.float32)
    region = Region((ORIGIN[0] + x, ORIGIN[1] + 5), radius)
    everywhere, found = database.scores(descriptor), database.scores(descriptor, region, Heading(yaw, tolerance))
    beside = np.abs(database.positions[:, 0] - region.center[0])
    turned = np.angle(np.exp(1j * (database.view_yaws() - yaw)))
    inside = (beside <= radius)[:, None] & (np.abs(turned) <= tolerance)
    on_the_border = (np.abs(beside - radius) < 1e-6)[:, None] | (np.abs(np.abs(turned) - tolerance) < 1e-6)
    np.testing.assert_array_equal(np.isfinite(found) | on_the_border, inside | on_the_border)
    inside &= np.isfinite(found)
    np.testing.assert_allclose(found[inside], everywhere[inside], atol=1e-6)


def test_peaks_are_apart_and_in_order(street):
    database = PlaceDatabase.of(street)
    scores = np.random.default_rng(0).random(database.codes.shape[:2]).astype(np.float32)
    peaks = database.peaks(scores, 12)
    assert len(peaks) == 12 and [p.score for p in peaks] == sorted((p.score for p in peaks), reverse=True)
    yaws = database.view_yaws()
    for k, peak in enumerate(peaks):
        for other in peaks[:k]:
            metres = np.linalg.norm(database.positions[peak.place] - database.positions[other.place])
            turned = np.angle(np.exp(1j * (yaws[peak.place, peak.heading] - yaws[other.place, other.heading])))
            assert metres >= 8 or abs(turned) >= np.pi / 3 - 1e-6


def test_a_descriptor_of_another_length_is_refused(street):
    with pytest.raises(InputError, match=r"shape \(3,\) found, the map's have 64"):
        PlaceDatabase.of(street).scores(np.zeros(3, np.float32))


def test_a_street_driven_twice_has_its_places_once_and_a_bridge_its_own():
    drive = np.column_stack([np.arange(0, 101, 5.0), np.zeros(21), np.zeros(21), np.zeros(21)])
    once = along_path(drive, 3.0)
    again = drive[::-1] + (0, 0.5, 0, np.pi)
    assert len(along_path(np.concatenate([drive, again]), 3.0)) == pytest.approx(len(once), abs=1)
    assert len(along_path(np.concatenate([drive, again + (0, 0, 6, 0)]), 3.0)) == 2 * len(once)


def test_no_place_lies_between_two_drives():
    drive = np.column_stack([np.arange(0, 51, 5.0), np.zeros((11, 3))])
    places = along_path(np.concatenate([drive, drive + (500, 300, 0, 0)]), 3.0)
    assert ((places[:, 0] <= 50) | (places[:, 0] >= 500)).all() and len(places) == 2 * len(along_path(drive, 3.0))


@pytest.mark.parametrize("count", (0, 1, 2))
def test_paths_of_few_poses(count):
    path = np.array([(1.0, 2.0, 0.0, 0.5), (1.0, 2.0, 0.0, 0.5)])[:count]
    assert len(along_path(path.reshape(-1, 4), 3.0)) == min(count, 1)


def test_the_search_is_through_tens_of_thousands_of_places_in_no_time(street):
    small = PlaceDatabase.of(street)
    times = 30_000 // len(small)
    shift = np.repeat(np.arange(times) * 500.0, len(small))[:, None] * (1, 0, 0)
    large = dataclasses.replace(
        small, positions=np.tile(small.positions, (times, 1)) + shift, eyes=np.tile(small.eyes, times),
        yaws=np.tile(small.yaws, times), codes=np.tile(small.codes, (times, 1, 1)),
    )  # fmt: skip
    descriptor = KnowingDescriber().image(image_at(on_path(50)), MOUNTED.camera)
    peaks = large.peaks(large.scores(descriptor), 40)
    # as good in every repetition
    assert len({peak.place // len(small) for peak in peaks}) > 20
