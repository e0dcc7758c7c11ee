# SPDX-License-Identifier: Apache-2.0
"""A map knows where on the earth it lies, by the fixes on its mapping drive."""

import logging

import numpy as np
import pytest

from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.geometry import make_pose
from lhmap_loc_ros.lhmap import GeodeticDatum
from lhmap_loc_ros.mapping.datum import find_datum, fit_datum

DATUM = GeodeticDatum(latitude_deg=49.01, longitude_deg=8.43, altitude_m=115.0, heading_deg=-140.0)
SECOND = 1_000_000_000


def drive(length=120.0):
    """One pose a second, 6 m apart, in a bend that starts far from the zero of the map."""
    x = np.arange(0.0, length, 6.0)
    poses = np.stack([make_pose(np.eye(3), [1000 + s, -400 + 20 * np.sin(s / 40), 3.0]) for s in x])
    return Trajectory(SECOND + np.arange(len(x)) * SECOND, poses)


def write_bag(path, trajectory, geodetic):
    with BagWriter(path) as bag:
        for stamp, place in zip(trajectory.stamps_ns, geodetic, strict=True):
            bag.fix("/gps/fix", int(stamp), "gps", place, 2.0)
    return path


def test_the_datum_puts_every_fix_where_the_robot_was(tmp_path):
    trajectory = drive()
    positions = trajectory.poses[:, :3, 3]
    found = find_datum([write_bag(tmp_path / "bag", trajectory, DATUM.to_geodetic(positions))], [trajectory])
    assert np.allclose(found.to_map(DATUM.to_geodetic(positions)), positions, atol=0.02)
    # a kilometre to the west of the zero north is another way
    assert found.heading_deg == pytest.approx(DATUM.heading_deg, abs=0.02)
    assert np.allclose(DATUM.to_geodetic(positions), found.to_geodetic(positions), rtol=0, atol=(1e-7, 1e-7, 0.02))


@pytest.mark.parametrize("length", [100.0, 1000.0])
def test_a_map_in_utm_whose_zero_lies_at_the_equator_has_a_datum(length):
    local = drive(length).poses[:, :3, 3] - (1000.0, -400.0, 0.0)
    geodetic = GeodeticDatum(latitude_deg=48.0, longitude_deg=9.0, altitude_m=400.0).to_geodetic(local)
    utm = local + (500_000.0, 5_316_000.0, 400.0)
    found, residual_m = fit_datum(geodetic + np.random.default_rng(0).normal(0, 3e-6, geodetic.shape), utm)
    assert residual_m < 1.0
    assert np.linalg.norm(found.to_map(geodetic) - utm, axis=1).max() < 1.5


def test_a_fix_from_behind_a_house_turns_no_map():
    positions = drive().poses[:, :3, 3]
    geodetic = DATUM.to_geodetic(positions + np.random.default_rng(0).normal(0, 0.5, positions.shape))
    geodetic[3:5, 0] += 0.002  # 220 m
    found, residual_m = fit_datum(geodetic, positions)
    assert residual_m < 1.0
    assert np.linalg.norm(found.to_map(DATUM.to_geodetic(positions)) - positions, axis=1).max() < 1.5


@pytest.mark.parametrize(
    "length, elsewhere_m, words", [(12.0, 0.0, "2 fixes over 7 m found"), (120.0, 300.0, "m from the drive")]
)
def test_fixes_that_do_not_tell_it_are_told_and_give_none(tmp_path, caplog, length, elsewhere_m, words):
    trajectory = drive(length)
    jumps = elsewhere_m * np.random.default_rng(1).normal(size=(len(trajectory), 3))
    bag = write_bag(tmp_path / "bag", trajectory, DATUM.to_geodetic(trajectory.poses[:, :3, 3] + jumps))
    with caplog.at_level(logging.WARNING):
        assert find_datum([bag], [trajectory]) is None
    assert words in caplog.text
