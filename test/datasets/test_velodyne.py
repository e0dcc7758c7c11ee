# SPDX-License-Identifier: Apache-2.0
"""Sweeps that hold the distortion by the car's motion are told from those that do not, and freed of it."""

import numpy as np
import pytest
from helpers.drive_samples import skewed

from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.velodyne import are_skewed, deskewed, twist_at
from lhmap_loc_ros.geometry import inverse, se3_exp, transform

FRAMES = 20
STAMPS = np.arange(1, FRAMES + 1) * 10**8
TWIST = np.array([8.0, 0, 0, 0, 0, 0.1])
"""Of the car: 8 m/s, a little to the left."""


def drive(twist=TWIST) -> Trajectory:
    return Trajectory(STAMPS, np.array([se3_exp(0.1 * k * twist) for k in range(FRAMES)]))


def street() -> np.ndarray:
    """Points (N, 3) of house fronts with corners, and poles, on both sides."""
    rng = np.random.default_rng(0)
    parts = []
    for x in range(-20, 40, 6):
        for y in (-9, 8):
            along, up = rng.uniform(0, 4, 1500), rng.uniform(-1, 4, (2, 1500))
            parts.append(np.column_stack([x + along, np.full(1500, y), up[0]]))
            parts.append(np.column_stack([np.full(1500, x), y + np.sign(y) * along, up[1]]))
    return np.concatenate(parts)


def still(number: int, truth: Trajectory) -> np.ndarray:
    """The street (n, 4), seen from a standing car; other points of it each time."""
    points = street()
    points = points[np.random.default_rng(number).random(len(points)) < 0.7]
    seen = transform(inverse(truth.poses[number]), points)
    return np.column_stack([seen, np.full(len(seen), 0.5)])


def measured(number: int, truth: Trajectory, twist=TWIST) -> np.ndarray:
    """The same, as a sweep from the moving car."""
    scan = still(number, truth)
    scan[:, :3] = skewed(scan[:, :3], twist)
    return scan


def test_the_twist_is_that_between_the_neighbours():
    for number in (0, 7, FRAMES - 1):
        np.testing.assert_allclose(twist_at(drive(), STAMPS, number), TWIST, atol=1e-6)


def test_a_deskewed_sweep_is_what_a_standing_car_sees():
    expected = still(3, drive())
    sweep = measured(3, drive())
    assert np.linalg.norm(sweep - expected, axis=1).max() > 0.2
    found = deskewed(sweep.astype(np.float32), TWIST)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize("twist", [TWIST, [12.0, 0, 0, 0, 0, 0], [6.0, 0, 0, 0, 0, -0.3]])
def test_skewed_sweeps_are_told_from_corrected_ones(twist):
    twist = np.array(twist)
    truth = drive(twist)
    assert are_skewed(lambda k: measured(k, truth, twist), truth, STAMPS)
    assert not are_skewed(lambda k: still(k, truth), truth, STAMPS)


def test_a_car_that_stands_or_a_single_sweep_needs_no_correction():
    truth = drive(np.zeros(6))
    assert not are_skewed(lambda k: measured(k, truth, np.zeros(6)), truth, STAMPS)
    one = Trajectory(STAMPS[:1], drive().poses[:1])
    assert not are_skewed(lambda k: measured(k, drive()), one, STAMPS[:1])
    # nor does one tell that sees nothing
    assert not are_skewed(lambda k: np.zeros((0, 4)), drive(), STAMPS)
