# SPDX-License-Identifier: Apache-2.0
"""The usual practitioner's way to find a place: the most similar mapping image, local features matched to it, PnP.

SIFT of OpenCV; the features' coordinates come from the LiDAR map, so there is no structure from motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..datasets.bag import BagReader
from ..errors import InputError
from ..geometry import Camera, front_view, inverse, pose_error
from ..lhmap import LHMap
from ..localization.estimate import PosedCamera
from ..localization.inputs import BagInputs, images, read_setup
from ..localization.manifold import transport_covariance
from ..localization.relocalize import PoseHypothesis
from ..progress import quiet
from ..scenes.depth import map_depth
from ..scenes.encoder import SceneEncoder, brought_to
from ..scenes.inputs import CellInputs
from ..scenes.locate import START_COVARIANCE, Proposal
from ..scenes.pnp import solve_pose
from .check import known_poses
from .metrics import pose_at

FEATURES, RATIO = 1000, 0.8
"""Of an image; a match is kept where the second best is this much worse (Lowe, 2004)."""
NEIGHBOURS = 5
"""So many of the most similar images are matched."""
SPACING_M = 1.0


@dataclass(frozen=True)
class _MappingImage:
    T_map_base: np.ndarray
    descriptors: np.ndarray
    """(K, 128) float32."""
    places: np.ndarray
    """(K, 3) of the features, map frame [m]."""
    features: np.ndarray
    """(M, F) float16 of the encoder, by which images are compared."""


class LocalFeatures:
    """See `relocalizers.Proposer`."""

    def __init__(self, lhmap: LHMap, mapping_bag, encoder: SceneEncoder, inputs: BagInputs | None = None, report=None):
        """`encoder` tells which images are alike. Raises InputError and BagError for a bag that cannot be used."""
        self._encoder, self._sift = encoder, cv2.SIFT.create(FEATURES)
        inputs, report = inputs or BagInputs(), report or quiet
        self._images: list[_MappingImage] = []
        with BagReader(mapping_bag) as reader:
            setup = read_setup(reader, inputs)
            poses = known_poses(reader, None, lhmap.metadata.frame, inputs.base_frame, inputs.tf_static)
            total, last = reader.count(inputs.image), None
            for number, (stamp_ns, image) in enumerate(images(reader, inputs, setup)):
                report("local features", number + 1, total)
                pose = pose_at(poses, stamp_ns)
                if pose is None or (last is not None and pose_error(pose, last)[0] < SPACING_M):
                    continue
                known = self._known(lhmap, image, setup.camera, pose, setup.T_base_camera)
                if known is not None:
                    self._images.append(known)
                    last = pose
        if not self._images:
            raise InputError(f"{mapping_bag}: no image of {inputs.image} has a known pose in {lhmap.path}")
        self._inputs = CellInputs.of(np.array([one.features for one in self._images]), encoder.coarse, encoder.view)
        codes = [self._inputs.code(one.features.astype(np.float32), encoder.view) for one in self._images]
        self._codes = np.array(codes)
        # as they would be stored: a byte a component, three floats a place, two bytes a value of the codes
        self.stored_bytes = sum(one.descriptors.size + 12 * len(one.places) for one in self._images)
        self.stored_bytes += 2 * self._codes.size

    def _known(self, lhmap: LHMap, image, camera: Camera, T_map_base, T_base_camera) -> _MappingImage | None:
        T_map_camera = T_map_base @ T_base_camera
        depth = map_depth(lhmap, T_map_camera, camera)
        points, descriptors = self._detect(image)
        if depth is None or not len(points):
            return None
        column, row = np.round(points).astype(int).T.clip(0, [[camera.width - 1], [camera.height - 1]])
        z = depth[row, column]
        keep = np.isfinite(z)
        rays = np.column_stack(
            [(points[:, 0] - camera.cx) / camera.fx, (points[:, 1] - camera.cy) / camera.fy, np.ones(len(points))]
        )
        places = (rays * z[:, None])[keep] @ T_map_camera[:3, :3].T + T_map_camera[:3, 3]
        features = self._encoder.features(brought_to(image, camera, self._encoder.view)[0]).astype(np.float16)
        return _MappingImage(T_map_base, descriptors[keep], places, features)

    def _detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points, descriptors = self._sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        if descriptors is None:
            return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
        return np.array([point.pt for point in points]), descriptors

    def propose(self, image: np.ndarray, camera: PosedCamera) -> list[Proposal]:
        """See `Proposer`: by the most inliers, and then the poses of the most similar images."""
        ahead = front_view(image, camera.camera)
        T_camera_base = inverse(camera.T_base_camera @ ahead.T_rig_camera)
        features = self._encoder.features(brought_to(ahead.image, ahead.camera, self._encoder.view)[0])
        apart = np.linalg.norm(self._codes - self._inputs.code(features, self._encoder.view), axis=1)
        nearest = [self._images[k] for k in np.argsort(apart, kind="stable")[:NEIGHBOURS]]
        points, descriptors = self._detect(ahead.image)
        solved = []
        for known in nearest:
            if len(known.descriptors) < 2 or len(descriptors) < 2:
                continue
            pairs = cv2.BFMatcher().knnMatch(descriptors, known.descriptors, k=2)
            matches = [first for first, second in pairs if first.distance < RATIO * second.distance]
            found = solve_pose(
                known.places[[match.trainIdx for match in matches]], points[[match.queryIdx for match in matches]],
                ahead.camera,
            ) if matches else None  # fmt: skip
            if found is not None:
                covariance = transport_covariance(found.covariance, T_camera_base)
                place = PoseHypothesis(found.T_map_camera @ T_camera_base, covariance)
                solved.append(Proposal(place, found.inliers, found.inlier_ratio))
        solved.sort(key=lambda proposal: -proposal.inliers)
        return solved + [Proposal(PoseHypothesis(known.T_map_base, START_COVARIANCE)) for known in nearest]
