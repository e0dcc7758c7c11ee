# SPDX-License-Identifier: Apache-2.0
"""KITTI raw drives, synchronized and rectified.

Layout read: ``ROOT/DATE/DRIVE/{image_02/data/*.png or *.jpg, image_02/timestamps.txt, velodyne_points/data/*.bin,
oxts/data/*.txt}`` and ``ROOT/DATE/{calib_cam_to_cam.txt, calib_velo_to_cam.txt, calib_imu_to_velo.txt}`` (Geiger,
Lenz, Stiller, Urtasun, "Vision meets Robotics: The KITTI Dataset", IJRR 2013). Files are numbered by frame, and the
lines of timestamps.txt belong to them in order.

A scan of this data set (unlike one of KITTI odometry) is as the Velodyne measured it, turning on a moving car. Here the
motion is taken out: each scan is as if all of it had been seen at its stamp, when the Velodyne faced forward.

Frames: `base_link` and `lidar` are both the Velodyne (x forward, y left, z up along its axis); `map` is `base_link`
at frame 0 of the drive, or whatever frame a file of poses refers to. `camera_optical_frame` is camera 2.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import BagError
from ..geometry import inverse, make_pose
from .camera_lidar import Calibration, numbered_files, read_image
from .kitti import read_matrices, read_scan, read_text, split_projection
from .oxts import imu_poses, read_packets
from .trajectory import Trajectory
from .tum import read_trajectory
from .velodyne import deskewed, twist_at

_SLACK_NS = 50_000_000
"""How far outside a file of poses a frame may lie: half a period."""


class RawDrive:
    """A drive on disk, a `CameraLidarDrive`; raises BagError if something is missing or damaged.

    Frames without a scan or without an image (drive 0009 of 2011_09_26 has some) are left out; what remains is
    counted from 0. A frame has one stamp, that of its image: the camera was triggered by the Velodyne, and the data
    set gives scan, image and GPS/IMU packet of equal number as simultaneous.
    """

    def __init__(self, root, drive: str, poses=None):
        """`drive` is a name such as 2011_09_26_drive_0005_sync.

        `poses` is a TUM file of T_map_base, or a KITTI file of it with a line for each frame that is not left out;
        it replaces the GPS/IMU, which is worse over short distances than LiDAR odometry.
        """
        self.folder = _drive_folder(Path(root), drive)
        self.calibration = read_calibration(self.folder.parent)
        all_stamps = read_timestamps(self.folder / "image_02" / "timestamps.txt")
        self._images = _numbered(self.folder / "image_02" / "data", (".jpg", ".png"), len(all_stamps))
        self._scans = _numbered(self.folder / "velodyne_points" / "data", (".bin",), len(all_stamps))
        self.numbers = np.array(sorted(self._images.keys() & self._scans.keys()), dtype=np.int64)
        """(N,) numbers of the frames in the names of their files."""
        if not len(self.numbers):
            raise BagError(f"{self.folder}: none of the {len(all_stamps)} frames has both a scan and an image")
        self.left_out = len(all_stamps) - len(self.numbers)
        """How many frames lack a scan or an image."""
        self.stamps = self.scan_stamps = self.image_stamps = all_stamps[self.numbers]
        """(N,) int64, nanoseconds; the clock's time of day is taken as UTC."""
        self.truth_path = self.folder / "oxts" / "data" if poses is None else Path(poses)
        self.truth = self._oxts_truth() if poses is None else self._truth_from_file()
        """T_map_base of every frame; None if there are neither packets nor a file of poses."""

    def scan(self, number: int) -> np.ndarray:
        """x, y, z [m] and reflectance [0, 1] of the points (n, 4) float32, free of motion if the truth is known."""
        scan = read_scan(self._scans[int(self.numbers[number])])
        if self.truth is None or len(self.stamps) < 2:
            return scan
        return deskewed(scan, twist_at(self.truth, self.stamps, number))

    def image(self, number: int) -> np.ndarray:
        """The image of camera 2 (H, W, 3) uint8 RGB."""
        return read_image(self._images[int(self.numbers[number])])

    def _oxts_truth(self) -> Trajectory | None:
        """Poses from the packets; the map is the Velodyne at frame 0, even if that frame is left out."""
        if not self.truth_path.is_dir():
            return None
        T_lidar_imu = read_rigid(self.folder.parent / "calib_imu_to_velo.txt")
        packets = read_packets([self.truth_path / f"{number:010d}.txt" for number in (0, *self.numbers)])
        T_world_base = imu_poses(packets, packets[0, 0]) @ inverse(T_lidar_imu)
        return Trajectory(self.stamps, inverse(T_world_base[0]) @ T_world_base[1:])

    def _truth_from_file(self) -> Trajectory:
        """Poses from a TUM or KITTI file, at every frame."""
        given = read_trajectory(self.truth_path, self.stamps)
        outside = ~given.covers(self.stamps, _SLACK_NS)
        if outside.any():
            first, last = given.stamps_ns[[0, -1]]
            raise BagError(
                f"{self.truth_path}: poses from {first} to {last} ns do not cover {outside.sum()} of the "
                f"{len(self.stamps)} frames, {self.stamps[0]} to {self.stamps[-1]} ns"
            )
        return Trajectory(self.stamps, given.at(self.stamps))


def read_calibration(folder) -> Calibration:
    """The calibration files of a date; raises BagError if one is missing or wrong."""
    path = Path(folder) / "calib_cam_to_cam.txt"
    cameras = read_matrices(path, {"R_rect_00": (3, 3), "P_rect_02": (3, 4)})
    matrix, T_camera_camera0 = split_projection(cameras["P_rect_02"])
    # calib_velo_to_cam.txt ends in camera 0 before rectification
    T_rectified_camera0 = make_pose(_rotation(path, "R_rect_00", cameras["R_rect_00"]), (0, 0, 0))
    T_camera0_lidar = read_rigid(Path(folder) / "calib_velo_to_cam.txt")
    return Calibration(matrix, inverse(T_camera_camera0 @ T_rectified_camera0 @ T_camera0_lidar), np.eye(4))


def read_rigid(path) -> np.ndarray:
    """The pose (4, 4) in a calibration file with a rotation R and a translation T [m]; raises BagError."""
    rows = read_matrices(path, {"R": (3, 3), "T": (3, 1)})
    return make_pose(_rotation(path, "R", rows["R"]), rows["T"][:, 0])


def read_timestamps(path) -> np.ndarray:
    """Stamps (N,) int64, nanoseconds, of lines such as 2011-09-26 13:02:25.964389445; raises BagError."""
    stamps = []
    for number, line in enumerate(read_text(path).rstrip().splitlines(), 1):
        try:
            # a number with fewer digits than a date would pass as a year
            stamp = np.datetime64(line.strip() if line.count("-") == 2 else "", "ns")
        except ValueError:
            stamp = np.datetime64("NaT")
        if np.isnat(stamp):
            raise BagError(f"{path}:{number}: {line!r} found, expected a time such as 2011-09-26 13:02:25.964389445")
        stamps.append(stamp.astype(np.int64))
    stamps = np.array(stamps, dtype=np.int64)
    if not len(stamps) or (np.diff(stamps) <= 0).any():
        raise BagError(f"{path}: {len(stamps)} times found that do not all increase")
    return stamps


def _drive_folder(root: Path, drive: str) -> Path:
    """The folder of a drive, below that of its date."""
    folder = root / drive[: len("2011_09_26")] / drive
    if "_drive_" not in drive or not folder.is_dir():
        there = ", ".join(sorted(path.name for path in root.glob("*/*_drive_*") if path.is_dir())) or "none"
        raise BagError(f"{folder}: no such drive; there are: {there}")
    return folder


def _numbered(folder: Path, suffixes: tuple[str, ...], count: int) -> dict[int, Path]:
    """Files by the number of their frame; raises BagError if one has a number without a time."""
    found = numbered_files(folder, suffixes)
    if max(found) >= count:
        raise BagError(f"{found[max(found)]}: frame {max(found)} found, but timestamps.txt has times for {count}")
    return found


def _rotation(path, name: str, matrix: np.ndarray) -> Rotation:
    """The rotation nearest to a matrix (3, 3) that is printed with few digits; raises BagError if it is none."""
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-3 or np.linalg.det(matrix) < 0:
        raise BagError(f"{path}: {name} is not a rotation")
    return Rotation.from_matrix(matrix)
