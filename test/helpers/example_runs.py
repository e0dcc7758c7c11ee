# SPDX-License-Identifier: Apache-2.0
"""A made-up run for tests of metrics and report: a curved drive, its odometry, and a track with known errors."""

import numpy as np

from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.geometry import inverse, make_pose, se3_exp
from lhmap_loc_ros.localization.record import RunRecord

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
SIGMA = np.array([0.1, 0.05, 0.08, 0.004, 0.003, 0.006])


def drive(frames=200, rate=10):
    """Truth: T_map_base of a robot that turns left and right at 8 m/s."""
    stamps = START + np.arange(frames) * (SECOND // rate)
    poses, pose = [], make_pose(np.eye(3), [500.0, -200.0, 4.0])
    for k in range(frames):
        poses.append(pose)
        pose = pose @ se3_exp(np.array([8.0, 0, 0.05, 0, 0, 0.25 * np.sin(k / 25)]) / rate)
    return Trajectory(stamps, np.array(poses))


def odometry_of(truth, seed=1):
    """Odometry with a random walk, in a frame of its own."""
    random = np.random.default_rng(seed)
    poses = [np.eye(4)]
    for a, b in zip(truth.poses[:-1], truth.poses[1:], strict=True):
        walk = np.array([0.03, 0.03, 0.01, 5e-4, 5e-4, 4e-3]) * random.standard_normal(6)
        poses.append(poses[-1] @ inverse(a) @ b @ se3_exp(walk))
    return Trajectory(truth.stamps_ns, np.array(poses))


def record_of(truth, seed=0, states=None):
    """A track with independent errors of standard deviation SIGMA, and that covariance."""
    random, n = np.random.default_rng(seed), len(truth)
    errors = SIGMA * random.standard_normal((n, 6))
    return RunRecord(
        stamps_ns=truth.stamps_ns,
        states=np.array(states if states is not None else ["INITIALIZING"] * 3 + ["TRACKING"] * (n - 3)),
        accepted=np.ones(n, bool),
        poses=np.array([pose @ se3_exp(xi) for pose, xi in zip(truth.poses, errors, strict=True)]),
        covariances=np.tile(np.diag(SIGMA**2), (n, 1, 1)),
        inlier_ratio=random.uniform(0.5, 0.9, n),
        innovation=random.chisquare(6, n),
        latency_ms=random.gamma(9, 10, n),
        arrival_s=(truth.stamps_ns - truth.stamps_ns[0]) / SECOND,
    )
