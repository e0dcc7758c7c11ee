# SPDX-License-Identifier: Apache-2.0
"""Figures of relocalizers side by side, of outcomes made up."""

import pytest

from lhmap_loc_ros.evaluation.relocalizers import COLUMNS, Outcome, figures, rows


def outcome():
    """Three images: found, not believed, believed at a wrong place."""
    errors = [(0.1, 1.0), (30.0, 90.0), (8.0, 3.0)]
    return Outcome(40_000, errors, [errors[0], None, errors[2]], [0.1] * 3, [0.2] * 3)


def test_every_image_counts_and_what_is_believed_is_told_right_from_wrong():
    found = figures(outcome(), 0.2)
    assert found["recall"] == found["verified_recall"] == [pytest.approx(1 / 3)] * 3
    assert found["believed"] == pytest.approx(2 / 3) and found["wrong"] == pytest.approx(1 / 3)
    assert found["median_m"] == 8.0 and found["verified_median_m"] == pytest.approx(4.05)
    assert found["kb_per_km"] == pytest.approx(200)


def test_of_a_map_whose_path_has_no_length_nobody_knows_the_bytes_a_kilometre():
    found = {"methods": {"places": figures(outcome(), 0.0)}}
    assert found["methods"]["places"]["kb_per_km"] is None
    (row,) = rows(found)
    assert len(row) == len(COLUMNS) and row[COLUMNS.index("kB/km")] == ""


def test_a_method_that_mostly_says_nothing_has_no_median():
    nothing = (float("inf"), float("inf"))
    found = figures(Outcome(40_000, [nothing] * 2 + [(1.0, 1.0)], [None] * 3, [0.1] * 3, [0.2] * 3), 0.2)
    assert found["median_m"] is None and found["recall"][2] == pytest.approx(1 / 3)
    (row,) = rows({"methods": {"places": found}})
    assert row[COLUMNS.index("median")] == ""
