# SPDX-License-Identifier: Apache-2.0
"""A robot on a curved path, its odometry, and a refiner whose errors are known: for tests of the tracker."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from lhmap_loc_ros.geometry import Camera, inverse, make_pose, se3_exp
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.localization.measurement import NOISE
from lhmap_loc_ros.localization.states import StateConfig
from lhmap_loc_ros.localization.tracker import Tracker, TrackerConfig

SECOND = 1_000_000_000
CAMERA = Camera(64, 32, 40.0, 40.0, 32.0, 16.0)
IMAGE = np.zeros((32, 64, 3), np.uint8)
# camera optical frame (x right, y down, z forward) 1.2 m ahead of and 1.6 m above base_link
T_BASE_CAMERA = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [1.2, 0.1, 1.6])

MOUNTED = PosedCamera(CAMERA, T_BASE_CAMERA)


def truth(stamp_ns, speed=8.0, turn=0.05):
    """T_map_base on a circle that climbs gently; speed in m/s, turn in rad/s."""
    return make_pose(np.eye(3), [100.0, -50.0, 3.0]) @ se3_exp(
        np.array([speed, 0, 0.1, 0, 0, turn]) * stamp_ns / SECOND
    )


class EmptyMap:
    """Answers every crop with `points` points."""

    def __init__(self, points=1000):
        self.points = points

    def crop(self, center, radius, damaged=None):
        return SimpleNamespace(points=np.zeros((self.points, 3), np.float32), origin=np.asarray(center))

    def prefetch(self, center, radius):
        assert radius > 0


@dataclass
class Refined:
    T_map_camera: np.ndarray
    covariance: np.ndarray
    inlier_ratio: float = 0.7
    matches: int = 500
    last_step: tuple = (0.01, 0.1)


class FakeRefiner:
    """Returns the true camera pose with noise of a known covariance, or what `fault` makes of it."""

    SIGMA = np.array([0.15, 0.1, 0.25, 0.006, 0.008, 0.005])

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.stamp_ns = 0
        self.fault = None
        self.modes = []

    def refine(self, image, camera, submap, T_map_camera, mode=None, keep_trace=False):
        self.modes.append(mode)
        noise = se3_exp(self.SIGMA * self.random.standard_normal(6))
        result = Refined(truth(self.stamp_ns) @ T_BASE_CAMERA @ noise, np.diag(self.SIGMA**2))
        return result if self.fault is None else self.fault(result)


class CoarseStates(StateConfig):
    """For measurements that scatter several times as much as those of the shipped networks."""

    @property
    def tracking_scatter(self):
        return 0.6, 1.6


def of_coarse_measurements(config):
    """The same settings, for such measurements."""
    return config.model_copy(update={"states": CoarseStates(**config.states.model_dump())})


class Drive:
    """Runs a tracker along the path at 10 Hz of images and 50 Hz of odometry (with drift)."""

    def __init__(self, config=None, seed=0, odometry=True, start=None, lhmap=None, noise=NOISE):
        self.refiner = FakeRefiner(seed)
        self.random = np.random.default_rng(seed + 1000)
        config = of_coarse_measurements(config or TrackerConfig())
        self.tracker = Tracker(config, self.refiner, lhmap or EmptyMap(), noise=noise)
        self.odometry = odometry
        self.stamp_ns = 0
        self.odom, self.odom_stamp = np.eye(4), -SECOND // 50
        self.sigma = np.array([0.6, 0.6, 0.3, 0.03, 0.03, 0.05])
        noise = self.sigma * self.random.standard_normal(6) if start is None else np.asarray(start, float)
        self.tracker.initialize(0, truth(0) @ se3_exp(noise), np.diag(self.sigma**2))

    def step(self):
        """One image; gives the result and the error of the pose as a tangent vector (6)."""
        while self.odometry and self.odom_stamp < self.stamp_ns:
            t0, self.odom_stamp = self.odom_stamp, self.odom_stamp + SECOND // 50
            delta = inverse(truth(t0)) @ truth(self.odom_stamp)
            # 0.16 m per step of 0.16 m: 0.05 m and 0.1 deg after 1 m, as the default configuration says
            walk = np.sqrt(0.16) * np.array([0.05] * 3 + [np.radians(0.1)] * 3) * self.random.standard_normal(6)
            self.odom = self.odom @ delta @ se3_exp(walk)
            self.tracker.add_odometry(self.odom_stamp, self.odom)
        self.refiner.stamp_ns = self.stamp_ns
        result = self.tracker.process_image(self.stamp_ns, IMAGE, MOUNTED)
        self.stamp_ns += SECOND // 10
        return result

    def run(self, images):
        """The results of so many images."""
        return [self.step() for _ in range(images)]


def error(result):
    """Distance [m] of a result from the truth."""
    return np.linalg.norm((inverse(truth(result.stamp_ns)) @ result.T_map_base)[:3, 3])
