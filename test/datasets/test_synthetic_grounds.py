# SPDX-License-Identifier: Apache-2.0
"""The grounds of a campus: a path for people, with squares, courtyards and car parks beside it."""

import numpy as np
import pytest

from lhmap_loc_ros.datasets.synthetic.runs import Settings, plan_run
from lhmap_loc_ros.datasets.synthetic.surfaces import Kind
from lhmap_loc_ros.datasets.synthetic.traffic import draw_people
from lhmap_loc_ros.datasets.synthetic.world import World
from lhmap_loc_ros.errors import InputError

SEED = 9606


@pytest.fixture(scope="module")
def days():
    return [World.generate(SEED, 40.0, day, "grounds") for day in (0, 1)]


def test_another_day_leaves_what_is_built_and_moves_what_is_parked(days):
    a, b = (world.geometry for world in days)
    assert a.permanent == b.permanent and np.array_equal(a.fixed[: a.permanent], b.fixed[: b.permanent])
    assert not np.array_equal(a.fixed[a.permanent :], b.fixed[b.permanent :])


def test_people_walk_on_the_path_and_no_car_drives_there(days):
    geometry = days[0].geometry
    walkers = geometry.vehicles
    assert walkers and all(abs(walker.speed) < 2 for walker in walkers)
    assert all(abs(walker.offset) < geometry.style.half_lanes for walker in walkers)
    people = [geometry.templates[walker.template] for walker in walkers]
    assert all(1.4 < np.ptp(body[..., 2]) < 2.0 and np.ptp(body[..., :2]) < 1.0 for body in people)


def test_people_come_in_several_sizes():
    class Table:
        def add(self, *_, **__):
            return 0

    heights = [np.ptp(mesh.arrays()[0][..., 2]) for mesh, _ in draw_people(Table(), np.random.default_rng(0))]
    assert max(heights) - min(heights) > 0.05 and min(heights) > 1.5


def test_nothing_is_painted_on_the_path_and_no_kerb_is_in_the_way(days):
    geometry = days[0].geometry
    # signs and lines of a street begin with PAINT (0) and ARROW (3)
    assert not np.isin(geometry.decals[:, 0], (0, 3)).any()
    assert geometry.style.walkway and geometry.style.curb_height < 0.05


def test_a_robot_of_any_kind_stays_on_the_path(days):
    for robot in ("car", "cart", "dog"):
        for name in ("mapping", "query"):
            run = plan_run(name, SEED, 40.0, Settings(robot=robot, character="grounds"))
            path = run.drive.path
            offsets = [abs(path.lateral_at(s)[0]) for s in np.linspace(0, 40, 20)]
            assert max(offsets) < days[0].geometry.style.half_street(0)


def test_the_path_is_of_slabs_gravel_or_asphalt_by_the_seed():
    kinds = set()
    for seed in range(9605, 9607):
        g = World.generate(seed, 20.0, 0, "grounds").geometry
        kinds |= set(np.unique(g.kinds[g.surface[: g.permanent]]))
    assert {Kind.PAVING, Kind.ROAD, Kind.GRASS} <= kinds


def test_a_place_of_another_kind_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match="character: 'moon' found, expected one of old town, .*grounds"):
        Settings(character="moon")
