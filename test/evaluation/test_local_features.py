# SPDX-License-Identifier: Apache-2.0
"""Local features of mapping images, placed by the LiDAR map, tell the pose of an image between them."""

import cv2
import numpy as np

from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import write_tum
from lhmap_loc_ros.evaluation.local_features import LocalFeatures
from lhmap_loc_ros.geometry import Camera, make_pose, pose_error
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.scenes.encoder import COARSE

CAMERA = Camera(608, 176, 300.0, 300.0, 303.5, 87.5)
T_BASE_CAMERA = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [1.0, 0, 1.5])
WALL_X = 15.0
START, STEP_NS = 1_700_000_000 * 10**9, 10**8
_SPOTS = cv2.resize(np.random.default_rng(0).integers(0, 255, (80, 240), np.uint8), (960, 320))


class Encoder:
    """The brightness of cells, in place of the network."""

    coarse, view = COARSE, CAMERA

    def features(self, channels):
        return np.repeat(channels[0, 4::8, 4::8].ravel()[:, None], COARSE + 4, 1)


def pose_at(x):
    return make_pose(np.eye(3), [x, 0.0, 0.0])


def picture(x):
    """What a robot so far along sees of a wall of spots."""
    u, v = np.meshgrid(np.arange(608), np.arange(176))
    depth = WALL_X - x - 1.0
    y, z = -(u - 303.5) / 300 * depth, 1.5 - (v - 87.5) / 300 * depth
    spots = cv2.remap(_SPOTS, ((y + 24) * 20).astype(np.float32), ((z + 6) * 20).astype(np.float32), cv2.INTER_LINEAR)
    return np.repeat(spots[..., None], 3, axis=2)


def test_they_tell_the_pose_of_an_image_between_those_of_the_mapping_drive(tmp_path):
    y, z = (part.ravel() for part in np.meshgrid(np.arange(-20, 20, 0.1), np.arange(-5, 9, 0.1)))
    wall = np.column_stack([np.full(len(y), WALL_X), y, z])
    same = np.full(len(wall), 0.5)
    write_map(tmp_path / "wall.lhmap", MapPoints(wall, same, same, np.zeros(3)), MapMetadata(path_length_m=4.0))
    stamps = START + STEP_NS * np.arange(4)
    write_tum(tmp_path / "bag.tum", Trajectory(stamps, np.array([pose_at(1.2 * k) for k in range(4)])))
    with BagWriter(tmp_path / "bag") as bag:
        bag.tf_static(START, {("base_link", "camera"): T_BASE_CAMERA})
        for k, stamp in enumerate(stamps.tolist()):
            bag.camera_info("/camera/camera_info", stamp, "camera", 608, 176, CAMERA.matrix)
            bag.image("/camera/image_raw", stamp, "camera", picture(1.2 * k))
    with LHMap.open(tmp_path / "wall.lhmap") as lhmap:
        features = LocalFeatures(lhmap, tmp_path / "bag", Encoder())
    proposals = features.propose(picture(1.8), PosedCamera(CAMERA, T_BASE_CAMERA))
    metres, degrees = pose_error(proposals[0].place.T_map_base, pose_at(1.8))
    assert metres < 0.2 and degrees < 0.5 and proposals[0].inliers > 30
    assert proposals[-1].inliers == 0 and features.stored_bytes > 4 * 100 * 140
