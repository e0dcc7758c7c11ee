# SPDX-License-Identifier: Apache-2.0
"""The table of iterations: what a file may change of it, and what the docs say of it."""

import re
from pathlib import Path

import pytest

from lhmap_loc_ros.configuration import validate
from lhmap_loc_ros.errors import ConfigError
from lhmap_loc_ros.localization.refine_plan import COARSE_CELL, FINE_CELL, SCHEDULES, RefineMode, RefinePlan

TUNING = Path(__file__).parents[2] / "docs" / "tuning.md"


def test_what_a_file_does_not_name_stays_as_measured():
    plan = validate(RefinePlan, {"schedules": {"multi_start": {"multi_start": False, "coarse": 1}}, "block_px": 0})
    changed = plan.schedules.pop(RefineMode.MULTI_START)
    assert (changed.coarse, changed.fine, changed.multi_start) == (1, 6, False)
    assert plan.schedules == {m: schedule for m, schedule in SCHEDULES.items() if m is not RefineMode.MULTI_START}
    assert plan.block_px == 0 and plan.fine_weighting is RefinePlan().fine_weighting


@pytest.mark.parametrize(
    ("schedules", "words"),
    [({"far": {"coarse": 1}}, "'far' is not a valid RefineMode"), ({"wide": {"coarse": -1}}, "coarse.*-1"), (3, "3")],
)
def test_a_schedule_that_cannot_be_is_named(schedules, words):
    with pytest.raises(ConfigError, match=f"schedules.*{words}"):
        validate(RefinePlan, {"schedules": schedules})


def test_a_plan_is_adapted_for_some_modes_and_the_shipped_one_stays():
    plan = RefinePlan().adapted([RefineMode.WIDE], coarse=2, fine=1)
    assert plan.schedules[RefineMode.WIDE].cells == [COARSE_CELL, COARSE_CELL, FINE_CELL]
    assert plan.schedules[RefineMode.RECOVER] == SCHEDULES[RefineMode.RECOVER]
    assert RefinePlan().schedules == dict(SCHEDULES)


def test_the_page_of_tuning_has_the_table_of_modes():
    rows = re.findall(r"^\| ([A-Z_]+) \| [^|]+\| (\d) \| ([^|]+) \| ([\d.]+) m, ([\d.]+)° \|", TUNING.read_text(), re.M)
    left = {0: "`max_iterations`", 1: "`max_iterations` - 1"}
    expected = [
        (mode.name, str(s.coarse), left[s.coarse] if s.fine is None else str(s.fine), *map(str, s.convergence))
        for mode, s in SCHEDULES.items()
    ]
    assert rows == expected
