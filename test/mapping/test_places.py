# SPDX-License-Identifier: Apache-2.0
"""Maps are built with what their places look like."""

import numpy as np
import pytest
from helpers import box_world as world

from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.mapping import builder
from lhmap_loc_ros.mapping.builder import build_map, load_describer
from lhmap_loc_ros.mapping.config import BuildConfig
from lhmap_loc_ros.places import describe
from lhmap_loc_ros.places.database import PlaceDatabase

CONFIG = BuildConfig(heat="none", budget_mb_per_km=None, remove_moving=False)


class CountingDescriber:
    """Descriptors of where a view is from; counts the views."""

    sha256 = "c0ffee"

    def __init__(self):
        self.viewed = 0

    def views(self, points, poses):
        self.viewed += len(poses)
        wave = np.cos(np.outer(poses[:, 0, 3] + poses[:, 1, 2], np.arange(1, 33)))
        return (wave / np.linalg.norm(wave, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return world.write_bag(tmp_path_factory.mktemp("bags") / "drive", 12, odometry=True)


@pytest.fixture
def describers(monkeypatch):
    """Those that builds have loaded; the other tests of this folder build without."""
    loaded = []

    def load():
        loaded.append(CountingDescriber())
        return loaded[-1]

    monkeypatch.setattr(describe, "PlaceDescriber", load)
    monkeypatch.setattr(builder, "load_describer", load_describer)
    return loaded


def test_a_map_is_built_with_places_and_those_of_an_earlier_build_are_used_again(bag, tmp_path, describers):
    stages, contents = [], []
    for number in range(2):
        out = tmp_path / f"{number}.lhmap"
        with build_map(bag, out, CONFIG, lambda *step: stages.append(step[0]), work=tmp_path / "work") as lhmap:
            database = PlaceDatabase.of(lhmap, "c0ffee")
            lhmap.verify()
        contents.append(out.read_bytes())
    # from the path and both sides of it
    assert len(database) and 3 * database.headings * len(database) == describers[0].viewed
    assert "places" in stages and describers[1].viewed == 0 and contents[0] == contents[1]


def test_without_them_it_has_none(bag, tmp_path, describers):
    path = tmp_path / "m.lhmap"
    build_map(bag, path, CONFIG.model_copy(update={"places": False})).close()
    with LHMap.open(path) as lhmap:
        assert PlaceDatabase.of(lhmap) is None and lhmap.metadata.sections == () and not describers
