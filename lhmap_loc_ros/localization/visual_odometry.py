# SPDX-License-Identifier: Apache-2.0
"""How a robot without odometry moved, by the images of its camera.

Corners that are followed from image to image tell how the camera turned and which way it went (the essential matrix),
their depth in the map, from where the robot may have been, tells how far.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..geometry import Camera, Images, PosedImage, front_view, inverse, make_pose, project, z_buffer
from .features import point_widths
from .motion import SECOND_NS

if TYPE_CHECKING:
    from ..lhmap import LHMap
    from .estimate import PosedCamera

MotionFrom = Callable[[np.ndarray | None], np.ndarray | None]
"""From T_map_base (4, 4) at one image, None if nothing is known of it, to T_before_now (4, 4): how base moved until
another image. None where that is not known."""

WIDTH = 640
"""Images are followed at this width at most [pixels]; all pixels below are of that size."""
CORNERS, QUALITY, APART_PX, WINDOW_PX = 500, 0.002, 7, 15
AGREE_PX = 0.7
"""A corner that is followed there and back must come this near to where it began."""
STEP_PX = 12.0
"""A step ends where corners have moved this far, in the median: shorter ones tell the direction less well..."""
LOST = 0.6
"""... or where so few of them are left."""
STILL_PX = 1.0
"""The camera stands where corners have moved less."""
MIN_CORNERS, MIN_SHARE = 20, 0.5
"""With fewer, or where fewer of them agree on a motion, nothing is known."""
EPIPOLAR_PX = 0.8
AHEAD_M, RADIUS_M, MAX_DEPTH_M = 15.0, 35.0, 60.0
"""The piece of map that corners may lie on."""
NARROW = 0.6
"""Points are drawn this much narrower than the networks see them: a drawn point that hides what is behind it takes its
corners for near."""
FLAT = 1.15
"""Corners where depths around differ by more than this factor are left out: they may be of either side."""
TELLING_PX = 2.0
"""A metre must move a corner this far for it to tell how far the camera went."""
MIN_TELLING = 8
SPEEDS = np.exp(np.arange(np.log(0.05), np.log(60.0), 0.02))
"""[m/s]"""
OTHER_CAMERA_S = 1.0
"""Images of another camera than the one followed are left alone until that has been silent for so long."""
ALIKE, FADE = 0.1, 0.8
"""Speeds that differ by this share speak for each other, and those of a step before count so much beside them."""


@dataclass(frozen=True)
class _Step:
    """Between two images; nothing is known of how far."""

    camera: Camera
    seconds: float
    before: np.ndarray
    """(N, 2) pixels."""
    after: np.ndarray
    turn: np.ndarray
    """(3, 3), rotation of what the camera saw before into what it saw after."""
    direction: np.ndarray
    """(3,) unit vector in which what it saw moved; zero for a camera that stood."""

    def way(self, speed: float) -> np.ndarray:
        """T_before_after (4, 4) of the camera at a speed [m/s]."""
        return inverse(make_pose(self.turn, speed * self.seconds * self.direction))


class VisualOdometry:
    """Follows corners through the images of one camera, of a rig through those of the one that looks ahead.

    One thread may follow while another asks.
    """

    def __init__(self, lhmap: LHMap):
        self._map, self._lock = lhmap, threading.RLock()
        self._camera: Camera | None = None
        self._T_base_camera = np.eye(4)
        self._forget()

    def forget(self) -> None:
        """Forgets all images."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._stamp_ns = self._began_ns = 0
        self._image: np.ndarray | None = None
        self._first, self._last = np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
        self._corners = 0
        # the next image tells nothing of how the robot came there
        self._steps: list[_Step | None] = [None]
        self.marked_ns: int | None = None
        """Stamp of the image that was marked; None: none was."""

    def follow(self, stamp_ns: int, image: Images, camera: PosedCamera) -> bool:
        """Takes an undistorted image (H, W, 3) uint8 RGB; an earlier one begins anew.

        Whether it was taken: one of another camera is not, until the one that is followed has been silent for long.
        """
        ahead = front_view(image, camera.camera)
        with self._lock:
            return self._follow(stamp_ns, ahead, camera.front.T_base_camera)

    def _follow(self, stamp_ns: int, ahead: PosedImage, T_base_camera: np.ndarray) -> bool:
        scale = min(1.0, WIDTH / ahead.camera.width)
        small = ahead.camera.resized(round(scale * ahead.camera.width), round(scale * ahead.camera.height))
        same = small == self._camera and np.array_equal(T_base_camera, self._T_base_camera)
        if same and stamp_ns == self._stamp_ns:
            return True
        if not same and self._image is not None and abs(stamp_ns - self._stamp_ns) < OTHER_CAMERA_S * SECOND_NS:
            return False
        if not same or stamp_ns < self._stamp_ns:
            self._forget()
        self._camera, self._T_base_camera = small, T_base_camera
        grey = cv2.cvtColor(ahead.image, cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, (small.width, small.height), interpolation=cv2.INTER_AREA)
        if self._image is None:
            self._begin_step(stamp_ns, grey)
            return True
        self._move_corners(grey)
        self._stamp_ns, self._image = stamp_ns, grey
        far = len(self._last) and np.median(np.linalg.norm(self._last - self._first, axis=1)) > STEP_PX
        if far or len(self._last) < LOST * self._corners:
            self._end_step()
        return True

    def mark(self) -> None:
        """From the last image on `since_mark` tells."""
        with self._lock:
            self._end_step()
            self._steps, self.marked_ns = [], self._stamp_ns

    def since_mark(self) -> tuple[int, MotionFrom]:
        """The stamp of the last image, and how the robot moved to it from the image that was marked."""
        with self._lock:
            self._end_step()
            steps, T_base_camera, stamp_ns = list(self._steps), self._T_base_camera, self._stamp_ns

        def motion(T_map_base: np.ndarray | None) -> np.ndarray | None:
            if T_map_base is None:
                return None
            end = self._carried(steps, T_map_base @ T_base_camera)
            return None if end is None else inverse(T_map_base) @ end @ inverse(T_base_camera)

        return stamp_ns, motion

    def way_at(self, speed: float) -> np.ndarray | None:
        """T_before_now (4, 4) of base from the image that was marked to the last one, at a speed [m/s] that is known.

        The map is not asked. None where the images do not tell the rest.
        """
        with self._lock:
            self._end_step()
            steps, T_base_camera = list(self._steps), self._T_base_camera
        T_before_now = np.eye(4)
        for step in steps:
            if step is None:
                return None
            T_before_now = T_before_now @ step.way(speed)
        return T_base_camera @ T_before_now @ inverse(T_base_camera)

    # -- following

    def _begin_step(self, stamp_ns: int, grey: np.ndarray) -> None:
        found = cv2.goodFeaturesToTrack(grey, CORNERS, QUALITY, APART_PX)
        self._first = np.empty((0, 2), np.float32) if found is None else np.asarray(found[:, 0], np.float32)
        self._last, self._corners = self._first, len(self._first)
        self._began_ns = self._stamp_ns = stamp_ns
        self._image = grey

    def _move_corners(self, grey: np.ndarray) -> None:
        if not len(self._last):
            return
        assert self._image is not None  # a step has begun
        there, found, _ = _followed(self._image, grey, self._last[:, None])
        back, again, _ = _followed(grey, self._image, there)
        off = np.linalg.norm(back[:, 0] - self._last, axis=1)
        good = (found[:, 0] > 0) & (again[:, 0] > 0) & (off < AGREE_PX)
        self._first, self._last = self._first[good], there[good, 0]

    def _end_step(self) -> None:
        """At the last image, if there is any since the step began."""
        if self._image is None or self._camera is None or self._stamp_ns == self._began_ns:
            return
        seconds = (self._stamp_ns - self._began_ns) / SECOND_NS
        self._steps.append(_step(self._camera, seconds, self._first, self._last))
        self._begin_step(self._stamp_ns, self._image)

    # -- how far

    def _carried(self, steps: list[_Step | None], T_map_camera: np.ndarray) -> np.ndarray | None:
        """Where a camera is after some steps (4, 4); None where they do not tell."""
        votes = np.zeros(len(SPEEDS))
        for step in steps:
            if step is None:
                return None
            speed = 0.0
            if step.direction.any():
                said = self._speeds(step, T_map_camera)
                if said is not None:
                    votes = FADE * votes + said
                if not votes.any():
                    return None
                speed = float(SPEEDS[votes.argmax()])
            T_map_camera = T_map_camera @ step.way(speed)
        return T_map_camera

    def _speeds(self, step: _Step, T_map_camera: np.ndarray) -> np.ndarray | None:
        """How much the corners of a step speak for each of `SPEEDS`; None where too few lie on the map."""
        depth = self._depths(step.camera, T_map_camera, step.before)
        known = np.isfinite(depth)
        before, after = _rays(step.camera, step.before[known]), _rays(step.camera, step.after[known])
        turned = depth[known, None] * before @ step.turn.T
        # a point at `turned` that moves by d is seen along `after`: (turned + d direction) x after = 0
        missing, moving = np.cross(turned, after), np.cross(step.direction, after)
        square = (moving**2).sum(axis=1)
        telling = step.camera.fx * np.sqrt(square) > TELLING_PX * depth[known]
        if telling.sum() < MIN_TELLING:
            return None
        metres = -(missing * moving).sum(axis=1)[telling] / square[telling]
        # what hides a corner is drawn before it, and others on the road move along: all that errs says too little
        metres = metres[metres > max(np.median(metres), 0.0)]
        if not len(metres):
            return None
        off = np.log(metres / step.seconds)[:, None] - np.log(SPEEDS)
        votes = np.exp(-0.5 * (off / ALIKE) ** 2).sum(axis=0)
        return votes / len(metres)

    def _depths(self, camera: Camera, T_map_camera: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Depth of the map (N,) [m] at pixels (N, 2); NaN where it is not known."""
        crop = self._map.crop(T_map_camera[:3, 3] + AHEAD_M * T_map_camera[:3, 2], RADIUS_M, damaged=[])
        if not len(crop.points):
            return np.full(len(pixels), np.nan)
        local = T_map_camera.copy()
        local[:3, 3] -= crop.origin
        half = camera.resized(camera.width // 2, camera.height // 2)
        uv, depth = project(crop.points, inverse(local), half)
        nearest, _ = z_buffer(uv, depth, half, NARROW * point_widths(crop.points), MAX_DEPTH_M)
        least, most = cv2.erode(nearest, np.ones((3, 3))), cv2.dilate(nearest, np.ones((3, 3)))
        nearest[~(most / FLAT < least)] = np.nan
        column = np.clip(np.round(pixels[:, 0] / 2 - 0.25).astype(int), 0, half.width - 1)
        row = np.clip(np.round(pixels[:, 1] / 2 - 0.25).astype(int), 0, half.height - 1)
        return nearest[row, column].astype(np.float64)


def _followed(one: np.ndarray, other: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    where = np.empty_like(corners)
    return cv2.calcOpticalFlowPyrLK(one, other, corners, where, winSize=(WINDOW_PX, WINDOW_PX), maxLevel=4)


def _step(camera: Camera, seconds: float, before: np.ndarray, after: np.ndarray) -> _Step | None:
    """What corners (N, 2) that moved tell; None if nothing."""
    if len(before) < MIN_CORNERS:
        return None
    if np.median(np.linalg.norm(after - before, axis=1)) < STILL_PX:
        return _Step(camera, seconds, before, after, np.eye(3), np.zeros(3))
    essential, inside = cv2.findEssentialMat(
        before, after, camera.matrix, method=cv2.RANSAC, prob=0.999, threshold=EPIPOLAR_PX
    )
    agree = 0 if essential is None or essential.shape != (3, 3) else np.count_nonzero(inside)
    if agree < max(MIN_CORNERS, MIN_SHARE * len(before)):
        return None
    good = inside[:, 0] > 0
    _, turn, direction, _ = cv2.recoverPose(essential, before[good], after[good], camera.matrix)
    return _Step(camera, seconds, before[good], after[good], turn, direction[:, 0])


def _rays(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """Points (N, 3) at depth 1 that are seen at pixels (N, 2)."""
    x = (pixels[:, 0].astype(np.float64) - camera.cx) / camera.fx
    y = (pixels[:, 1].astype(np.float64) - camera.cy) / camera.fy
    return np.column_stack([x, y, np.ones(len(pixels))])
