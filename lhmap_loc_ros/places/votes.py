# SPDX-License-Identifier: Apache-2.0
"""Several images vote on where the robot is; how it moved tells where each was taken from the others."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ..geometry import inverse
from .database import APART, APART_M, PlaceDatabase, between_headings, wrapped

IMAGES = 10
"""So many of the last images vote."""
PEAKS = 32
"""So many views of each image are hypotheses."""
OFF_PATH_M = 6.0
"""An image whose view is further from all places says nothing about the hypothesis."""
VOTE = -1.0, 5.0
"""A vote is how many standard deviations a view lies above the mean of all, within these bounds: one image that is
like nothing, or very like one view, does not decide alone."""


@dataclass(frozen=True)
class _Image:
    votes: np.ndarray
    """(P, H), see VOTE; -inf where it cannot have been taken."""
    T_first_base: np.ndarray
    """(4, 4), base at this image from where it was at the first."""
    T_base_camera: np.ndarray
    hypotheses: np.ndarray
    """(N, 4, 4) T_map_base at this image."""


class PlaceVotes:
    """A vote over the poses that a robot may have, by its last images."""

    def __init__(self, database: PlaceDatabase):
        self._database = database
        self._images: deque[_Image] = deque(maxlen=IMAGES)
        self._T_first_base = np.eye(4)

    def clear(self) -> None:
        """Forgets all images."""
        self._images.clear()

    def add(self, scores: np.ndarray, way: np.ndarray | None, T_base_camera: np.ndarray) -> None:
        """Takes an image with the scores (P, H) of the views; `way` (4, 4) is T_before_now of base since the image
        before, None: those before do not count."""
        if way is None:
            self.clear()
        else:
            self._T_first_base = self._T_first_base @ way
        known = np.isfinite(scores)
        if not known.any():
            return
        mean, deviation = scores[known].mean(), max(scores[known].std(), 1e-6)
        votes = np.where(known, np.clip((scores - mean) / deviation, *VOTE), -np.inf)
        d = self._database
        hypotheses = [
            d.base_pose(peak, T_base_camera, between_headings(scores[peak.place], peak.heading))
            for peak in d.peaks(scores, PEAKS)
        ]
        self._images.append(_Image(votes, self._T_first_base, T_base_camera, np.array(hypotheses)))

    def candidates(self, count: int) -> list[np.ndarray]:
        """Poses (4, 4) T_map_base of the robot at the last image, those with the most votes first."""
        if not self._images:
            return []
        moved = [inverse(image.T_first_base) @ self._T_first_base for image in self._images]
        poses = np.concatenate([image.hypotheses @ way for image, way in zip(self._images, moved, strict=True)])
        votes = np.zeros(len(poses))
        for image, way in zip(self._images, moved, strict=True):
            votes += self._votes(image, poses @ inverse(way))
        return [poses[k] for k in self._peaks(poses, votes, count)]

    def _votes(self, image: _Image, poses: np.ndarray) -> np.ndarray:
        """What an image says (N,) about poses (N, 4, 4) T_map_base at it."""
        cameras = poses @ image.T_base_camera
        over = np.column_stack([cameras[:, :2, 3], poses[:, 2, 3]])
        place, heading, metres = self._database.nearest(over, np.arctan2(cameras[:, 1, 2], cameras[:, 0, 2]))
        return np.where(metres <= OFF_PATH_M, image.votes[place, heading], 0.0)

    @staticmethod
    def _peaks(poses: np.ndarray, votes: np.ndarray, count: int) -> list[int]:
        yaws = np.arctan2(poses[:, 1, 0], poses[:, 0, 0])
        left = np.isfinite(votes)
        out: list[int] = []
        while left.any() and len(out) < count:
            best = int(np.argmax(np.where(left, votes, -np.inf)))
            out.append(best)
            near = np.linalg.norm(poses[:, :3, 3] - poses[best, :3, 3], axis=1) < APART_M
            left &= ~(near & (np.abs(wrapped(yaws - yaws[best])) < APART))
        return out
