# SPDX-License-Identifier: Apache-2.0
"""A small bag, its truth and a map around it, for tests that need files; and a refiner that knows the truth."""

import numpy as np

from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import write_tum
from lhmap_loc_ros.geometry import inverse, make_pose, pose_error, se3_exp
from lhmap_loc_ros.lhmap import MapMetadata, MapPoints, write_map
from lhmap_loc_ros.localization.refine import Refinement

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
WIDTH, HEIGHT = 160, 48
K = np.array([[90.0, 0, 80], [0, 90, 24], [0, 0, 1]])
T_BASE_CAMERA = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [1.2, 0.1, 1.6])


def truth_at(stamp_ns):
    """T_map_base at a stamp: 6 m/s along a bend."""
    seconds = (stamp_ns - START) / SECOND
    return make_pose(np.eye(3), [1000.0, 2000.0, 5.0]) @ se3_exp(np.array([6.0, 0, 0, 0, 0, 0.04]) * seconds)


def write_bag(
    path, frames=12, without=(), width=WIDTH, nan_odometry_at=None, fx=90.0, with_tf=False, fix=None, lens=None
):
    """A bag of images at 10 Hz and odometry at 20 Hz; `without` names topics to leave out.

    `with_tf` adds the truth as map -> odom -> base_link, `fix` names a topic of GPS fixes, `lens` a model without
    coefficients.
    """
    random = np.random.default_rng(0)
    matrix = K.copy()
    matrix[0, 0] = fx
    with BagWriter(path) as bag:
        if "/tf_static" not in without:
            bag.tf_static(START, {("base_link", "camera_optical_frame"): T_BASE_CAMERA})
        for k in range(2 * frames):
            stamp = START + k * SECOND // 20
            if "/odom" not in without:
                pose = inverse(truth_at(START)) @ truth_at(stamp)
                if k == nan_odometry_at:
                    pose[0, 3] = np.nan
                bag.odometry("/odom", stamp, "odom", "base_link", pose)
            if with_tf:
                pose = inverse(truth_at(START)) @ truth_at(stamp)
                bag.tf(stamp, {("map", "odom"): truth_at(START), ("odom", "base_link"): pose})
            if k % 2:
                continue
            if fix is not None:
                bag.fix(fix, stamp, "gps", np.array([49.0, 8.4, 110.0]), 2.0)
            if "/camera/camera_info" not in without:
                told = () if lens is None else ((0.0,) * 4, lens)
                bag.camera_info("/camera/camera_info", stamp, "camera_optical_frame", WIDTH, HEIGHT, matrix, *told)
            if "/camera/image_raw" not in without:
                image = random.integers(0, 255, (HEIGHT, width, 3), np.uint8)
                bag.image("/camera/image_raw", stamp, "camera_optical_frame", image)
    return path


def write_truth(path, frames=12):
    """The truth of that bag as a TUM file."""
    stamps = START + np.arange(frames) * (SECOND // 10)
    write_tum(path, Trajectory(stamps, np.array([truth_at(int(s)) for s in stamps])))
    return path


def write_walls(path):
    """A map: ground and two walls along the bend."""
    random = np.random.default_rng(1)
    n = 20_000
    along, side = random.uniform(-5, 60, n), random.choice([-6.0, 6.0], n)
    ground = random.random(n) < 0.4
    local = np.column_stack([along, np.where(ground, random.uniform(-6, 6, n), side), random.uniform(0, 5, n)])
    local[ground, 2] = 0
    points = MapPoints(
        local.astype(np.float32), random.random(n).astype(np.float32), random.random(n).astype(np.float32),
        np.array([1000.0, 2000.0, 5.0]),
    )  # fmt: skip
    write_map(path, points, MapMetadata(origin=(975.0, 1975.0, 0.0), path_length_m=60.0))
    return path


def write_world(folder):
    """The bag, its truth as BAG.tum and the map in a folder: bag, bag.tum, walls.lhmap."""
    write_bag(folder / "bag")
    write_truth(folder / "bag.tum")
    write_walls(folder / "walls.lhmap")
    return folder


class KnowingRefiner:
    """Stands in for the networks: the true pose of the image nearest to the start, with a little noise."""

    SIGMA = np.array([0.03, 0.03, 0.05, 0.002, 0.002, 0.002])

    def __init__(self, config=None, models=None):
        self.random = np.random.default_rng(5)
        stamps = START + np.arange(120) * (SECOND // 10)
        self.known = [truth_at(int(s)) @ T_BASE_CAMERA for s in stamps]
        self.next = 0

    def refine(self, image, camera, submap, T_map_camera, mode=None, keep_trace=False):
        pose = self.known[self.next] @ se3_exp(self.SIGMA * self.random.standard_normal(6))
        self.next += 1
        return Refinement(pose, np.diag(self.SIGMA**2), 0.8, 400, (0.01, 0.1))


class NearRefiner(KnowingRefiner):
    """Says nothing from more than 4 m beside the truth, however often it is asked about an image."""

    image = None

    def refine(self, image, camera, submap, T_map_camera, mode=None, keep_trace=False):
        if self.image is not None and not np.array_equal(image, self.image):
            self.next += 1
        self.image, number = image, self.next
        if pose_error(T_map_camera, self.known[number])[0] > 4:
            return Refinement(T_map_camera, np.eye(6), 0.0, 0, (0.0, 0.0))
        found = super().refine(image, camera, submap, T_map_camera)
        self.next = number
        return found
