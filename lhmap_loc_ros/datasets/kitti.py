# SPDX-License-Identifier: Apache-2.0
"""KITTI odometry sequences.

Layout read: ``ROOT/sequences/SEQ/{image_2/*.png, velodyne/*.bin, calib.txt, times.txt}`` and, for ground truth,
``ROOT/poses/SEQ.txt`` (Geiger, Lenz, Urtasun, CVPR 2012). The benchmark's scans are free of the distortion by the car's
motion, those of raw drives brought into its layout are not; which they are is found by comparing them.

Frames: `base_link` and `lidar` are both the Velodyne (x forward, y left, z up along its axis); `map` is
`base_link` at the first frame of the sequence, whatever frames are imported, so that bags of even and of odd
frames share it. `camera_optical_frame` is camera 2: the offset in the fourth column of P2 is part of its pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import BagError
from ..geometry import inverse, make_pose
from .camera_lidar import Calibration, read_image
from .trajectory import Trajectory
from .tum import read_kitti_poses
from .velodyne import are_skewed, deskewed, twist_at

EPOCH_NS = 1_317_000_000 * 10**9
"""Added to the times of a sequence, which start at 0: in ROS a stamp of zero means "latest"."""


@dataclass(frozen=True)
class SequenceCalibration(Calibration):
    """The part of calib.txt that is needed."""

    T_camera0_lidar: np.ndarray
    """Pose of the Velodyne in the optical frame of camera 0 (4, 4), to which the ground truth refers."""


class Sequence:
    """A sequence on disk, a `CameraLidarDrive`; raises BagError if something is missing or damaged."""

    def __init__(self, root, name: str, deskew: bool | None = None):
        """`deskew`: whether scans need their distortion by motion taken out; None: as `velodyne.are_skewed` finds."""
        self._deskew = deskew
        self.folder = Path(root) / "sequences" / name
        if not self.folder.is_dir():
            there = ", ".join(sorted(p.name for p in (Path(root) / "sequences").glob("*"))) or "none"
            raise BagError(f"{self.folder}: no such sequence; there are: {there}")
        self.calibration = read_calibration(self.folder / "calib.txt")
        self.stamps = self.scan_stamps = self.image_stamps = _read_times(self.folder / "times.txt")
        """(N,) int64, nanoseconds: scan and image of a frame are taken as simultaneous."""
        self.truth_path = Path(root) / "poses" / f"{name}.txt"
        self.truth = _read_truth(self.truth_path, self.stamps, self.calibration)
        """T_map_base of every frame; None if there is no ground truth."""

    @cached_property
    def deskews(self) -> bool:
        """Whether `scan` takes the distortion by motion out; raises BagError if it cannot, for want of poses."""
        if self.truth is None or len(self.stamps) < 2:
            if self._deskew:
                found = "not there" if self.truth is None else "a single pose"
                raise BagError(f"{self.truth_path}: {found}, but scans are freed of the motion that poses tell")
            return False
        return are_skewed(self._measured, self.truth, self.stamps) if self._deskew is None else self._deskew

    def scan(self, number: int) -> np.ndarray:
        """x, y, z [m] and reflectance [0, 1] of the points (N, 4) float32."""
        scan = self._measured(number)
        return deskewed(scan, twist_at(self.truth, self.stamps, number)) if self.deskews else scan

    def _measured(self, number: int) -> np.ndarray:
        return read_scan(self.folder / "velodyne" / f"{number:06d}.bin")

    def image(self, number: int) -> np.ndarray:
        """The image of camera 2 (H, W, 3) uint8 RGB."""
        return read_image(self.folder / "image_2" / f"{number:06d}.png")


def read_calibration(path) -> SequenceCalibration:
    """Reads calib.txt; raises BagError if P2 or Tr is missing or not 12 numbers."""
    rows = read_matrices(path, {"P2": (3, 4), "Tr": (3, 4)})
    T_camera0_lidar = make_pose(rows["Tr"][:, :3], rows["Tr"][:, 3])
    matrix, T_camera_camera0 = split_projection(rows["P2"])
    return SequenceCalibration(matrix, inverse(T_camera_camera0 @ T_camera0_lidar), np.eye(4), T_camera0_lidar)


def read_matrices(path, shapes: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """The named matrices of a calibration file with lines ``name: values``, row by row.

    Raises BagError if one is missing or not as many finite numbers as its shape has.
    """
    rows, matrices = {}, {}
    for name, _, values in (line.partition(":") for line in read_text(path).splitlines()):
        rows[name.strip()] = values.split()
    for name, shape in shapes.items():
        if name not in rows:
            raise BagError(f"{path}: no {name}; found {', '.join(filter(None, rows)) or 'nothing'}")
        try:
            matrices[name] = np.array(rows[name], dtype=float).reshape(shape)
            if not np.isfinite(matrices[name]).all():
                raise ValueError
        except ValueError:
            kind = f"the {shape[0] * shape[1]} numbers of a {shape[0]}x{shape[1]} matrix"
            raise BagError(f"{path}: {name} is {' '.join(rows[name])!r}, expected {kind}") from None
    return matrices


def split_projection(projection: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 3) and T_camera_camera0 (4, 4) of a rectified camera, from its projection (3, 4) of camera 0's frame."""
    matrix = projection[:, :3]
    # P = K [I | t]: what camera 0 sees at x, this one sees at x + t
    return matrix, make_pose(np.eye(3), np.linalg.solve(matrix, projection[:, 3]))


def read_scan(path: Path) -> np.ndarray:
    """x, y, z [m] and reflectance [0, 1] of the points (N, 4) float32; raises BagError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error.strerror}, expected a scan") from None
    if not data or len(data) % 16:
        raise BagError(f"{path}: truncated: {len(data)} bytes found, expected a multiple of 16")
    return np.frombuffer(data, "<f4").reshape(-1, 4)


def read_text(path) -> str:
    """A text file; raises BagError if it cannot be read."""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BagError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None


def _read_times(path) -> np.ndarray:
    """Stamps (N,) int64, nanoseconds."""
    try:
        times = np.array(read_text(path).split(), dtype=float)
    except ValueError as error:
        raise BagError(f"{path}: {error}, expected one time in seconds a line") from None
    if not len(times) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise BagError(f"{path}: {len(times)} times found that are not all finite and increasing")
    return np.round(times * 1e9).astype(np.int64) + EPOCH_NS


def _read_truth(path: Path, stamps: np.ndarray, calibration: SequenceCalibration) -> Trajectory | None:
    """T_map_base of every frame; None if the sequence has no ground truth."""
    if not path.exists():
        return None
    poses = read_kitti_poses(path)
    if len(poses) != len(stamps):
        raise BagError(f"{path}: {len(poses)} poses found, expected {len(stamps)}, one for each time")
    T = calibration.T_camera0_lidar
    return Trajectory(stamps, inverse(T) @ inverse(poses[0]) @ poses @ T)
